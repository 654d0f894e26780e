"""Levels and shapes of the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import click
import pytest

from heartbeat.console.contract import Refused
from heartbeat.console.log import PACKAGES, JournalFormatter, JsonFormatter, LogSettings, set_level
from heartbeat.console.sanitize import LineFormatter


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """As they were, afterwards."""
    loggers = [logging.getLogger(name) for name in (None, *PACKAGES, "sip.receiver")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def record(level: int = logging.WARNING, text: str = "a %s", **about: object) -> logging.LogRecord:
    found = logging.LogRecord("sip.receiver", level, "x.py", 1, text, ("b",), None)
    found.__dict__.update(about)
    found.created = 1.5
    return found


def test_the_options_say_levels_for_all_and_for_packages() -> None:
    found = LogSettings.of(("warning", "sip=debug", "b2bua.cdr=error"), "json")
    assert found == LogSettings({"all": "warning", "sip": "debug", "b2bua.cdr": "error"}, True)
    for wrong in ("loud", "asyncio=debug", "sip=", ""):
        with pytest.raises(click.BadParameter):
            LogSettings.of((wrong,), "text")


def test_a_level_is_changed_and_taken_back() -> None:
    assert set_level("sip.receiver", "debug") == "the log of sip.receiver begins at debug from now on"
    assert logging.getLogger("sip.receiver").isEnabledFor(logging.DEBUG)
    set_level("all", "error")
    assert not logging.getLogger("b2bua.x").isEnabledFor(logging.WARNING)
    assert logging.getLogger("sip.receiver").isEnabledFor(logging.DEBUG), "its own level counts"
    set_level("sip.receiver", "default")
    assert not logging.getLogger("sip.receiver").isEnabledFor(logging.WARNING)
    assert set_level("all", "default") == "the log begins at its default level from now on"
    assert logging.getLogger("b2bua.x").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("part", ["sip.digset", "sip.", "sip.receiver.x" * 1000])
def test_a_part_that_never_logs_is_refused_and_not_remembered(part: str) -> None:
    with pytest.raises(Refused, match=r"nothing here logs as 'sip\..*say sip, or .*sip\.receiver") as refused:
        set_level(part, "debug")
    assert part not in logging.Logger.manager.loggerDict and len(str(refused.value)) < 2000


@pytest.mark.parametrize(("package", "level"), [("asyncio", "debug"), ("", "debug"), ("sip", "loud"), ("sip", "")])
def test_there_are_no_other_packages_and_levels(package: str, level: str) -> None:
    with pytest.raises(Refused, match=r"there is no (package|level)"):
        set_level(package, level)


def test_a_record_in_json_is_one_line_and_says_what_it_is_about() -> None:
    text = JsonFormatter().format(record(text="a\n%s \x9b", call="c1", line="carrier/7"))
    assert "\n" not in text and "\x9b" not in text
    assert json.loads(text) == {
        "at": 1.5,
        "level": "warning",
        "package": "sip.receiver",
        "message": "a\nb \x9b",
        "call": "c1",
        "line": "carrier/7",
    }


def test_an_exception_in_json_is_a_member() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        found = record()
        found.exc_info = sys.exc_info()
    assert "ValueError: why" in json.loads(JsonFormatter().format(found))["exception"]


def test_a_line_has_its_time_to_the_millisecond() -> None:
    formatter = LineFormatter("%(asctime)s %(message)s")
    for at in (1.5, 1.75, 1.999, 2.0, 86_400.125, 1.5):
        one = record()
        one.created, one.msecs = at, at % 1 * 1000
        expected = datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") + f",{int(one.msecs):03d}"
        assert formatter.format(one) == f"{expected} a b"


@pytest.mark.parametrize(("level", "priority"), [(logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)])
def test_lines_for_the_journal_begin_with_their_priority(level: int, priority: int) -> None:
    found = record(level)
    found.exc_text = "Traceback\n  somewhere"
    assert JournalFormatter("%(name)s: %(message)s").format(found) == (
        f"<{priority}>sip.receiver: a b\n<{priority}>Traceback\n<{priority}>  somewhere"
    )


@pytest.mark.parametrize("is_journal", [True, False])
def test_the_journal_is_known_by_its_stream(is_journal: bool) -> None:
    program = (
        "import logging; from heartbeat.console import log; log.start(log.LogSettings(), '/no'); logging.error('x')"
    )
    read, write = os.pipe()
    try:
        stat = os.fstat(write)
        stream = f"{stat.st_dev}:{stat.st_ino if is_journal else 0}"
        subprocess.run(
            [sys.executable, "-c", program], stderr=write, env={**os.environ, "JOURNAL_STREAM": stream}, check=True
        )
        assert os.read(read, 200).startswith(b"<3>root: x") is is_journal
    finally:
        os.close(read)
        os.close(write)
