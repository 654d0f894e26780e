"""Lines as views: how they are, where a call would go by routes, what a test of one found."""

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
    """``""`` for a trunk of the server's own."""
    kind: Annotated[Literal["trunk", "phone", "station", "web", "direct"], Column("~Kind")]
    state: Annotated[LineState, Column("State", "state", of=_line_state)]
    """A trunk is ``active`` while any channel is busy; ``draining``: nobody speaks on it, and its agent refuses new
    calls."""
    in_service: bool
    channels: int
    busy: Annotated[int, Column(">Busy", of=lambda line: f"{line.busy:,}/{line.channels:,}")]
    address: Annotated[str, Column("~Address")]
    """The trunk's peer, or the phone's first contact; ``""`` none."""
    registered: Annotated[bool | None, Column("~Registered", of=_registered)]
    """A registering trunk or a phone; None where nothing registers."""
    contacts: int
    forward: Annotated[
        Mapping[str, str],
        Column("~Forward", of=_forwarding),
    ]
    """Any of ``always``, ``busy``, ``no_answer`` to a number; empty without forwarding."""
    priority: Annotated[int, Column("~>Prio", "count")]
    recovery: Annotated[
        Literal["hot", "cold"],
        Column("~Recovery", of=_recovery),
    ]
    why: Annotated[str, Column("Why", "sentence", of=_trouble)]
    """Why it takes no new calls, one sentence; ``""`` when it does."""

    @property
    def trouble(self) -> Styled:
        """All that is wrong with it."""
        return Styled(self.why, "red")


@dataclass(frozen=True, slots=True)
class Lines:
    """``lines``: parameters ``agent``, ``line``, ``state``."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class AgentLine(Line):
    """What an agent knows beyond it."""

    guesses: int
    """Wrong passwords for a phone since the agent started."""
    guessed_from: str
    """The address of the last one; ``""`` none."""

    @property
    def trouble(self) -> Styled:
        """Why it is out of service, and who guesses its password."""
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
    """The number to call there."""
    ring_for: Annotated[float, Column("~>Rings", "span")]
    """Seconds after which the next one is tried."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class RouteTrial:
    """``route``: parameters ``from``, a line or a number of one, and ``to``, the number called, in the site's own
    form. What would become of such a call now; nothing is called, and nothing changes."""

    line: str
    """The line it would come from."""
    called: str
    steps: tuple[RouteStep, ...]
    """In the order in which they would be tried; empty: the call is refused."""
    status: int
    """The SIP status of the refusal; 0: it goes somewhere."""
    because: str
    """Why it is refused; ``""`` when it is not."""


def _good(step: TrialStep) -> Styled:
    return Styled("yes", "green") if step.good else Styled("no", "bold red")


@dataclass(frozen=True, slots=True)
class TrialStep:
    """Something of a line that was tried."""

    name: Annotated[str, Column("Step")]
    """``names``, ``options``, ``registration``, ``call``, ``end``."""
    good: Annotated[bool, Column("Works", of=_good)]
    said: Annotated[str, Column("What came of it", "sentence")]
    took: Annotated[float, Column(">Took", "span")]


@dataclass(frozen=True, slots=True)
class LineTrial:
    """``test``: parameter ``id``, what the verb answered. How far a test of a line is."""

    line: str
    state: str
    """``running``, ``done``, or ``failed``: something of it does not work."""
    steps: tuple[TrialStep, ...]
