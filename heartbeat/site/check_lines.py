"""The rules of a site file for its lines, each by itself and among each other. Each function yields sentences with
their place. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from heartbeat.site.lines import DIGESTS, KEEP_ALIVE, RETURN_WITHIN, LineSettings, StationSettings
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.references import reference
from sip.bearer import WEB

TRUNK_ONLY: Final = (
    "peer", "source", "nat", "register", "options", "domain", "auth_user", "outbound_proxy", "certificate", "ca",
    "address"
)  # fmt: skip
LEAST_SILENCE: Final = 5
"""Seconds without RTP that are normal in a call: a device with silence suppression sends nothing meanwhile."""


def line_complaints(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Every error of the lines, in the order of the file; ``written`` as of `heartbeat.site.check.complaints`."""
    yield from _lines(site, written)
    yield from _sources(site)
    yield from _unique_numbers(site)
    yield from _forwarding(site)


def _lines(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    inner = _inner_addresses(site)
    for line in site.lines.values():
        place = f"lines.{line.name}"
        targets = [(f"{place}.peer", peer) for peer in line.peer]
        targets += [(f"{place}.register.registrar", line.register.registrar)] if line.register is not None else []
        for at, peer in targets:
            host = peer.host if peer.network is None else str(peer.network.network_address)
            if own := inner.get((host, peer.port or 0)):
                yield f"{at}: is an address of the site itself, {own}"
        if line.agent:
            yield from reference(f"{place}.agent", line.agent, ("agent", written["agents"]))
        yield from (_phone if line.is_phone else _trunk)(place, line)
        yield from _web(site, place, line)
        yield from _secured(site, place, line)
        yield from _headers(line)
        if line.kind == "station":
            yield from _station(site, line)
        elif line.station != StationSettings():
            yield f"{place}.station: is only for stations"
        if line.mailbox:
            yield from _mailbox(site, place, line, written)
        if line.srtp != "no" and line.media != "relay":
            yield f'{place}.srtp: is only for media = "relay", for SRTP ends there'
        elif line.srtp != "no" and line.kind == "station":
            yield f"{place}.srtp: is not for stations, which speak plain RTP to the agent beside them"
        if line.media_timeout and line.media == "direct":
            yield f'{place}.media_timeout: is only for media = "relay" or "rtpengine"'
        elif 0 < line.media_timeout < LEAST_SILENCE:
            yield f"{place}.media_timeout: must be 0 or at least {LEAST_SILENCE}, is {line.media_timeout:g}"
        if line.media == "rtpengine" and line.agent in site.agents and not site.agents[line.agent].rtpengine:
            yield f"{place}.media: is rtpengine, and agents.{line.agent}.rtpengine does not say where that is"
        if line.reset_state != "idle" and line.recovery != "cold":
            yield f'{place}.reset_state: is only for recovery = "cold"'
        if line.session_timer is not None and line.session_timer.expires < line.session_timer.min_se:
            yield f"{place}.session_timer.expires: must be at least min_se, {line.session_timer.min_se}"


def _mailbox(site: Site, place: str, line: LineSettings, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    yield from reference(f"{place}.mailbox", line.mailbox, ("line", written["lines"]))
    keeper = site.lines.get(line.mailbox)
    if not line.is_phone:
        yield f"{place}.mailbox: is only for phones"
    elif keeper is not None and (keeper.is_phone or keeper.subscriptions != "pass"):
        what = 'a trunk with subscriptions = "pass"'
        yield f"{place}.mailbox: names {line.mailbox}, and messages are kept behind {what}"
    if line.subscriptions != "pass":
        yield f'{place}.mailbox: is only for subscriptions = "pass"'


def _secured(site: Site, place: str, line: LineSettings) -> Iterator[str]:
    """Errors of TLS trunks: what they need of their programs."""
    if line.kind != "trunk":
        return
    owners: list[Server | Agent] = [site.agents[line.agent]] if line.agent in site.agents else []
    owners = owners if line.agent else [*site.servers.values()]
    for owner in owners:
        where = f"{'agents' if line.agent else 'servers'}.{owner.name}"
        if line.by_tls and not any(endpoint.transport == "tls" for endpoint in owner.sip):
            yield (
                f"{where}.sip: has no tls: listener, and lines.{line.name} is by TLS: its peer has to find one in"
                " Contact"
            )
        elif line.certificate and owner.tls is None:
            yield f"{place}.certificate: is only for TLS, and {where} has no tls"
        if line.address and line.address.strip("[]") not in [endpoint.host for endpoint in owner.sip]:
            yield f"{place}.address: is {line.address}, and {where}.sip has no listener there"
    if line.ca is not None and not line.by_tls:
        yield f"{place}.ca: is only for a peer that is reached by TLS, like sip:carrier.example;transport=tls"


def _headers(line: LineSettings) -> Iterator[str]:
    for way, numbering in (("to_device", line.to_device), ("from_device", line.from_device)):
        for index, rule in enumerate(numbering.headers, 1):
            place = f"lines.{line.name}.{way}.headers[{index}]"
            if sum(map(bool, (rule.remove, rule.add, rule.replace))) != 1:
                yield f"{place}: must say one of remove, add, replace"
            elif rule.add and rule.match:
                yield f"{place}.match: is only for remove and replace"
            elif rule.by and not rule.replace:
                yield f"{place}.by: is only for replace"


def _trunk(place: str, line: LineSettings) -> Iterator[str]:
    for key in ("user", "password"):
        if getattr(line, key) and line.register is not None:
            yield f"{place}.{key}: is said in register already"
    if line.password is not None and not line.user:
        yield f"{place}.user: is missing: say whose the password is"
    if line.from_user == "account" and not (line.user or line.register is not None):
        yield f"{place}.from_user: there is no account: say its user, or register"
    if line.digest != DIGESTS:
        yield f"{place}.digest: is only for phones"
    if line.keep_alive != KEEP_ALIVE:
        yield f"{place}.keep_alive: is only for phones"
    if not line.peer:
        yield f"{place}.peer: is missing: say where the trunk's calls are sent, like sip:192.0.2.1:5060"
    elif not line.source and not line.certificate:
        yield f"{place}.from: is missing: the peer is a name, so say which addresses its requests come from"
    if line.at_servers and line.media != "direct":
        yield f"{place}.media: cannot be {line.media} without an agent: media never passes a server"
    if line.register is not None and line.register.retry_least > line.register.retry_most:
        yield f"{place}.register.retry_least: must not be over retry_most, {line.register.retry_most:g}"


def _phone(place: str, line: LineSettings) -> Iterator[str]:
    for key in TRUNK_ONLY:
        if getattr(line, key):
            yield f"{place}.{'from' if key == 'source' else key}: is only for trunks"
    for key, plain in (("from_user", "caller"), ("called_from", "request-uri"), ("webrtc", False)):
        if getattr(line, key) != plain:
            yield f"{place}.{key}: is only for trunks"
    for key in ("stir_sign", "stir_verify"):
        if getattr(line, key) is not None:
            yield f"{place}.{key}: is only for trunks"
    if not line.agent and line.kind != "direct":
        yield f"{place}.agent: is missing: phones register with an agent"
    if line.kind == "direct":
        yield from _direct(place, line)
    if not line.digest or len(set(line.digest)) < len(line.digest):
        yield f"{place}.digest: must name one way of hashing at least, and none twice"
    if line.station.file is not None and line.station.play != "silence":
        yield f"{place}.station.file: stands beside play: say one of them"
    if line.password is None and line.kind in ("phone", "direct"):
        yield f'{place}.password: is missing: say where it is kept, like {{env = "ALICE"}}'


def _direct(place: str, line: LineSettings) -> Iterator[str]:
    """Errors of direct telephones: settings that need an agent."""
    if line.agent:
        yield f'{place}.agent: is not for direct telephones, which register with the servers: say kind = "phone"'
    if line.media != "direct":
        yield f"{place}.media: must be direct without an agent: media never passes a server"
    if line.subscriptions == "pass":
        yield f"{place}.subscriptions: are not for direct telephones: no agent is there to notify for them"


def _station(site: Site, line: LineSettings) -> Iterator[str]:
    agent = site.agents.get(line.agent)
    if agent is not None and not any(endpoint.transport == "udp" for endpoint in agent.sip):
        yield f"agents.{agent.name}.sip: has no udp: listener, at which the station {line.name} registers"
    api = line.station.api
    if api is None:
        return
    if api.path:
        yield f"lines.{line.name}.station.api: must be like tcp:127.0.0.1:8090: it has a UNIX socket in any case"
    elif agent is not None and agent.api_token is None:
        yield f"agents.{agent.name}.api_token: is missing: lines.{line.name}.station.api needs a token"


def _web(site: Site, place: str, line: LineSettings) -> Iterator[str]:
    """Errors of web lines, and of settings of browsers in other lines."""
    if line.kind != "web":
        if line.return_within != RETURN_WITHIN:
            yield f"{place}.return_within: is only for browsers"
        return
    if line.media != "direct":
        yield f"{place}.media: must be direct: what a browser sends is meant for the far end alone"
    agent = site.agents.get(line.agent)
    if agent is None:
        return
    if not any(endpoint.transport in WEB for endpoint in agent.sip):
        yield f"agents.{agent.name}.sip: has no ws: or wss: listener, and lines.{line.name} is for browsers"
    if line.password is None and agent.token_key is None:
        token = f"or a token_key for agents.{agent.name}"
        yield f'{place}.password: is missing: say where it is kept, like {{env = "ALICE"}}, {token}'


def _sources(site: Site) -> Iterator[str]:
    """Errors where the source address of a request would not identify one trunk, at an agent or at the servers."""
    known = [(line, source) for line in site.lines.values() for source in line.source]
    for (line, source), (other, theirs) in itertools.combinations(known, 2):
        if line.agent == other.agent and line is not other and source.overlaps(theirs):
            yield f"lines.{other.name}.from: {theirs} overlaps {source} of lines.{line.name}"
    proved = [(line, name.lower()) for line in site.lines.values() if not line.source for name in line.certificate]
    for (line, name), (other, its) in itertools.combinations(proved, 2):
        if line.agent == other.agent and line is not other and name == its:
            yield f"lines.{other.name}.certificate: {name} is that of lines.{line.name}: tell them apart by `from`"


def _unique_numbers(site: Site) -> Iterator[str]:
    owners: dict[str, str] = {}
    users: dict[tuple[str, str], str] = {}
    for line in site.lines.values():
        for number in line.numbers:
            if owners.setdefault(number, line.name) != line.name:
                yield f"lines.{line.name}.numbers: {number} is a number of lines.{owners[number]} already"
        if line.is_phone:
            at = (line.agent, line.aor_user)
            if users.setdefault(at, line.name) != line.name:
                yield f"lines.{line.name}.user: {line.aor_user} is the user of lines.{users[at]} already"


def _forwarding(site: Site) -> Iterator[str]:
    """Errors where lines with ``forward.always`` forward to each other in a loop."""
    owner = {number: line for line in site.lines.values() for number in line.numbers}
    reported: set[str] = set()
    for start in site.lines.values():
        ring = [start]
        while (following := owner.get(ring[-1].forward.always)) is not None and following not in ring:
            ring.append(following)
        if following is start and start.name not in reported:
            reported |= {line.name for line in ring}
            names = " to ".join(line.name for line in (*ring, start))
            yield f"lines.{start.name}.forward.always: goes in a ring, {names}"


def _inner_addresses(site: Site) -> dict[tuple[str, int], str]:
    """Address -> its use, for addresses at which programs listen for each other and for operators."""
    found: dict[tuple[str, int], str] = {}
    for server in site.servers.values():
        found |= {endpoint.address: f"servers.{server.name}.listen" for endpoint in server.listen}
        if server.beat is not None:
            found[server.beat.address] = f"servers.{server.name}.beat"
    programs: list[Server | Agent] = [*site.servers.values(), *site.agents.values()]
    for program in programs:
        if program.api is not None and program.api.port:
            found[program.api.host, program.api.port] = f"the api of {program.name}"
    for line in site.lines.values():
        if line.station.api is not None and line.station.api.port:
            found[line.station.api.host, line.station.api.port] = f"the api of {line.name}"
    return found
