"""The agent's views as people see them. Nothing here asks anyone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from rich.console import RenderableType
from rich.text import Text

from heartbeat.agent_key import BOTH, OWN, SITE
from heartbeat.console import render, screens
from heartbeat.console.command_line import DEGRADED, HEALTHY, NO_ACTIVE
from heartbeat.console.errors import ConsoleError
from heartbeat.console.render import age, count, several, span, table
from heartbeat.console.schema import Column
from heartbeat.console.views.calls import AgentCall, AgentCalls
from heartbeat.console.views.status import AgentStatus, MediaEngine, Passwords, Peer, Relay, WebrtcGateway


def warnings_of(status: AgentStatus | ConsoleError) -> list[str]:
    """All that an operator should know of one agent; of one that does not answer, why."""
    if isinstance(status, ConsoleError):
        return [status.sentence]
    found = list(status.warnings)
    name = status.agent
    if status.state in ("draining", "drained"):
        found.append(f"{name} is {status.state}: it takes no new calls until gateway-agent resume.")
    found += [alert.text for alert in screens.peer_alerts(name, status.config, status.servers, found)]
    return list(dict.fromkeys(found))


def code_of(status: AgentStatus | ConsoleError) -> int:
    """The exit code: 0 healthy, 1 degraded, 2 obeys no server."""
    if isinstance(status, AgentStatus) and status.state == "waiting":
        return NO_ACTIVE
    return DEGRADED if warnings_of(status) else HEALTHY


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent among all of the site."""

    agent: Annotated[str, Column("Agent")]
    state: Annotated[str, Column("State", "state")] = "silent"
    obeys: Annotated[str, Column("Obeys")] = ""
    epoch: Annotated[int, Column(">Epoch")] = 0
    since_at: Annotated[float | None, Column("~>Since", "age")] = None
    servers: Annotated[Text | None, Column("Servers heard")] = None
    calls: Annotated[int | None, Column(">Calls", "count")] = None
    busy: Annotated[int | None, Column("~>Busy", "count")] = None
    in_service: Annotated[int | None, Column("~>In service", "count")] = None
    out_of_service: Annotated[Text | None, Column("~>Out")] = None


def agents_screen(agents: Mapping[str, AgentStatus | ConsoleError], elsewhere: Sequence[str]) -> RenderableType:
    """``gateway-agent status``: the agents that were asked, and the names of those that cannot be from here."""
    warnings = [sentence for status in agents.values() for sentence in warnings_of(status)]
    return render.stack(
        table(AgentRow, [_agent_row(name, status) for name, status in agents.items()]),
        render.warnings(warnings) if warnings else None,
        *[
            _site_key_left(name)
            for name, each in agents.items()
            if isinstance(each, AgentStatus) and each.key == BOTH
        ],
        render.elsewhere(elsewhere),
    )


def _site_key_left(name: str) -> Text:
    """A note, since it is no fault."""
    return Text(f"{name} has its own key, and the site key beside it: take that away from previous_key.", "dim")


def _agent_row(name: str, status: AgentStatus | ConsoleError) -> AgentRow:
    if isinstance(status, ConsoleError):
        return AgentRow(name)
    lines = status.lines
    return AgentRow(
        name,
        status.state,
        status.obeys,
        status.epoch,
        status.since_at,
        Text("  ").join(_heard(peer) for peer in status.servers),
        status.calls.total,
        lines.busy,
        lines.in_service,
        Text(count(lines.out_of_service), "red" if lines.out_of_service else "dim"),
    )


def _heard(peer: Peer) -> Text:
    return Text(f"{peer.name} {span(peer.heard_ago)}", "green" if peer.reached else "bold red")


def agent_screen(status: AgentStatus) -> RenderableType:
    """``gateway-agent status`` of one agent."""
    warnings = warnings_of(status)
    head = render.line(
        Text(status.agent, "bold"),
        f"of {status.site}",
        render.state(status.state),
        f"obeys {status.obeys} in epoch {status.epoch}" if status.obeys else "obeys no server yet",
        Text("healthy", "green") if not warnings else Text(several(len(warnings), "warning"), "yellow"),
        gap="   ",
    )
    servers = table(
        Peer, status.servers, titles={"name": "Server"}, without=("obeys", "judged", "voter", "calls", "key")
    )
    return render.stack(head, servers, render.facts(_facts(status)), render.warnings(warnings) if warnings else None)


def _facts(status: AgentStatus) -> Iterator[tuple[str, RenderableType]]:
    calls, lines, waiting = status.calls, status.lines, status.held_attempts
    yield "Calls", render.line(several(calls.total, "call"), *screens.by_state(calls))
    yield "Waiting", Text(f"{several(waiting, 'request')} for a server", "yellow" if waiting else "")
    in_service = f"{count(lines.busy)} busy of {count(lines.in_service)} in service"
    yield "Lines", f"{in_service}, {count(lines.out_of_service)} out of service"
    if status.relay is not None:
        yield "Relay", _relay(status.relay)
    for engine in status.rtpengines:
        yield "rtpengine", _engine(engine)
    if status.webrtc is not None:
        yield "WebRTC", _webrtc(status.webrtc)
    if status.passwords.wrong:
        yield "Passwords", _passwords(status.passwords)
    yield "Process", screens.process_stats(status.process)
    vote = f"voter, has promised epoch {status.promised}" if status.voter else "no voter"
    yield "Itself", f"boot {render.boot(status.boot)}, {vote}, up {age(status.started_at)}"
    if words := _KEYS.get(status.key):
        yield "Key", words


_KEYS: Final = {OWN: "its own", SITE: "the site key", BOTH: "its own, and the site key beside it"}


def _engine(engine: MediaEngine) -> Text:
    said = f"{engine.name}, {several(engine.calls, 'section')} of media, ready for {count(engine.ready)} more"
    return Text(engine.why, "yellow") if engine.why else Text(said)


def _webrtc(gateway: WebrtcGateway) -> Text:
    text = Text(f"{several(gateway.calls, 'call')} between browsers and other lines")
    return text.append(f", no more: {gateway.why}", "yellow") if gateway.why else text


def _relay(relay: Relay) -> Text:
    text = Text(
        f"{several(relay.streams, 'stream')}, {count(relay.packets)} packets, {relay.size / 1e6:,.1f} MB so far"
    )
    if relay.dropped:
        text.append(f", {several(relay.dropped, 'packet')} dropped")
    if relay.lost:
        text.append(f", {several(relay.lost, 'packet')} lost on the way here")
    if relay.silent:
        text.append(f", {several(relay.silent, 'call')} without media", "yellow")
    return text


def _passwords(passwords: Passwords) -> Text:
    held = f", {count(passwords.held_back)} tries not looked at" if passwords.held_back else ""
    last = f"the last for {passwords.user} from {passwords.host}, {age(passwords.last_at)} ago"
    return Text(f"{count(passwords.wrong)} wrong{held}; {last}", "yellow")


def calls_screen(page: AgentCalls) -> RenderableType:
    """``gateway-agent calls``."""
    return screens.calls(AgentCall, page.calls, page.matched)
