"""Views of lines: their states, where a call would be routed, and the results of a line's test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from heartbeat.console.schema import Column, Styled

LineState = Literal["idle", "dialing", "ringing", "active", "held", "transferring", "draining", "out of service"]


def _agent(line: Any) -> str:
    return line.agent or "servers"


def _trouble(line: Any) -> Styled:
    found: Styled = line.trouble
    return found


def _line_state(line: Any) -> str:
    return str(line.state) if line.in_service else "out of service"


def _forwarding(line: Any) -> str:
    return ", ".join(f"{when.replace('_', ' ')} {number}" for when, number in line.forward.items())


def _recovery(line: Any) -> Styled:
    return Styled(line.recovery, "" if line.recovery == "hot" else "yellow")


def _registered(line: Any) -> Styled:
    if line.registered is None:
        return Styled("")
    more = f" ({line.contacts})" if line.contacts > 1 else ""
    return Styled(f"yes{more}", "green") if line.registered else Styled(f"no{more}", "bold red")


@dataclass(frozen=True, slots=True)
class Line:
    """A trunk with its channels, a phone, a browser or a station."""

    name: Annotated[str, Column("Line")]
    agent: Annotated[str, Column("~Agent", of=_agent)]
    """``""`` for a line of the servers' own."""
    kind: Annotated[Literal["trunk", "phone", "station", "web", "direct"], Column("~Kind")]
    state: Annotated[LineState, Column("State", "state", of=_line_state)]
    """A trunk is ``active`` while any channel is busy; ``draining``: it has no calls, and its agent refuses new
    ones."""
    in_service: bool
    channels: int
    busy: Annotated[int, Column(">Busy", of=lambda line: f"{line.busy:,}/{line.channels:,}")]
    address: Annotated[str, Column("~Address")]
    """The trunk's peer, or the phone's first contact; ``""`` without one."""
    registered: Annotated[bool | None, Column("~Registered", of=_registered)]
    """Whether a phone or a registering trunk is registered; None for other lines."""
    contacts: int
    forward: Annotated[
        Mapping[str, str],
        Column("~Forward", of=_forwarding),
    ]
    """Numbers by ``always``, ``busy`` or ``no_answer``; empty without forwarding."""
    priority: Annotated[int, Column("~>Prio", "count")]
    recovery: Annotated[
        Literal["hot", "cold"],
        Column("~Recovery", of=_recovery),
    ]
    why: Annotated[str, Column("Why", "sentence", of=_trouble)]
    """Why it takes no new calls, a sentence; ``""`` if it takes them."""

    @property
    def trouble(self) -> Styled:
        """Its faults, for people."""
        return Styled(self.why, "red")


@dataclass(frozen=True, slots=True)
class Lines:
    """``lines``: parameters ``agent``, ``line``, ``state``."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class AgentLine(Line):
    """A line at its agent."""

    guesses: int
    """Wrong passwords for a phone since the agent started."""
    guessed_from: str
    """The address that the last one came from; ``""`` without one."""

    @property
    def trouble(self) -> Styled:
        """Its faults, and wrong passwords."""
        if not self.guesses:
            return Styled(self.why, "red")
        wrong = (
            f"{self.guesses:,} wrong password{'' if self.guesses == 1 else 's'}, the last from {self.guessed_from}"
        )
        return Styled(f"{self.why}; {wrong}", "red") if self.why else Styled(wrong, "yellow")


@dataclass(frozen=True, slots=True)
class AgentLines:
    """``lines`` of an agent: the parameters of a server's ``lines``."""

    lines: tuple[AgentLine, ...]


@dataclass(frozen=True, slots=True)
class RouteStep:
    """A line that a call would be tried on."""

    line: Annotated[str, Column("Line")]
    agent: Annotated[str, Column("~Agent", of=_agent)]
    number: Annotated[str, Column("Number")]
    """The number to be called there."""
    ring_for: Annotated[float, Column("~>Rings", "span")]
    """Seconds of ringing after which the next line is tried."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class RouteTrial:
    """``route``: parameters ``from``, a line or a number of one, and ``to``, the called number, in the site's form.
    How such a call would be routed now; no call is made."""

    line: str
    """The line that it would come from."""
    called: str
    steps: tuple[RouteStep, ...]
    """In the order to be tried; empty: the call would be refused."""
    status: int
    """SIP status of the refusal; 0: it would not be refused."""
    because: str
    """Why it would be refused; ``""`` if not."""


def _good(step: TrialStep) -> Styled:
    return Styled("yes", "green") if step.good else Styled("no", "bold red")


@dataclass(frozen=True, slots=True)
class TrialStep:
    """A step of a line's test."""

    name: Annotated[str, Column("Step")]
    """``names``, ``options``, ``registration``, ``call``, ``end``."""
    good: Annotated[bool, Column("Works", of=_good)]
    said: Annotated[str, Column("What came of it", "sentence")]
    took: Annotated[float, Column(">Took", "span")]


@dataclass(frozen=True, slots=True)
class LineTrial:
    """``test``: parameter ``id`` from the answer of the verb. The state of a line's test."""

    line: str
    state: str
    """``running``, ``done``, or ``failed``: a step was not good."""
    steps: tuple[TrialStep, ...]
