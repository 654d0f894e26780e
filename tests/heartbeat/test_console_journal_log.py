"""Records with fields, as systemd's journal reads them."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.console.journal_log import NativeJournal
from heartbeat.console.sanitize import LineFormatter


class Kept(logging.Handler):
    """What could not be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage())


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "socket"))
        one.settimeout(5.0)
        yield one


def handler(journal: socket.socket, otherwise: logging.Handler | None = None) -> NativeJournal:
    made = NativeJournal(otherwise or Kept(), journal.getsockname())
    made.setFormatter(LineFormatter("%(name)s: %(message)s"))
    return made


def record(text: str, level: int = logging.INFO, **about: str) -> logging.LogRecord:
    made = logging.LogRecord("b2bua.calls", level, "", 0, text, (), None)
    made.__dict__.update(about)
    return made


def fields(data: bytes) -> dict[str, str]:
    """By the protocol: a line ``NAME=value``, or ``NAME``, eight bytes of length and as many bytes."""
    found: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        found[name.decode()], data = value.decode(), rest
    return found


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"), (logging.DEBUG, "7")]
)
def test_a_record_has_its_priority_and_what_it_is_about(journal: socket.socket, level: int, priority: str) -> None:
    one = handler(journal)
    one.handle(record("it ended", level, call="c1", line="carrier/7"))
    assert fields(journal.recv(4096)) == {
        "MESSAGE": "b2bua.calls: it ended",
        "PRIORITY": priority,
        "HOLDFAST_PACKAGE": "b2bua.calls",
        "HOLDFAST_CALL": "c1",
        "HOLDFAST_LINE": "carrier/7",
    }
    one.close()


def test_what_strangers_wrote_makes_no_fields_and_a_traceback_is_whole(journal: socket.socket) -> None:
    one = handler(journal)
    one.handle(record("x\nPRIORITY=0\x1b", line="a\nHOLDFAST_CALL=c2"))
    found = fields(journal.recv(4096))
    assert "\n" not in found["MESSAGE"] and found["PRIORITY"] == "6"
    assert found["HOLDFAST_LINE"] == "a\nHOLDFAST_CALL=c2" and "HOLDFAST_CALL" not in found
    try:
        raise ValueError("why")
    except ValueError:
        broken = record("it broke", logging.ERROR)
        broken.exc_info = sys.exc_info()
    one.handle(broken)
    assert fields(journal.recv(65_536))["MESSAGE"].endswith("ValueError: why")
    one.close()


def test_what_the_journal_does_not_take_goes_elsewhere_and_nobody_waits(journal: socket.socket) -> None:
    kept = Kept()
    one = handler(journal, kept)
    sent = 0
    while not kept.records:  # nobody reads
        one.handle(record(f"number {sent} {'x' * 1000}"))
        sent += 1
        assert sent < 100_000
    journal.close()
    one.handle(record("it is gone"))
    assert kept.records[-1] == "it is gone" and len(kept.records) == 2
    one.close()


def test_without_a_journal_there_is_no_handler(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        NativeJournal(Kept(), str(tmp_path / "nobody"))
