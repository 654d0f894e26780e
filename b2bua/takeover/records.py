"""What agents told of their dialogs: indexed on arrival, decoded on first use (docs/line-dialog.md)."""

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
"""The beginning of a record as agents write it; one of another form is decoded at once."""
_SENT: Final = re.compile(rb'"sent"\s*:\s*\[\s*\{')
_AWAITED: Final = re.compile(rb'"ack"\s*:\s*"awaited"')
_OVER: Final = re.compile(rb'"state"\s*:\s*"terminated"')
MOST_OF_ONE_CALL: Final = 64
"""Records of one call: its two legs, and targets that were given up."""
NO_END: Final = Ended()


class KeptRequest(NamedTuple):
    """A request of an agent that has no final answer."""

    request: Request
    data: bytes
    """The same, whole."""
    cancelled: bool


class ToldDialog:
    """One dialog as its agent told it."""

    __slots__ = ("_record", "_sent", "agent", "call", "call_id", "counter", "local_tag", "raw", "told_at")

    def __init__(
        self, agent: str, raw: bytes, call_id: str, local_tag: str, call: str, counter: int, told_at: float = 0.0
    ) -> None:
        self.agent = agent
        self.raw = raw
        self.call_id = call_id
        self.local_tag = local_tag
        self.call = call
        """The call id in its token, ``""`` without one."""
        self.counter = counter
        """The counter of its token."""
        self.told_at = told_at
        """When it came: what it says is so many seconds ago, is so many seconds before this."""
        self._record: DialogRecord | None = None
        self._sent: list[KeptRequest] | None = None

    @property
    def key(self) -> str:
        return dialog_key(self.call_id, self.local_tag)

    # Seen without decoding.

    @property
    def has_sent(self) -> bool:
        """Whether requests of the agent wait for an answer."""
        return _SENT.search(self.raw) is not None

    @property
    def is_over(self) -> bool:
        """Whether the agent has nothing to say of this dialog but how it ended."""
        return _OVER.search(self.raw) is not None and not self.has_sent

    @property
    def ack_awaited(self) -> bool:
        """Whether the agent sent a 2xx that was not acknowledged."""
        return _AWAITED.search(self.raw) is not None

    # Of the record, which an :class:`Index` hands out only when it can be read.

    @property
    def record(self) -> DialogRecord:
        """All that was told, decoded once; raises :class:`BadRecord`."""
        if self._record is None:
            self._record = DialogRecord.decode(self.raw)
        return self._record

    @property
    def live(self) -> bool:
        return self.record.state != TERMINATED

    @property
    def talks(self) -> bool:
        """An answered call, or one that its device has ended with the BYE still to be passed on."""
        record = self.record
        if record.state != TERMINATED:
            return record.state == CONFIRMED
        return bool(record.sent) and any(one.request.method == "BYE" for one in self.sent())

    @property
    def opened_by_server(self) -> bool:
        """The server sent the INVITE: this is a callee's leg."""
        return self.record.opened_by_server

    def sent(self) -> list[KeptRequest]:
        """The agent's requests without a final answer, oldest first; what is no request is passed over."""
        if self._sent is None:
            self._sent = [
                KeptRequest(request, one.data, one.cancelled)
                for one in self.record.sent
                if (request := request_of(one.data)) is not None
            ]
        return self._sent

    @property
    def changing(self) -> str:
        """The origin key of the agent's INVITE under way, ``""`` without one."""
        for one in self.sent():
            if one.request.method == "INVITE":
                return f"{self.agent};{one.request.branch};1"
        return ""

    @property
    def last_ack(self) -> bytes:
        """The last ACK that the agent sent, whole; empty when there is none that can be read."""
        message = self.record.ack.message
        return message if message and request_of(message) is not None else b""

    @property
    def ended(self) -> Ended:
        """When, by whom and why it ended; all of it unknown where nothing is said."""
        return self.record.ended or NO_END

    @property
    def ended_at(self) -> float:
        """When it ended, on our clock."""
        return self.told_at - self.ended.ago


class Index:
    """The records not yet made into calls, by dialog and by call id.

    One that turns out not to be readable is taken out and given to ``unreadable``; nothing else is lost with it.
    """

    __slots__ = ("_unreadable", "by_call", "by_key")

    def __init__(self, unreadable: Callable[[ToldDialog, BadRecord], None]) -> None:
        self._unreadable = unreadable
        self.by_key: dict[str, ToldDialog] = {}
        self.by_call: dict[str, dict[str, ToldDialog]] = {}

    def clear(self) -> None:
        self.by_key.clear()
        self.by_call.clear()

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, told: ToldDialog) -> None:
        """Keep it, in place of what was told of that dialog before."""
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

    def remove(self, told: ToldDialog) -> None:
        key = told.key
        if self.by_key.get(key) is told:
            del self.by_key[key]
        same = self.by_call.get(told.call)
        if same is not None and same.get(key) is told:
            del same[key]
            if not same:
                del self.by_call[told.call]

    def part(self, told: ToldDialog) -> None:
        """Take a record whose token is not believed out of the call that it names."""
        there = self.by_key.get(told.key) is told
        self.remove(told)
        told.call = ""
        if there:
            self.add(told)

    def get(self, key: str) -> ToldDialog | None:
        """The record of a dialog."""
        told = self.by_key.get(key)
        return told if told is not None and self._can_be_read(told) else None

    def of_call(self, call_id: str) -> list[ToldDialog]:
        """The records of a call, in the order in which they were told."""
        same = self.by_call.get(call_id)
        return [told for told in tuple(same.values()) if self._can_be_read(told)] if same is not None else []

    def told_of_call(self, call_id: str) -> list[ToldDialog]:
        """The same, undecoded: they may turn out not to be readable."""
        same = self.by_call.get(call_id)
        return list(same.values()) if same is not None else []

    def _can_be_read(self, told: ToldDialog) -> bool:
        try:
            return told.record is not None
        except BadRecord as fault:
            self.remove(told)
            self._unreadable(told, fault)
            return False


class Part(NamedTuple):
    """A part of an agent's list."""

    head: Head
    lines: list[LineRecord]
    dialogs: list[ToldDialog]
    faults: int
    """Records that cannot be read."""
    states: list[StateRecord]
    """Line states, to be kept."""


def read_part(agent: str, body: bytes, now: float) -> Part | None:
    """The body of a NOTIFY that came ``now``, ``None`` without one; raises :class:`BadRecord` for its head."""
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
                ToldDialog(
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


def _decoded(agent: str, piece: bytes, members: dict[str, Any], now: float) -> ToldDialog | None:
    """A record whose members stand in another order, or with white space between them."""
    call_id = text_of(members["call-id"])
    if not call_id:
        return None
    call, counter = named(text_of(members.get("call-state")))
    return ToldDialog(agent, piece, call_id, text_of(members.get("local-tag")), call, counter, now)
