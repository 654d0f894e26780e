"""The verdict on each call at the last takeover (kept, replayed, released), for the takeover report."""

from __future__ import annotations

from collections import Counter
from typing import Final

KEPT: Final = "kept"
REPLAYED: Final = "replayed"
RELEASED: Final = "released"
RESET: Final = "reset"
"""On a line that is cold."""
CARRIED: Final = "carried"
"""No agent takes part: its devices carry its state, and bring it back with the next request of one of them."""
UNKEPT: Final = "unkept"
"""No agent takes part, and its devices do not carry it either."""

MOST_DETAILS: Final = 200_000
"""Calls whose verdicts are remembered; beyond, verdicts are only counted."""


class Verdicts:
    """Verdicts of the last takeover. A server has one instance for its whole life."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.details: dict[str, tuple[str, str]] = {}
        """By call id: the verdict, and the sentence that gives its reason."""

    def clear(self) -> None:
        """Forget all verdicts, as a takeover begins."""
        self.counts.clear()
        self.details.clear()

    def note(self, call_id: str, verdict: str, because: str) -> None:
        """Set the verdict of a call. A call that was replayed and is then kept stays ``replayed``."""
        former = self.details.get(call_id)
        if former is not None:
            self.counts[former[0]] -= 1
            if former[0] == REPLAYED and verdict == KEPT:
                verdict = REPLAYED
        self.counts[verdict] += 1
        if len(self.details) < MOST_DETAILS or former is not None:
            self.details[call_id] = (verdict, because)
