"""The actions and decisions of the cores of this package."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from heartbeat.header import Beat, Start
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof


@dataclass(frozen=True, slots=True)
class Tell:
    """Send ``beat`` to the node ``to``: an OPTIONS request, or the response to one."""

    to: str
    beat: Beat
    answer_to: tuple[Start, int] | None = None
    """The sender and ``seq`` of the request answered; None: it is a request. With ``beat.no`` the response is a
    403."""


@dataclass(frozen=True, slots=True)
class Persist:
    """Write ``state`` durably, then call ``persisted``. A later state replaces one that is not written yet."""

    state: PersistentState


Action = Tell | Persist


class What(Enum):
    """Kinds of decisions."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"
    CUT = "cut"
    """Agents hear the suspected server: only our own path to it is interrupted."""
    WATCHING = "watching"
    """Our own timer came late; we only observe for one lease at most."""
    ASKING = "asking"
    """A pre-vote began."""
    TAKING_OVER = "taking over"
    """The pre-vote is won; grants are requested."""
    BECAME_ACTIVE = "became active"
    """The epoch is won, proved and stored: subscribe at every agent, with ``proof``."""
    HOLDING = "holding"
    """The lease has run out: go on serving agents that still obey, and end nothing."""
    LEASE_BACK = "lease back"
    STEPPED_DOWN = "stood down"
    """Another server leads, or this one released its lease: it is stand-by from now on."""
    HANDING_OVER = "handing over"
    """A planned switchover began."""
    READY = "ready"
    """The pre-vote of a planned switchover is won; the release of the lease is awaited."""
    CALLED_OFF = "called off"
    """A switchover or an election failed; everything is as before."""
    REFUSED = "refused"
    """An operator's order was refused, or a message broke a rule that an operator should know of."""
    PAUSED = "paused"
    RESUMED = "resumed"
    VOTERS = "voters"
    """Another list of voters is in force."""
    VOTED_TWICE = "voted twice"
    """A voter supported two leaders at the same time."""
    NO_VOTE = "no vote"
    """Another voter, or this node, has lost its epoch file."""
    DRIFT = "drift"
    """Another node runs from a different site file."""
    DISK = "disk"
    """The state directory cannot be written."""
    ADOPTED = "adopted"
    """Agent: obeys this server under this epoch from now on."""
    GRANTED = "granted"
    """Voter: promised this epoch to this server."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision and its reason. ``str()`` is the sentence for log, history and commands."""

    what: What
    because: str
    at: float
    epoch: int = 0
    node: str = ""
    """The node that it is about."""
    proof: Proof | None = None
    """With ``BECAME_ACTIVE`` and ``ADOPTED``."""
    again: bool = False
    """With ``BECAME_ACTIVE``: no other server can have led since this one did, so its calls are unchanged."""

    def __str__(self) -> str:
        return self.because


@dataclass(frozen=True, slots=True)
class Decided:
    """An entry of a program's history; ``str()`` is the sentence."""

    at: float
    code: str
    because: str

    def __str__(self) -> str:
        return self.because
