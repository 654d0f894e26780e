"""Who is alive: alive -> suspect -> dead, or -> left. Pure arithmetic, told the time.

The stand-by hears the active server directly, by its beats, and indirectly, by what agents say that they heard.
Doubt (``suspect``) makes it ask around; ``dead`` makes it ask for votes, and only votes make it act.
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
"""Only a judgement, no state: it stays suspect, but others hear it."""

_LEAST_LATE: Final = 0.5
"""Seconds by which a timer of ours may be late without being suspect, however short the interval is."""
_OLD_INTERVAL: Final = 0.5
"""Seconds between two heartbeats of a server of a version that does not say it."""
_MOST_WITNESSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the detector thinks from now on, and why, as one sentence."""

    state: str
    because: str

    def __str__(self) -> str:
        return self.because


class ClockSuspectMode:
    """Did our own timer come late? Then silence is ours, not theirs, and for one lease at most we only watch.

    A process that is always a little late would watch for ever; so after one lease of watching, lateness counts for
    nothing until the timer has been punctual for a whole lease.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._watch_until = 0.0
        self._late_at = float("-inf")

    def reload(self, timing: Timing) -> None:
        """Live by the times of a changed site file."""
        self._timing = timing

    def tick(self, due_at: float, now: float) -> bool:
        """A timer that was due at ``due_at`` came ``now``. True when the silence so far must not count."""
        if now - due_at <= max(self._timing.interval, _LEAST_LATE):
            return False
        fresh = now - self._late_at > self._timing.lease + (now - due_at)
        self._late_at = now
        if fresh:
            self._watch_until = now + self._timing.lease
        return fresh

    def watching(self, now: float) -> bool:
        """Whether to look on only."""
        return now < self._watch_until


def _agents(number: int) -> str:
    return f"{number or 'no'} {'agents' if number > 1 else 'agent'}"


class Detector:
    """Watches one server, the one that is taken for active."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._told: float | None = None
        """What the subject says of its interval; None: nothing yet, or its version does not."""
        self.subject = ""
        """Whom we watch; empty: nobody was heard since our start."""
        self.state = UNKNOWN
        self.heard_at = now
        """When we heard it be active, or when the silence began to count."""
        self.heard_of = False
        """Since we watch it somebody heard it be active, if not we. What nodes remember from before their own start
        is no such word: after a restart of all it names a server that may not even be back."""
        self._suspect_at = now
        self._said = ""
        self._corroborated = False
        """It was said that others hear it and only we do not."""
        self._witnesses: dict[str, float] = {}

    def reload(self, timing: Timing) -> None:
        """Live by the times of a changed site file."""
        self._timing = timing

    @property
    def _interval(self) -> float:
        """Between two heartbeats of the subject: the longer of what it says and what we go by."""
        return max(self._timing.interval, _OLD_INTERVAL if self._told is None else self._told)

    @property
    def _dead_after(self) -> float:
        return self._timing.misses * self._interval

    def expect(self, interval: float | None) -> None:
        """A heartbeat of the subject says how long to wait for the next one; None: its version does not say."""
        self._told = interval

    def watch(self, subject: str, now: float) -> None:
        """Watch another server from now on."""
        if subject != self.subject:
            self.subject, self.state, self.heard_at = subject, UNKNOWN, now
            self._said, self.heard_of, self._corroborated, self._told = "", False, False, None
            self._witnesses.clear()

    def hear(self, state: str, now: float) -> Judgement | None:
        """A beat of the subject arrived. Only ``active`` is alive and serving."""
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
        """Seconds since we heard ``subject`` be active; None: never, or we do not watch it."""
        return now - self.heard_at if subject == self.subject and self.state != UNKNOWN else None

    def release(self) -> Judgement | None:
        """The subject let go of its epoch."""
        return self._change(LEFT, f"{self.subject} has left: it released its epoch")

    def reveal(self, how: str) -> Judgement | None:
        """The supervisor of the subject saw it end."""
        return self._change(DEAD, f"{self.subject} is dead: its supervisor saw it end {how}")

    def witness(self, agent: str, ago: float, now: float) -> None:
        """An agent says that it heard the subject be active ``ago`` seconds ago."""
        self.heard_of = True
        if len(self._witnesses) < _MOST_WITNESSES:
            self._witnesses[agent] = max(self._witnesses.get(agent, now - ago), now - ago)

    def heard_by_others(self, now: float) -> int:
        """How many agents hear the subject be active, by what they said last."""
        return sum(now - at < self._dead_after for at in self._witnesses.values())

    def grace(self, now: float) -> None:
        """We could not listen until now: silence counts from here."""
        if self.state not in (DEAD, LEFT):
            self.heard_at = max(self.heard_at, now)

    def next_at(self, now: float) -> float | None:
        """When the next judgement may be due."""
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
        """Seconds without an active beat after which the next worse judgement is due."""
        return self._dead_after if suspected else 1.5 * self._interval

    def judge(self, now: float) -> Judgement | None:
        """A new judgement, when there is one."""
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
        """What a dead subject is called: one that still speaks is not dead, but rules no more."""
        return f"{self.subject} is dead" if not self._but() else f"{self.subject} rules no more"

    def _corroborate(self, now: float) -> Judgement | None:
        """Others hear it be active, and have for so long after us that only our own way to it can be at fault."""
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
