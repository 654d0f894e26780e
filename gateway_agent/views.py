"""What an agent shows its operator, and what it does for him (``heartbeat.console.views``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any, Final

from gateway_agent import media_timeout
from gateway_agent.call import Call
from gateway_agent.core import Core
from gateway_agent.known_calls import known_calls
from gateway_agent.line import Line
from gateway_agent.media.ports import Total
from gateway_agent.media_relay import EngineRelay
from gateway_agent.server_connections import PROVED, ServerConnection
from heartbeat import version
from heartbeat.agent_key import sort_of
from heartbeat.console.contract import Progress, Refused
from heartbeat.console.views.calls import AgentCall, AgentCalls
from heartbeat.console.views.history import DecisionRow, History
from heartbeat.console.views.lines import AgentLine, AgentLines
from heartbeat.console.views.status import (
    AgentStatus,
    Alert,
    CallCounts,
    Health,
    LineCounts,
    MediaEngine,
    Passwords,
    Peer,
    Relay,
    Trunk,
    WebrtcGateway,
)
from heartbeat.line_tests import TEST

DEFAULT_LIMIT: Final = 200
MOST_LISTED: Final = 100_000
DRAIN: Final = "drain"


def view(core: Core, name: str, params: Mapping[str, str], now: float) -> Any:
    """A view. Raises :class:`Refused`."""
    if name == "status":
        return _status(core, now)
    if name == "health":
        return Health(healthy=core.connected and not core.draining.active, state=_state(core))
    if name == "lines":
        return _lines(core, params)
    if name == "calls":
        return _calls(core, params, now)
    if name == "call-ids":
        return known_calls(core, params, _limit(params, 20))
    if name == "history":
        limit = _limit(params, 50)
        rows = [DecisionRow(one.at, core.agent.name, one.code, one.because, one.code) for one in core.history]
        return History(decisions=tuple(rows[::-1][:limit]), total=len(rows))
    if name == TEST:
        return core.line_tests.view(params)
    if name == "progress":
        if params.get("id") != DRAIN:
            raise Refused("No such order is known here.", 404)
        return _drained(core)
    raise Refused(f"An agent has no view {name}.", 404)


def command(core: Core, name: str, params: Mapping[str, str], now: float) -> Progress:
    """A verb. Raises :class:`Refused`."""
    if name == "drain":
        core.draining.begin(now)
        return _drained(core)
    if name == "stop":
        core.draining.begin(now)
        core.draining.for_good = True
        return _drained(core)
    if name == "resume":
        if not core.draining.active:
            raise Refused(f"{core.agent.name} does not drain.")
        core.draining.end(now)
        return Progress(id=DRAIN, verb="resume", state="done", sentence="It takes new calls again.", done=0, total=0)
    if name == TEST:
        return core.line_tests.order(params, now)
    raise Refused(f"An agent has no verb {name}.", 404)


def _drained(core: Core) -> Progress:
    left = len(core.calls)
    if not core.draining.active:
        return Progress(id=DRAIN, verb=DRAIN, state="failed", sentence="The drain was ended.", done=0, total=0)
    sentence = f"{left} call{'s are' if left > 1 else ' is'} left." if left else "The last call has ended."
    return Progress(
        id=DRAIN, verb=DRAIN, state="running" if left else "done", sentence=sentence, done=0, total=left
    )  # fmt: skip


def _state(core: Core) -> Any:
    if core.draining.active:
        return "draining" if core.calls else "drained"
    return "serving" if core.connected else "waiting"


def _status(core: Core, now: float) -> AgentStatus:
    voter = core.connections.voter
    leadership, lines = voter.leadership, core.lines.values()
    out = [line for line in lines if not line.in_service]
    total = sum(line.settings.channels for line in lines)
    dead = sum(line.settings.channels for line in out)
    alerts = [
        Alert("trunk-out", f"Line {line.name} is out of service: {line.why}") for line in out if line.kind == "trunk"
    ]
    if not core.connected:
        said = f"{core.agent.name} obeys no server that it reaches: calls go on, new ones wait."
        alerts.append(Alert("agent-disobeys", said))
    if core.silence.because:
        alerts.append(Alert("agent-superseded", core.silence.because))
    if (legs := core.environment.webrtc) is not None and (because := legs.state):
        alerts.append(Alert("no-webrtc", f"Browsers cannot be connected with other lines here: {because}"))
    engines = _engines(core)
    alerts += [Alert("no-rtpengine", f"New calls get no media from it: {one.why}") for one in engines if one.why]
    if voter.participant.trouble:
        alerts.append(Alert("epochs-not-kept", voter.participant.trouble))
    return AgentStatus(
        kind="agent",
        version=version(),
        site=core.site.name,
        agent=core.agent.name,
        state=_state(core),
        obeys=leadership.node,
        epoch=leadership.epoch,
        since_at=core.obedience.since,
        promised=voter.participant.on_disk.promised_epoch,
        voter=core.agent.name in voter.participant.on_disk.voters.names,
        boot=voter.participant.on_disk.incarnation,
        config=core.site.membership().config,
        key=sort_of(secret.value for secret in core.site.identity.keys if secret.value is not None),
        started_at=core.started_at,
        servers=tuple(_peer(core, connection, now) for connection in core.connections.by_name.values()),
        calls=_counts(core),
        held_attempts=0 if core.connected else sum(len(call.sent) for call in core.calls.values()),
        lines=LineCounts(
            total=total,
            in_service=total - dead,
            out_of_service=dead,
            busy=sum(line.busy for line in lines),
            registered=sum(line.kind != "trunk" and line.far_side.contacts > 0 for line in lines),
        ),
        relay=_relay(core, now),
        passwords=_passwords(core),
        warnings=tuple(alert.text for alert in alerts),
        alerts=tuple(alerts),
        trunks=tuple(
            Trunk(line.name, line.in_service, line.settings.channels, line.busy, line.far_side.registered)
            for line in lines
            if line.kind == "trunk"
        ),
        webrtc=_webrtc(core),
        rtpengines=engines,
    )


def _webrtc(core: Core) -> WebrtcGateway | None:
    legs = core.environment.webrtc
    return None if legs is None else WebrtcGateway(legs.sessions, legs.ready, legs.state)


def _relay(core: Core, now: float) -> Relay | None:
    if not core.relays:
        return None
    ports = [relay.ports for relay in core.relays.values()]
    packets, size, dropped, lost = reduce(Total.plus, (each.total for each in ports))
    streams, silent = sum(each.in_use for each in ports), media_timeout.notable(core.calls, now)
    return Relay(streams=streams, packets=packets, size=size, dropped=dropped, silent=silent, lost=lost)


def _engines(core: Core) -> tuple[MediaEngine, ...]:
    relay = core.relays.get("rtpengine")
    if not isinstance(relay, EngineRelay):
        return ()
    return tuple(MediaEngine(one.name, one.up, one.in_use, one.ready, one.trouble) for one in relay.ports.engines)


def _passwords(core: Core) -> Passwords:
    throttle = core.digest.throttle
    user, last = next(reversed(throttle.by_user.items()), ("", None))
    return Passwords(
        wrong=throttle.wrong,
        held_back=throttle.held_back,
        user=user,
        host=last.host if last is not None else "",
        last_at=last.at if last is not None else None,
    )


def _peer(core: Core, connection: ServerConnection, now: float) -> Peer:
    last, server = connection.last, connection.server
    ago = None if connection.heard_at is None else now - connection.heard_at
    limit = core.site.timing.slow_interval * core.site.timing.misses + 1.0
    reached = connection.state == PROVED and ago is not None and ago < limit
    config = last.config if last is not None else ""
    return Peer(
        name=connection.name,
        kind="server",
        role=server.role,
        state=last.state if last is not None else "",
        reached=reached,
        heard_ago=ago,
        judged="unknown" if ago is None else "alive" if reached else "suspect",
        boot=last.incarnation if last is not None else 0,
        epoch=last.epoch if last is not None else 0,
        obeys="",
        config=config,
        drift=core.site.membership().runs_another_file(config),
        voter=connection.name in core.connections.voter.participant.on_disk.voters.names,
        calls=last.calls if last is not None else 0,
        capacity=server.capacity,
        address=str(server.reach),
    )


def _counts(core: Core) -> CallCounts:
    found = Counter(_call_state(call) for call in core.calls.values())
    talking, held, ringing = found["talking"], found["held"], found["ringing"]
    return CallCounts(len(core.calls), talking, held, ringing, found["dialing"], found["ending"])


def _call_state(call: Call) -> Any:
    if call.end is not None:
        return "ending"
    if call.answered_at is None:
        return "dialing" if call.ringing_at is None else "ringing"
    return "talking" if call.description.held == "none" else "held"


def _lines(core: Core, params: Mapping[str, str]) -> AgentLines:
    found = [_line(core, line) for line in core.lines.values()]
    for name, member in (("line", "name"), ("state", "state"), ("agent", "agent")):
        wanted = params.get(name)
        if wanted:
            found = [line for line in found if getattr(line, member) == wanted]
    return AgentLines(lines=tuple(found))


def _line(core: Core, line: Line) -> AgentLine:
    settings = line.settings
    forward = {
        name: number for name in ("always", "busy", "no_answer") if (number := getattr(settings.forward, name))
    }
    drains = core.draining.active
    state: Any = "draining" if drains and line.in_service and not line.busy else line.state
    if line.busy == 1 and settings.channels == 1:
        call = next((call for call in core.calls.values() if call.line is line and call.end is None), None)
        if call is not None:
            state = {"talking": "active"}.get(_call_state(call), _call_state(call))
    tried = core.digest.throttle.by_user.get(settings.aor_user) if settings.is_phone else None
    return AgentLine(
        name=line.name,
        agent=core.agent.name,
        kind=settings.kind,
        state=state,
        in_service=line.in_service,
        why=line.why or (f"{core.agent.name} drains" if drains else ""),
        channels=settings.channels,
        busy=line.busy,
        address=line.far_side.address,
        registered=line.far_side.registered,
        contacts=line.far_side.contacts,
        guesses=tried.count if tried is not None else 0,
        guessed_from=tried.host if tried is not None else "",
        forward=forward,
        priority=settings.priority,
        recovery=settings.recovery,
    )


def _calls(core: Core, params: Mapping[str, str], now: float) -> AgentCalls:
    limit = _limit(params, DEFAULT_LIMIT)
    state, number, line, id_ = (params.get(name, "") for name in ("state", "number", "line", "id"))
    found = [
        call
        for call in core.calls.values()
        if (not state or _call_state(call) == state)
        and number in call.number
        and (not line or line in (call.label, call.line.name))
        and str(call.id).startswith(id_)
    ]
    return AgentCalls(calls=tuple(_call(core, call, now) for call in found[::-1][:limit]), matched=len(found))


def _call(core: Core, call: Call, now: float) -> AgentCall:
    return AgentCall(
        id=str(call.id),
        line=call.label,
        direction="in" if call.direction == "in" else "out",
        state=_call_state(call),
        number=call.number,
        started_at=call.invite_at,
        answered_at=call.answered_at,
        server=core.obedience.adopted[0] if core.connected else "",
        epochs=call.server_side.epochs,
        kept_requests=len(call.sent),
        media="webrtc" if call.description.gateway.active else call.line.settings.media,
        silent_s=media_timeout.silent_for(call, now),
        session_id=call.session_id,
    )


def _limit(params: Mapping[str, str], default: int) -> int:
    text = params.get("limit", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise Refused(f"limit must be a number, is {text!r}.", 400)
    return min(int(text), MOST_LISTED)
