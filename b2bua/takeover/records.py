"""Dialog records that agents report: indexed on arrival, decoded on first use (docs/line-dialog.md)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from b2bua.state_token import named
from sip.dialog import dialog_key
from sip.packages.json_values import seconds_of, text_of
from sip.packages.line_dialog import (
    CONFIRMED,
    TERMINATED,
    BadRecord,
    DialogRecord,
    Ended,
    Head,
    LineRecord,
    StateRecord,
    members_of,
    request_of,
    split,
)
from sip.wire.message import Request

_INDEX: Final = re.compile(
    rb'\{"call-id":"([^"\\]+)","local-tag":"([^"\\]*)","call-state":"'
    rb'(?:1\.(\d{1,9})\.([^."\\]*)\.[^."\\]*\.[^."\\]*"|(?:[^"\\]|\\.)*")'
)
"""Start of a record as agents write it: Call-ID, local tag, counter and call id of the token. Records of another form
are decoded at once."""
_SENT: Final = re.compile(rb'"sent"\s*:\s*\[\s*\{')
_AWAITED: Final = re.compile(rb'"ack"\s*:\s*"awaited"')
_OVER: Final = re.compile(rb'"state"\s*:\s*"terminated"')
MOST_OF_ONE_CALL: Final = 64
"""Most records of one call: its two legs, and targets that were given up."""
NO_END: Final = Ended()


class KeptRequest(NamedTuple):
    """A request of an agent without a final answer, which the agent keeps to send it again."""

    request: Request
    data: bytes
    """The bytes of the request."""
    cancelled: bool


class DialogReport:
    """The record of one dialog as its agent reported it."""

    __slots__ = ("_record", "_sent", "agent", "call", "call_id", "counter", "local_tag", "raw", "told_at")

    def __init__(
        self, agent: str, raw: bytes, call_id: str, local_tag: str, call: str, counter: int, told_at: float = 0.0
    ) -> None:
        self.agent = agent
        self.raw = raw
        self.call_id = call_id
        self.local_tag = local_tag
        self.call = call
        """The call id in the state token, ``""`` without a token."""
        self.counter = counter
        """The counter in the state token: the higher, the newer."""
        self.told_at = told_at
        """When the record arrived, on the core's clock; ages in the record count back from here."""
        self._record: DialogRecord | None = None
        self._sent: list[KeptRequest] | None = None

    @property
    def key(self) -> str:
        return dialog_key(self.call_id, self.local_tag)

    # Found without decoding.

    @property
    def has_sent(self) -> bool:
        """Whether the agent has requests without a final answer."""
        return _SENT.search(self.raw) is not None

    @property
    def is_over(self) -> bool:
        """Whether the dialog has ended and no request of the agent is still to be answered."""
        return _OVER.search(self.raw) is not None and not self.has_sent

    @property
    def ack_awaited(self) -> bool:
        """Whether the agent has sent a 2xx for which no ACK has come."""
        return _AWAITED.search(self.raw) is not None

    # Read from the decoded record. An :class:`Index` hands out only records that can be decoded.

    @property
    def record(self) -> DialogRecord:
        """The record, decoded once; raises :class:`BadRecord`."""
        if self._record is None:
            self._record = DialogRecord.decode(self.raw)
        return self._record

    @property
    def live(self) -> bool:
        return self.record.state != TERMINATED

    @property
    def talks(self) -> bool:
        """Whether the dialog is confirmed, or ended by the device with a BYE that is still to be passed on."""
        record = self.record
        if record.state != TERMINATED:
            return record.state == CONFIRMED
        return bool(record.sent) and any(one.request.method == "BYE" for one in self.sent())

    @property
    def opened_by_server(self) -> bool:
        """Whether the server sent the INVITE, so that this is a callee's leg."""
        return self.record.opened_by_server

    def sent(self) -> list[KeptRequest]:
        """The agent's requests without a final answer, oldest first; those that cannot be parsed are left out."""
        if self._sent is None:
            self._sent = [
                KeptRequest(request, one.data, one.cancelled)
                for one in self.record.sent
                if (request := request_of(one.data)) is not None
            ]
        return self._sent

    @property
    def changing(self) -> str:
        """The origin key of the agent's INVITE that has no final answer, ``""`` without one."""
        for one in self.sent():
            if one.request.method == "INVITE":
                return f"{self.agent};{one.request.branch};1"
        return ""

    @property
    def last_ack(self) -> bytes:
        """The bytes of the last ACK that the agent sent; empty when there is none, or it cannot be parsed."""
        message = self.record.ack.message
        return message if message and request_of(message) is not None else b""

    @property
    def ended(self) -> Ended:
        """When, by whom and why the dialog ended; :data:`NO_END` if the record does not say."""
        return self.record.ended or NO_END

    @property
    def ended_at(self) -> float:
        """When the dialog ended, on the core's clock."""
        return self.told_at - self.ended.ago


class Index:
    """The records of which no call has been made yet, by dialog and by call id.

    A record that turns out not to be decodable is removed and passed to ``unreadable``; the others stay.
    """

    __slots__ = ("_unreadable", "by_call", "by_key")

    def __init__(self, unreadable: Callable[[DialogReport, BadRecord], None]) -> None:
        self._unreadable = unreadable
        self.by_key: dict[str, DialogReport] = {}
        self.by_call: dict[str, dict[str, DialogReport]] = {}

    def clear(self) -> None:
        self.by_key.clear()
        self.by_call.clear()

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, told: DialogReport) -> None:
        """Add a record, in place of an earlier one of the same dialog."""
        key = told.key
        old = self.by_key.get(key)
        if old is not None:
            self.remove(old)
        same = self.by_call.get(told.call)
        if same is not None and len(same) >= MOST_OF_ONE_CALL:
            self._unreadable(told, BadRecord("too many dialogs of one call"))
            return
        self.by_key[key] = told
        if told.call:
            self.by_call.setdefault(told.call, {})[key] = told

    def remove(self, told: DialogReport) -> None:
        key = told.key
        if self.by_key.get(key) is told:
            del self.by_key[key]
        same = self.by_call.get(told.call)
        if same is not None and same.get(key) is told:
            del same[key]
            if not same:
                del self.by_call[told.call]

    def part(self, told: DialogReport) -> None:
        """Separate a record whose token is not valid from the call that the token names."""
        there = self.by_key.get(told.key) is told
        self.remove(told)
        told.call = ""
        if there:
            self.add(told)

    def get(self, key: str) -> DialogReport | None:
        """The record of a dialog, by its key; ``None`` if there is none that can be decoded."""
        told = self.by_key.get(key)
        return told if told is not None and self._can_be_read(told) else None

    def of_call(self, call_id: str) -> list[DialogReport]:
        """The records of a call that can be decoded, in the order in which they were reported."""
        same = self.by_call.get(call_id)
        return [told for told in tuple(same.values()) if self._can_be_read(told)] if same is not None else []

    def told_of_call(self, call_id: str) -> list[DialogReport]:
        """All records of a call, undecoded: some may turn out not to be decodable."""
        same = self.by_call.get(call_id)
        return list(same.values()) if same is not None else []

    def _can_be_read(self, told: DialogReport) -> bool:
        try:
            return told.record is not None
        except BadRecord as fault:
            self.remove(told)
            self._unreadable(told, fault)
            return False


class Part(NamedTuple):
    """One part of an agent's list: the body of one NOTIFY."""

    head: Head
    lines: list[LineRecord]
    dialogs: list[DialogReport]
    faults: int
    """Number of records that could not be decoded."""
    states: list[StateRecord]
    """Records of line states."""


def read_part(agent: str, body: bytes, now: float) -> Part | None:
    """Read the body of a NOTIFY that came ``now``. Returns ``None`` for an empty body; raises :class:`BadRecord` when
    its head cannot be decoded."""
    pieces = split(body)
    if not pieces:
        return None
    part = Part(Head.decode(pieces[0]), [], [], 0, [])
    faults = 0
    match = _INDEX.match
    for piece in pieces[1:]:
        found = match(piece)
        if found is not None:
            call_id, local_tag, counter, call = found.groups()
            part.dialogs.append(
                DialogReport(
                    agent,
                    piece,
                    call_id.decode("latin-1"),
                    local_tag.decode("latin-1"),
                    call.decode("latin-1") if call else "",
                    int(counter) if counter else 0,
                    now,
                )
            )
            continue
        try:
            members = members_of(piece)
        except BadRecord:
            faults += 1
            continue
        if "line-state" in members and "call-id" in members:
            lasts = seconds_of(members.get("lasts")) or 0.0
            part.states.append(StateRecord(text_of(members["line-state"]), text_of(members["call-id"]), lasts))
        elif "call-id" in members:
            told = _decoded(agent, piece, members, now)
            if told is not None:
                part.dialogs.append(told)
            else:
                faults += 1
        elif "line" in members:
            part.lines.append(LineRecord.of(members))
    return part._replace(faults=faults)


def _decoded(agent: str, piece: bytes, members: dict[str, Any], now: float) -> DialogReport | None:
    """A record whose members are in another order than agents write them, or with white space between them; ``None``
    without a Call-ID."""
    call_id = text_of(members["call-id"])
    if not call_id:
        return None
    call, counter = named(text_of(members.get("call-state")))
    return DialogReport(agent, piece, call_id, text_of(members.get("local-tag")), call, counter, now)
