"""A site from the tables of its file: read, filled in, checked, and given its digest. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from heartbeat.site.check import complaints
from heartbeat.site.lines import Group, Line, Route
from heartbeat.site.model import Agent, Failover, Identity, Server, Site, Timing
from heartbeat.site.read import BAD, SiteError, SiteSource, TableReader
from heartbeat.site.words import Api, Peer, Secret, Source

NAMED: Mapping[str, type[Any]] = MappingProxyType(
    {"servers": Server, "agents": Agent, "lines": Line, "groups": Group}
)
SINGLE: Mapping[str, type[Any]] = MappingProxyType({"site": Identity, "timing": Timing, "failover": Failover})
SHORTEST_KEY = 16


def build(tables: Mapping[str, Any], source: SiteSource) -> Site:
    """The site that the file says. Raises :class:`SiteError` with every error that is found."""
    reader = TableReader(source)
    known = [*SINGLE, *NAMED, "routes"]
    for key in tables:
        if key not in known:
            reader.unknown("", key, known)
    single = {key: reader.table(kind, tables.get(key, {}), key) for key, kind in SINGLE.items()}
    named = {key: reader.named(kind, tables.get(key, {}), key) for key, kind in NAMED.items()}
    routes = _read_routes(reader, tables.get("routes", []))
    _say_channels(reader, tables.get("lines", {}))
    # Cross references are looked at only among tables that could be read; what could not be read is no dangling name.
    whole = not any(value is BAD for value in single.values())
    if whole:
        lines = {name: _with_sources(line) for name, line in named["lines"].items()}
        site = Site(
            identity=single["site"],
            timing=single["timing"],
            failover=single["failover"],
            servers=MappingProxyType(named["servers"]),
            agents=MappingProxyType({name: _with_rtp(agent) for name, agent in named["agents"].items()}),
            lines=MappingProxyType(lines),
            groups=MappingProxyType(named["groups"]),
            routes=tuple(routes.values()),
            digest="",
            path=source.path.absolute(),
        )
        written = {key: frozenset(_table(tables.get(key))) for key in NAMED}
        reader.complaints += complaints(site, written, tuple(routes))
    if reader.complaints:
        raise SiteError(reader.complaints)
    return dataclasses.replace(site, digest=digest(site))


def digest(site: Site) -> str:
    """Eight hex digits for what the site means: defaults filled in, secrets by their place.

    Directories and sockets are each machine's own affair and do not count.
    """
    meaning = {
        spec.name: _plain(getattr(site, spec.name))
        for spec in dataclasses.fields(site)
        if spec.name not in ("digest", "path")
    }
    meaning["agents in order"] = list(site.agents)  # who votes, and how heartbeats count agents, depends on it
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def missing_secrets(site: Site, node: str | None = None) -> list[str]:
    """A sentence for each secret that ``node`` (a server or an agent; None: anybody) needs and that is not there."""
    owner = "" if node in site.servers else node
    needed: list[tuple[str, Secret | None]] = [
        ("site.key", site.identity.key),
        ("site.previous_key", site.identity.previous_key),
    ]
    needed += [(f"servers.{n}.api_token", s.api_token) for n, s in site.servers.items() if node in (None, n)]
    needed += [(f"agents.{n}.api_token", a.api_token) for n, a in site.agents.items() if node in (None, n)]
    for line in site.lines.values():
        if node is None or line.agent == owner:
            needed.append((f"lines.{line.name}.password", line.password))
            needed.append((f"lines.{line.name}.register.password", line.register.password if line.register else None))
    sentences = [f"{at}: {s.problem}" for at, s in needed if s is not None and s.value is None]
    for at, secret in needed[:2]:
        if secret is not None and secret.value is not None and len(secret.value) < SHORTEST_KEY:
            sentences.append(f"{at}: must have at least {SHORTEST_KEY} bytes, has {len(secret.value)}")
    return sentences


def _read_routes(reader: TableReader, value: object) -> dict[int, Route]:
    """The routes by their place in the file, counted from 1; those with errors are left out."""
    if not isinstance(value, list):
        reader.complain("routes", "must be written as [[routes]]")
        return {}
    read = {i: reader.table(Route, item, f"routes[{i}]") for i, item in enumerate(value, 1)}
    return {i: route for i, route in read.items() if route is not BAD}


def _say_channels(reader: TableReader, lines: object) -> None:
    for name, line in _table(lines).items():
        if isinstance(line, Mapping) and line.get("kind") == "trunk" and "channels" not in line:
            reader.complain(f"lines.{name}.channels", "is missing: say how many calls at once the trunk carries")


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _with_sources(line: Line) -> Line:
    """A trunk whose ``from`` is left out takes requests from the numeric addresses of its peers."""
    if line.kind != "trunk" or line.source:
        return line
    networks = [network for peer in line.peer if (network := _numeric(peer)) is not None]
    return dataclasses.replace(line, source=tuple(map(Source, dict.fromkeys(networks))))


def _with_rtp(agent: Agent) -> Agent:
    """An agent whose RTP relay is where its devices find it, unless the file says otherwise."""
    rtp = agent.rtp
    address = rtp.address or (agent.sip[0].host if agent.sip else "")
    return dataclasses.replace(
        agent, rtp=dataclasses.replace(rtp, address=address, advertise=rtp.advertise or agent.advertise)
    )


def _numeric(peer: Peer) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(peer.host)
    except ValueError:
        return None


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return value.source
    if isinstance(value, Path) or (isinstance(value, Api) and value.path):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        specs = [f for f in dataclasses.fields(value) if f.compare]
        return {f.name: _plain(getattr(value, f.name)) for f in specs}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value)
    return value
