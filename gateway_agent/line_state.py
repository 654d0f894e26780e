"""The line state: all that only an agent knows of a call, as one frozen value that the servers keep for it.

Encoded it is the header ``Line-State`` (docs/wire.md), ``1.<incarnation>.<counter>.<payload>.<mac>``: a server reads
the first three and keeps the last of a dialog, opaque, until the agent asks for it after a death of its own. It is
signed, not encrypted, like the state token: the same descriptions cross this hop in clear. Durations are seconds
before the instant at which it was said: no clock survives.
"""

from __future__ import annotations

import hmac
import json
import zlib
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gateway_agent.media.ports import Pair
from sip.actions import Flow
from sip.device.session_timer import SessionTimerState
from sip.dialog import UAC, UAS, DialogState
from sip.invite.reliable import ReliableState
from sip.offer_answer import UNKNOWN, OfferAnswerState

VERSION: Final = "1"
LONGEST: Final = 4096
"""Characters of a line state; a call with more cannot be restored, and that is said."""
TOO_LONG: Final = "-"
"""The payload of one that would be longer."""
MOST_DECODED: Final = 65_536
"""Bytes of a payload when it is unpacked; one with more is too long, however well it is packed."""
_MAC_BYTES: Final = 16


class LineStateError(ValueError):
    """A line state that cannot be read; ``str()`` is a sentence."""


class PendingInvite(NamedTuple):
    """An INVITE of ours without a final answer."""

    branch: str
    cseq: int
    heard: bool
    """A provisional response came; else it is to be sent again."""
    lines: tuple[str, ...] = ()
    """Its credentials, which its ACK has to carry as well."""


class DeviceDialog(NamedTuple):
    """A dialog with the device."""

    dialog: DialogState
    flow: Flow
    called: str = ""
    """The Request-URI of the INVITE that opened it, where we did."""
    invite: PendingInvite | None = None
    heard: tuple[ReliableState, ...] = ()
    """Its reliable provisional responses."""


class SentInvite(NamedTuple):
    """The device's INVITE on its way to the servers, and without a final answer."""

    branch: str
    cseq: int
    offered: bool
    """The offer is in it, and may stand in no description here: it is the body of that INVITE."""


class Anchored(NamedTuple):
    """The relayed media of the call."""

    pairs: tuple[tuple[Pair, Pair], ...]
    six: tuple[bool, bool]
    told: tuple[bool, bool]
    limit: float
    changed: float
    """Seconds since media was described last."""


class LineState(NamedTuple):
    """See the module."""

    direction: str
    line: str
    channel: int
    number: str = ""
    session_id: str = ""
    invited: float = 0.0
    """Seconds since the INVITE, the first ringing and the answer; ``None`` where that did not happen."""
    rang: float | None = None
    answered: float | None = None
    origin: str = ""
    """The origin key of the INVITE that opened it (``out``)."""
    responses: int = 0
    """How many responses that INVITE was given (``n``)."""
    awaited: str = ""
    """The origin key of the INVITE to which a 2xx was given last."""
    served: int = 0
    """The number of the last request of a server in the call: as many as have come since were sent on to the device,
    each under a number of its own."""
    passed: tuple[int, int] = (0, 0)
    """Attempt and ``n`` of the last provisional response that the device got (``in``)."""
    dialogs: tuple[DeviceDialog, ...] = ()
    """With its device; as long as a call rings, one for each target."""
    asked: bytes = b""
    """The device's INVITE that waits for its final answer, as far as an answer needs it, without a body."""
    sent: SentInvite | None = None
    device: OfferAnswerState = UNKNOWN
    server: OfferAnswerState = UNKNOWN
    standing: bytes = b""
    """What the device lives by, as the servers got it."""
    host: str = ""
    """Where the device's last description came from."""
    timer: SessionTimerState | None = None
    relay: Anchored | None = None
    said: tuple[ReliableState, ...] = ()
    """What the device got as reliable provisional responses."""


def encode(state: LineState, incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text for a header line (some 20 microseconds). ``bound``: site, agent and server dialog; no other may give
    it back. One that would be too long says so in place of its payload.
    """
    return sealed(_packed(state), incarnation, counter, bound, key)


def decode(text: str, bound: str, keys: Sequence[bytes]) -> LineState:
    """The value of a text signed with any of the keys; raises :class:`LineStateError`."""
    packed = opened(text, bound, keys)
    try:
        return _unpacked(packed)
    except (ValueError, TypeError, LookupError):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def sealed(packed: bytes, incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """Pack, spell and sign it."""
    packer = _PACKER.copy()
    payload = b2a_base64(packer.compress(packed) + packer.flush(), newline=False).decode()
    text = f"{VERSION}.{incarnation}.{counter}.{payload}"
    if len(text) > LONGEST - 32 or len(packed) > MOST_DECODED:
        text = f"{VERSION}.{incarnation}.{counter}.{TOO_LONG}"
    return f"{text}.{_mac(text, bound, key)}"


def opened(text: str, bound: str, keys: Sequence[bytes]) -> bytes:
    """What was sealed with any of the keys; raises :class:`LineStateError`."""
    if len(text) > LONGEST:
        raise LineStateError("the line state is longer than any that is made here")
    said, _, mac = text.rpartition(".")
    if not text.isascii() or not any(hmac.compare_digest(mac, _mac(said, bound, key)) for key in keys):
        raise LineStateError("the line state is not signed with the site key for this dialog")
    version, _, rest = said.partition(".")
    if version != VERSION:
        raise LineStateError(f"the line state has format {version}, and only {VERSION} is known here")
    payload = rest.rpartition(".")[2]
    if payload == TOO_LONG:
        raise LineStateError(f"the line state would have been longer than {LONGEST} characters")
    try:
        return zlib.decompressobj(-_WINDOW, _DICTIONARY).decompress(b64decode(payload), MOST_DECODED)
    except (ValueError, zlib.error):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def bound_to(site: str, agent: str, call_id: str, from_tag: str) -> str:
    """What a line state is bound to: the dialog between agent and servers, by the tag of who opened it."""
    return f"{site} {agent} {call_id} {from_tag}"


def _packed(state: LineState) -> bytes:
    """A JSON list of plain values, and behind it each description once."""
    found = {b"": -1}
    place = found.setdefault
    device, server = state.device, state.server
    # each the number of its text: comprehensions, as this is done twice a call
    device_places = [place(text, len(found) - 1) for text in device[1:]]
    server_places = [place(text, len(found) - 1) for text in server[1:]]
    asked, standing = place(state.asked, len(found) - 1), place(state.standing, len(found) - 1)
    del found[b""]
    values: list[Any] = [
        *state[:12],
        state.passed,
        [
            [*each.dialog, each.flow.transport, each.flow.local, *each.flow.remote, each.called, each.invite]
            for each in state.dialogs
        ],
        asked,
        state.sent,
        [device[0], *device_places],
        [server[0], *server_places],
        standing,
        state.host,
        state.timer if state.timer is None or state.timer.by_update else state.timer[:-1],
        state.relay,
        [*map(len, found)],
    ]
    reliable = bool(state.said)
    for each in state.dialogs:
        reliable = reliable or bool(each.heard)
    if reliable:  # of few calls, and unknown to earlier versions, which read no further
        values.append([state.said, [each.heard for each in state.dialogs]])
    return b"\0".join((_json(values).encode(), b"".join(found)))


def _unpacked(packed: bytes) -> LineState:
    head, _, rest = packed.partition(b"\0")
    values = json.loads(head)
    texts: list[bytes] = []
    for length in values[22]:
        texts.append(rest[:length])
        rest = rest[length:]

    def text(place: int) -> bytes:
        return texts[place] if place >= 0 else b""

    def machine(one: list[Any]) -> OfferAnswerState:
        return OfferAnswerState(one[0], *map(text, one[1:]))

    passed = values[12]
    said, heard = values[23] if len(values) > 23 else ((), ())
    sent, timer, relay = values[15], values[20], values[21]
    return _made(
        *values[:12],
        (passed[0], passed[1]),
        tuple(map(_dialog, values[13], heard or [()] * len(values[13]))),
        text(values[14]),
        SentInvite(*sent) if sent is not None else None,
        machine(values[16]),
        machine(values[17]),
        text(values[18]),
        values[19],
        SessionTimerState(*timer) if timer is not None else None,
        _anchored(*relay) if relay is not None else None,
        _reliable(said),
    )


def _reliable(values: Sequence[list[Any]]) -> tuple[ReliableState, ...]:
    return tuple(ReliableState(*each) for each in values)


def _dialog(values: list[Any], heard: Sequence[list[Any]]) -> DeviceDialog:
    state = _made_dialog(*values[:8], tuple(values[8]), UAC if values[9] == UAC else UAS)
    flow = Flow(values[10], values[11], (values[12], values[13]))
    invite = values[15]
    if invite is not None:
        branch, cseq, answered, lines = invite
        invite = PendingInvite(branch, cseq, answered, tuple(lines))
    return DeviceDialog(state, flow, values[14], invite, _reliable(heard))


def _anchored(
    pairs: list[list[list[Any]]], six: list[bool], told: list[bool], limit: float, changed: float
) -> Anchored:
    return Anchored(
        tuple((Pair(*here), Pair(*there)) for here, there in pairs),
        (six[0], six[1]),
        (told[0], told[1]),
        limit,
        changed,
    )


def _mac(text: str, bound: str, key: bytes) -> str:
    mac = hmac.digest(key, f"line state {bound} {text}".encode(), "sha256")[:_MAC_BYTES]
    return b2a_base64(mac, newline=False).decode().rstrip("=")


_made: Callable[..., LineState] = LineState
_made_dialog: Callable[..., DialogState] = DialogState
_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_WINDOW: Final = 12
_DICTIONARY: Final = (
    b"Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:Record-Route: <sip:;lr>\r\nINVITE sip: SIP/2.0\r\nVia: SIP/2.0/UDP ;rport;branch=z9hG4bK"
    b'\r\nFrom: <sip:>;tag=\r\nTo: <sip:>\r\nCall-ID: \r\nCSeq: 1 INVITE\r\n,null,null,[["in","out",'
    b'["nothing","local_offer","remote_offer","local_change","remote_change",-1,0,["agreed",0,1,-1,-1,0],'
    b'0,"z9hG4bK","<sip:",[],"recipient","initiator","udp","tcp",":5060","127.0.0.",5060,"",null]],-1,null,'
    b"v=0\r\no=- 1 1 IN IP4 192.168.0.\r\ns=-\r\nc=IN IP4 192.168.0.\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 9 18 "
    b"101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendonly\r\na=recvonly\r\n"
    b"a=sendrecv\r\n"
)
"""What most calls have of: a line state is packed against it. Another dictionary is another version."""
_PACKER: Final = zlib.compressobj(6, zlib.DEFLATED, -_WINDOW, 3, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
"""Copied for each: to prepare one costs more than to use it."""
