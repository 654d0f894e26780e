"""What the cores of this package ask for and what they decide: values, each decision with its sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from heartbeat.header import Beat, Start
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof


@dataclass(frozen=True, slots=True)
class Tell:
    """Send ``beat`` to the node ``to``: an OPTIONS request, or the answer to one."""

    to: str
    beat: Beat
    answer_to: tuple[Start, int] | None = None
    """Who asked, and seq of the request answered; None for a request. With ``beat.no`` the answer is a 403."""


@dataclass(frozen=True, slots=True)
class Persist:
    """Write ``state`` durably, then call ``persisted``. A later value replaces one that still waits."""

    state: PersistentState


Action = Tell | Persist


class What(Enum):
    """Kinds of decisions."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"
    CUT = "cut"
    """The server that is suspect is well, agents say: only our own way to it is cut."""
    WATCHING = "watching"
    """Our own timer came late; we look on for one lease at most."""
    ASKING = "asking"
    """A pre-vote began."""
    TAKING_OVER = "taking over"
    """The pre-vote is won; the grants are asked for."""
    BECAME_ACTIVE = "became active"
    """The epoch is won, proved and on disk: subscribe at every agent, with ``proof``."""
    HOLDING = "holding"
    """The lease is gone: serve those who obey, end nothing."""
    LEASE_BACK = "lease back"
    STEPPED_DOWN = "stood down"
    """Another server leads, or we released our lease: this server is stand-by from now on."""
    HANDING_OVER = "handing over"
    """A planned switchover began."""
    READY = "ready"
    """The pre-vote of a planned switchover is won here; the release is awaited."""
    CALLED_OFF = "called off"
    """A switchover or an election came to nothing; everything is as before."""
    REFUSED = "refused"
    """An operator's wish cannot be met, or a message broke a rule that matters to people."""
    PAUSED = "paused"
    RESUMED = "resumed"
    VOTERS = "voters"
    """The site lives by another list of voters."""
    NO_VOTE = "no vote"
    """A voter without its epoch file was seen, or is this very node."""
    DRIFT = "drift"
    """A node runs from another site file."""
    DISK = "disk"
    """The state directory does not take what must be written."""
    ADOPTED = "adopted"
    """Agent: it obeys this server under this epoch from now on."""
    GRANTED = "granted"
    """Voter: it promised this epoch to this server."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why. ``str()`` is the sentence, the same in log, history, command and test."""

    what: What
    because: str
    at: float
    epoch: int = 0
    node: str = ""
    """Whom it is about."""
    proof: Proof | None = None
    """With ``BECAME_ACTIVE`` and ``ADOPTED``."""
    again: bool = False
    """With ``BECAME_ACTIVE``: no other server can have led since this one did, so its calls are as it left them."""

    def __str__(self) -> str:
        return self.because


@dataclass(frozen=True, slots=True)
class Decided:
    """What a program decided or found out, as its history keeps it; ``str()`` is the sentence."""

    at: float
    code: str
    because: str

    def __str__(self) -> str:
        return self.because
