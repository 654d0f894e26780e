"""What a process wants to know again after its restart: JSON, a line each, in a file of its state directory.

Lines are gathered in memory and written by whoever may block. The file has two generations: when one is full, it
takes the place of the one before, so the two together stay below twice the room. A line that is torn, as by a death,
is passed over; one that cannot be written for want of room is lost, since nothing depends on it.
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
"""Of one generation: some 4,000 decisions."""
MOST_WAITING: Final = 10_000

logger = logging.getLogger(__name__)


json_line: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""A value as a line of JSON."""


class Written(Protocol):
    """A file that is written now and then, by whoever may block."""

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
        """One more line, soon."""
        self.add_line(json_line(value))

    def add_line(self, line: str) -> None:
        """The same of a value that is encoded already."""
        self._waiting.append(line)

    @property
    def waits(self) -> bool:
        """Whether there is something to write."""
        return bool(self._waiting)

    def read(self) -> list[Any]:
        """What is there, the oldest first."""
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
        """Write what waits."""
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
    """The decisions of a process; ``offset`` makes the wall clock of the core's, or the other way round."""

    def note(self, decision: Decided, offset: float) -> None:
        """One more, soon."""
        at = round(decision.at + offset, 3)
        self.add({"at": at, "code": decision.code, "because": decision.because})

    def take_up(self, history: deque[Decided], offset: float) -> None:
        """Put what former starts decided before what is there, as far as there is room."""
        former: list[Decided] = []
        for each in self.read():
            try:
                former.append(Decided(float(each["at"]) + offset, str(each["code"]), str(each["because"])))
            except (TypeError, KeyError, ValueError):
                continue  # of another version
        room = (history.maxlen or 0) - len(history)
        history.extendleft(reversed(former[-room:] if room > 0 else []))


def _ends_a_line(path: Path) -> bool:
    """Whether what was written last was written whole."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
