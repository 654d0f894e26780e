"""Writes call records to files of JSON lines and to SQLite, in a thread.

The loop only appends to a bounded queue. The thread also logs each record and stores the call's explanation, many at
a time, which makes better use of CPU caches than one by one. A full disk or a locked database delays records, never a
call: they stay in memory, within a limit, and are tried again. ``kill -9`` loses at most the last batch.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from b2bua.cdr import Cdr, merge
from heartbeat.console.journal import json_line

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Number of records that wakes the writer before its interval has passed."""
INTERVAL: Final = 0.25
"""Seconds between two batches."""
ROWS_PAUSE: Final = 2.0
"""Seconds between two batches for SQLite: each touches pages all over an index, so few large ones cost a tenth."""
LIMIT: Final = 100_000
"""Records kept in memory for files and for the database each while they cannot be written; beyond, the oldest are
lost."""
_MOST_SAMPLES: Final = 4096
_SLICE: Final = 5
"""Records encoded at a time, before the loop's thread may get the interpreter's lock."""
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cdr (
    id TEXT PRIMARY KEY, started REAL, ended REAL, caller TEXT, callee TEXT, result TEXT, duration REAL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS cdr_started ON cdr (started);
CREATE TRIGGER IF NOT EXISTS cdr_merged AFTER UPDATE OF record ON cdr BEGIN
    UPDATE cdr SET started = record ->> 'started', ended = record ->> 'ended', caller = record ->> 'caller',
        callee = record ->> 'callee', result = record ->> 'result', duration = record ->> 'duration'
    WHERE id = new.id;
END;
"""
# Records are merged by the same Python function as those read from files.
_INSERT: Final = """
INSERT INTO cdr (id, started, ended, caller, callee, result, duration, record) VALUES {rows}
ON CONFLICT (id) DO UPDATE SET record = cdr_merge(cdr.record, excluded.record)
"""
_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_PRUNED: Final = 1000
_PRUNE: Final = f"""
DELETE FROM cdr WHERE rowid IN (
    SELECT rowid FROM cdr WHERE (started IS NULL OR started < ?) AND ended < ? LIMIT {_PRUNED})
"""
_PRUNE_EVERY: Final = 3600.0
"""Seconds between two removals of old records."""
_ROWS: Final = 50
"""Rows in one statement; each statement releases the interpreter's lock."""


class Entry(NamedTuple):
    """A record and its line of JSON, encoded once for all targets."""

    record: Cdr
    text: str
    because: str = ""
    """The last routing decision, which the record does not contain."""


class RecordSink(Protocol):
    """A target that records are written to."""

    name: str

    def write(self, entries: list[Entry]) -> None:
        """Write all of them or none. Raises :class:`OSError` or :class:`sqlite3.Error`."""

    def close(self) -> None: ...


def encode(record: Cdr) -> str:
    """A record as its line of JSON."""
    return json_line(record.to_json())


class LineFile:
    """``NODE-2026-01-31.jsonl`` in a directory: one file for each day (UTC) on which calls ended."""

    def __init__(self, directory: Path, node: str) -> None:
        self.name = str(directory / f"{node}-*.jsonl")
        self._directory = directory
        self._node = node

    def write(self, entries: list[Entry]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        days: dict[date, list[bytes]] = {}
        for record, text, _ in entries:
            day = datetime.fromtimestamp(record.ended or 0.0, UTC).date()
            days.setdefault(day, []).append(text.encode() + b"\n")
        for day, lines in days.items():
            self._append(self._directory / f"{self._node}-{day}.jsonl", b"".join(lines))

    def close(self) -> None:
        pass

    def prune(self, before: float) -> None:
        """Remove the files of days that ended before. Raises :class:`OSError`."""
        for path in self._directory.glob(f"{self._node}-????-??-??.jsonl"):
            if _ends_before(path, before):
                path.unlink(missing_ok=True)

    def _append(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            if torn:
                data = b"\n" + data
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


class Database:
    """``NODE.sqlite`` in a directory: one row for each call, into which further records of it are merged."""

    def __init__(self, directory: Path, node: str) -> None:
        self._path = directory / f"{node}.sqlite"
        self.name = str(self._path)
        self._connection: sqlite3.Connection | None = None

    def write(self, entries: list[Entry]) -> None:
        try:
            connection = self._open()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for start in range(0, len(entries), _ROWS):
                    some = entries[start : start + _ROWS]
                    statement = _INSERT.format(rows=", ".join([_ROW] * len(some)))
                    connection.execute(statement, [value for entry in some for value in _row(entry)])
        except sqlite3.Error:
            self.close()
            raise

    def prune(self, before: float) -> None:
        """Remove the rows of calls that began and ended before. Raises :class:`sqlite3.Error`."""
        connection = self._open()
        while connection.execute(_PRUNE, (before, before)).rowcount == _PRUNED:
            time.sleep(0.01)  # in the writer's thread, to leave the CPU to calls

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
            self._connection = connection
            connection.create_function("cdr_merge", 2, _merge_texts, deterministic=True)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        return self._connection


def _row(entry: Entry) -> tuple[object, ...]:
    r, text, _ = entry
    return r.id, r.started, r.ended, r.caller, r.callee, r.result, r.duration, text


def _entry(record: Cdr, because: str) -> Entry | None:
    """The entry of a record; ``None`` for one that could never be written, and would block all others."""
    text = encode(record)
    try:
        text.encode()
        datetime.fromtimestamp(record.ended or 0.0, UTC)
    except (ValueError, OverflowError, OSError) as error:
        logger.error("A call record is left out, for it cannot be written: %s.", error)
        return None
    return Entry(record, text, because)


def _merge_texts(old: str, new: str) -> str:
    return encode(merge(Cdr.from_json(json.loads(text)) for text in (old, new)))


class Queue:
    """The records that one target has not written yet, with back-off after failures."""

    def __init__(self, target: RecordSink, limit: int = LIMIT, pause: float = 0.0) -> None:
        """``pause``: seconds between two batches, unless there are many records."""
        self.target = target
        self.lost = 0
        self.left = 0
        """How many have left this queue, written or lost."""
        self.trouble = ""
        """Why nothing can be written at present; ``""`` if it can."""
        self.waiting: deque[Entry] = deque()
        self._limit = limit
        self._wait = 0.0
        self._retry_at = 0.0
        self._pause = pause
        self._next_at = 0.0

    def put(self, entries: Iterable[Entry]) -> None:
        self.waiting.extend(entries)
        while len(self.waiting) > self._limit:
            self.waiting.popleft()
            self.lost += 1
            self.left += 1

    def write(self, now: float, last: bool = False) -> None:
        """Write the waiting records in batches; after a failure only when the back-off has passed. ``last``: without
        a pause."""
        if now < self._next_at and len(self.waiting) < BATCH and not last:
            return
        self._next_at = now + self._pause
        while self.waiting and now >= self._retry_at:
            batch = [self.waiting[i] for i in range(min(BATCH, len(self.waiting)))]
            try:
                self.target.write(batch)
            except (OSError, sqlite3.Error) as error:
                self._failed(error, now)
                return
            for _ in batch:
                self.waiting.popleft()
            self.left += len(batch)
            self._recovered()

    def _failed(self, error: Exception, now: float) -> None:
        because = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.trouble = f"{self.target.name}: {because}"
        if not self._wait:
            logger.error(
                "Call records cannot be written to %s: %s. Up to %d are kept in memory and tried again.",
                self.target.name,
                because,
                self._limit,
            )
        self._wait = min(self._wait * 2, _LONGEST_WAIT) or _FIRST_WAIT
        self._retry_at = now + self._wait

    def _recovered(self) -> None:
        if self._wait:
            logger.warning("Call records are written to %s again; %d were lost.", self.target.name, self.lost)
            self._wait = self._retry_at = 0.0
            self.trouble = ""


class CdrStore:
    """Writes the call records of one server. `write` is called in the loop and only appends to a queue."""

    def __init__(
        self,
        directory: Path,
        node: str,
        *,
        told: Callable[[Entry], None] | None = None,
        interval: float = INTERVAL,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``told`` is called in the thread with each record before it is written; it must not raise."""
        self._places = LineFile(directory, node), Database(directory, node)
        self._queues = [Queue(self._places[0], limit), Queue(self._places[1], limit, ROWS_PAUSE)]
        self.keep = 0.0
        """Seconds after which a record is removed; 0: never."""
        self._prune_at = clock()
        self._interval = interval
        self._limit = limit
        self._clock = clock
        self._told = told
        self._inbox: deque[tuple[Cdr, str]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._dropped = 0
        self._taken = self._unwritable = 0
        self._samples: deque[tuple[float, int]] = deque()
        """Times with the number of records accepted until then; the first is from before the oldest waiting
        record."""
        self._thread = threading.Thread(target=self._run, name="cdr", daemon=True)
        self._thread.start()

    def write(self, record: Cdr, because: str = "") -> None:
        """Accept a record; ``because``: the call's last routing decision. Never blocks, never raises."""
        inbox = self._inbox
        if len(inbox) >= self._limit:
            self._dropped += 1
            return
        inbox.append((record, because))
        self._taken += 1
        if len(inbox) == BATCH:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """Number of records that are not written yet, at the slower of both targets."""
        return len(self._inbox) + max(len(queue.waiting) for queue in self._queues)

    @property
    def lost(self) -> int:
        """Number of records lost since the start because they could not be written in time."""
        return self._dropped + max(queue.lost for queue in self._queues)

    @property
    def trouble(self) -> str:
        """Why records wait, half a sentence; empty while they are written."""
        return next((queue.trouble for queue in self._queues if queue.trouble), "")

    def unwritten_age(self, now: float) -> float:
        """Seconds since the oldest record was accepted that neither target has written, rounded up to the previous
        call of this method; 0 without one. To be called about every second.
        """
        samples, settled = self._samples, self._unwritable + max(queue.left for queue in self._queues)
        while len(samples) > 1 and samples[1][1] <= settled:
            samples.popleft()
        samples.append((now, self._taken))
        if len(samples) > _MOST_SAMPLES:
            del samples[1]
        return now - samples[0][0] if self._taken > settled else 0.0

    def close(self, timeout: float = 5.0) -> None:
        """Write the waiting records and end the thread, within ``timeout`` seconds."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self.waiting:
            logger.error("%d call records could not be written before the end.", self.waiting)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval)
            self._wake.clear()
            self._drain()
        self._drain(last=True)
        for queue in self._queues:
            queue.target.close()

    def _drain(self, last: bool = False) -> None:
        while self._inbox:
            batch = [self._inbox.popleft() for _ in range(min(_SLICE, len(self._inbox)))]
            entries = [entry for ended in batch if (entry := _entry(*ended)) is not None]
            self._dropped += len(batch) - len(entries)
            self._unwritable += len(batch) - len(entries)
            for queue in self._queues:
                queue.put(entries)
            if self._told is not None:
                for entry in entries:
                    self._told(entry)
            time.sleep(0)
        now = self._clock()
        for queue in self._queues:
            queue.write(now, last)
        if self.keep and now >= self._prune_at and not last:
            self._prune_at = now + _PRUNE_EVERY
            self._prune(time.time() - self.keep)

    def _prune(self, before: float) -> None:
        for place in self._places:
            try:
                place.prune(before)
            except (OSError, sqlite3.Error) as error:
                logger.warning("Call records that are too old cannot be removed from %s: %s.", place.name, error)


def read(directory: Path, since: float | None = None, until: float | None = None) -> Iterator[Cdr]:
    """All records in a directory of calls that started in ``[since, until)``, with repetitions.

    Files and database are both read, since a crash may have come between the two writes. Lines that are no record
    (the torn end of a file) are skipped. Raises :class:`OSError` if the directory is missing or cannot be read.
    """
    for path in sorted(directory.iterdir()):
        if path.suffix == ".jsonl" and not _ends_before(path, since):
            with path.open(encoding="utf-8", errors="replace") as lines:
                texts = [line for line in lines]
        elif path.suffix == ".sqlite":
            texts = _rows(path)
        else:
            continue
        for text in texts:
            try:
                record = Cdr.from_json(json.loads(text))
            except ValueError:
                continue
            start = record.started or 0.0
            if (since is None or start >= since) and (until is None or start < until):
                yield record


def _ends_before(path: Path, since: float | None) -> bool:
    """Whether all calls of this file had ended before ``since``, by the date in its name."""
    if since is None:
        return False
    try:
        day = date.fromisoformat(path.stem[-10:])
    except ValueError:
        return False
    return day < datetime.fromtimestamp(since, UTC).date()


def _rows(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as connection:
            return [text for (text,) in connection.execute("SELECT record FROM cdr")]
    except sqlite3.Error as error:
        raise OSError(None, str(error), str(path)) from error
