"""When media that an earlier start of the agent has left behind is closed: its calls have come back by then, or never
will (docs/wire.md, "An agent's death")."""

from __future__ import annotations

from typing import Final

AFTER: Final = 30.0
"""Seconds after the return of calls is complete."""


class Audit:
    """Says once in a start that it is time to close what no call has adopted."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._done = False

    def is_due(self, returned: bool, now: float) -> bool:
        """Whether it is time. ``returned``: the return of calls is complete."""
        if not returned or self._done:
            return False
        if self._at is None:
            self._at = now + AFTER
        self._done = now >= self._at
        return self._done
