"""Log lines that strangers can cause: some at once, then one a second, so that nobody can fill a disk."""

from __future__ import annotations

import logging
from typing import Final

AT_ONCE: Final = 20
EVERY: Final = 1.0
"""Seconds between two lines after the first ones."""


class RateLimitedLogger:
    """One token bucket for all lines that strangers cause at one core."""

    __slots__ = ("_filled_at", "_left", "unsaid")

    def __init__(self) -> None:
        self._left = float(AT_ONCE)
        self._filled_at = 0.0
        self.unsaid = 0
        """Lines suppressed since the last one that was written."""

    def info(self, logger: logging.Logger, now: float, text: str, *args: object, line: str = "") -> None:
        """``line``: the line of the site concerned, if any."""
        self._say(logger, logging.INFO, now, text, args, line)

    def warning(self, logger: logging.Logger, now: float, text: str, *args: object, line: str = "") -> None:
        """``line``: the line of the site concerned, if any."""
        self._say(logger, logging.WARNING, now, text, args, line)

    def _say(
        self, logger: logging.Logger, level: int, now: float, text: str, args: tuple[object, ...], line: str
    ) -> None:
        self._left = min(float(AT_ONCE), self._left + max(0.0, now - self._filled_at) / EVERY)
        self._filled_at = now
        if self._left < 1.0:
            self.unsaid += 1
            return
        self._left -= 1.0
        unsaid, self.unsaid = self.unsaid, 0
        more = f" ({unsaid} more lines like it were left out)" if unsaid else ""
        logger.log(level, f"{text}%s", *args, more, extra={"line": line} if line else None)
