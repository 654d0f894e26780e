"""Files of JSON lines in the state directory that a process reads again after a restart.

Lines are gathered in memory and written in a thread. A file has two generations: when it is full, it replaces the
one before. An incomplete line, as left by a crash, is skipped; lines that cannot be written are lost, since nothing
depends on them.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

from heartbeat.decision import Decided

MOST_BYTES: Final = 512 * 1024
"""Size of one generation: some 4,000 decisions."""
MOST_WAITING: Final = 10_000

logger = logging.getLogger(__name__)


json_line: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""A value as a line of JSON."""


class Written(Protocol):
    """A file that is written from time to time in a thread."""

    @property
    def waits(self) -> bool: ...

    def write(self) -> None: ...


class Journal:
    """One file. `add` never blocks; `read` and `write` may."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._former = path.with_name(f"{path.stem}-1{path.suffix}")
        self._most_bytes = most_bytes
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._is_well = True

    def add(self, value: Any) -> None:
        """Queue a value to be written as a line."""
        self.add_line(json_line(value))

    def add_line(self, line: str) -> None:
        """The same for a value that is encoded already."""
        self._waiting.append(line)

    @property
    def waits(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting)

    def read(self) -> list[Any]:
        """The values of both generations, oldest first."""
        found: list[Any] = []
        for path in (self._former, self.path):
            try:
                with path.open(encoding="utf-8", errors="replace") as lines:
                    texts = list(lines)
            except OSError:
                continue
            for text in texts:
                try:
                    found.append(json.loads(text))
                except ValueError:
                    continue
        return found

    def write(self) -> None:
        """Append the queued lines to the file."""
        lines: list[str] = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        if not lines:
            return
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(file).st_size
                data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
                os.write(file, data if size == 0 or _ends_a_line(self.path) else b"\n" + data)
            finally:
                os.close(file)
            if size + len(data) > self._most_bytes:
                os.replace(self.path, self._former)
            self._is_well = True
        except OSError as error:
            if self._is_well:
                logger.warning("%s cannot be written: %s; it is not told after a restart", self.path, error.strerror)
            self._is_well = False


class DecisionJournal(Journal):
    """The decisions of a process, stored with epoch seconds."""

    def note(self, decision: Decided, offset: float) -> None:
        """Queue a decision; ``offset``: seconds to add to the core's clock for the wall clock."""
        at = round(decision.at + offset, 3)
        self.add({"at": at, "code": decision.code, "because": decision.because})

    def take_up(self, history: deque[Decided], offset: float) -> None:
        """Put the stored decisions in front of ``history``, as far as it has room; ``offset``: seconds to add to the
        wall clock for the core's."""
        former: list[Decided] = []
        for each in self.read():
            try:
                former.append(Decided(float(each["at"]) + offset, str(each["code"]), str(each["because"])))
            except (TypeError, KeyError, ValueError):
                continue  # of another version
        room = (history.maxlen or 0) - len(history)
        history.extendleft(reversed(former[-room:] if room > 0 else []))


def _ends_a_line(path: Path) -> bool:
    """Whether the file ends with a complete line."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
