"""What agents handed over: records of dialogs, indexed on arrival, decoded on first use (docs/wire.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sip.dialog import DialogState, dialog_key
from sip.wire.errors import SipError
from sip.wire.message import Request, parse

_INDEX: Final = re.compile(
    rb'\{"call-id":"([^"\\]*)","local-tag":"([^"\\]*)","call-state":"'
    rb'(?:1\.(\d{1,9})\.([^."\\]*)\.[^."\\]*\.[^."\\]*"|(?:[^"\\]|\\.)*")'
)
_UNFIT: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_SENT: Final = b'"sent":[{'
_AWAITED: Final = b'"ack":"awaited"'
_OVER: Final = b'"state":"terminated"'


class Ended(NamedTuple):
    """How a dialog ended, by the word of its agent."""

    ago: float = 0.0
    """Seconds."""
    by: str = ""
    reason: str = ""
    status: int = 0


class Sent(NamedTuple):
    """A request of an agent that has no final answer."""

    request: Request
    data: bytes
    """The same, whole."""
    cancelled: bool


class Record:
    """One dialog as its agent told it."""

    __slots__ = ("_value", "agent", "call", "call_id", "counter", "local_tag", "raw", "told_at")

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
        self._value: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return dialog_key(self.call_id, self.local_tag)

    @property
    def has_sent(self) -> bool:
        """Whether requests of the agent wait for an answer (seen without decoding)."""
        return _SENT in self.raw

    @property
    def is_over(self) -> bool:
        """Whether the agent has nothing to say of this dialog but how it ended (seen without decoding)."""
        return _OVER in self.raw and not self.has_sent

    @property
    def awaited(self) -> bool:
        """Whether the agent sent a 2xx that was not acknowledged (seen without decoding)."""
        return _AWAITED in self.raw

    @property
    def value(self) -> dict[str, Any]:
        """The members, decoded once. A record that cannot be read is empty."""
        if self._value is None:
            try:
                value = json.loads(self.raw.decode())  # of bytes it would try all encodings of JSON
            except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
                value = {}
            self._value = value if isinstance(value, dict) else {}
        return self._value

    def text(self, name: str) -> str:
        """A member that is a string fit for a header line, ``""`` where it is not."""
        return _text(self.value.get(name))

    @property
    def state(self) -> str:
        return self.text("state")

    @property
    def live(self) -> bool:
        return self.state != "terminated"

    @property
    def talks(self) -> bool:
        """An answered call, or one that its device has ended with the BYE still to be passed on."""
        if self.live:
            return self.state == "confirmed"
        return self.has_sent and any(one.request.method == "BYE" for one in self.sent())

    @property
    def from_server(self) -> bool:
        """The server sent the INVITE: this is a callee's leg."""
        return self.text("direction") == "initiator"

    @property
    def attempt(self) -> int:
        """The attempt in the origin key of the INVITE that opened it, 0 when there is none."""
        number = self.text("origin").rpartition(";")[2]
        return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0

    def age(self, name: str) -> float | None:
        """Seconds since ``invite``, ``ringing`` or ``answer``."""
        ages = self.value.get("age")
        return _seconds(ages.get(name)) if isinstance(ages, dict) else None

    def dialog(self) -> DialogState:
        """The server's side of the dialog."""
        cseq = self.value.get("cseq")
        numbers = cseq if isinstance(cseq, dict) else {}
        routes = self.value.get("route-set", ())
        return DialogState(
            self.call_id,
            self.local_tag,
            self.text("remote-tag"),
            self.text("local"),
            self.text("remote"),
            _number(numbers.get("local")),
            _number(numbers.get("remote")),
            self.text("target"),
            tuple(filter(None, map(_text, routes))) if isinstance(routes, list) else (),
            self.text("direction") or "recipient",
        )

    def sent(self) -> list[Sent]:
        """The agent's requests without a final answer, oldest first."""
        return [
            Sent(request, _bytes(entry["request"]), bool(entry.get("cancelled")))
            for entry in _entries(self.value.get("sent"))
            if (request := _request(entry.get("request"))) is not None
        ]

    @property
    def changing(self) -> str:
        """The origin key of the agent's INVITE under way, ``""`` without one."""
        for one in self.sent():
            if one.request.method == "INVITE":
                return f"{self.agent};{one.request.branch};1"
        return ""

    def received(self) -> list[tuple[Request, str]]:
        """Servers' requests that the agent has not finally answered, with their origin keys."""
        return [
            (request, str(entry.get("origin", "")))
            for entry in _entries(self.value.get("received"))
            if (request := _request(entry.get("request"))) is not None
        ]

    @property
    def ack(self) -> str | bytes:
        """``owed``, ``awaited``, the last ACK as bytes, or ``""``."""
        value = self.value.get("ack", "")
        if isinstance(value, dict):
            message = value.get("message")
            return _bytes(message) if isinstance(message, str) and _request(message) is not None else ""
        return value if isinstance(value, str) else ""

    @property
    def ended(self) -> Ended:
        """For ``terminated``: when, by whom and why; members that cannot be read are as if left out."""
        value = self.value.get("ended")
        fact = value if isinstance(value, dict) else {}
        by, reason = fact.get("by"), fact.get("reason")
        return Ended(
            _seconds(fact.get("ago")) or 0.0,
            _text(by),
            _text(reason),
            _number(fact.get("status")),
        )

    @property
    def ended_at(self) -> float:
        """When it ended, on our clock."""
        return self.told_at - self.ended.ago

    @property
    def ack_cseq(self) -> int:
        return _number(self.value.get("ack-cseq"))


class Index:
    """The records not yet made into calls, by dialog and by call id."""

    __slots__ = ("by_call", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[str, Record] = {}
        self.by_call: dict[str, list[Record]] = {}

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, record: Record) -> None:
        old = self.by_key.get(record.key)
        if old is not None:
            self.remove(old)
        self.by_key[record.key] = record
        if record.call:
            self.by_call.setdefault(record.call, []).append(record)

    def remove(self, record: Record) -> None:
        if self.by_key.get(record.key) is record:
            del self.by_key[record.key]
        same = self.by_call.get(record.call)
        if same is not None and record in same:
            same.remove(record)
            if not same:
                del self.by_call[record.call]

    def part(self, record: Record) -> None:
        """Take a record whose token is not believed out of the call that it names."""
        there = self.by_key.get(record.key) is record
        self.remove(record)
        record.call = ""
        if there:
            self.add(record)

    def of_call(self, call_id: str) -> list[Record]:
        return list(self.by_call.get(call_id, ()))


def split(body: bytes) -> list[bytes]:
    """The records of a JSON text sequence (RFC 7464): each begins with a record separator."""
    return [piece for piece in (part.strip(b"\n") for part in body.split(b"\x1e")) if piece]


def dialogs(agent: str, pieces: list[bytes], now: float = 0.0) -> Iterator[Record]:
    """The records of dialogs among the pieces of a body that came ``now``."""
    match = _INDEX.match
    for piece in pieces:
        found = match(piece)
        if found is not None:
            call_id, local_tag, counter, call = found.groups()
            yield Record(
                agent,
                piece,
                call_id.decode("latin-1"),
                local_tag.decode("latin-1"),
                call.decode("latin-1") if call else "",
                int(counter) if counter else 0,
                now,
            )


def _entries(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    """Agents say what goes into the messages of others: no line ends, and nothing that is no byte."""
    if not isinstance(value, str) or (not value.isprintable() and _UNFIT.search(value)) or not _is_bytes(value):
        return ""
    return value


def _is_bytes(text: str) -> bool:
    return text.isascii() or max(text) < "\u0100"


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 0xFFFFFFFF else 0


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e9 else None


def _bytes(text: str) -> bytes:
    """A whole message, of which each character is one byte."""
    return text.encode("latin-1", "replace")


def _request(text: object) -> Request | None:
    """The request that a string holds; None when it is none."""
    try:
        message = parse(_bytes(text)) if isinstance(text, str) else None
    except SipError:
        return None
    return message if isinstance(message, Request) else None
