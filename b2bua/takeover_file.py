"""The file of a server's takeover reports, for its next start; it is replaced as a whole.

A report changes for some seconds, while verdicts on calls come; so it is written at most every `APART` seconds.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from b2bua.takeover.report import Takeovers
from heartbeat.console.answers import on_wall
from heartbeat.console.schema import as_json, of_json
from heartbeat.console.views.takeovers import Report

APART: Final = 5.0
"""Seconds between two writings."""

logger = logging.getLogger(__name__)


class TakeoverFile:
    """`follow` is called in the event loop, `take_up` and `write` in threads, since they block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: Any = None
        """The state of the reports on disk, to detect changes."""
        self._looked_at = float("-inf")
        self._next: tuple[list[Report], float] | None = None
        self._is_well = True

    @property
    def waits(self) -> bool:
        """Whether something is to be written."""
        return self._next is not None

    def take_up(self, takeovers: Takeovers, offset: float) -> None:
        """Give ``takeovers`` the reports of former starts; ``offset``: the core's clock minus epoch time."""
        takeovers.remember(self._read(offset))
        self._state = takeovers.state

    def _read(self, offset: float) -> list[Report]:
        """The reports in the file; none where it is malformed, since nothing depends on it."""
        try:
            texts = json.loads(self.path.read_text(encoding="utf-8"))
            return [of_json(Report, on_wall(each, offset)) for each in texts]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return []

    def follow(self, takeovers: Takeovers, offset: float, now: float) -> None:
        """Check whether the reports have changed; ``offset``: epoch time minus ``now``."""
        if now - self._looked_at < APART or takeovers.state == self._state:
            return
        self._looked_at, self._state = now, takeovers.state
        self._next = takeovers.reports(), offset

    def write(self) -> None:
        """Write the changed reports."""
        found, self._next = self._next, None
        if found is None:
            return
        reports, offset = found
        text = json.dumps([on_wall(as_json(each), offset) for each in reports], ensure_ascii=False)
        new = self.path.with_suffix(".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(new, self.path)
            self._is_well = True
        except OSError as error:
            if self._is_well:
                logger.warning("%s cannot be written: %s", self.path, error.strerror)
            self._is_well = False
