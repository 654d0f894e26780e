"""What is still to be told of a server's call records: its own files of JSON lines, from where they were told last.

The files are the truth, and they are the spool as well: nothing is written twice, and nothing is lost while whoever
is told is away. How far that is stands in a file of its own. A batch that was told and not noted comes once more.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from heartbeat.console.journal import json_line

MOST_BYTES: Final = 1 << 20
"""Read for one batch, and the longest line that is told."""


class Batch(NamedTuple):
    """Lines of one file, in order."""

    texts: list[str]
    name: str
    """Of the file."""
    until: int
    """Where it goes on behind them."""


class RecordTail:
    """For one who is told. It reads the disk, so it is for a thread."""

    def __init__(self, directory: Path, node: str, position: Path) -> None:
        self.waiting = 0
        """Lines that are still to be told, as of the last `look`."""
        self.lost = 0
        """Lines that were removed with their files before they were told."""
        self._directory = directory
        self._pattern = f"{node}-????-??-??.jsonl"
        self._path = position
        self._told = _positions(position)
        self._seen: dict[str, int] = dict(self._told)
        """How far the lines of each file are counted."""
        self._left: dict[str, int] = {}
        """How many of them are still to be told."""

    def look(self) -> None:
        """Count what has come, and what has gone. Raises :class:`OSError`."""
        there: set[str] = set()
        for path in self._directory.glob(self._pattern):
            there.add(path.name)
            self._count(path)
        for name in self._seen.keys() - there:
            self.lost += self._left.pop(name, 0)
            del self._seen[name]
            self._told.pop(name, None)
        self.waiting = sum(self._left.values())

    def batch(self, most: int) -> Batch | None:
        """The next lines, of the oldest day first; None where there are none. Raises :class:`OSError`."""
        for name in sorted(name for name, left in self._left.items() if left):
            start = self._told.get(name, 0)
            with (self._directory / name).open("rb") as file:
                file.seek(start)
                lines = file.read(MOST_BYTES).splitlines(keepends=True)[:most]
            if lines and not lines[-1].endswith(b"\n"):
                torn = lines.pop()
                if not lines and len(torn) >= MOST_BYTES:  # no line of ours; it must not stand in the way for ever
                    return Batch([], name, start + len(torn))
            if lines:
                texts = [line.decode(errors="replace") for line in lines]
                return Batch(texts, name, start + sum(map(len, lines)))
        return None

    def told(self, batch: Batch) -> None:
        """It is with whoever is told: note that. Raises :class:`OSError`."""
        self._told[batch.name] = batch.until
        left = self._left.get(batch.name, 0) - len(batch.texts)
        self._left[batch.name] = max(0, left)
        self.waiting = sum(self._left.values())
        half = self._path.with_suffix(".part")
        half.write_text(json_line(self._told))
        os.replace(half, self._path)

    def _count(self, path: Path) -> None:
        name, seen = path.name, self._seen.get(path.name, 0)
        size = path.stat().st_size
        if size < seen:  # another file of that name
            seen = 0
            self._told[name] = self._left[name] = 0
        if size == seen:
            self._seen.setdefault(name, 0)
            return
        with path.open("rb") as file:
            file.seek(seen)
            while seen < size and (piece := file.read(min(MOST_BYTES, size - seen))):
                self._left[name] = self._left.get(name, 0) + piece.count(b"\n")
                seen += len(piece)
        self._seen[name] = seen


def _positions(path: Path) -> dict[str, int]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: at for name, at in pairs if isinstance(at, int) and at >= 0}
