"""The alerts of a server: conditions under which calls cannot be made, or a takeover would not work. Each is a
sentence with a code (docs/cli.md has the list)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from b2bua.agent_connection import AgentConnection
from b2bua.core import Core
from b2bua.takeover.rehearsal import too_few_voters
from heartbeat.cluster_view import OtherServer, why_non_voting
from heartbeat.console.views.status import Alert
from heartbeat.header import HOLDING, LEFT
from heartbeat.site.lines import Route
from sip.packages.line_dialog import BUSIED_BY, RESET_BY

SLOW_LIST: Final = 2.0
"""Seconds after which an agent's list is late."""
SLOW_PART: Final = 10.0
"""Seconds after which a node without the latest provisioned part gives an alert."""
MOST_CLOCK_DIFFERENCE: Final = 1.0
"""Seconds between the wall clocks of two nodes that are tolerated: beyond them they surely differ by more."""
MOST_NAMED: Final = 10
"""Lines, and routes, that get an alert each; the rest are counted."""


def alerts(core: Core, now: float) -> list[Alert]:
    """All alerts of this server, the most important ones first."""
    found = [*_leadership(core), *_agents(core, now)]
    if core.serving:
        found += [*_lists(core, now), *_routes(core), *_lines(core)]
    found += [*_nodes(core, now), *_others(core, now)]
    if not core.serving and core.member.cluster.leader:
        found += _cannot_take_over(core, now)
    if core.member.paused:
        found.append(Alert("paused", "automatic takeovers are paused: `b2bua resume` ends it"))
    if bad := core.stack.counters["bad token"]:
        found.append(Alert("bad-tokens", f"{bad} state tokens were not signed with the site key"))
    if (former := len(core.services.former_tokens)) and core.serving:
        calls = "1 call has" if former == 1 else f"{former:,} calls have"
        wait = "keep it as previous_key until they have ended, or something was said in them"
        found.append(Alert("former-key", f"{calls} state tokens that the former key has signed: {wait}"))
    return found


def _leadership(core: Core) -> Iterator[Alert]:
    member, node = core.member, core.node
    if member.state == HOLDING:
        yield Alert(
            "no-lease", f"{node} has no lease: it serves who obeys it and ends nothing until a quorum answers"
        )
    if member.participant.trouble:
        yield Alert("epochs-not-kept", member.participant.trouble)
    if _has_no_voters(core):
        started = f"if it never ran, say `b2bua init --node {node}`"
        yield Alert("no-voters", f"the site has no voters, so no server can rule: {started}")
    elif not core.serving and not member.cluster.leader:
        yield Alert("no-active", "no server is active, as far as this one knows")


def _has_no_voters(core: Core) -> bool:
    member = core.member
    known = member.participant.voter.state.voters.names or any(member.cluster.generations.values())
    return not known and not member.participant.membership.alone


def _agents(core: Core, now: float) -> Iterator[Alert]:
    for name, connection in core.agents.connections.items():
        if connection.flow is None:
            yield _unconnected(name, core.node)
        elif name in core.member.cluster.draining:
            yield Alert(
                "agent-draining",
                f"{name} drains: it refuses new calls until `gateway-agent resume --agent {name}`",
            )
        if connection.flow is not None and (codes := core.member.cluster.warned.get(name)):
            see = f"see `gateway-agent status --agent {name}`"
            yield Alert("agent-warns", f"{name} has warnings of its own ({', '.join(codes)}): {see}")
        if core.serving and connection.flow is not None and not connection.obeys:
            yield from _disobedient(core, connection, now)


def _unconnected(agent: str, server: str) -> Alert:
    return Alert("agent-away", f"{agent} is not connected to {server}")


def _disobedient(core: Core, connection: AgentConnection, now: float) -> Iterator[Alert]:
    name, node = connection.name, core.node
    if connection.refusal:
        yield Alert(
            "agent-refuses",
            f"{name} refuses to obey {node} and to tell its calls ({connection.refusal}), so it takes no new calls:"
            f" its log says why",
        )
    elif (since := now - max(connection.heard_since, core.agents.begun_at)) >= SLOW_LIST:
        yield Alert(
            "agent-disobeys",
            f"{name} is connected and has not obeyed {node} for {since:.0f} s, so it takes no new calls:"
            f" see `gateway-agent status --agent {name}`",
        )


def _lists(core: Core, now: float) -> Iterator[Alert]:
    for each in core.agents.incomplete:
        if each.obeys and now - each.asked_at >= SLOW_LIST:
            late = f"{now - each.asked_at:.0f} s"
            yield Alert("agent-list-late", f"{each.name} has not told its list for {late}: its calls wait")
    for each in core.agents.uncovered:
        yield Alert("agent-not-covered", f"{each.name} is not covered yet: if it died now, calls of it would be lost")
    for name, connection in core.agents.connections.items():
        if count := connection.line_states.unusable:
            calls, them = ("a call", "it") if count == 1 else (f"{count:,} calls", "them")
            yield Alert(
                "calls-too-long",
                f"{calls} of {name} could not come back after its death: what it alone knows of {them} is too long",
            )
        if withheld := connection.line_states.withheld:
            calls = "a call is" if withheld == 1 else f"{withheld:,} calls are"
            yield Alert("calls-withheld", f"{calls} not given back to {name} any more: it died of that twice")


def _routes(core: Core) -> Iterator[Alert]:
    """Routes of which all lines are out of service."""
    out = {name for name, load in core.lines.loads.items() if not load.in_service}
    if not out:
        return
    site = core.site
    found = [
        (f"{site.route_place(index)} ({route.match})", route)
        for index, route in enumerate(site.routes)
        if route.to and all(line in out for name in route.to for line in site.members(name))
    ]
    for place, route in found[:MOST_NAMED]:
        yield Alert("route-out", f"no call can be made by {place}: {_all_of(core, route)} out of service")
    if (more := len(found) - MOST_NAMED) > 0:
        yield Alert("route-out", f"no call can be made by {more:,} more routes: their lines are out of service")


def _all_of(core: Core, route: Route) -> str:
    names = list(dict.fromkeys(line for name in route.to for line in core.site.members(name)))
    return f"{names[0]} is" if len(names) == 1 else f"all of its {len(names):,} lines ({names[0]} ..) are"


def _lines(core: Core) -> Iterator[Alert]:
    """Trunks that are out of service, and lines that an operator took out of service. Phones without a registration
    give no alert, since that is normal."""
    trunks, closed, busied = list[str](), list[str](), list[str]()
    for line in core.site.lines.values():
        load = core.lines.loads.get(line.name)
        if load is None or load.in_service:
            continue
        why = why_out(core, line.name)
        if why.startswith(RESET_BY):
            closed.append(f"{line.name} was {why}: `b2bua reset {line.name}` brings it back")
        elif why.startswith(BUSIED_BY):
            busied.append(f"{line.name} takes no new calls ({why}): `b2bua busyout {line.name} --end` ends it")
        elif line.kind == "trunk":
            trunks.append(f"trunk {line.name} is out of service" + (f": {why}" if why else ""))
    yield from _named("trunk-out", trunks, "trunks are out of service")
    yield from _named("line-busied-out", busied, "lines are busied out")
    yield from _named("line-reset", closed, "lines were reset to out of service")


def _named(code: str, sentences: list[str], more: str) -> Iterable[Alert]:
    yield from (Alert(code, sentence) for sentence in sentences[:MOST_NAMED])
    if len(sentences) > MOST_NAMED:
        yield Alert(code, f"{len(sentences) - MOST_NAMED:,} more {more}: see `b2bua lines`")


def _nodes(core: Core, now: float) -> Iterator[Alert]:
    cluster, membership = core.member.cluster, core.site.membership()
    behind, version = core.leadership.part_exchange.behind, core.site.provisioned.version
    for name, since in sorted(behind.items()):
        if now - since > SLOW_PART and _is_there(core, name, now):
            yield Alert(
                "provisioned", f"{name} has not taken version {version} of what is provisioned: its log says why"
            )
    for name, config in cluster.configs.items():
        if membership.runs_another_file(config) and name not in behind:
            copy = f"({config}, ours is {membership.config}): reload or copy it"
            yield Alert("drift", f"{name} runs from another site file {copy}")
    for name in sorted(cluster.without_disk):
        yield Alert("epochs-not-kept", f"{name} cannot keep its epochs: its disk takes nothing")
    for name, difference in sorted(cluster.clocks.differences.items()):
        if difference.exceeds(MOST_CLOCK_DIFFERENCE):
            ahead = "ahead of" if difference.middle > 0 else "behind"
            apart = f"{abs(difference.middle):.1f} s {ahead} that of {core.node}"
            yield Alert("clock", f"the clock of {name} is {apart}: set both by NTP")
    for _, said in sorted(core.member.double_votes.found.items()):
        yield Alert("voted-twice", said)
    for name in cluster.without_vote(core.member.participant.voter.state.voters.names):
        yield Alert("no-vote", why_non_voting(name, name in cluster.voting))


def _is_there(core: Core, name: str, now: float) -> bool:
    """Whether a node is reached; one that is not has an alert of its own."""
    connection, peer = core.agents.connections.get(name), core.member.cluster.peers.get(name)
    if connection is not None:
        return connection.flow is not None
    return peer is not None and now - peer.heard_at <= 3 * core.site.timing.slow_interval


def _others(core: Core, now: float) -> Iterator[Alert]:
    for name, server in core.member.cluster.peers.items():
        if server.death is not None:
            ended = f"its supervisor saw it end {server.death.how}"
            yield Alert("standby-dead", f"{name} is dead: {ended}; nobody could take over until it runs again")
        elif server.state == LEFT or _is_silent(core, server, now):
            yield _unheard(core, name, server, now)
        elif core.serving:
            yield from _unreached(core, name, server)


def _is_silent(core: Core, server: OtherServer, now: float) -> bool:
    return server.beat is None or now - server.heard_at > 3 * core.site.timing.slow_interval


def _unheard(core: Core, name: str, server: OtherServer, now: float) -> Alert:
    """The alert for another server that is silent, or has left."""
    detector = core.member.detector
    if _is_silent(core, server, now) and detector.subject == name and detector.heard_by_others(now):
        return Alert(
            "beats-cut", f"{name} is not heard here, but agents hear it: the way between the `beat` addresses is cut"
        )
    bad = core.stack.counters["bad beats"]
    strange = f"; {bad} heartbeats were not signed with the site key: compare the keys" if bad else ""
    if server.state == LEFT:
        without = "nobody could take over" if core.serving else "it is off"
        return Alert("server-silent", f"{name} has ended in good order: {without} until it runs again{strange}")
    off = "it is off, and the site has no stand-by" if core.serving else "it is off"
    return Alert(
        "server-silent", f"{name} is not heard: {off}, or the way between the `beat` addresses is cut{strange}"
    )


def _unreached(core: Core, name: str, server: OtherServer) -> Iterator[Alert]:
    """Agents to which the stand-by has no connection, by its heartbeats."""
    if server.beat is not None and server.beat.reach:
        for bit, agent in enumerate(core.site.agents):
            if not server.reach >> bit & 1:
                yield _unconnected(agent, name)


def _cannot_take_over(core: Core, now: float) -> Iterator[Alert]:
    """Why this stand-by could not take over. That it is paused, or its disk failed, are alerts of their own."""
    leader = core.member.cluster.leader
    if few := too_few_voters(core.leadership, core.site.timing, now):
        yield Alert("no-takeover", f"{core.node} could not take over from {leader}: {few}")
    peer = core.member.cluster.peers.get(leader)
    calls = peer.beat.calls if peer is not None and peer.beat is not None else 0
    if calls > core.server.capacity:
        yield Alert(
            "no-takeover",
            f"{core.node} could not take all calls over from {leader}: there are {calls:,}, and it takes"
            f" {core.server.capacity:,}",
        )


def why_out(core: Core, line: str) -> str:
    """Why a line takes no calls, as far as is known; empty if it takes them."""
    settings = core.site.lines[line]
    if settings.at_servers:
        return core.own_lines.why(line)
    connection = core.agents.connections.get(settings.agent)
    told = connection.lines.get(line) if connection is not None else None
    return told.why if told is not None else ""
