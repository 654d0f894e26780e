"""Delivery of call records to a PostgreSQL database and a webhook, each in a thread.

The records are read from the files (`b2bua.record_tail`), so a sink may be unreachable for as long as these are kept.
Delivery is retried with back-off, at least once for each record: receivers recognise repetitions by ``id``.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from b2bua.cdr import Cdr
from b2bua.record_tail import RecordTail
from b2bua.sink_error import Refused, SinkError
from heartbeat.console.hooks import HookError, post
from heartbeat.console.views.process import Sink
from heartbeat.console.views.status import Alert
from heartbeat.site.model import PostgresSettings, Records, WebhookSettings

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two checks for new records."""
BACKLOG_PAUSE: Final = 0.02
"""Seconds between two batches of a backlog, to leave the CPU to calls."""
BATCH: Final = 100
_SLICE: Final = 25
"""Records decoded at a time, before the loop's thread may get the interpreter's lock."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
LATE: Final = 30.0
"""Seconds without delivery after which there is an alert."""


class RecordSink(Protocol):
    """A receiver of records."""

    def open(self) -> None:
        """Connect, so that a fault is known before there is a record. Raises :class:`SinkError`."""

    def deliver(self, records: list[Cdr]) -> None:
        """Deliver all of them. Blocks, for some half a minute at most. Raises :class:`SinkError`, or :class:`Refused`
        if a record itself is not accepted.
        """

    def close(self) -> None: ...


class WebhookSink:
    """Posts records as JSON, signed like hooks (`heartbeat.console.hooks`)."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def open(self) -> None:
        pass

    def deliver(self, records: list[Cdr]) -> None:
        body = json.dumps({"records": [record.to_json() for record in records]}, separators=(",", ":")).encode()
        try:
            post(self._settings.url, self._settings.key, body)
        except HookError as error:
            raise SinkError(str(error)) from None

    def close(self) -> None:
        pass


class SinkWriter:
    """The thread of one sink. Its public attributes may be read by other threads."""

    def __init__(
        self, name: str, sink: RecordSink, tail: RecordTail, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.sent = 0
        """Records delivered since the start."""
        self.refused = 0
        """Records that it refused for good."""
        self.trouble = ""
        """Why nothing can be delivered at present, half a sentence; ``""`` if it can."""
        self.tail = tail
        self._sink = sink
        self._clock = clock
        self._since: float | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"records {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within: float = 2.0) -> None:
        """End after the present batch; the rest is delivered after the next start."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def view(self) -> Sink:
        since = self._since
        for_s = self._clock() - since if since is not None else 0.0
        tail = self.tail
        return Sink(self.name, tail.waiting, self.sent, self.refused, tail.lost, self.trouble, round(for_s, 1))

    def go(self) -> bool:
        """Deliver one batch; returns whether there may be another one. Raises :class:`SinkError`."""
        try:
            self.tail.look()
            self._sink.open()
            batch = self.tail.batch(BATCH)
            if batch is None:
                return False
            self._deliver(_decoded(batch.texts))
            self.tail.told(batch)
        except OSError as error:
            raise SinkError(f"the files of records: {error.strerror or error}") from None
        return True

    def _deliver(self, records: list[Cdr]) -> None:
        try:
            if records:
                self._sink.deliver(records)
                self.sent += len(records)
        except Refused as error:
            if len(records) > 1:
                for record in records:
                    self._deliver([record])
                return
            self.refused += 1
            logger.error("%s does not take the record of call %s: %s", self.name, records[0].call_id, error)

    def _run(self) -> None:
        wait = FIRST_WAIT
        while not self._ending.is_set():
            try:
                pause = BACKLOG_PAUSE if self.go() else LOOK_EVERY
            except SinkError as error:
                self._failed(str(error))
                pause, wait = wait, min(2 * wait, LONGEST_WAIT)
            except Exception as error:  # a bug; the thread must go on, or nobody would notice the backlog
                if not self.trouble:
                    logger.exception("call records cannot be told to %s", self.name)
                self._failed(f"a fault of ours, see the log: {error!r}")
                pause, wait = wait, min(2 * wait, LONGEST_WAIT)
            else:
                wait = FIRST_WAIT
                if self.trouble:
                    logger.warning("call records go to %s again", self.name)
                self.trouble, self._since = "", None
            self._ending.wait(pause)
        self._sink.close()

    def _failed(self, because: str) -> None:
        if not self.trouble:
            logger.warning("call records cannot go to %s, they wait on the disk: %s", self.name, because)
        self.trouble = because
        if self._since is None:
            self._since = self._clock()


class RecordSinks:
    """The sinks of a server; `follow` starts and stops them by the site file."""

    def __init__(self, cdr_dir: Path, state_dir: Path, node: str) -> None:
        self._cdr_dir = cdr_dir
        self._state_dir = state_dir
        self._node = node
        self._settings = Records()
        self._writers: dict[str, SinkWriter] = {}

    def follow(self, settings: Records) -> None:
        """Apply the settings."""
        if settings is self._settings:
            return
        before, self._settings = self._settings, settings
        if _with_secret(before.postgres) != _with_secret(settings.postgres):
            self._begin("postgres", _postgres(settings.postgres, self._node) if settings.postgres else None)
        if _with_secret(before.webhook) != _with_secret(settings.webhook):
            self._begin("webhook", WebhookSink(settings.webhook) if settings.webhook else None)

    def _begin(self, name: str, sink: RecordSink | None) -> None:
        if (writer := self._writers.pop(name, None)) is not None:
            writer.close(0.0)  # a batch under way may be delivered again
        if sink is not None:
            tail = RecordTail(self._cdr_dir, self._node, self._state_dir / f"records-{name}.json")
            self._writers[name] = SinkWriter(name, sink, tail)
            self._writers[name].start()

    def views(self) -> tuple[Sink, ...]:
        return tuple(writer.view() for writer in self._writers.values())

    def alerts(self) -> Iterator[Alert]:
        """Alerts about the sinks."""
        return alerts_of(self._node, self.views())

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _Missing:
    """Stands for a sink whose library is not installed."""

    def open(self) -> None:
        raise SinkError("psycopg is not installed: it comes with the extra postgres (docs/deploy.md#extras)")

    def deliver(self, records: list[Cdr]) -> None:
        self.open()

    def close(self) -> None:
        pass


def _postgres(settings: PostgresSettings, node: str) -> RecordSink:
    try:
        from b2bua.postgres import PostgresSink  # an extra
    except ImportError:
        return _Missing()
    return PostgresSink(settings, node)


def _with_secret(settings: PostgresSettings | WebhookSettings | None) -> tuple[object, bytes | None]:
    """The settings with the value of their secret: if these change, the sink is replaced."""
    secret = settings.password if isinstance(settings, PostgresSettings) else settings.key if settings else None
    return settings, secret.value if secret is not None else None


def alerts_of(node: str, sinks: tuple[Sink, ...]) -> Iterator[Alert]:
    """Alerts about these sinks."""
    for sink in sinks:
        if sink.trouble and sink.trouble_s >= LATE:
            waits = f"{sink.waiting:,} wait on the disk"
            yield Alert("records-sink", f"call records of {node} do not get to {sink.name} ({waits}): {sink.trouble}")
        if sink.lost:
            said = f"{sink.lost:,} call records of {node} were removed by `keep` before they were with {sink.name}"
            yield Alert("records-lost", said)


def _decoded(texts: list[str]) -> list[Cdr]:
    found: list[Cdr] = []
    for start in range(0, len(texts), _SLICE):
        found += [record for text in texts[start : start + _SLICE] if (record := _record(text)) is not None]
        time.sleep(0)
    return found


def _record(text: str) -> Cdr | None:
    """The record of a line; None for a line torn by a crash."""
    try:
        return Cdr.from_json(json.loads(text))
    except ValueError:
        return None
