"""Takeovers as views: what became of the calls, what would in a rehearsal, and whether servers and agents agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from heartbeat.console.schema import Column, Metric

Kind = Literal["takeover", "switchover", "failback", "restart", "force"]


@dataclass(frozen=True, slots=True)
class TakeoverSummary:
    """One change of the active server, in short."""

    at: float
    """When it was decided."""
    kind: Kind
    old: str
    """The active server before, ``""`` when none is known."""
    new: str
    epoch: int
    because: str
    took: Annotated[float, Metric("takeover_seconds", "How long the last takeover took")]
    """Seconds from the decision until every reached agent's list was complete."""
    kept: Annotated[int, Metric("takeover_calls_kept", "Calls that the last takeover kept")]
    lost: Annotated[int, Metric("takeover_calls_lost", "Calls that the last takeover lost")]
    """Calls released by the takeover's verdicts."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What led to a takeover."""

    at: float
    by: str
    """Who saw it: this node, or an agent."""
    text: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """How the hand-over of one agent went."""

    agent: str
    asked_at: float | None
    complete_at: float | None
    """None: its list is not complete (yet)."""
    parts: int
    size: int
    """Bytes of NOTIFY bodies."""
    calls: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a call at a takeover."""

    id: Annotated[str, Column("Call")]
    verdict: Annotated[str, Column("Verdict", "state")]
    """``kept``, ``replayed``, ``released``, ``waiting`` or ``reset``."""
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
    """When it could serve: every reached agent complete."""
    because: str
    evidence: tuple[Evidence, ...]
    grants: tuple[str, ...]
    """Who granted."""
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
    """``rehearsal``: what a takeover by this server would have kept and lost when it was rehearsed last; parameter
    ``limit`` of calls (default 200)."""

    at: float
    node: str
    active: str
    """Who led, as far as this server knew; ``""`` nobody."""
    kept: int
    """Calls that go on: kept and replayed."""
    lost: int
    """Calls that would be dropped or parted."""
    waiting: int
    """Calls whose other side is at an agent that was not heard: dropped when it stays away for ``agent_grace``."""
    verdicts: Mapping[str, int]
    """Number of calls by verdict: ``kept replayed released reset alone waiting``."""
    decision: float
    """Seconds from the last heartbeat of a server that dies to the decision, at the most."""
    took: float
    """Seconds until all agents had told what they have: from the decision until all calls are known."""
    agents: tuple[AgentReport, ...]
    obstacles: tuple[str, ...]
    """Why this server could not take over, or not all; a sentence each."""
    calls: tuple[Verdict, ...]
    """Those that would not be kept."""

    @property
    def good(self) -> bool:
        """Nothing stands against a takeover, and it would lose nothing."""
        return not (self.lost or self.waiting or self.obstacles)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in which a server and an agent do not agree."""

    id: Annotated[str, Column("Call")]
    agent: Annotated[str, Column("Agent")]
    what: Annotated[str, Column("What", "word")]
    """``missing``: the agent has no such dialog; ``orphan``: the server has no such call; ``ended``: the agent says
    that it has ended; ``unrecorded``: it has ended, and its record is not found."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class Audit:
    """``audit``: the active server's calls against what agents have, when it was asked last; parameter ``limit``."""

    at: float
    node: str
    calls: int
    """Calls of the server."""
    dialogs: int
    """Living dialogs that agents told."""
    ended: int
    """Ended ones that they told, whose call records are looked for."""
    took: float
    not_checked: tuple[str, ...]
    """Agents that did not tell what they have."""
    faults: tuple[Fault, ...]
    matched: int
    """How many faults there are, listed or not."""
    unrecorded: tuple[str, ...]
    """Ids of ended calls whose records this server does not remember: to be looked for on disk."""
