"""The log of a program: its levels by package, and the format of its lines."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click

from heartbeat.console.contract import Refused
from heartbeat.console.journal_log import LABELS, PRIORITIES, SOCKET, NativeJournal
from heartbeat.console.sanitize import IN_JSON, LineFormatter

ALL: Final = "all"
PACKAGES: Final = ("sip", "heartbeat", "b2bua", "gateway_agent")
LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
DEFAULT: Final = "default"
"""Restores the default level of a package."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log settings of a program."""

    levels: Mapping[str, str] = field(default_factory=dict)
    """Level by package, or ``all``."""
    as_json: bool = False

    @classmethod
    def of(cls, levels: Iterable[str], shape: str) -> LogSettings:
        """The settings of the options: each level is ``debug``, or ``sip=debug``. Raises
        :class:`click.BadParameter`."""
        found: dict[str, str] = {}
        for text in levels:
            package, _, level = text.rpartition("=")
            if fault := fault_of(package or ALL, level):
                raise click.BadParameter(f"{fault}.", param_hint="--log-level")
            found[package or ALL] = level
        return cls(found, shape == "json")


def log_options(function: F) -> F:
    """The options ``--log-level`` and ``--log-format`` of a command that runs a program."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            envvar="HOLDFAST_LOG_FORMAT",
            help="A line of text for each record, or a JSON object.",
        ),
        click.option(
            "--log-level",
            "log_levels",
            metavar="[PACKAGE=]LEVEL",
            multiple=True,
            envvar="HOLDFAST_LOG_LEVEL",
            help="debug, info, warning or error; of one package only: sip=debug. May be said several times.",
        ),
    ):
        function = option(function)
    return function


def fault_of(package: str, level: str) -> str:
    """Why there is no such package or level, as half a sentence; empty when there is."""
    if package != ALL and package.partition(".")[0] not in PACKAGES:
        return f"there is no package {package!r}: say {', '.join(PACKAGES)}, a part of one (sip.receiver), or all"
    if level not in LEVELS and level != DEFAULT:
        return f"there is no level {level!r}: say {', '.join(LEVELS)} or {DEFAULT}"
    return ""


def set_level(package: str, level: str) -> str:
    """Set the level of a package, or of all; returns a sentence. Raises :class:`Refused`."""
    if fault := fault_of(package, level):
        raise Refused(fault, 400)
    top = package.partition(".")[0]
    if package != top and package not in (known := _parts_of(top)):
        raise Refused(f"nothing here logs as {package[:64]!r}: say {top}, or {', '.join(known)}", 400)
    _set(package, level)
    whole = "the log" if package == ALL else f"the log of {package}"
    return f"{whole} begins at {level if level != DEFAULT else 'its default level'} from now on"


def _parts_of(package: str) -> list[str]:
    """The loggers below a package, as far as their modules are loaded."""
    return sorted(name for name in logging.Logger.manager.loggerDict if name.startswith(f"{package}."))


def _set(package: str, level: str) -> None:
    number = LEVELS.get(level, logging.INFO if package == ALL else logging.NOTSET)
    logging.getLogger(None if package == ALL else package).setLevel(number)


def start(settings: LogSettings, journal: str = SOCKET) -> None:
    """Log to standard error; under systemd to the journal at that socket, with its priorities and fields and without
    times, which it adds."""
    # our formats show neither source nor thread and process, so these are not looked up
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if settings.as_json:
        handler.setFormatter(JsonFormatter())
    elif _is_journal():
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
        try:
            handler = NativeJournal(handler, journal)
            handler.setFormatter(LineFormatter("%(name)s: %(message)s"))
        except OSError:
            pass  # no such socket here: lines with priorities have to do
    else:
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for package, level in settings.levels.items():
        _set(package, level)


def _is_journal() -> bool:
    """Whether standard error goes to the journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        stat = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class JournalFormatter(LineFormatter):
    """A formatter whose lines begin with their priority."""

    def format(self, record: logging.LogRecord) -> str:
        before = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(f"{before}{line}" for line in super().format(record).split("\n"))


class JsonFormatter(logging.Formatter):
    """A JSON object for each record: ``at`` in epoch seconds, ``level``, ``package``, ``message``, the :data:`LABELS`
    and ``exception`` that it has."""

    def format(self, record: logging.LogRecord) -> str:
        value: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "package": record.name,
            "message": record.getMessage(),
        }
        value |= {name: about for name in LABELS if (about := getattr(record, name, None))}
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return json.dumps(value, ensure_ascii=False).translate(IN_JSON)
