"""Differences between the wall clocks of other nodes and ours, by their responses to heartbeats.

A node reads its clock for a response after we have sent the heartbeat and before we read the response. So each
response bounds the difference from both sides, however late it is read. As in NTP (RFC 5905 section 10, clock
filter), of a node's last responses the one with the closest bounds counts.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

_COMPARED: Final = 8
"""Answers of a node of which the one with the closest bounds counts."""
_REMEMBERED: Final = 64
"""Heartbeats to a node whose answers may still come."""


class ClockDifference(NamedTuple):
    """By how many seconds the wall clock of a node is ahead of ours: something from ``least`` to ``most``."""

    least: float
    most: float

    def exceeds(self, limit: float) -> bool:
        """Whether the clocks surely differ by more than ``limit`` seconds."""
        return self.least > limit or self.most < -limit

    @property
    def middle(self) -> float:
        """The best guess."""
        return (self.least + self.most) / 2

    @property
    def width(self) -> float:
        """The seconds from sending the heartbeat to reading its answer."""
        return self.most - self.least


class ClockComparison:
    """What one server knows of the wall clocks of the other nodes."""

    def __init__(self) -> None:
        self.offset: float | None = None
        """What makes our wall clock of ``now``; None: not known."""
        self.differences: dict[str, ClockDifference] = {}
        """Node -> what its last answers show."""
        self._sent: dict[str, dict[int, float]] = {}
        """Node -> number of a heartbeat to it -> when it was sent, the oldest first."""
        self._last: dict[str, deque[ClockDifference]] = {}

    def sent(self, node: str, seq: int, now: float) -> None:
        """Note that the heartbeat of that number is sent to ``node``."""
        sent = self._sent.setdefault(node, {})
        sent[seq] = now
        if len(sent) > _REMEMBERED:
            del sent[next(iter(sent))]

    def answered(self, node: str, seq: int, clock: float | None, now: float) -> None:
        """The answer of ``node`` to that heartbeat is read: it states the node's wall clock."""
        sent_at = self._sent.get(node, {}).pop(seq, None)
        if sent_at is None or clock is None or self.offset is None:
            return
        last = self._last.setdefault(node, deque(maxlen=_COMPARED))
        last.append(ClockDifference(clock - now - self.offset, clock - sent_at - self.offset))
        self.differences[node] = min(last, key=lambda difference: difference.width)
