"""What became of each call at the last takeover, for the report."""

from __future__ import annotations

from collections import Counter
from typing import Final

KEPT: Final = "kept"
REPLAYED: Final = "replayed"
RELEASED: Final = "released"

MOST_DETAILS: Final = 200_000
"""Calls of which the verdict is remembered."""


class Verdicts:
    """One for the life of a server."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.details: dict[str, tuple[str, str]] = {}
        """By call id: the verdict and its sentence."""

    def clear(self) -> None:
        """A takeover begins."""
        self.counts.clear()
        self.details.clear()

    def note(self, call_id: str, verdict: str, because: str) -> None:
        """What became of a call; a call that was kept by a replay is one replayed."""
        former = self.details.get(call_id)
        if former is not None:
            self.counts[former[0]] -= 1
            if former[0] == REPLAYED and verdict == KEPT:
                verdict = REPLAYED
        self.counts[verdict] += 1
        if len(self.details) < MOST_DETAILS or former is not None:
            self.details[call_id] = (verdict, because)
