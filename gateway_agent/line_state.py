"""The line state: everything about a call that only its agent knows, as one frozen value that servers keep for it.

Encoded it is the value of the header ``Line-State`` (docs/wire.md). Instants are given as seconds before the one at
which the line state was made, since the agent's clock does not survive a restart of its machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, Final, NamedTuple

from gateway_agent.media.ports import Pair
from gateway_agent.seal import LineStateError, opened, sealed
from gateway_agent.webrtc.anchor import GatewayState
from gateway_agent.webrtc.legs import leg_of, session_of
from sip.actions import Flow
from sip.device.session_timer import SessionTimerState
from sip.dialog import UAC, UAS, DialogState
from sip.invite.reliable import ReliableState
from sip.offer_answer import UNKNOWN, OfferAnswerState


class PendingInvite(NamedTuple):
    """An INVITE that the agent sent to the device, without a final answer."""

    branch: str
    cseq: int
    heard: bool
    """Whether a response came; otherwise the INVITE is sent again after a restart."""
    lines: tuple[str, ...] = ()
    """Its header lines with credentials, which its ACK has to carry as well."""


class DeviceDialog(NamedTuple):
    """A dialog with the device."""

    dialog: DialogState
    flow: Flow
    called: str = ""
    """The Request-URI of the INVITE that opened the dialog, where the agent sent that; else ``""``."""
    invite: PendingInvite | None = None
    heard: tuple[ReliableState, ...] = ()
    """The state of the device's reliable provisional responses (RFC 3262)."""


class SentInvite(NamedTuple):
    """The device's INVITE as the agent sent it to the servers, without a final answer."""

    branch: str
    cseq: int
    offered: bool
    """Whether that INVITE has an offer. The offer may not be among the descriptions of the line state: then it is
    only in the body of the INVITE."""


class Anchored(NamedTuple):
    """The relayed media of the call, as `MediaAnchor` has it. Tuples of two are for the device's and the servers'
    side."""

    pairs: tuple[tuple[Pair, Pair], ...]
    """The pairs of ports of each media section."""
    six: tuple[bool, bool]
    """Whether the side is reached by IPv6."""
    told: tuple[bool, bool]
    """Whether the side was given an address, so that its family is fixed."""
    limit: float
    """Seconds without media after which the relay reports that; 0: never."""
    changed: float
    """Seconds since media was described last."""
    keys: str = ""
    """The name from which the SRTP keys towards the device are derived. What is empty at the end is left out of the
    encoded text, so that agents of former versions can read that."""
    cookies: tuple[str, ...] = ()
    """What names each media section to its rtpengine (`gateway_agent.rtpengine.sessions`); empty for the agent's own
    relay."""


class LineState(NamedTuple):
    """The value itself; ``in`` and ``out`` are the directions of `Call`."""

    direction: str
    line: str
    channel: int
    number: str = ""
    session_id: str = ""
    invited: float = 0.0
    """Seconds since the INVITE; below, since the first ringing and the answer, ``None`` where that did not happen."""
    rang: float | None = None
    answered: float | None = None
    origin: str = ""
    """The origin key of the INVITE with which a server opened the call (``out``)."""
    responses: int = 0
    """How many responses that INVITE was given: the ``n`` of the last."""
    awaited: str = ""
    """The origin key of the last INVITE of a server that was answered 2xx."""
    served: int = 0
    """The CSeq number of the last request of a server in the call. Each further one was passed on to the device, with
    a CSeq number of its own there: by the difference those numbers can be counted on."""
    passed: tuple[int, int] = (0, 0)
    """Attempt and ``n`` of the last provisional response that the device got (``in``)."""
    dialogs: tuple[DeviceDialog, ...] = ()
    """The dialogs with the device: one, or one for each target while the call rings."""
    asked: bytes = b""
    """The start line and those header lines of the device's unanswered INVITE that its answers need."""
    sent: SentInvite | None = None
    device: OfferAnswerState = UNKNOWN
    server: OfferAnswerState = UNKNOWN
    standing: bytes = b""
    """The session description that the device stands by, as the servers got it."""
    host: str = ""
    """The host from which the device's last description came."""
    timer: SessionTimerState | None = None
    relay: Anchored | None = None
    said: tuple[ReliableState, ...] = ()
    """The state of the reliable provisional responses that were sent to the device (RFC 3262)."""
    gateway: GatewayState | None = None
    """The legs of the WebRTC gateway, where one side is a browser."""


def encode(state: LineState, incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text for a header line, signed with ``key``. ``bound`` names site, agent and server dialog (`bound_to`):
    the text is valid for that dialog only. One that would be too long says so in place of its payload. ``counter``
    rises with each text of one call, within an ``incarnation`` of the agent.
    """
    front, texts, rest = _parts(state)
    quoted = ",".join([_quote(text.decode("latin-1")) for text in texts])
    plain = f"{front},[{quoted}]{rest}]"
    return sealed(plain, partial(_whole, front, texts, rest), incarnation, counter, bound, key)


def decode(text: str, bound: str, keys: Sequence[bytes]) -> LineState:
    """The line state in a text that is signed with one of the keys and bound to ``bound``. Raises
    :class:`LineStateError`."""
    packed = opened(text, bound, keys)
    try:
        return _unpacked(packed)
    except (ValueError, TypeError, LookupError):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def bound_to(site: str, agent: str, call_id: str, from_tag: str) -> str:
    """What a line state is bound to: the dialog between agent and servers, named by its Call-ID and the tag of the
    side that opened it."""
    return f"{site} {agent} {call_id} {from_tag}"


def _whole(front: str, texts: Collection[bytes], rest: str) -> bytes:
    """The form that is packed: a JSON list with the length of each text, a zero byte, and the texts themselves."""
    lengths = ",".join(str(len(text)) for text in texts)
    return f"{front},[{lengths}]{rest}]\0".encode() + b"".join(texts)


def _parts(state: LineState) -> tuple[str, Collection[bytes], str]:
    """The three pieces of the JSON list of all values, without its closing bracket: what comes before the texts (such
    as session descriptions), the texts, each once, and what comes after them. Values refer to texts by their index.

    Written out by hand, since this is done four times a call. ``_unpacked`` is the reverse.
    """
    (
        direction,
        line,
        channel,
        number,
        session_id,
        invited,
        rang,
        answered,
        origin,
        responses,
        awaited,
        served,
        passed,
        dialogs,
        asked,
        sent,
        device,
        server,
        standing,
        host,
        timer,
        relay,
        said,
        gateway,
    ) = state
    found = {b"": -1}
    place = found.setdefault
    # the index of each text
    here = [place(text, len(found) - 1) for text in device[1:]]
    there = [place(text, len(found) - 1) for text in server[1:]]
    asked_at, standing_at = place(asked, len(found) - 1), place(standing, len(found) - 1)
    del found[b""]
    front = (
        f"[{_quote(direction)},{_quote(line)},{channel},{_quote(number)},{_quote(session_id)},{invited:.3f},"
        f"{'null' if rang is None else f'{rang:.3f}'},{'null' if answered is None else f'{answered:.3f}'},"
        f"{_quote(origin)},"
        f"{responses},{_quote(awaited)},{served},[{passed[0]},{passed[1]}],"
        f"[{','.join([_dialog_text(each) for each in dialogs])}],{asked_at},"
        f"{'null' if sent is None else _sent_text(sent)},"
        f"[{_quote(device[0])},{here[0]},{here[1]},{here[2]},{here[3]},{here[4]}],"
        f"[{_quote(server[0])},{there[0]},{there[1]},{there[2]},{there[3]},{there[4]}],"
        f"{standing_at},{_quote(host)},{'null' if timer is None else _json(_timer_values(timer))},"
        f"{'null' if relay is None else _json(_anchored_values(relay))}"
    )
    further = bool(said) or gateway is not None
    for each in dialogs:
        further = further or bool(each.heard)
    # few calls have these values; earlier versions do not know them, and read no further
    rest = "," + _json([said, [each.heard for each in dialogs]]) if further else ""
    if gateway is not None:
        rest += "," + _json(gateway)
    return front, found.keys(), rest


def _dialog_text(one: DeviceDialog) -> str:
    call_id, local_tag, remote_tag, local, remote, local_cseq, remote_cseq, target, route_set, direction = one.dialog
    flow, invite = one.flow, one.invite
    host, port = flow.remote
    return (
        f"[{_quote(call_id)},{_quote(local_tag)},{_quote(remote_tag)},{_quote(local)},{_quote(remote)},{local_cseq},"
        f"{remote_cseq},{_quote(target)},{_json(route_set) if route_set else '[]'},{_quote(direction)},"
        f"{_quote(flow.transport)},{_quote(flow.local)},{_quote(host)},{port},{_quote(one.called)},"
        f"{'null' if invite is None else _json(invite)}]"
    )


def _sent_text(sent: SentInvite) -> str:
    return f"[{_quote(sent.branch)},{sent.cseq},{'true' if sent.offered else 'false'}]"


def _timer_values(timer: SessionTimerState) -> tuple[Any, ...]:
    return timer if timer.by_update else timer[:-1]


def _anchored_values(relay: Anchored) -> tuple[Any, ...]:
    return relay if relay.cookies else relay[:-1] if relay.keys else relay[:-2]


def _unpacked(packed: bytes) -> LineState:
    head, _, rest = packed.partition(b"\0")
    values = json.loads(head)
    texts: list[bytes] = []
    for one in values[22]:
        if isinstance(one, str):
            texts.append(one.encode("latin-1"))
        else:  # a length: the text itself is behind the list
            texts.append(rest[:one])
            rest = rest[one:]

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
        _gatewayed(*values[24]) if len(values) > 24 else None,
    )


def _gatewayed(leg: list[Any], ice: list[Any], session: list[Any] | None) -> GatewayState:
    return GatewayState(leg_of(leg), leg_of(ice), None if session is None else session_of(session))


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
    pairs: list[list[list[Any]]],
    six: list[bool],
    told: list[bool],
    limit: float,
    changed: float,
    keys: str = "",
    cookies: Sequence[str] = (),
) -> Anchored:
    return Anchored(
        tuple((Pair(*here), Pair(*there)) for here, there in pairs),
        (six[0], six[1]),
        (told[0], told[1]),
        limit,
        changed,
        keys,
        tuple(cookies),
    )


_made: Callable[..., LineState] = LineState
_made_dialog: Callable[..., DialogState] = DialogState
_json: Final = json.JSONEncoder(separators=(",", ":")).encode
