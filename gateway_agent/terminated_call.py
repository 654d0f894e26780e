"""What is kept of a call that ended and has no transaction under way any more, until a server knows of its end."""

from __future__ import annotations

from typing import NamedTuple

from sip.packages.line_dialog import DialogRecord


class Instants(NamedTuple):
    """The instants of the call on the agent's clock; ``None`` for what did not happen."""

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
        """The record as it was when the call ended; its ages are computed anew each time it is sent."""
        self.instants = instants
        self.ended_at = ended_at
        self.seen_under = seen_under
        """The epoch of the server that saw the end, or was told of it last; 0 when there was none."""
        self.seen_at = ended_at
        """When that was."""

    def told(self, epoch: int, now: float) -> None:
        """A server that takes over has answered the part of the list that has this call."""
        self.seen_under, self.seen_at = epoch, now
