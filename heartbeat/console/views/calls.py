"""Calls as views: at a server, at an agent, by all their ids, and the messages of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from heartbeat.console.schema import Column, Styled

CallState = Literal["dialing", "ringing", "talking", "held", "transferring", "ending"]


def _both_lines(call: Any) -> str:
    return f"{call.caller_line or '?'} → {call.callee_line or '?'}"


def _both_agents(call: Any) -> str:
    return " → ".join(dict.fromkeys(name for name in (call.caller_agent, call.callee_agent) if name))


def _lived_in(call: Any) -> Styled:
    """The epochs of a call; more than one: it survived a takeover."""
    return Styled("→".join(map(str, call.epochs)), "bold green" if len(call.epochs) > 1 else "")


def _since(call: Any) -> float:
    return float(call.answered_at or call.started_at)


@dataclass(frozen=True, slots=True)
class Call:
    """A call at a server."""

    id: Annotated[str, Column("Call")]
    """Id that the server gave it."""
    session_id: str
    state: Annotated[CallState, Column("State", "state")]
    caller: Annotated[str, Column("From")]
    """Number or user of the caller."""
    callee: Annotated[str, Column("To")]
    caller_line: Annotated[str, Column("Lines", of=_both_lines)]
    """``trunk1/7``; ``""`` if not known yet."""
    callee_line: str
    caller_agent: Annotated[str, Column("~Agents", of=_both_agents)]
    callee_agent: str
    answered_at: Annotated[float | None, Column(">Lasts", "age", of=_since)]
    started_at: Annotated[float, Column("~>Since", "clock")]
    epochs: Annotated[tuple[int, ...], Column("~Epochs", of=_lived_in)]
    """The epochs that it lived in, oldest first; more than one: it survived a takeover."""
    priority: int


@dataclass(frozen=True, slots=True)
class Calls:
    """``calls``: parameters ``limit`` (default 200), ``state``, ``number`` (part of caller or callee), ``line`` (a
    line or trunk), ``agent``, ``id`` (prefix). Newest first."""

    calls: tuple[Call, ...]
    matched: int
    """How many calls match, shown or not."""


@dataclass(frozen=True, slots=True)
class CallLeg:
    """A dialog of a call, as one process knows it."""

    call_id: Annotated[str, Column("Call-ID")]
    """Its Call-ID (RFC 3261 section 8.1.1.4)."""
    node: Annotated[str, Column("At")]
    """The server or agent that knows it."""
    towards: Annotated[str, Column("Towards")]
    """The other end: an agent, a line, or ``servers``."""


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call and the dialogs that a process knows of it."""

    id: str
    """The servers' id of the call; ``""`` at an agent."""
    legs: tuple[CallLeg, ...]
    caller: str = ""
    callee: str = ""
    state: str = ""
    """Its state, or how it ended."""
    started_at: float | None = None
    names: tuple[str, ...] = ()
    """Further ids: that of its call record, its Session-ID."""


@dataclass(frozen=True, slots=True)
class KnownCalls:
    """``call-ids``: parameters ``id`` (ids of calls, Call-IDs, ids of records, Session-IDs, separated by commas), or
    ``line``, or ``failed``, and ``limit``. Ids that are not known here are no error."""

    calls: tuple[KnownCall, ...]
    """Latest first."""


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """A SIP message as it was on the wire, its secrets blanked."""

    at: float
    sent: bool
    """Sent by this process; else received."""
    transport: str
    local: str
    """``host:port`` of this end, as far as it is known."""
    remote: str
    """``host:port`` of the other end."""
    peer: str
    """Name of the other end: a server, an agent, a trunk; ``""`` if its address is not known."""
    call_id: str
    text: str
    """A character a byte (ISO 8859-1)."""
    by: tuple[str, ...] = ()
    """Of the ids that were asked for, those by which it was found: its Call-ID, or calls whose tokens it carries."""


@dataclass(frozen=True, slots=True)
class Trace:
    """``trace``: parameter ``id`` as for ``call-ids``. The recorded messages of these calls and Call-IDs."""

    node: str
    memory: int
    """Bytes for recorded messages; 0: none are recorded."""
    oldest_at: float | None
    """Time of the oldest recorded message; None: there is none."""
    messages: tuple[TracedMessage, ...]
    """In the order of time."""


NOTABLE: Final = 30.0
"""Seconds without media from which on they are shown."""


def _media(call: Any) -> Styled:
    if call.silent_s is None or call.silent_s < NOTABLE:
        return Styled(call.media)
    return Styled(f"{call.media}, silent {call.silent_s:.0f} s", "yellow")


@dataclass(frozen=True, slots=True)
class AgentCall:
    """A call at an agent: one device dialog and one server dialog."""

    id: Annotated[str, Column("Call")]
    """Id that the agent gave it."""
    line: Annotated[str, Column("Line")]
    direction: Annotated[Literal["in", "out"], Column("Way")]
    """``in``: the device called."""
    state: Annotated[CallState, Column("State", "state")]
    number: Annotated[str, Column("Number")]
    """The far end's number."""
    answered_at: Annotated[float | None, Column(">Lasts", "age", of=_since)]
    started_at: Annotated[float, Column("~>Since", "clock")]
    server: Annotated[str, Column("~Server")]
    """The server of its server dialog; ``""`` while no leader is obeyed."""
    epochs: Annotated[tuple[int, ...], Column("~Epochs", of=_lived_in)]
    kept_requests: Annotated[int, Column("~>Kept")]
    """Requests to a server without a final response yet."""
    media: Annotated[str, Column("~Media", of=_media)]
    """``direct``, ``relay`` or ``webrtc``."""
    silent_s: float | None
    """Seconds since the relay last saw RTP of an answered call; None: on hold, or not relayed."""
    session_id: str


@dataclass(frozen=True, slots=True)
class AgentCalls:
    """``calls`` of an agent: the parameters of a server's ``calls``."""

    calls: tuple[AgentCall, ...]
    matched: int
