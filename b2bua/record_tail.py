"""Reads the call records that a sink does not have yet from the server's files of JSON lines.

The files are the spool, so records are written once only, and none is lost while the sink is unreachable. The
position of the sink is stored in a file of its own; a batch that was delivered before a crash, but not stored there,
is delivered again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from heartbeat.console.journal import json_line

MOST_BYTES: Final = 1 << 20
"""Bytes read for one batch, and of the longest line."""


class Batch(NamedTuple):
    """Lines of one file, in order."""

    texts: list[str]
    name: str
    """Name of the file."""
    until: int
    """Offset of the end of these lines."""


class RecordTail:
    """The position of one sink. Reads from disk, so it is used in a thread."""

    def __init__(self, directory: Path, node: str, position: Path) -> None:
        self.waiting = 0
        """Lines that are not delivered yet, as of the last `look`."""
        self.lost = 0
        """Lines whose files were removed before they were delivered."""
        self._directory = directory
        self._pattern = f"{node}-????-??-??.jsonl"
        self._path = position
        self._told = _positions(position)
        self._seen: dict[str, int] = dict(self._told)
        """File -> offset up to which its lines were counted."""
        self._left: dict[str, int] = {}
        """File -> how many of these lines are not delivered yet."""

    def look(self) -> None:
        """Count new lines and removed ones. Raises :class:`OSError`."""
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
        """The next ``most`` lines, of the oldest day first; None without any. Raises :class:`OSError`."""
        for name in sorted(name for name, left in self._left.items() if left):
            start = self._told.get(name, 0)
            with (self._directory / name).open("rb") as file:
                file.seek(start)
                lines = file.read(MOST_BYTES).splitlines(keepends=True)[:most]
            if lines and not lines[-1].endswith(b"\n"):
                torn = lines.pop()
                if not lines and len(torn) >= MOST_BYTES:  # not written by us; skipped, lest it blocks the rest
                    return Batch([], name, start + len(torn))
            if lines:
                texts = [line.decode(errors="replace") for line in lines]
                return Batch(texts, name, start + sum(map(len, lines)))
        return None

    def told(self, batch: Batch) -> None:
        """A batch was delivered: store the position. Raises :class:`OSError`."""
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
