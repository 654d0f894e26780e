"""A call that ended and has nothing under way any more: what a server has to know of it yet."""

from __future__ import annotations

from typing import NamedTuple

from sip.packages.line_dialog import DialogRecord


class Instants(NamedTuple):
    """When these came about, by the agent's clock; ``None`` where they did not."""

    invite: float
    ringing: float | None
    answer: float | None


class TerminatedCall:
    """Kept until a server knows of it (docs/line-dialog.md)."""

    __slots__ = ("ended_at", "instants", "line", "record", "seen_at", "seen_under")

    def __init__(self, line: str, record: DialogRecord, instants: Instants, ended_at: float, seen_under: int) -> None:
        self.line = line
        """The line's name."""
        self.record = record
        """As it was when it ended: its ages are told anew each time."""
        self.instants = instants
        self.ended_at = ended_at
        self.seen_under = seen_under
        """The epoch of the server that saw the end, or was told of it last; 0 when there was none."""
        self.seen_at = ended_at
        """When that was."""

    def told(self, epoch: int, now: float) -> None:
        """A server that takes over answered the part of a list with it."""
        self.seen_under, self.seen_at = epoch, now
