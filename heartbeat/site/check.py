"""The rules of a site file that reach across its tables: for its programs, its groups and routes, and what all share;
those for its lines are in :mod:`heartbeat.site.check_lines`. Each function yields sentences with their place. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from heartbeat.membership import MOST_VOTING_AGENTS, majority
from heartbeat.site.check_lines import line_complaints
from heartbeat.site.model import Agent, Server, Site
from heartbeat.site.references import reference
from heartbeat.site.values import Endpoint
from heartbeat.timing import faults
from sip.bearer import WEB
from sip.endpoint import SECURE

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of the path of a UNIX socket (unix(7), without the last, which is zero)."""
WILD: Final = ("0.0.0.0", "::")
_WORDS: Final = re.compile(r"\s*(?:[a-z_]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[^\s'=]+)\s*)+")
"""Parameters of libpq: ``host=db.example.com dbname='my calls'``."""


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
            line_complaints(site, written),
            _groups(site, written),
            _routes(site, written, places),
        )
    )


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


def _voters(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    voters = site.failover.voters
    for name in voters:
        yield from reference("failover.voters", name, ("agent", written["agents"]))
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
        yield from reference("trace.collector_lines", name, ("line", written["lines"]))


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
        for daemon in agent.rtpengine:
            if daemon.transport != "udp":
                yield f"{place}.rtpengine: {daemon} must be udp:, by which rtpengine is told of calls"
        if len(set(agent.rtpengine)) != len(agent.rtpengine):
            yield f"{place}.rtpengine: names a daemon twice"
        if any(line.media == "relay" for line in lines) or site.joins_browsers(agent.name):
            for other, address, low, high in relays:
                if address == agent.rtp.address and low <= last and first <= high:
                    yield f"{place}.rtp.ports: overlap those of agents.{other} at {address}"
            relays.append((agent.name, agent.rtp.address, first, last))


def _program(place: str, program: Server | Agent, endpoints: Iterable[Endpoint]) -> Iterator[str]:
    """Errors that servers and agents can both have; ``endpoints``: all that the program listens at, without
    ``sip``."""
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
    """Errors where two listeners have one address; wildcards of different programs may be on different machines."""
    taken: list[tuple[str, str, Endpoint]] = []
    programs: list[Server | Agent] = [*site.servers.values(), *site.agents.values()]
    for program in programs:
        kind = "servers" if isinstance(program, Server) else "agents"
        here = [(f"{kind}.{program.name}.sip", e) for e in program.sip]
        if isinstance(program, Server):
            here += [(f"{kind}.{program.name}.listen", e) for e in program.listen]
            here += [(f"{kind}.{program.name}.beat", program.beat)] if program.beat else []
        if program.api is not None and program.api.port:
            here.append((f"{kind}.{program.name}.api", Endpoint("tcp", program.api.host, program.api.port)))
        for line in site.lines_of(program.name):
            if line.station.api is not None and line.station.api.port:
                at = Endpoint("tcp", line.station.api.host, line.station.api.port)
                here.append((f"lines.{line.name}.station.api", at))
        for place, endpoint in here:
            for name, other_place, other in taken:
                if (endpoint.transport, endpoint.port) != (other.transport, other.port):
                    continue
                wild = name == program.name and (endpoint.host in WILD or other.host in WILD)
                if endpoint.host == other.host not in WILD or wild:
                    yield f"{place}: listens at {endpoint}, and {other_place} listens at {other}"
            taken.append((program.name, place, endpoint))


def _groups(site: Site, written: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for group in site.groups.values():
        place = f"groups.{group.name}"
        if not group.lines:
            yield f"{place}.lines: must name a line"
        for name in group.lines:
            yield from reference(f"{place}.lines", name, ("line", written["lines"]))
        if len(set(group.lines)) < len(group.lines):
            yield f"{place}.lines: names a line twice"
        for name in group.weights:
            yield from reference(f"{place}.weights", name, ("line of the group", group.lines))
        if group.weights and group.hunt != "weight":
            yield f'{place}.weights: are only for hunt = "weight"'


def _routes(site: Site, written: Mapping[str, frozenset[str]], places: tuple[str, ...]) -> Iterator[str]:
    whole: dict[str, str] = {}
    for place, route in zip(places, site.routes, strict=True):
        for key, names in (("to", route.to), ("from", route.source)):
            for name in names:
                kinds = (("line", written["lines"]), ("group", written["groups"]))
                yield from reference(f"{place}.{key}", name, *kinds)
        if bool(route.to) == bool(route.refuse):
            yield f"{place}.to: must name lines or groups, or the route must refuse, and not both"
        if route.refuse and route.refuse < 400:
            yield f"{place}.refuse: must be from 400 to 699, is {route.refuse}"
        if route.match.text in whole:
            yield f"{place}.match: is never used: {whole[route.match.text]} takes {route.match} already"
        elif not route.source:
            whole[route.match.text] = place
