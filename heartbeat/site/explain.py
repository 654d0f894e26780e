"""The explanation of a site file: its tables, and which failures the site survives. Pure: data and sentences.

The failures are enumerated by kind of node, not by name: all voting agents count alike, so one of them stands for
each. The rules are those of the votes (heartbeat.md): the active server needs answers from a quorum, an agent's among
them; another may take over when a quorum has not heard the active one for lease + margin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from heartbeat.site.lines import LineSettings, Route
from heartbeat.site.model import Site
from heartbeat.site.pitfalls import warnings

Outcome = Literal["goes on", "takes over", "holds", "stops", "ends"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table to show."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """The effect of a failure on the site; for the calls of dead agents see ``notes``."""

    failed: str
    """What fails, in words: ``m1 and one of gw1, gw2``."""
    survived: bool
    """True when calls between the other lines go on and new ones are made."""
    outcome: Outcome
    """``goes on``: nothing changes. ``takes over``: the other server does. ``holds``: the server serves on without a
    lease. ``stops``: it answers 503. ``ends``: no server serves."""
    sentence: str
    """What happens, and why."""


@dataclass(frozen=True, slots=True)
class SiteExplanation:
    """A site file, explained."""

    summary: str
    tables: tuple[Table, ...]
    """Servers, agents, lines, groups, routes."""
    failures: tuple[Failure, ...]
    decision_s: float
    """Seconds from the last heartbeat that the voters heard to the decision to take over."""
    decision: str
    """The same as a sentence."""
    notes: tuple[str, ...]
    """Weaknesses of the site: single points of failure, lines that no route reaches."""


def explain(site: Site) -> SiteExplanation:
    """Explain ``site``."""
    servers, agents = len(site.servers), len(site.agents)
    summary = (
        f"Site {site.name}: {_count(servers, 'server')}, {_count(agents, 'agent')}, "
        f"{_count(len(site.lines), 'line')}, {_count(len(site.routes), 'route')}; file {site.digest}."
    )
    part = site.provisioned
    if part.version.serial:
        put = f"{_count(len(part.lines), 'line')} and {_count(len(part.routes), 'route')}"
        summary += f" Of these {put} by API, version {part.version}."
    seconds = site.decision_time
    return SiteExplanation(
        summary,
        (_servers(site), _agents(site), _lines(site), _groups(site), _routes(site)),
        tuple(_failures(site)),
        seconds,
        _decision(site, seconds),
        tuple(_notes(site)),
    )


def _decision(site: Site, seconds: float) -> str:
    if site.standby is None:
        return "There is no stand-by: when the server dies, calls wait for its restart."
    timing = site.timing
    return (
        f"A takeover is decided {seconds:g} s after the last heartbeat that the voters heard: "
        f"lease {timing.lease:g} s + margin {timing.margin:g} s, and {timing.misses} missed heartbeats "
        f"of {timing.interval:g} s; {site.quorum} of {len(site.electors)} votes "
        f"({', '.join(site.electors)}) decide. Where only its process dies its supervisor says so: at once."
    )


def _failures(site: Site) -> Iterator[Failure]:
    main, standby = site.main.name, site.standby
    voting = [name for name in site.agents if name in site.electors]
    others = [name for name in site.agents if name not in site.electors]
    yield _failure(site, main, {main})
    if standby is not None:
        yield _failure(site, standby.name, {standby.name})
    for group in (voting, others):
        if group:
            yield _failure(site, _any(1, group), {group[0]})
    for count in (1, 2):
        if len(voting) >= count:
            dead = set(voting[:count])
            if count > 1:
                yield _failure(site, _any(count, voting), dead)
            yield _failure(site, _any(count, voting, main), {main, *dead})
            if standby is not None and count == 1:
                yield _failure(site, _any(1, voting, standby.name), {standby.name, *dead})
    if standby is not None:
        yield _failure(site, f"{main} and {standby.name}", {main, standby.name})
        yield _cut(site, main, standby.name)


def _failure(site: Site, failed: str, dead: set[str]) -> Failure:
    """The state of the site after all of ``dead`` failed at once while the main was active."""
    main, standby = site.main.name, site.standby
    left = [name for name in site.electors if name not in dead]
    votes = f"{len(left)} of {len(site.electors)} votes are left and {site.quorum} needed"
    quorum = len(left) >= site.quorum and any(name in site.agents for name in left)
    calls = _lost_agents(site, dead)
    if site.agents and dead.issuperset(site.agents):
        return _no_agent(site, failed, dead)
    if main not in dead:
        if quorum or site.membership().alone:
            return Failure(failed, True, "goes on", f"{main} goes on: {votes}.{calls}")
        if site.failover.on_lost_quorum == "stop":
            return Failure(failed, False, "stops", f"{main} answers 503 to all: {votes}.{calls}")
        sentence = f"{main} holds and serves: {votes}, so nobody else may act, and it ends no call.{calls}"
        return Failure(failed, True, "holds", sentence)
    if standby is None or standby.name in dead:
        return Failure(failed, False, "ends", _no_server(site))
    if quorum:
        sentence = f"{standby.name} takes over in {site.decision_time:g} s with every call: {votes}.{calls}"
        return Failure(failed, True, "takes over", sentence)
    if site.failover.takeover_without_quorum:
        sentence = f"{standby.name} takes over without a quorum, as takeover_without_quorum allows: {votes}.{calls}"
        return Failure(failed, True, "takes over", sentence)
    sentence = f"{standby.name} may not take over: {votes}. {_held(site)}{calls}"
    return Failure(failed, False, "ends", sentence)


def _cut(site: Site, main: str, standby: str) -> Failure:
    sentence = (
        f"{main} goes on: the agents still hear it and grant nobody else; after {site.timing.subset_after:g} s "
        f"a server that reaches fewer agents than the other hands over."
    )
    return Failure(f"the network between {main} and {standby}", True, "goes on", sentence)


def _lost_agents(site: Site, dead: set[str]) -> str:
    agents = [name for name in site.agents if name in dead]
    if not agents:
        return ""
    grace, one = f"{site.timing.agent_grace:g} s", len(agents) == 1
    back = (
        f" what only {'it' if one else 'they'} knew of them died with {site.main.name}, so they do not come back."
        if site.main.name in dead
        else f" started again by then, {'it has' if one else 'they have'} all of them back."
    )
    return (
        f" The lines of the dead {'agent' if one else 'agents'} are out, and the other side of "
        f"their calls is kept for {grace}:{back}"
    )


def _no_agent(site: Site, failed: str, dead: set[str]) -> Failure:
    owned = bool(site.lines_of(""))
    if owned and site.main.name not in dead and site.failover.on_lost_quorum == "hold":
        sentence = f"No agent is left, nor are their lines: {site.main.name} serves the lines without an agent."
        return Failure(failed, False, "holds", sentence)
    return Failure(failed, False, "ends", "No agent is left, nor are their lines: there is nothing to serve.")


def _no_server(site: Site) -> str:
    if site.agents:
        return f"No server is left. {_held(site)}"
    return "No server is left, and without an agent nothing remembers its calls: they end."


def _held(site: Site) -> str:
    return (
        f"Talking calls keep their media, agents hold new ones for {site.timing.hold_attempt:g} s and then answer "
        f"503, until a server is back, which recovers all calls from the agents."
    )


def _notes(site: Site) -> Iterator[str]:
    yield from warnings(site)
    for agent in site.agents:
        lines = site.lines_of(agent)
        if lines:
            yield f"{agent} is the single point of failure of its own lines: {_some([x.name for x in lines])}."
    owned = [line.name for line in site.lines_of("")]
    if owned:
        yield (
            f"{_some(owned)} {'has' if len(owned) == 1 else 'have'} no agent: when the server dies, "
            f"calls there go on with lines of agents, where their devices take requests from either server, and with "
            f"each other once a device comes to the other server (docs/trunks.md, docs/direct.md)."
        )
    cold = [line.name for line in site.lines.values() if line.recovery == "cold"]
    if cold:
        yield f"A takeover drops the calls of {_some(cold)} (recovery is cold)."
    reached = {line for r in site.routes for name in r.to for line in site.members(name)}
    for line in site.lines.values():
        if not line.numbers and line.name not in reached:
            yield f"{line.name} can call but is never called: no number of its own and no route leads there."
    for group in site.groups.values():
        if not any(group.name in (*route.to, *route.source) for route in site.routes):
            yield f"{group.name} is a group that no route names."
    if site.failover.takeover_without_quorum:
        yield "takeover_without_quorum is set: after a cut in the network two servers may serve at once."


def _servers(site: Site) -> Table:
    rows = tuple(
        (
            server.name,
            server.role,
            _list(server.listen),
            _list(server.sip),
            str(server.beat or ""),
            f"{server.capacity} calls, {server.reserve:.0%} of it for priority",
            str(server.api_address),
        )
        for server in site.servers.values()
    )
    return Table("Servers", ("name", "role", "agents at", "devices at", "heartbeats at", "capacity", "api"), rows)


def _agents(site: Site) -> Table:
    rows = tuple(
        (
            agent.name,
            _list(agent.sip),
            "votes" if agent.name in site.electors else "",
            str(len(site.lines_of(agent.name))),
            str(site.agent_priority(agent.name)),
            str(agent.api_address),
        )
        for agent in site.agents.values()
    )
    return Table("Agents", ("name", "devices at", "vote", "lines", "priority", "api"), rows)


def _lines(site: Site) -> Table:
    rows = tuple(
        (
            line.name,
            line.kind,
            line.agent or "the servers",
            _device(line),
            str(line.channels),
            _list(line.numbers),
            line.media,
            line.recovery if line.recovery == "hot" else f"cold, then {line.reset_state}",
            _settings(line),
        )
        for line in site.lines.values()
    )
    columns = ("name", "kind", "at", "device", "channels", "numbers", "media", "recovery", "settings")
    return Table("Lines", columns, rows)


def _device(line: LineSettings) -> str:
    if line.is_phone:
        return f"registers as {line.aor_user}, {_count(line.contacts, 'device')} at most"
    return f"{_list(line.peer)}, from {_list(line.source)}"


def _settings(line: LineSettings) -> str:
    forward = line.forward
    said = (
        (line.register is not None, f"registers at {line.register.registrar}" if line.register else ""),
        (line.options is not None, f"OPTIONS every {line.options.interval:g} s" if line.options else ""),
        (line.cps, f"{line.cps:g} calls/s"),
        (line.longest_call, f"calls end after {line.longest_call:g} s"),
        (line.priority, f"priority {line.priority}"),
        (line.session_timer is not None, "session timer"),
        (forward.always, f"always to {forward.always}"),
        (forward.busy, f"when busy to {forward.busy}"),
        (forward.no_answer, f"after {forward.after:g} s to {forward.no_answer}"),
        (line.caller_number, f"shows {line.caller_number}"),
    )
    return ", ".join(text for there, text in said if there)


def _groups(site: Site) -> Table:
    rows = tuple(
        (
            group.name,
            group.hunt,
            ", ".join(
                f"{name} ({group.weights.get(name, 1)})" if group.hunt == "weight" else name for name in group.lines
            ),
        )
        for group in site.groups.values()
    )
    return Table("Groups", ("name", "hunt", "lines"), rows)


def _routes(site: Site) -> Table:
    rows = tuple(
        (
            route.name or str(index),
            str(route.match),
            ", ".join(route.source) or "all",
            f"refused with {route.refuse}" if route.refuse else ", ".join(route.to),
            _change(route),
            str(route.priority or ""),
            f"{route.ring:g} s",
        )
        for index, route in enumerate(site.routes, 1)
    )
    return Table("Routes", ("no", "number", "from", "to", "change", "priority", "rings"), rows)


def _change(route: Route) -> str:
    said = ((route.strip, f"without the first {route.strip}"), (route.prefix, f"with {route.prefix} in front"))
    return ", ".join(text for there, text in said if there)


def _any(count: int, names: list[str], server: str = "") -> str:
    """``count`` of the agents ``names``, and perhaps a server, in words."""
    number = {1: "one", 2: "two"}[count]
    if len(names) == count:
        *first, last = [*([server] if server else []), *names]
        return f"{', '.join(first)} and {last}" if first else last
    some = ", ".join(names) if len(names) <= 4 else f"{len(names)} agents like {names[0]}"
    return f"{server} and {number} of {some}" if server else f"{number} of {some}"


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:7])} and {len(names) - 7} more"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(items: tuple[object, ...]) -> str:
    return ", ".join(map(str, items))
