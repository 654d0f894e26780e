"""What a server learnt from what it was told: of the other servers, and of everybody."""

from __future__ import annotations

from dataclasses import dataclass, field

from heartbeat.header import Beat
from heartbeat.lease import NEVER
from heartbeat.reconfiguration import Word


@dataclass(slots=True)
class Peer:
    """What is known of another server."""

    state: str = ""
    heard_at: float = NEVER
    well_since: float = NEVER
    """Since when it has been heard without a gap."""
    reach: int = 0
    """Bitmap of the agents that it reaches."""
    beat: Beat | None = None
    """The last one."""


@dataclass(slots=True)
class ClusterView:
    """What was learnt from all messages, whoever sent them."""

    epoch: int = 0
    """The highest epoch that somebody is known to rule or to have ruled by proof."""
    leader: str = ""
    promised_epoch: int = 0
    """The highest epoch that anybody is known to have promised."""
    changed_at: float = float("-inf")
    """When another server took over by itself."""
    answered: dict[str, float] = field(default_factory=dict)
    """Agent -> when it last answered."""
    generations: dict[str, int] = field(default_factory=dict)
    """Node -> the list of voters that it lives by."""
    words: dict[str, Word] = field(default_factory=dict)
    """Voter with a vote -> its last answer, as far as a change of the list is concerned."""
    boots: dict[str, int] = field(default_factory=dict)
    """Node -> its last known start."""
    non_voting: set[str] = field(default_factory=set)
    """Voters that said they have no vote."""
    voting: set[str] = field(default_factory=set)
    """Voters that were seen with a vote."""
    configs: dict[str, str] = field(default_factory=dict)


def why_mute(voter: str, had_one: bool) -> str:
    """Why ``voter`` has no vote and what to do; ``had_one``: it was seen with a vote before."""
    if had_one:
        return f"{voter} has no vote any more: its epoch file is gone; when you know why, `b2bua readmit {voter}`"
    return f"{voter} has no vote yet: it started without an epoch file; the active server lets it vote"
