"""The rules of a site file that reach across its tables. Each function yields sentences with their place. Pure."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from heartbeat.agent_key import fault_of
from heartbeat.membership import MOST_VOTING_AGENTS, majority
from heartbeat.site.lines import DIGESTS, KEEP_ALIVE, RETURN_WITHIN, LineSettings, StationSettings
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.values import Endpoint, Secret
from heartbeat.timing import faults
from sip.bearer import SHORTEST_KEY as SHORTEST_TOKEN_KEY
from sip.bearer import WEB
from sip.endpoint import SECURE

TRUNK_ONLY = (
    "peer", "source", "nat", "register", "options", "domain", "auth_user", "outbound_proxy", "certificate", "ca",
    "address"
)  # fmt: skip
LONGEST_SOCKET_PATH = 107
LEAST_SILENCE = 5
"""Seconds without RTP that happen in any call: a device that suppresses silence sends nothing meanwhile."""
SITE_KEYS = ("site.key", "site.previous_key")
SHORTEST_KEY = 16
REGULAR_EXPRESSION = re.compile(r"^\^|\$$|[\\(){}|]|(^|[0-9\]])\.[*+]|[0-9\]]\+")
ASTERISK_PATTERN = re.compile(r"_(?=.*[XZN.!])[0-9XZN+*#.!\[\]\-]+")
WILD = ("0.0.0.0", "::")


def complaints(site: Site, written: Mapping[str, frozenset[str]], places: tuple[str, ...]) -> list[str]:
    """Every error across the tables of ``site``, in the order of the file.

    ``written`` holds the names that the file gives to each kind of table, those with errors of their own too: a
    reference to such a one does not dangle. ``places`` says how the routes of ``site`` are called.
    """
    return list(
        itertools.chain(
            _names(written),
            (f"timing: {fault}" for fault in faults(site.timing)),
            _voters(site, written),
            _trace(site, written),
            _bans(site),
            _records(site),
            _servers(site, written),
            _agents(site),
            _listeners(site),
            _lines(site, written),
            _sources(site),
            _unique_numbers(site),
            _forwarding(site),
            _groups(site, written),
            _routes(site, written, places),
        )
    )


_HERE: Final = re.compile(r"(127\.|localhost\b|\[?::1\b)")
_WORDS: Final = re.compile(r"\s*(?:[a-z_]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[^\s'=]+)\s*)+")


def _records(site: Site) -> Iterator[str]:
    postgres = site.records.postgres
    if postgres is None:
        return
    if not _WORDS.fullmatch(postgres.connect):
        yield "records.postgres.connect: must be like host=db.example.com dbname=calls user=holdfast"
    elif re.search(r"(^|\s)password\s*=", postgres.connect):
        yield "records.postgres.connect: must have no password: it belongs into records.postgres.password"


def _names(written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for one, other in (("servers", "agents"), ("lines", "groups")):
        for name in sorted(written[one] & written[other]):
            yield f"{other}.{name}: has a name that is taken: {one}.{name} is there too"


def _bans(site: Site) -> Iterator[str]:
    for source in site.bans.never:
        if source.port is not None:
            yield f"bans.never: {source} has a port, and a host is banned as a whole: name the address alone"


def _reference(place: str, name: str, *kinds: tuple[str, Iterable[str]]) -> Iterator[str]:
    """A complaint when ``name`` is none of the names that may stand here."""
    known = [known for _, names in kinds for known in names]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        what = " or ".join(kind for kind, _ in kinds)
        yield f"{place}: names {name}, and there is no such {what}" + (f": did you mean {near[0]}?" if near else "")


def _voters(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    voters = site.failover.voters
    for name in voters:
        yield from _reference("failover.voters", name, ("agent", written["agents"]))
    if len(set(voters)) < len(voters):
        yield "failover.voters: names an agent twice"
    if len(voters) > MOST_VOTING_AGENTS:
        yield f"failover.voters: may name at most {MOST_VOTING_AGENTS} agents, names {len(voters)}"
    if voters and len(site.electors) % 2 == 0:
        yield "failover.voters: must be an odd number, because the site has no stand-by that could vote too"
    votes, quorum = len(site.electors), site.failover.quorum
    if quorum and not majority(votes) <= quorum <= votes:
        yield f"failover.quorum: must be over half of the {votes} votes and not more than all, is {quorum}"


def _trace(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    collector = site.trace.collector
    if collector is not None and collector.transport != "udp":
        yield f"trace.collector: must be by UDP, is {collector.transport}: write udp:HOST:{collector.port}"
    for name in site.trace.collector_lines:
        yield from _reference("trace.collector_lines", name, ("line", written["lines"]))


def _servers(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    roles = [server.role for server in site.servers.values()]
    if len(roles) == len(written["servers"]):
        if roles.count("main") != 1:
            yield f'servers: must have exactly one with role = "main", have {roles.count("main")}'
        if roles.count("standby") > 1:
            yield f'servers: may have one with role = "standby", have {roles.count("standby")}'
    pair = len(written["servers"]) > 1
    if pair and not written["agents"]:
        yield "agents: are missing: two servers need one agent at least, whose vote says which of them may act"
    owned = any(not line.agent for line in site.lines.values())
    for server in site.servers.values():
        place = f"servers.{server.name}"
        if written["agents"] and not server.listen:
            yield f"{place}.listen: is missing: say where agents connect, like tcp:192.0.2.1:5161"
        if pair and server.beat is None:
            yield f"{place}.beat: is missing: two servers need it, like udp:192.0.2.1:5162"
        if owned and not server.sip:
            yield f"{place}.sip: is missing: there are lines without an agent, whose requests come in there"
        for endpoint in server.listen:
            if endpoint.transport not in ("tcp", "tls"):
                yield f"{place}.listen: must be TCP or TLS between agents and servers, is {endpoint}"
        for endpoint in server.sip:
            if endpoint.transport not in ("udp", "tcp", "tls"):
                yield f"{place}.sip: has no trunk by {endpoint.transport}, is {endpoint}: browsers call at agents"
        if server.beat is not None and server.beat.transport not in ("udp", "tcp", "tls"):
            yield f"{place}.beat: must be UDP, TCP or TLS between servers, is {server.beat}"
        first = next((one.beat for one in site.servers.values() if one.beat is not None), server.beat)
        if server.beat is not None and first is not None and server.beat.transport != first.transport:
            yield f"{place}.beat: must be by the transport of the other server's, {first}, is {server.beat}"
        yield from _program(place, server, (*server.listen, *([server.beat] if server.beat else ())))


def _agents(site: Site) -> Iterator[str]:
    relays: list[tuple[str, str, int, int]] = []
    for agent in site.agents.values():
        place = f"agents.{agent.name}"
        lines = site.lines_of(agent.name)
        if lines and not agent.sip:
            yield f"{place}.sip: is missing: say where its devices send requests, like udp:192.0.2.1:5060"
        yield from _program(place, agent, agent.sip)
        browsers = [endpoint for endpoint in agent.sip if endpoint.transport in WEB]
        if browsers and not agent.origins:
            pages = 'like "https://phone.example.com"'
            yield f"{place}.origins: is missing: say whose web pages may use {browsers[0]}, {pages}"
        if agent.page is not None and not browsers:
            yield f"{place}.page: is for browsers, and {place}.sip has no wss: or ws: listener"
        first, last = agent.rtp.ports
        if last - first < 1:
            yield f"{place}.rtp.ports: must be a range of two ports at least, is {first} to {last}"
        if any(line.media == "relay" for line in lines) or site.joins_browsers(agent.name):
            for other, address, low, high in relays:
                if address == agent.rtp.address and low <= last and first <= high:
                    yield f"{place}.rtp.ports: overlap those of agents.{other} at {address}"
            relays.append((agent.name, agent.rtp.address, first, last))


def _programs(site: Site) -> list[Server | Agent]:
    return [*site.servers.values(), *site.agents.values()]


def _program(place: str, program: Server | Agent, endpoints: Iterable[Endpoint]) -> Iterator[str]:
    if program.api is not None and program.api.port and program.api_token is None:
        yield f"{place}.api_token: is missing: an API over TCP needs a token"
    path = program.api_address.path
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        yield f"{place}.api: is {path}, and the path of a socket has at most {LONGEST_SOCKET_PATH} bytes"
    for endpoint in dict.fromkeys((*endpoints, *program.sip)):
        if endpoint.transport in SECURE and program.tls is None:
            what = '{ certificate = "a.pem", key = "a.key" }'
            yield f"{place}.tls: is missing: {endpoint} needs a certificate and its key, like {what}"
    for transport in program.advertise_by:
        if transport not in [endpoint.transport for endpoint in program.sip]:
            yield f"{place}.advertise_by.{transport}: is no transport of {place}.sip"
    if not program.advertise and any(endpoint.host in WILD for endpoint in endpoints):
        yield f"{place}.advertise: is missing: it listens at all addresses, so say which one others reach it at"


def _listeners(site: Site) -> Iterator[str]:
    """Two listeners at one address; wildcards of different programs may be on different machines."""
    taken: list[tuple[str, str, Endpoint]] = []
    for program in _programs(site):
        kind = "servers" if isinstance(program, Server) else "agents"
        here = [(f"{kind}.{program.name}.sip", e) for e in program.sip]
        if isinstance(program, Server):
            here += [(f"{kind}.{program.name}.listen", e) for e in program.listen]
            here += [(f"{kind}.{program.name}.beat", program.beat)] if program.beat else []
        if program.api is not None and program.api.port:
            here.append((f"{kind}.{program.name}.api", Endpoint("tcp", program.api.host, program.api.port)))
        for place, endpoint in here:
            for name, other_place, other in taken:
                if (endpoint.transport, endpoint.port) != (other.transport, other.port):
                    continue
                wild = name == program.name and (endpoint.host in WILD or other.host in WILD)
                if endpoint.host == other.host not in WILD or wild:
                    yield f"{place}: listens at {endpoint}, and {other_place} listens at {other}"
            taken.append((program.name, place, endpoint))


def _inner_addresses(site: Site) -> dict[tuple[str, int], str]:
    """Where the site talks to itself and to operators, by address; no device is there."""
    found: dict[tuple[str, int], str] = {}
    for server in site.servers.values():
        found |= {endpoint.address: f"servers.{server.name}.listen" for endpoint in server.listen}
        if server.beat is not None:
            found[server.beat.address] = f"servers.{server.name}.beat"
    for program in _programs(site):
        if program.api is not None and program.api.port:
            found[program.api.host, program.api.port] = f"the api of {program.name}"
    return found


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
            yield from _reference(f"{place}.agent", line.agent, ("agent", written["agents"]))
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
        if line.media_timeout and line.media != "relay":
            yield f'{place}.media_timeout: is only for media = "relay"'
        elif 0 < line.media_timeout < LEAST_SILENCE:
            yield f"{place}.media_timeout: must be 0 or at least {LEAST_SILENCE}, is {line.media_timeout:g}"
        if line.reset_state != "idle" and line.recovery != "cold":
            yield f'{place}.reset_state: is only for recovery = "cold"'
        if line.session_timer is not None and line.session_timer.expires < line.session_timer.min_se:
            yield f"{place}.session_timer.expires: must be at least min_se, {line.session_timer.min_se}"


def _mailbox(site: Site, place: str, line: LineSettings, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    yield from _reference(f"{place}.mailbox", line.mailbox, ("line", written["lines"]))
    keeper = site.lines.get(line.mailbox)
    if not line.is_phone:
        yield f"{place}.mailbox: is only for phones"
    elif keeper is not None and (keeper.is_phone or keeper.subscriptions != "pass"):
        what = 'a trunk with subscriptions = "pass"'
        yield f"{place}.mailbox: names {line.mailbox}, and messages are kept behind {what}"
    if line.subscriptions != "pass":
        yield f'{place}.mailbox: is only for subscriptions = "pass"'


def _secured(site: Site, place: str, line: LineSettings) -> Iterator[str]:
    """What a trunk by TLS needs of the programs that have it."""
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
    if line.at_servers and line.media == "relay":
        yield f"{place}.media: cannot be relay without an agent: media never passes a server"
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
    """What only an agent has for phones."""
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


def _web(site: Site, place: str, line: LineSettings) -> Iterator[str]:
    """What is of browsers alone."""
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
    """A request's address must say which trunk it belongs to, at each agent and at the servers."""
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
    """Lines that forward always, each to the next, in a ring."""
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


def _groups(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for group in site.groups.values():
        place = f"groups.{group.name}"
        if not group.lines:
            yield f"{place}.lines: must name a line"
        for name in group.lines:
            yield from _reference(f"{place}.lines", name, ("line", written["lines"]))
        if len(set(group.lines)) < len(group.lines):
            yield f"{place}.lines: names a line twice"
        for name in group.weights:
            yield from _reference(f"{place}.weights", name, ("line of the group", group.lines))
        if group.weights and group.hunt != "weight":
            yield f'{place}.weights: are only for hunt = "weight"'


def _routes(site: Site, written: Mapping[str, frozenset[str]], places: tuple[str, ...]) -> Iterator[str]:
    whole: dict[str, str] = {}
    for place, route in zip(places, site.routes, strict=True):
        for key, names in (("to", route.to), ("from", route.source)):
            for name in names:
                kinds = (("line", written["lines"]), ("group", written["groups"]))
                yield from _reference(f"{place}.{key}", name, *kinds)
        if bool(route.to) == bool(route.refuse):
            yield f"{place}.to: must name lines or groups, or the route must refuse, and not both"
        if route.refuse and route.refuse < 400:
            yield f"{place}.refuse: must be from 400 to 699, is {route.refuse}"
        if route.match.text in whole:
            yield f"{place}.match: is never used: {whole[route.match.text]} takes {route.match} already"
        elif not route.source:
            whole[route.match.text] = place


def warnings(site: Site) -> list[str]:
    """What can be run and can hardly be meant, a sentence each with its place."""
    found = [*_patterns(site), *_slow_takeover(site), *_forward_to_itself(site), *_shadowed_routes(site)]
    found += _nameless_callers(site)
    found += _one_machine(site)
    found += _unasked_certificates(site)
    found += _readable_records(site)
    return found + [f"{at}: {secret.warning}" for at, secret in secrets_of(site) if secret.warning]


def _patterns(site: Site) -> Iterator[str]:
    """Patterns in the spelling of other programs: as numbers they match themselves."""
    patterns = [(f"{site.route_place(index)}.match", route.match) for index, route in enumerate(site.routes)]
    for line in site.lines.values():
        for way, numbering in (("to_device", line.to_device), ("from_device", line.from_device)):
            for whose, rules in (("called", numbering.called), ("caller", numbering.caller)):
                place = f"lines.{line.name}.{way}.{whose}"
                patterns += [(f"{place}[{index}].match", rule.match) for index, rule in enumerate(rules, 1)]
    for place, pattern in patterns:
        what = "a regular expression" if REGULAR_EXPRESSION.search(pattern.text) else ""
        if what or ASTERISK_PATTERN.fullmatch(pattern.text):
            looks = f"{pattern} looks like {what or 'a pattern of Asterisk'}"
            yield f"{place}: {looks}; here +33* is all that begins so, ? any one character, [2-4] one of these"


def _slow_takeover(site: Site) -> Iterator[str]:
    seconds, hold = site.decision_time, site.timing.hold_attempt
    if site.standby is not None and hold <= seconds:
        yield (
            f"timing.hold_attempt: is {hold:g} s, but a takeover is decided after {seconds:g} s only: "
            f"new calls get 503 meanwhile"
        )


def _readable_records(site: Site) -> Iterator[str]:
    """Call records say who talks to whom."""
    webhook, postgres = site.records.webhook, site.records.postgres
    if webhook is not None:
        if webhook.url.startswith("http://") and not _HERE.match(webhook.url.partition("//")[2]):
            yield "records.webhook.url: is http, so everybody on the way may read who talks to whom: say https"
        if webhook.key is None:
            yield "records.webhook: has no key, so whoever receives records cannot tell that they come from here"
    if postgres is not None:
        host = re.search(r"\bhost(?:addr)?\s*=\s*'?([^\s']+)", postgres.connect)
        here = host is None or host[1].startswith("/") or _HERE.match(host[1])
        if not here and not re.search(r"\bsslmode\s*=\s*'?verify-", postgres.connect):
            yield (
                "records.postgres.connect: does not say sslmode=verify-full, so who stands on the way may be taken"
                " for the database"
            )


def _one_machine(site: Site) -> Iterator[str]:
    """An agent's calls outlive it in the servers, and a server's in the agents: not where both die at once."""
    for agent in site.agents.values():
        hosts = {one.host for one in agent.sip if not one.host.startswith("127.") and one.host != "::1"}
        for server in site.servers.values():
            shared = hosts & {one.host for one in (*server.listen, *server.sip)}
            for host in sorted(shared - {"0.0.0.0", "::"}):
                yield (
                    f"agents.{agent.name}: runs at {host}, as {server.name} does: when that machine dies while"
                    f" {server.name} is active, the calls of {agent.name} are lost; put them on two machines"
                )


def _nameless_callers(site: Site) -> Iterator[str]:
    """Carriers take calls of numbers that they gave out, or of the account, and of no names."""
    names = [
        line.name
        for line in site.lines.values()
        if line.is_phone and not line.caller_number and not line.aor_user.lstrip("+").isdigit()
    ]
    for line in site.lines.values():
        if names and line.register is not None and line.from_user == "caller" and not line.to_device.caller:
            who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield (
                f"lines.{line.name}: shows its carrier names as callers ({who}), and most refuse them: "
                f'give these lines a caller_number, or this one from_user = "account"'
            )


def _unasked_certificates(site: Site) -> Iterator[str]:
    for line in site.lines.values():
        owners: list[Server | Agent] = [site.agents[line.agent]] if line.agent else [*site.servers.values()]
        for owner in owners:
            if line.certificate and owner.tls is not None and owner.tls.clients == "ignored":
                yield (
                    f"lines.{line.name}.certificate: {owner.name} asks nobody who connects for a certificate, so only"
                    f' calls on connections of ours are taken: let its tls have clients = "asked"'
                )


def _forward_to_itself(site: Site) -> Iterator[str]:
    for line in site.lines.values():
        for when in ("busy", "no_answer"):
            if getattr(line.forward, when) in line.numbers:
                yield f"lines.{line.name}.forward.{when}: is a number of the line itself, so it forwards nothing"


def _shadowed_routes(site: Site) -> Iterator[str]:
    """Routes whose calls all go by routes before them; a line does not call its own route's only target: itself."""
    everybody = frozenset(site.lines)
    admitted = [_lines_of(site, route.source) if route.source else everybody for route in site.routes]
    by_beginning: dict[str, list[int]] = {}
    """Of the routes so far whose pattern is a beginning with any rest; those of any other pattern under ``?``."""
    for index, route in enumerate(site.routes):
        lead = route.match.lead
        beginnings = {lead[:length] for length in range(len(lead) + 1)} | {"?"}
        near = sorted(i for beginning in beginnings for i in by_beginning.get(beginning, ()))
        before = [i for i in near if site.routes[i].match.covers(route.match)]
        if before:
            targets = _lines_of(site, route.to)
            callers = admitted[index] - (targets if len(targets) == 1 else frozenset())
            before = [i for i in before if admitted[i] & callers]
            if callers and callers.issubset(itertools.chain.from_iterable(admitted[i] for i in before)):
                names = " and ".join(map(site.route_place, before))
                take = "takes" if len(before) == 1 else "take"
                yield f"{site.route_place(index)}: is never used: {names} {take} its calls; put it before"
        by_beginning.setdefault("?" if route.match.prefix is None else route.match.prefix, []).append(index)


def _lines_of(site: Site, names: Iterable[str]) -> frozenset[str]:
    return frozenset(line for name in names for line in site.members(name))


def missing_secrets(site: Site, node: str | None = None) -> list[str]:
    """A sentence for each secret that ``node`` (a server or an agent; None: anybody) needs and that is not there."""
    needed = secrets_of(site, node)
    sentences = [f"{at}: {secret.problem}" for at, secret in needed if secret.value is None]
    for at, secret in needed:
        if at in SITE_KEYS and secret.value is not None and len(secret.value) < SHORTEST_KEY:
            sentences.append(f"{at}: must have at least {SHORTEST_KEY} bytes, has {len(secret.value)}")
        elif at in SITE_KEYS and secret.value is not None and node is not None:
            fault = fault_of(secret.value, site.name, node, node in site.servers)
            sentences += [f"{at}: {fault}"] if fault else []
        elif at.endswith(".token_key") and secret.value is not None and len(secret.value) < SHORTEST_TOKEN_KEY:
            sentences.append(f"{at}: must have at least {SHORTEST_TOKEN_KEY} bytes, has {len(secret.value)}")
    return sentences


def secrets_of(site: Site, node: str | None = None) -> list[tuple[str, Secret]]:
    """The secrets that ``node`` needs, with their places."""
    owner = "" if node in site.servers else node
    found = list(zip(SITE_KEYS, (site.identity.key, site.identity.previous_key), strict=True))
    for n, server in site.servers.items():
        if node in (None, n):
            found.append((f"servers.{n}.api_token", server.api_token))
            found.append((f"servers.{n}.api_view_token", server.api_view_token))
            found.append((f"servers.{n}.api_provision_token", server.api_provision_token))
    if node is None or node in site.servers:
        found.append(("hooks.key", site.hooks.key))
        postgres, webhook = site.records.postgres, site.records.webhook
        found.append(("records.postgres.password", postgres.password if postgres is not None else None))
        found.append(("records.webhook.key", webhook.key if webhook is not None else None))
    for n, agent in site.agents.items():
        if node in (None, n):
            found += [(f"agents.{n}.token_key", agent.token_key), (f"agents.{n}.api_token", agent.api_token)]
    for line in site.lines.values():
        if node is None or line.agent == owner:
            found.append((f"lines.{line.name}.password", line.password))
            found.append((f"lines.{line.name}.stir_sign.key", line.stir_sign.key if line.stir_sign else None))
            found.append((f"lines.{line.name}.register.password", line.register.password if line.register else None))
    return [(at, secret) for at, secret in found if secret is not None]
