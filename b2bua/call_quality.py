"""Media quality for call records, reported at the end of a call by the agents that relay its media (docs/wire.md,
``Media-Quality``).

Agents report it in a BYE or in the response to one, so the report of the side that is hung up comes after the end of
the call: its record waits for it, one second at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from b2bua.cdr import Cdr
from b2bua.state_token import CallState
from heartbeat.site.model import Site
from sip.media_quality import NAME, NOT_MEASURED, MediaQuality, decode
from sip.timers import Deadlines
from sip.wire.message import Message

WITHIN: Final = 1.0
MOST_TOLD: Final = 4096
"""Dialogs whose reports are kept; the oldest are dropped first."""
MOST_WAITING: Final = 20_000


class _Waiting(NamedTuple):
    """A call record that waits for reports of agents."""

    record: Cdr
    sides: tuple[str, str]
    """Call-IDs of the server dialogs with the caller's agent and the callee's."""
    missing: set[str]
    """Those of them whose reports have not come yet."""


class CallQuality:
    """The reports and waiting records of a server."""

    generation = 0

    def __init__(self, deadlines: Deadlines, measured: Callable[[Cdr], None]) -> None:
        """``measured`` is called with each record that had to wait."""
        self.relayed: frozenset[str] = frozenset()
        """The lines whose agents relay their media."""
        self._deadlines = deadlines
        self._measured = measured
        self._told: OrderedDict[str, MediaQuality] = OrderedDict()
        self._waiting: dict[str, _Waiting] = {}
        """By call id of the record."""
        self._awaited: dict[str, str] = {}
        """Call-ID of a dialog -> call id of the record that waits for its report."""

    def heard(self, message: Message, now: float) -> None:
        """An agent's message has the header field Media-Quality."""
        self.note(message.call_id, message.get(NAME) or "", now)

    def note(self, dialog: str, text: str, now: float) -> None:
        """Keep the report ``text`` for the server dialog with that Call-ID."""
        told = self._told
        if not text or dialog in told:
            return
        told[dialog] = decode(text)
        if len(told) > MOST_TOLD:
            told.popitem(last=False)
        call_id = self._awaited.pop(dialog, "")
        waiting = self._waiting.get(call_id)
        if waiting is not None:
            waiting.missing.discard(dialog)
            if not waiting.missing:
                self._go_on(call_id)

    def complete(self, record: Cdr, state: CallState, now: float) -> Cdr | None:
        """The record with the reports; None: it waits for one."""
        sides = state.caller_dialog, state.callee_dialog
        if record.answered is None:
            return record
        lines = record.caller_line, record.callee_line
        missing = {
            dialog
            for dialog, line in zip(sides, lines, strict=True)
            if dialog and dialog not in self._told and line.partition("/")[0] in self.relayed
        }
        if not missing or len(self._waiting) >= MOST_WAITING:
            return self._told_of(record, sides)
        self._waiting[record.call_id] = _Waiting(record, sides, missing)
        self._awaited.update(dict.fromkeys(missing, record.call_id))
        self._deadlines.set(now + WITHIN, self, record.call_id)
        return None

    def due(self, cause: str, now: float) -> None:
        """A report has not come in time: pass the record on without it."""
        self._go_on(cause)

    def hasten(self) -> None:
        """This process ends: pass on all waiting records."""
        for call_id in list(self._waiting):
            self._go_on(call_id)

    def _go_on(self, call_id: str) -> None:
        waiting = self._waiting.pop(call_id, None)
        if waiting is not None:
            for dialog in waiting.missing:
                if self._awaited.get(dialog) == call_id:
                    del self._awaited[dialog]
            self._measured(self._told_of(waiting.record, waiting.sides))

    def _told_of(self, record: Cdr, sides: tuple[str, str]) -> Cdr:
        if not self._told:
            return record
        caller, callee = (self._told.get(dialog, NOT_MEASURED) for dialog in sides)
        return with_quality(record, caller, callee)


def relayed(site: Site) -> frozenset[str]:
    """The lines whose agents relay their media."""
    return frozenset(one.name for one in site.lines.values() if one.media == "relay" and not one.at_servers)


def with_quality(record: Cdr, caller: MediaQuality, callee: MediaQuality) -> Cdr:
    """The record with the measurements of both agents. Of a stream those of the last relay count, since they include
    earlier losses."""
    of_caller, of_callee = callee.far or caller.device, caller.far or callee.device
    for side, stream in (("caller", of_caller), ("callee", of_callee)):
        if stream is not None:
            named = {f"{side}_{name}": value for name, value in stream._asdict().items()}
            record = record._replace(**named)
    return record
