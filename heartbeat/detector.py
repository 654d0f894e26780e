"""The failure detector: a server is alive, then suspect, then dead; or it has left. Pure arithmetic, told the time.

The stand-by hears the active server directly, by its heartbeats, and indirectly, by what agents report that they
heard. ``suspect`` makes it look at the agents' reports; ``dead`` makes it start an election, and only votes make it
act.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heartbeat.timing import Timing

UNKNOWN: Final = "unknown"
ALIVE: Final = "alive"
SUSPECT: Final = "suspect"
DEAD: Final = "dead"
LEFT: Final = "left"
CUT: Final = "cut"
"""A judgement, but no state of the detector: the server stays suspect, while agents hear it."""

_LEAST_LATE: Final = 0.5
"""Seconds by which our own timer may always be late without making our clock suspect."""
_OLD_INTERVAL: Final = 0.5
"""Seconds between two heartbeats of a server whose version does not state its interval."""
_MOST_WITNESSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """A change in the detector's opinion: the new state, and the reason as one sentence."""

    state: str
    because: str

    def __str__(self) -> str:
        return self.because


class ClockSuspectMode:
    """Notices when our own timer fires late. Then silence may be our own fault, so for one lease this node only
    watches and starts no election.

    A process that is always a little late would only watch for ever. So after one lease of watching, lateness is
    ignored until the timer has been punctual for a whole lease.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._watch_until = 0.0
        self._late_at = float("-inf")

    def reload(self, timing: Timing) -> None:
        """Use the times of a changed site file."""
        self._timing = timing

    def tick(self, due_at: float, now: float) -> bool:
        """A timer that was due at ``due_at`` fires ``now``. Returns whether the silence so far must not count."""
        if now - due_at <= max(self._timing.interval, _LEAST_LATE):
            return False
        fresh = now - self._late_at > self._timing.lease + (now - due_at)
        self._late_at = now
        if fresh:
            self._watch_until = now + self._timing.lease
        return fresh

    def watching(self, now: float) -> bool:
        """Whether this node must only watch."""
        return now < self._watch_until


def _agents(number: int) -> str:
    return f"{number or 'no'} {'agents' if number > 1 else 'agent'}"


class Detector:
    """Watches one server, the one that is believed to be active."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._told: float | None = None
        """The heartbeat interval that the subject states, in seconds; None: not yet, or its version does not."""
        self.subject = ""
        """The server that is watched; empty: none was heard since our start."""
        self.state = UNKNOWN
        self.heard_at = now
        """When its last active heartbeat came, or when the silence began to count."""
        self.heard_of = False
        """Whether we or an agent have heard an active heartbeat of it since we watch it. What nodes remember from
        before their own start does not count: after a restart of all nodes it may name a server that is not back."""
        self._suspect_at = now
        self._said = ""
        self._corroborated = False
        """Whether it was reported already that agents hear it while we do not (``CUT``)."""
        self._witnesses: dict[str, float] = {}

    def reload(self, timing: Timing) -> None:
        """Use the times of a changed site file."""
        self._timing = timing

    @property
    def _interval(self) -> float:
        """Seconds between two heartbeats of the subject: the longer of what it states and what our site file has."""
        return max(self._timing.interval, _OLD_INTERVAL if self._told is None else self._told)

    @property
    def _dead_after(self) -> float:
        return self._timing.misses * self._interval

    def expect(self, interval: float | None) -> None:
        """Note the interval in seconds that a heartbeat of the subject states; None: its version does not."""
        self._told = interval

    def watch(self, subject: str, now: float) -> None:
        """Watch server ``subject`` from now on."""
        if subject != self.subject:
            self.subject, self.state, self.heard_at = subject, UNKNOWN, now
            self._said, self.heard_of, self._corroborated, self._told = "", False, False, None
            self._witnesses.clear()

    def hear(self, state: str, now: float) -> Judgement | None:
        """A heartbeat of the subject arrived, naming that state. Only ``active`` counts as alive."""
        self._said = state
        if state == "left":
            return self._change(LEFT, f"{self.subject} has left: it said goodbye")
        if state != "active":
            return None
        silence, self.heard_at, self.heard_of = now - self.heard_at, now, True
        self._corroborated = False
        self._witnesses.clear()
        if self.state == ALIVE:
            return None
        if self.state == UNKNOWN:
            return self._change(ALIVE, f"{self.subject} is alive: its first heartbeat came")
        return self._change(ALIVE, f"{self.subject} is alive: a heartbeat came after {silence:.1f} s")

    def heard_ago(self, subject: str, now: float) -> float | None:
        """Seconds since the last active heartbeat of ``subject``; None: there was none, or we do not watch it."""
        return now - self.heard_at if subject == self.subject and self.state != UNKNOWN else None

    def release(self) -> Judgement | None:
        """The subject has released its epoch."""
        return self._change(LEFT, f"{self.subject} has left: it released its epoch")

    def reveal(self, how: str) -> Judgement | None:
        """The supervisor of the subject saw it end; ``how`` completes that sentence."""
        return self._change(DEAD, f"{self.subject} is dead: its supervisor saw it end {how}")

    def witness(self, agent: str, ago: float, now: float) -> None:
        """An agent reports that it heard an active heartbeat of the subject ``ago`` seconds ago."""
        self.heard_of = True
        if len(self._witnesses) < _MOST_WITNESSES:
            self._witnesses[agent] = max(self._witnesses.get(agent, now - ago), now - ago)

    def heard_by_others(self, now: float) -> int:
        """The number of agents that hear the subject as active, by their last reports."""
        return sum(now - at < self._dead_after for at in self._witnesses.values())

    def grace(self, now: float) -> None:
        """We could not receive anything until now: count silence from here."""
        if self.state not in (DEAD, LEFT):
            self.heard_at = max(self.heard_at, now)

    def next_at(self, now: float) -> float | None:
        """When the next judgement may be due; None: not before something is heard."""
        if self.state in (DEAD, LEFT) or not self.heard_of:
            return None
        at = self.heard_at + self._silence_limit(self.state == SUSPECT)
        if at > now:
            return at
        witnessed = self._latest_witness()
        return (
            now + self._interval
            if witnessed is None
            else max(witnessed[1] + self._dead_after, now + self._interval / 10)
        )

    def _silence_limit(self, suspected: bool) -> float:
        """Seconds without an active heartbeat after which the next worse judgement is due."""
        return self._dead_after if suspected else 1.5 * self._interval

    def judge(self, now: float) -> Judgement | None:
        """The new judgement at ``now``, None when nothing has changed."""
        silence = now - self.heard_at
        if not self.heard_of or self.state in (DEAD, LEFT):
            return None
        if self.state != SUSPECT:
            if silence < self._silence_limit(suspected=False):
                return None
            self._suspect_at = now
            return self._change(SUSPECT, f"{self.subject} is suspect: no heartbeat for {silence:.1f} s{self._but()}")
        if silence < self._dead_after:
            return None
        witnessed = self._latest_witness()
        if witnessed is not None and now - witnessed[1] < self._dead_after:
            return self._corroborate(now)
        if self._but():
            return self._change(
                DEAD,
                f"{self.verdict}: it says that it is {self._said}, and sent no active heartbeat for {silence:.1f} s",
            )
        doubted = now - self._suspect_at
        return self._change(
            DEAD,
            f"{self.verdict}: no heartbeat for {silence:.1f} s, suspected for {doubted:.1f} s,"
            f" {_agents(len(self._witnesses))} heard it before",
        )

    @property
    def verdict(self) -> str:
        """The words for a subject that is judged dead. One that still sends heartbeats is not dead, but leads no
        more."""
        return f"{self.subject} is dead" if not self._but() else f"{self.subject} rules no more"

    def _corroborate(self, now: float) -> Judgement | None:
        """Agents hear the subject as active. Report once, when they have heard it so long after us that only the
        network between the servers can be at fault."""
        dead_after = self._dead_after
        newest = max(self._witnesses.values())
        if self._corroborated or newest <= self.heard_at + dead_after:
            return None
        self._corroborated = True
        hearing = self.heard_by_others(now)
        return Judgement(
            CUT,
            f"{self.subject} is suspect: no heartbeat comes here, but {_agents(hearing)}"
            f" {'hears' if hearing == 1 else 'hear'} it: the way between the servers is cut",
        )

    def _latest_witness(self) -> tuple[str, float] | None:
        return max(self._witnesses.items(), key=lambda item: item[1], default=None)

    def _but(self) -> str:
        return "" if self._said in ("", "active") else f" (it says that it is {self._said})"

    def _change(self, state: str, because: str) -> Judgement | None:
        if state == self.state:
            return None
        self.state = state
        return Judgement(state, because)
