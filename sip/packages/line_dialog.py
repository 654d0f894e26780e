"""The line-dialog event package (docs/line-dialog.md): its names, the body of its SUBSCRIBE, the body of its NOTIFY.

An agent makes a :class:`DialogRecord` of each of its calls and encodes it, a server decodes it. Members with their
default are left out and unknown ones are ignored, so that either may be older than the other. Dialogs are described
from the server's side (its tag is the local one). Whole SIP messages are bytes here and, in JSON, strings of which
each character is one byte (ISO 8859-1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple

from sip.dialog import UAC, UAS, DialogState, dialog_key
from sip.packages.json_values import members_in, message_of, number_of, seconds_of, text_of
from sip.wire.errors import SipError
from sip.wire.message import Request, parse

PACKAGE: Final = "line-dialog"
LIST_TYPE: Final = "application/line-dialog+json-seq"
"""Content-Type of a NOTIFY."""
ACCEPT: Final = f"{LIST_TYPE};version=1"
REQUEST_TYPE: Final = "application/line-dialog-request+json"
"""Content-Type of a SUBSCRIBE."""

OBSERVE: Final = "observe"
TAKEOVER: Final = "takeover"
RESET: Final = "reset"
PURPOSES: Final = (OBSERVE, TAKEOVER, RESET)
"""What a server subscribes for."""
RETURN: Final = "return"
"""What an agent subscribes for at its server after a restart: its dialogs, line states and subscriptions back."""
LINE_STATE_TAG: Final = "line-state"
"""Option tag in Supported: a server that stores line states, an agent that wants its line states stored."""

IDLE: Final = "idle"
OUT_OF_SERVICE: Final = "out-of-service"
BUSIED_OUT: Final = "busied-out"
"""The line takes no new calls; its calls go on."""
BACK: Final = "back"
"""Takes a line out of :data:`BUSIED_OUT`."""
RESET_STATES: Final = (IDLE, OUT_OF_SERVICE, BUSIED_OUT, BACK)
RESET_BY: Final = "reset to out of service by "
"""Beginning of the reason of a line that an operator took out of service; the name of the server that passed the
command on follows."""
BUSIED_BY: Final = "busied out by "
"""The same for a line that was busied out."""

TRYING: Final = "trying"
PROCEEDING: Final = "proceeding"
EARLY: Final = "early"
CONFIRMED: Final = "confirmed"
TERMINATED: Final = "terminated"

ACK_PENDING: Final = "owed"
"""The agent has a 2xx from a server and has sent no ACK yet."""
ACK_AWAITED: Final = "awaited"
"""The agent sent a 2xx and has no ACK yet."""

DEVICE: Final = "device"
SERVER: Final = "server"
AGENT: Final = "agent"


class BadRecord(ValueError):
    """A body or a record that cannot be read; ``str()`` is a sentence."""


class ListRequest(NamedTuple):
    """The body of a SUBSCRIBE."""

    epoch: int | None = None
    """The epoch in which the proof was given."""
    proof: str | None = None
    """Proof of leadership, needed for ``takeover`` and ``reset`` (docs/heartbeat.md)."""
    lines: tuple[str, ...] | None = None
    """Only these lines; ``None``: all, or for ``reset`` those whose recovery is cold."""
    least_priority: int = 0
    """Only lines of this priority or a higher one."""
    call_ids: tuple[str, ...] | None = None
    """Only the server dialogs with these Call-IDs, in this order; ``None``: all."""
    state: str = IDLE
    """For ``reset``: the state that the lines are put into, one of :data:`RESET_STATES`."""

    def encode(self) -> bytes:
        """The JSON object; members with their default are left out."""
        value: dict[str, Any] = {}
        if self.epoch is not None:
            value["epoch"] = self.epoch
        if self.proof is not None:
            value["proof"] = self.proof
        if self.call_ids is not None:
            value["call-id"] = self.call_ids
        if self.lines is not None:
            value["lines"] = self.lines
        if self.least_priority:
            value["least-priority"] = self.least_priority
        if self.state != IDLE:
            value["state"] = self.state
        return _compact(value).encode()

    @classmethod
    def decode(cls, body: bytes) -> ListRequest:
        """Read a body; an empty one has all defaults. Raises :class:`BadRecord`."""
        if not body:
            return cls()
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRecord("the body is no JSON") from None
        if not isinstance(value, dict):
            raise BadRecord("the body is no JSON object")
        epoch, proof = value.get("epoch"), value.get("proof")
        least, state = value.get("least-priority", 0), value.get("state", IDLE)
        if not isinstance(least, int) or state not in RESET_STATES:
            raise BadRecord("least-priority or state cannot be read")
        call_ids = value.get("call-id")
        return cls(
            epoch if isinstance(epoch, int) else None,
            proof if isinstance(proof, str) else None,
            _names(value.get("lines"), "lines is no list of names"),
            least,
            _names(
                [call_ids] if isinstance(call_ids, str) else call_ids, "call-id is neither a text nor a list of them"
            ),
            state,
        )


def _names(value: Any, fault: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadRecord(fault)
    return tuple(value)


class Head(NamedTuple):
    """The first record of each part of a list."""

    site: str
    agent: str
    boot: int
    """The agent's incarnation: how many times it has started."""
    epoch: int
    """Epoch of the leader that the agent obeys."""
    version: int
    """Number of the state reported in this subscription, from 1; all parts of one list have the same."""
    part: int
    """Number of this part of the list."""
    complete: bool
    """This is the last part: a dialog in none of the parts does not exist."""
    covered: bool = False
    """The line state of each dialog of the list has been sent, or was sent with an earlier message."""

    def encode(self) -> str:
        text = (
            f'{{"site":{_quote(self.site)},"agent":{_quote(self.agent)},"boot":{self.boot},"epoch":{self.epoch},'
            f'"version":{self.version},"part":{self.part},"complete":{_flag(self.complete)}'
        )
        return text + (',"covered":true}' if self.covered else "}")

    @classmethod
    def decode(cls, piece: bytes) -> Head:
        """Raises :class:`BadRecord`."""
        value = members_of(piece)
        return cls(
            text_of(value.get("site")),
            text_of(value.get("agent")),
            number_of(value.get("boot")),
            number_of(value.get("epoch")),
            number_of(value.get("version")),
            number_of(value.get("part")),
            value.get("complete") is True,
            value.get("covered") is True,
        )


class LineRecord(NamedTuple):
    """The state of a line."""

    line: str
    kind: str
    """``trunk`` or ``phone``."""
    state: str
    """``idle``, ``active`` or ``out of service``."""
    in_service: bool
    channels: int
    busy: int
    contacts: int
    why: str
    """Why it takes no calls, a sentence; ``""`` when it takes them."""
    line_state: str = ""
    """Its registrations for the server to store, opaque; ``""`` when there are none."""

    def encode(self) -> str:
        text = (
            f'{{"line":{_quote(self.line)},"kind":"{self.kind}","state":"{self.state}",'
            f'"in-service":{_flag(self.in_service)},"channels":{self.channels},"busy":{self.busy},'
            f'"contacts":{self.contacts},"why":{_quote(self.why)}'
        )
        return f'{text},"line-state":{_quote(self.line_state)}}}' if self.line_state else text + "}"

    @classmethod
    def of(cls, value: dict[str, Any]) -> LineRecord:
        """The record of these members."""
        return cls(
            text_of(value.get("line")),
            text_of(value.get("kind")),
            text_of(value.get("state")),
            value.get("in-service") is not False,
            number_of(value.get("channels")),
            number_of(value.get("busy")),
            number_of(value.get("contacts")),
            text_of(value.get("why")),
            text_of(value.get("line-state")),
        )


class SentRequest(NamedTuple):
    """A request of the agent without a final response from a server."""

    data: bytes
    """The whole request as it was sent to a server, or would have been."""
    cancelled: bool = False
    """The device or the agent has cancelled it."""


class ReceivedRequest(NamedTuple):
    """A request of a server to which the agent has sent no final response."""

    data: bytes
    origin: str = ""
    """Its origin key."""
    response: bytes = b""
    """The last provisional response, whole."""
    cancelled: bool = False
    """A server has cancelled it, and the device has not sent its final response yet."""


class EarlyDialog(NamedTuple):
    """The provisional responses of one To tag, as whole messages."""

    tag: str
    responses: tuple[bytes, ...]


class Ages(NamedTuple):
    """Seconds since the INVITE, the first ringing and the answer; ``None`` for what has not happened."""

    invite: float | None = None
    ringing: float | None = None
    answer: float | None = None


class Ack(NamedTuple):
    """State of the ACK for the last 2xx to an INVITE."""

    state: str = ""
    """:data:`ACK_PENDING`, :data:`ACK_AWAITED`, or ``""``."""
    message: bytes = b""
    """The last ACK that the agent sent, whole, as long as it may have to be passed on."""
    cseq: int = 0
    """CSeq number of the INVITE."""
    origin: str = ""
    """Origin key of the INVITE, for :data:`ACK_AWAITED`."""


class Ended(NamedTuple):
    """How a dialog ended, as its agent reports it."""

    ago: float = 0.0
    """Seconds since it ended."""
    by: str = ""
    """:data:`DEVICE`, :data:`SERVER` or :data:`AGENT`."""
    reason: str = ""
    """A Reason header value, ``""`` without one."""
    status: int = 0
    media: str = ""
    """Media measurements in the form of the Media-Quality header; ``""`` when there are none."""


NO_AGES: Final = Ages()
NO_ACK: Final = Ack()


class DialogRecord(NamedTuple):
    """One dialog between an agent and the servers: all that a new leader needs to take it over."""

    dialog: DialogState
    """The server's side."""
    token: str = ""
    """The last state token, opaque to agents; ``""`` without one."""
    state: str = CONFIRMED
    line: str = ""
    """With its channel: ``trunk1/7``, ``alice``."""
    priority: int = 0
    recovery: str = ""
    """``hot`` or ``cold``, as in the site file."""
    origin: str = ""
    """The origin key of the INVITE with which a server opened it."""
    ages: Ages = NO_AGES
    sent: tuple[SentRequest, ...] = ()
    """Oldest first."""
    received: tuple[ReceivedRequest, ...] = ()
    early: tuple[EarlyDialog, ...] = ()
    ack: Ack = NO_ACK
    held: str = "none"
    """``none``, ``local``, ``remote`` or ``both``, by the directions of the SDP."""
    sdp_sent: bytes = b""
    """The last session description from the agent to a server."""
    sdp_received: bytes = b""
    """The last session description from a server to the agent."""
    ended: Ended | None = None
    """Set when the state is :data:`TERMINATED`."""

    @property
    def key(self) -> str:
        return dialog_key(self.dialog.call_id, self.dialog.local_tag)

    @property
    def opened_by_server(self) -> bool:
        """Whether the server sent the INVITE: this is the leg of a callee."""
        return self.dialog.direction == UAC

    @property
    def attempt(self) -> int:
        """The attempt in the origin key of the INVITE that opened it, 0 when there is none."""
        number = self.origin.rpartition(";")[2]
        return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0

    def encode(self) -> str:
        """The JSON object, without white space; the members that an index needs come first. Takes some 15 µs."""
        dialog = self.dialog
        text = (
            f'{{"call-id":{_quote(dialog.call_id)},"local-tag":{_quote(dialog.local_tag)},'
            f'"call-state":{_quote(self.token)},"state":"{self.state}","direction":"{dialog.direction}",'
            f'"remote-tag":{_quote(dialog.remote_tag)},"local":{_quote(dialog.local)},'
            f'"remote":{_quote(dialog.remote)},"target":{_quote(dialog.target)},'
            f'"cseq":{{"local":{dialog.local_cseq},"remote":{dialog.remote_cseq}}},'
            f'"line":{_quote(self.line)},"priority":{self.priority},"recovery":"{self.recovery}"'
        )
        if dialog.route_set:
            text += f',"route-set":[{",".join(map(_quote, dialog.route_set))}]'
        if self.origin:
            text += f',"origin":{_quote(self.origin)}'
        if self.ages is not NO_AGES:
            text += _encoded_ages(self.ages)
        if self.sent:
            text += f',"sent":[{",".join(map(_encoded_sent, self.sent))}]'
        if self.received:
            text += f',"received":[{",".join(map(_encoded_received, self.received))}]'
        if self.early:
            text += f',"early":[{",".join(map(_encoded_early, self.early))}]'
        if self.ack is not NO_ACK:
            text += _encoded_ack(self.ack)
        if self.held != "none":
            text += f',"held":"{self.held}"'
        if self.sdp_sent or self.sdp_received:
            text += f',"sdp":{{"sent":{_message(self.sdp_sent)},"received":{_message(self.sdp_received)}}}'
        if self.ended is not None:
            ago, by, reason, status, media = self.ended
            measured = f',"media":{_quote(media)}' if media else ""
            text += f',"ended":{{"ago":{ago:.3f},"by":"{by}","reason":{_quote(reason)},"status":{status}{measured}}}'
        return text + "}"

    @classmethod
    def decode(cls, piece: bytes) -> DialogRecord:
        """Read a record; raises :class:`BadRecord`. Single members that cannot be read are as if left out."""
        return cls.of(members_of(piece))

    @classmethod
    def of(cls, value: dict[str, Any]) -> DialogRecord:
        """The record of these members; raises :class:`BadRecord`."""
        call_id = text_of(value.get("call-id"))
        if not call_id:
            raise BadRecord("a record without call-id")
        said, numbers = value.get, members_in(value.get("cseq"))
        routes, ages, sdp = value.get("route-set"), value.get("age"), members_in(value.get("sdp"))
        direction = UAC if value.get("direction") == UAC else UAS
        return cls(
            DialogState(
                call_id,
                text_of(said("local-tag")),
                text_of(said("remote-tag")),
                text_of(said("local")),
                text_of(said("remote")),
                number_of(numbers.get("local")),
                number_of(numbers.get("remote")),
                text_of(said("target")),
                tuple(filter(None, map(text_of, routes))) if isinstance(routes, list) else (),
                direction,
            ),
            text_of(said("call-state")),
            text_of(said("state")),
            text_of(said("line")),
            number_of(said("priority")),
            text_of(said("recovery")),
            text_of(said("origin")),
            _decoded_ages(ages) if isinstance(ages, dict) else NO_AGES,
            tuple(map(_decoded_sent, _entries(said("sent"), "request"))) if "sent" in value else (),
            tuple(map(_decoded_received, _entries(said("received"), "request"))) if "received" in value else (),
            tuple(map(_decoded_early, _entries(said("early"), "tag"))) if "early" in value else (),
            _decoded_ack(value) if "ack" in value or "ack-cseq" in value else NO_ACK,
            text_of(said("held")) or "none",
            message_of(sdp.get("sent")),
            message_of(sdp.get("received")),
            _decoded_ended(said("ended")) if "ended" in value else None,
        )


class ReturnRecord(NamedTuple):
    """One dialog as a server returns it to its agent after a restart: the stored line state and the server's own."""

    record: DialogRecord
    """From the server's side. ``sent``: requests of the agent without a final response from the server, ``early``:
    the last provisional responses to them; ``received``: the server's requests without a final response."""
    line_state: str
    age: float
    """Seconds since the agent sent ``line_state``."""

    def encode(self) -> str:
        """The JSON object."""
        return f'{self.record.encode()[:-1]},"line-state":{_quote(self.line_state)},"line-state-age":{self.age:.3f}}}'

    @classmethod
    def of(cls, value: dict[str, Any]) -> ReturnRecord:
        """The record of these members; raises :class:`BadRecord`."""
        state, age = text_of(value.get("line-state")), seconds_of(value.get("line-state-age"))
        return cls(DialogRecord.of(value), state, age or 0.0)


class LineStateRecord(NamedTuple):
    """The registrations of a line as a server has stored them."""

    line: str
    line_state: str
    age: float
    """Seconds since the agent sent ``line_state``."""

    def encode(self) -> str:
        """The JSON object."""
        return (
            f'{{"line":{_quote(self.line)},"line-state":{_quote(self.line_state)},"line-state-age":{self.age:.3f}}}'
        )


class StateRecord(NamedTuple):
    """The line state of a dialog without its record: sent when only the device's side changed, and after a list."""

    line_state: str
    call_id: str
    """Call-ID of the dialog; for a device's subscription followed by a space and the agent's tag."""
    lasts: float = 0.0
    """Seconds until a subscription ends; 0 for a call."""

    def encode(self) -> str:
        """The JSON object."""
        lasts = f',"lasts":{self.lasts:.3f}' if self.lasts else ""
        return f'{{"line-state":{_quote(self.line_state)},"call-id":{_quote(self.call_id)}{lasts}}}'


class SubscriptionRecord(NamedTuple):
    """The line state of a device's subscription as a server has stored it."""

    dialog: str
    """Call-ID, a space, and the agent's tag."""
    line_state: str
    age: float
    """Seconds since the agent sent ``line_state``."""

    def encode(self) -> str:
        """The JSON object."""
        state = f'"line-state":{_quote(self.line_state)},"line-state-age":{self.age:.3f}'
        return f'{{"subscription":{_quote(self.dialog)},{state}}}'


def body_of(texts: Iterable[str]) -> bytes:
    """The body of a NOTIFY, a JSON text sequence (RFC 7464), from encoded records, first a :class:`Head`."""
    return "".join(f"\x1e{text}\n" for text in texts).encode("latin-1")


def split(body: bytes) -> list[bytes]:
    """The records of a JSON text sequence, without their record separators (RFC 7464 section 2)."""
    return [piece for piece in (part.strip(b"\n") for part in body.split(b"\x1e")) if piece]


def members_of(piece: bytes) -> dict[str, Any]:
    """The members of a record of any kind; raises :class:`BadRecord`."""
    try:
        value = json.loads(piece.decode())  # given bytes, json would guess among the UTF encodings
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise BadRecord("a record that is no JSON") from None
    if not isinstance(value, dict):
        raise BadRecord("a record that is no JSON object")
    return value


def request_of(data: bytes) -> Request | None:
    """The request in ``data``; ``None`` when it is none that can be read."""
    try:
        message = parse(data)
    except SipError:
        return None
    return message if isinstance(message, Request) else None


_quote: Final = encode_basestring_ascii
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _message(data: bytes) -> str:
    return _quote(data.decode("latin-1"))


def _encoded_ages(ages: Ages) -> str:
    invite, ringing, answer = ages
    said = f'"invite":{invite:.3f}' if invite is not None else ""
    if ringing is not None:
        said += f',"ringing":{ringing:.3f}'
    if answer is not None:
        said += f',"answer":{answer:.3f}'
    return f',"age":{{{said.lstrip(",")}}}'


def _encoded_sent(one: SentRequest) -> str:
    return f'{{"request":{_message(one.data)},"cancelled":{_flag(one.cancelled)}}}'


def _encoded_received(one: ReceivedRequest) -> str:
    text = f'{{"request":{_message(one.data)},"origin":{_quote(one.origin)}'
    if one.response:
        text += f',"response":{_message(one.response)}'
    return text + (',"cancelled":true}' if one.cancelled else "}")


def _encoded_early(one: EarlyDialog) -> str:
    return f'{{"tag":{_quote(one.tag)},"responses":[{",".join(map(_message, one.responses))}]}}'


def _encoded_ack(ack: Ack) -> str:
    text = f',"ack":{{"message":{_message(ack.message)}}}' if ack.message else f',"ack":"{ack.state}"'
    text += f',"ack-cseq":{ack.cseq}'
    return text + f',"ack-origin":{_quote(ack.origin)}' if ack.state == ACK_AWAITED else text


def _entries(value: Any, needed: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, dict) and isinstance(entry.get(needed), str)]


def _decoded_sent(entry: dict[str, Any]) -> SentRequest:
    return SentRequest(message_of(entry["request"]), bool(entry.get("cancelled")))


def _decoded_received(entry: dict[str, Any]) -> ReceivedRequest:
    data, response = message_of(entry["request"]), message_of(entry.get("response"))
    return ReceivedRequest(data, text_of(entry.get("origin")), response, bool(entry.get("cancelled")))


def _decoded_early(entry: dict[str, Any]) -> EarlyDialog:
    responses = entry.get("responses")
    return EarlyDialog(
        text_of(entry["tag"]), tuple(map(message_of, responses)) if isinstance(responses, list) else ()
    )


def _decoded_ages(value: dict[str, Any]) -> Ages:
    return Ages(seconds_of(value.get("invite")), seconds_of(value.get("ringing")), seconds_of(value.get("answer")))


def _decoded_ack(value: dict[str, Any]) -> Ack:
    ack, cseq, origin = value.get("ack"), number_of(value.get("ack-cseq")), text_of(value.get("ack-origin"))
    if isinstance(ack, dict):
        return Ack("", message_of(ack.get("message")), cseq, origin)
    return Ack(ack if ack in (ACK_PENDING, ACK_AWAITED) else "", b"", cseq, origin)


def _decoded_ended(value: Any) -> Ended:
    fact = members_in(value)
    by, reason, status = text_of(fact.get("by")), text_of(fact.get("reason")), number_of(fact.get("status"))
    return Ended(seconds_of(fact.get("ago")) or 0.0, by, reason, status, text_of(fact.get("media")))
