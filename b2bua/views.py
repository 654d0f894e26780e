"""Makes the views of a server (``heartbeat.console.views``) from its core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from b2bua.alerts import alerts, why_out
from b2bua.call import Call, record_of
from b2bua.cdr import heard
from b2bua.core import Core
from b2bua.known_calls import known_calls, named_so
from b2bua.leadership import answers
from b2bua.lines import Load
from b2bua.plan import Refusal, RouteTarget
from b2bua.routing import CallRequest
from heartbeat import version
from heartbeat.console.contract import Progress, Refused
from heartbeat.console.views import calls as call_views
from heartbeat.console.views.calls import Calls, CallState, KnownCalls
from heartbeat.console.views.history import DecisionRow, Explanation, History, Sentence
from heartbeat.console.views.lines import Line, Lines, LineState, RouteStep, RouteTrial
from heartbeat.console.views.status import (
    Agents,
    CallCounts,
    Health,
    LineCounts,
    Peer,
    ServerState,
    ServerStatus,
    Trunk,
    Voters,
)
from heartbeat.console.views.takeovers import Audit, Kind, Rehearsal, Report
from heartbeat.header import ACTIVE, HOLDING
from heartbeat.line_tests import TEST
from heartbeat.site.lines import LineSettings
from sip.b2b.bridge import CANCELLING, DIALING, ENDING, RINGING, ROUTING, TALKING
from sip.packages.line_dialog import LineRecord

_STATES = {ROUTING: "dialing", DIALING: "dialing", RINGING: "ringing", CANCELLING: "ending", ENDING: "ending"}


def view(core: Core, name: str, params: Mapping[str, str], now: float) -> Any:
    """The view of that name. Raises :class:`Refused`, also for an unknown one."""
    make = VIEWS.get(name)
    if make is None:
        raise Refused(f"there is no view {name} here", 404)
    return make(core, params, now)


def command(core: Core, name: str, params: Mapping[str, str], now: float) -> Progress:
    """Carry out a verb. Raises :class:`Refused`."""
    if name == TEST:
        return core.line_tests.order(params, now)
    return core.admin_commands.command(name, params, now)


def health(core: Core, params: Mapping[str, str], now: float) -> Health:
    state = server_state(core)
    return Health(healthy=state == "active", state=state)


def server_state(core: Core) -> ServerState:
    """The role of the server as shown to operators."""
    state = core.member.state
    if state == ACTIVE:
        return "active"
    return "holding" if state == HOLDING else "standby"


def status(core: Core, params: Mapping[str, str], now: float) -> ServerStatus:
    member, site = core.member, core.site
    voters = member.participant.on_disk.voters
    left = member.leader.lease_until - now
    counts = call_counts(core)
    found = tuple(alerts(core, now))
    return ServerStatus(
        kind="server",
        version=version(),
        site=site.name,
        node=core.node,
        role=core.server.role,
        state=server_state(core),
        active=core.node if core.serving else member.cluster.leader,
        epoch=core.epoch,
        boot=member.participant.on_disk.incarnation,
        config=site.digest,
        since_at=core.leadership.since_at,
        started_at=core.started_at,
        lease_left=round(max(0.0, left), 3) if core.serving and left < 1e9 else None,
        paused=member.paused,
        voters=Voters(
            names=voters.names,
            generation=voters.generation,
            quorum=member.participant.quorum,
            answering=sum(1 for name in voters.names if answers(core.leadership, name, site.timing, now)),
        ),
        peers=(*_servers(core, now), *agents(core, params, now).agents),
        calls=counts,
        capacity=core.server.capacity,
        load=round(len(core.calls) / core.server.capacity, 4),
        rates=core.rates.read(core.admission.calls_seen, core.stack.receiver.received, now),
        lines=line_counts(core),
        last_takeover=core.takeovers.summary(now),
        warnings=tuple(alert.text for alert in found),
        alerts=found,
        trunks=tuple(_trunks(core)),
        takeovers={kind: core.takeovers.counts[kind] for kind in get_args(Kind)},
    )


def call_state(call: Call) -> CallState:
    """The phase of a call as shown to operators."""
    if call.bridge.phase == TALKING:
        return "held" if call.held else "talking"
    return _STATES[call.bridge.phase]  # type: ignore[return-value]


def call_counts(core: Core) -> CallCounts:
    """Numbers of calls by state; calls in agents' lists that are not restored yet count as talking."""
    found = Counter(call_state(call) for call in core.calls.values())
    waiting = sum(
        1
        for records in core.recovery.index.by_call.values()
        if any(b'"confirmed"' in r.raw for r in records.values())
    )
    return CallCounts(
        total=len(core.calls) + waiting,
        talking=found["talking"] + waiting,
        held=found["held"],
        ringing=found["ringing"],
        dialing=found["dialing"],
        ending=found["ending"],
    )


def _trunks(core: Core) -> Iterator[Trunk]:
    for line in core.site.lines.values():
        if line.kind == "trunk":
            load = core.lines.loads.get(line.name)
            busy = load.busy if load is not None else 0
            registered = core.own_lines.registered(line.name) if line.at_servers else None
            yield Trunk(line.name, load is None or load.in_service, line.channels, busy, registered)


def line_counts(core: Core) -> LineCounts:
    """Counts of all lines of the site, of agents and servers."""
    total = inside = busy = 0
    for line in core.site.lines.values():
        load = core.lines.loads.get(line.name)
        total += line.channels
        if load is None or load.in_service:
            inside += line.channels
            busy += load.busy if load is not None else 0
    told = [each for connection in core.agents.connections.values() for each in connection.lines.values()]
    registered = sum(1 for each in told if each.contacts)
    registered += sum(1 for line in core.site.lines_of("") if line.is_phone and core.own_lines.registered(line.name))
    return LineCounts(total, inside, total - inside, busy, registered)


def _servers(core: Core, now: float) -> list[Peer]:
    found: list[Peer] = []
    voters, membership = core.member.participant.on_disk.voters.names, core.site.membership()
    for name, peer in core.member.cluster.peers.items():
        beat = peer.beat
        ago = now - peer.heard_at if peer.beat is not None else None
        reached = ago is not None and ago <= 3 * core.site.timing.slow_interval
        if core.serving and peer.state == ACTIVE and ago is not None and ago > core.site.timing.lease:
            reached = False  # an active server sends a heartbeat each interval
        if peer.death is not None:
            reached = False
        address = core.site.servers[name].beat_reach
        found.append(
            Peer(
                name=name,
                kind="server",
                role=core.site.servers[name].role,
                state=peer.state,
                reached=reached,
                heard_ago=None if ago is None else round(ago, 3),
                judged=core.member.detector.state if name == core.member.detector.subject else "",
                boot=beat.incarnation if beat else 0,
                epoch=beat.epoch if beat else 0,
                obeys="",
                config=beat.config if beat else "",
                drift=bool(beat and membership.runs_another_file(beat.config)),
                voter=name in voters,
                calls=beat.calls if beat else 0,
                capacity=beat.capacity if beat else 0,
                address=str(address) if address else "",
                version=core.member.cluster.versions.get(name, ""),
            )
        )
    return found


def agents(core: Core, params: Mapping[str, str], now: float) -> Agents:
    member, membership = core.member, core.site.membership()
    voters = member.participant.on_disk.voters.names
    busy = Counter(
        agent for call in core.calls.values() for agent in (call.state.caller_agent, call.state.callee_agent)
    )
    found: list[Peer] = []
    for name, connection in core.agents.connections.items():
        at = member.cluster.answered.get(name)
        config = member.cluster.configs.get(name, "")
        obeys = core.node if connection.complete and core.serving else ""
        found.append(
            Peer(
                name=name,
                kind="agent",
                role="",
                state="" if connection.flow is None else "draining" if name in member.cluster.draining else "serving",
                reached=connection.flow is not None,
                heard_ago=None if at is None else round(now - at, 3),
                judged="alive" if connection.flow is not None else "unknown",
                boot=connection.boot,
                epoch=core.epoch if obeys else 0,
                obeys=obeys,
                config=config,
                drift=membership.runs_another_file(config),
                voter=name in voters,
                calls=busy[name],
                capacity=sum(line.channels for line in core.site.lines_of(name)),
                address=f"{connection.flow.remote[0]}:{connection.flow.remote[1]}" if connection.flow else "",
                key=core.leadership.keyring.sort_of(name),
                version=member.cluster.versions.get(name, ""),
            )
        )
    return Agents(tuple(found))


def calls(core: Core, params: Mapping[str, str], now: float) -> Calls:
    limit = _limit(params, 200)
    matching = [
        call
        for call in reversed(core.calls.values())
        if call.id.startswith(params.get("id", "")) and _fits(call, params)
    ]
    return Calls(calls=tuple(_call(core, call) for call in matching[:limit]), matched=len(matching))


def _fits(call: Call, params: Mapping[str, str]) -> bool:
    state, number = call.state, params.get("number", "")
    agent, line = params.get("agent", ""), params.get("line", "")
    return (
        (not params.get("state") or call_state(call) == params["state"])
        and (not number or number in state.caller or number in state.callee)
        and (not agent or agent in (state.caller_agent, state.callee_agent))
        and (
            not line
            or any(each == line or each.startswith(f"{line}/") for each in (state.caller_line, state.callee_line))
        )
    )


def _call(core: Core, call: Call) -> call_views.Call:
    state = call.state
    wall = call.wall_offset
    return call_views.Call(
        id=state.call_id,
        session_id=state.session_id,
        state=call_state(call),
        caller=state.caller,
        callee=state.callee,
        caller_line=state.caller_line,
        callee_line=state.callee_line,
        caller_agent=state.caller_agent,
        callee_agent=state.callee_agent,
        started_at=state.started - wall,
        answered_at=state.answered - wall if state.answered else None,
        epochs=state.epochs,
        priority=call.plan.priority if call.plan is not None else 0,
    )


def lines(core: Core, params: Mapping[str, str], now: float) -> Lines:
    found: list[Line] = []
    for line in core.site.lines.values():
        if params.get("agent") and line.agent != params["agent"]:
            continue
        if params.get("line") and line.name != params["line"]:
            continue
        connection = core.agents.connections.get(line.agent)
        told = connection.lines.get(line.name) if connection is not None else None
        contacts = core.own_lines.contacts(line.name, now)
        load = core.lines.loads.get(line.name)
        inside = load is None or load.in_service
        busy = load.busy if load is not None else 0
        drains = line.agent in core.member.cluster.draining
        state: LineState = "out of service" if not inside else "active" if busy else "draining" if drains else "idle"
        if params.get("state") and state != params["state"]:
            continue
        found.append(
            Line(
                name=line.name,
                agent=line.agent,
                kind=line.kind,
                state=state,
                in_service=inside,
                why=why_out(core, line.name) or (f"{line.agent} drains" if drains else ""),
                channels=line.channels,
                busy=busy,
                address=str(line.peer[0]) if line.peer else next(iter(contacts), ""),
                registered=_registered(core, line, told),
                contacts=told.contacts if told is not None else len(contacts),
                forward={
                    key: value for key in ("always", "busy", "no_answer") if (value := getattr(line.forward, key))
                },
                priority=line.priority,
                recovery=line.recovery,
            )
        )
    return Lines(tuple(found))


def _registered(core: Core, line: LineSettings, told: LineRecord | None) -> bool | None:
    """Whether a phone is registered, by its agent's report; for the servers' own line whether it is registered with
    its carrier, or a telephone here. None: it does not register, or that is not known."""
    if line.at_servers:
        return core.own_lines.registered(line.name)
    return told.contacts > 0 if told is not None and line.is_phone else None


def route(core: Core, params: Mapping[str, str], now: float) -> RouteTrial:
    if not core.serving:
        leader = core.member.cluster.leader or "the active server"
        raise Refused(f"{core.node} is not active and does not know which lines are in service; ask {leader}")
    origin, called = params.get("from", ""), params.get("to", "")
    line = core.site.lines.get(origin) or next((x for x in core.site.lines.values() if origin in x.numbers), None)
    if line is None:
        raise Refused(f"{origin or '(no line given)'} is no line and no number of one", 404)
    if not called:
        raise Refused("no number is given to which it would go", 400)
    load = Load(len(core.calls), core.lines.loads)
    found = core.router.plan(CallRequest(line.name, called, line.numbers[0] if line.numbers else ""), load, now)
    if isinstance(found, Refusal):
        return RouteTrial(line.name, called, (), found.status, found.because)
    return RouteTrial(line.name, called, tuple(_step(core, each) for each in found.targets), 0, "")


def _step(core: Core, target: RouteTarget) -> RouteStep:
    agent = core.site.lines[target.line].agent
    because = target.because
    if target.forwarded_from:
        because += f", forwarded from {target.forwarded_from}"
    connection = core.agents.connections.get(agent)
    if connection is not None and not connection.obeys:
        because += f"; {agent} is not there, so it is passed over"
    elif agent in core.member.cluster.draining:
        because += f"; {agent} drains and would refuse it"
    return RouteStep(target.line, agent, target.request_number, target.ring_for, because)


def history(core: Core, params: Mapping[str, str], now: float) -> History:
    rows = [
        DecisionRow(each.at, core.node, each.code.replace("-", " "), each.because, each.code)
        for each in reversed(core.history)
    ]
    return History(decisions=tuple(rows[: _limit(params, 50)]), total=len(rows))


def call_ids(core: Core, params: Mapping[str, str], now: float) -> KnownCalls:
    return known_calls(core, params, _limit(params, 20), now)


def explain(core: Core, params: Mapping[str, str], now: float) -> Explanation:
    wanted = params.get("id", "")
    if wanted == "takeover" or core.takeovers.knows(wanted):
        return core.takeovers.explain(wanted)
    names = list(named_so(core, [wanted])) if wanted else []
    if not wanted or not names:
        raise Refused(f"no call {wanted or '(no id given)'} is known here; `b2bua calls` lists them", 404)
    if len(names) > 1:
        raise Refused(f"{len(names)} calls begin with {wanted}: give more of the id", 400)
    return Explanation(about=f"call {names[0]}", sentences=tuple(_sentences(core, names[0], now)))


def _sentences(core: Core, call_id: str, now: float) -> list[Sentence]:
    found: list[Sentence] = []
    call = core.calls.get(call_id)
    ended = core.records.ended.get(call_id) or core.records.former.get(call_id)
    record, wall, because = ended or (None, 0.0, "")
    if call is not None:
        record, wall, because = record_of(call, now), call.wall_offset, call.because
    if record is not None:
        if record.started:
            text = f"{record.caller} called {record.dialled or record.callee} from {record.caller_line}"
            found.append(Sentence(at=record.started - wall, text=text))
        if because:
            found.append(Sentence(at=None, text=f"it was sent to {record.callee_line}: {because}"))
        if record.answered:
            found.append(Sentence(at=record.answered - wall, text=f"{record.callee_line} answered"))
        if call is None and record.ended:
            by = record.ended_by or "nobody known"
            text = f"it ended with {record.status} ({record.result}), by the {by} {record.reason}".rstrip()
            found.append(Sentence(at=record.ended - wall, text=text))
            found += [Sentence(at=record.ended - wall, text=text) for text in heard(record)]
    verdict = core.recovery.verdicts.details.get(call_id)
    if verdict is not None:
        text = f"at the last takeover it was {verdict[0]}: {verdict[1]}"
        found.append(Sentence(at=core.agents.begun_at, text=text))
    elif (former := core.takeovers.verdict_before(call_id)) is not None:
        text = f"at a takeover before the last start it was {former[1].verdict}: {former[1].because}"
        found.append(Sentence(at=former[0], text=text))
    begun = found[0].at if found else 0.0  # routing has no time of its own and is placed after the INVITE
    return sorted(found, key=lambda sentence: sentence.at or begun or 0.0)


def rehearsal(core: Core, params: Mapping[str, str], now: float) -> Rehearsal:
    return core.rehearsals.result(_limit(params, 200))


def audit(core: Core, params: Mapping[str, str], now: float) -> Audit:
    return core.audits.result(_limit(params, 200))


def report(core: Core, params: Mapping[str, str], now: float) -> Report:
    return core.takeovers.report(params, _limit(params, 200))


def progress(core: Core, params: Mapping[str, str], now: float) -> Progress:
    return core.admin_commands.progress(params.get("id", ""), now)


def _limit(params: Mapping[str, str], default: int) -> int:
    text = params.get("limit", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 7:
        raise Refused(f"limit must be a number, is {text!r}", 400)
    return int(text)


VIEWS: dict[str, Callable[[Core, Mapping[str, str], float], Any]] = {
    "status": status,
    "health": health,
    "calls": calls,
    "lines": lines,
    "agents": agents,
    "history": history,
    "explain": explain,
    "call-ids": call_ids,
    "report": report,
    "rehearsal": rehearsal,
    "audit": audit,
    "route": route,
    "progress": progress,
    "test": lambda core, params, now: core.line_tests.view(params),
}
