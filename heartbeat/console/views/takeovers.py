"""Views of takeovers and their calls, of rehearsals, and of the audit of servers against agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from heartbeat.console.schema import Column, Metric

Kind = Literal["takeover", "switchover", "failback", "restart", "force"]


@dataclass(frozen=True, slots=True)
class TakeoverSummary:
    """Summary of one change of the active server."""

    at: float
    """When it was decided."""
    kind: Kind
    old: str
    """The active server before; ``""`` if not known."""
    new: str
    epoch: int
    because: str
    took: Annotated[float, Metric("takeover_seconds", "How long the last takeover took")]
    """Seconds from the decision until the lists of all reached agents were complete."""
    kept: Annotated[int, Metric("takeover_calls_kept", "Calls that the last takeover kept")]
    lost: Annotated[int, Metric("takeover_calls_lost", "Calls that the last takeover lost")]
    """Calls released by the takeover's verdicts."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An observation that led to a takeover."""

    at: float
    by: str
    """The observer: this node, or an agent."""
    text: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """How the hand-over of one agent went."""

    agent: str
    asked_at: float | None
    complete_at: float | None
    """None: its list is not complete."""
    parts: int
    size: int
    """Bytes of NOTIFY bodies."""
    calls: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a call at a takeover."""

    id: Annotated[str, Column("Call")]
    verdict: Annotated[str, Column("Verdict", "state")]
    """``kept``, ``replayed``, ``released``, ``waiting``, ``reset``, ``alone`` or ``unkept``."""
    state: Annotated[str, Column("State", "word")]
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class Report:
    """``report``: the takeover report; parameters ``epoch`` (default the last), ``limit`` of calls (default 200)."""

    epoch: int
    kind: str
    old: str
    new: str
    suspected_at: float | None
    decided_at: float
    granted_at: float | None
    active_at: float | None
    """When it could serve, with the lists of all reached agents."""
    because: str
    evidence: tuple[Evidence, ...]
    grants: tuple[str, ...]
    """The voters that granted."""
    agents: tuple[AgentReport, ...]
    not_reached: tuple[str, ...]
    messages: int
    """SIP messages between servers and agents for this takeover."""
    replayed: int
    verdicts: Mapping[str, int]
    """Number of calls by verdict."""
    calls: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """``rehearsal``: result of the last rehearsal of a takeover by this server; parameter ``limit`` of calls (default
    200)."""

    at: float
    node: str
    active: str
    """The leader as far as this server knew; ``""`` without one."""
    kept: int
    """Calls that would go on: kept, replayed and carried."""
    lost: int
    """Calls that would be released, or lose one side."""
    waiting: int
    """Calls whose other side is at an agent that did not answer; released if it stays away for ``agent_grace``."""
    verdicts: Mapping[str, int]
    """Number of calls by verdict: ``kept replayed released reset alone waiting``, and, of calls without any agent,
    ``carried unkept``."""
    decision: float
    """Most seconds from the last heartbeat of a failed server to the decision."""
    took: float
    """Seconds until all agents had sent their lists: the time from the decision until all calls are known."""
    agents: tuple[AgentReport, ...]
    obstacles: tuple[str, ...]
    """Why this server could not take over at all, or not all calls, a sentence each."""
    calls: tuple[Verdict, ...]
    """Calls that would not be kept."""
    without_agents: str = ""
    """A sentence about the calls without agents that the active server has; ``""`` without any, or from an older
    version."""

    @property
    def good(self) -> bool:
        """Whether a takeover is possible and would lose no call."""
        return not (self.lost or self.waiting or self.obstacles)


@dataclass(frozen=True, slots=True)
class Fault:
    """A difference between a server and an agent."""

    id: Annotated[str, Column("Call")]
    agent: Annotated[str, Column("Agent")]
    what: Annotated[str, Column("What", "word")]
    """``missing``: the agent has no such dialog; ``orphan``: the server has no such call; ``ended``: at the agent it
    has ended; ``unrecorded``: it has ended, and its call record is not found."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class Audit:
    """``audit``: result of the last comparison of the active server's calls with the dialogs of agents; parameter
    ``limit``."""

    at: float
    node: str
    calls: int
    """Calls of the server."""
    dialogs: int
    """Living dialogs of the agents."""
    ended: int
    """Ended dialogs that agents still report, whose call records are looked for."""
    took: float
    """Seconds until all agents had answered."""
    not_checked: tuple[str, ...]
    """Agents that did not send their lists."""
    faults: tuple[Fault, ...]
    matched: int
    """How many faults there are, shown or not."""
    unrecorded: tuple[str, ...]
    """Ids of ended calls whose records are not in this server's memory, to be looked for on disk."""
    without_agents: int = 0
    """Calls of the server without agents, which cannot be compared."""
