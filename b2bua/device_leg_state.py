"""The state of a leg with an own line that survives the server: part of the state token that the agent of the other
leg keeps (docs/wire.md). Of the session description it has only the origin line, as that agent has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sip.actions import Flow
from sip.device.session_timer import supports
from sip.dialog import UAC, UAS, DialogState
from sip.offer_answer import AGREED, OfferAnswerState
from sip.wire import sdp
from sip.wire.message import Request

JUMP: Final = 1000
"""Numbers skipped after a takeover, in CSeq and in SDP versions, since the former server has used some that no token
holds. One more is skipped for each second since the answer, as no server sends requests there more often."""

LONGEST_SECTIONS: Final = 200
"""Most characters of a session's ``m=`` lines in a token; longer ones are left out."""


class Timer(NamedTuple):
    """The session timer of the leg (RFC 4028), as negotiated; in seconds."""

    interval: int
    min_se: int
    ours: bool
    """The server is the refresher."""


class DeviceLegState(NamedTuple):
    """One leg with an own line; "peer" is its device or carrier."""

    dialog: DialogState
    transport: str
    host: str
    """With ``port``: the peer's address on the flow that the dialog uses."""
    port: int
    shown: str
    """``host:port`` of the server in the Contact that the peer knows."""
    acknowledged: int = 0
    """CSeq of the server's last accepted INVITE; 0 without one."""
    by_update: bool = False
    """The peer supports UPDATE."""
    origin: str = ""
    """The origin line of the SDP that the peer got last, without ``o=``; ``""`` if it got none."""
    timer: Timer | None = None
    asked: str = ""
    """The headers of the peer's first INVITE that a response needs, while it awaits its final response."""
    called: str = ""
    """The CANCEL for the server's first INVITE, while the peer rings."""
    sections: str = ""
    """If the peer knows several ``m=`` lines: all of them, as refused, since the other side may know fewer."""

    def moved_from(self, former: DeviceLegState | None) -> bool:
        """Whether a token with the ``former`` state is out of date: a new server could not reach or serve the peer
        with it."""
        if former is None or bool(self.asked) != bool(former.asked) or bool(self.called) != bool(former.called):
            return True
        if self.sections.count("m=") > former.sections.count("m="):
            return True
        here, there = self.dialog, former.dialog
        return (here.call_id, here.remote_tag, here.target, here.route_set, self.host, self.port, self.transport) != (
            there.call_id,
            there.remote_tag,
            there.target,
            there.route_set,
            former.host,
            former.port,
            former.transport,
        )


class PickupState(NamedTuple):
    """A party on an own line that is picking up a call which still rings elsewhere."""

    line: str
    number: str
    leg: DeviceLegState


def encode(state: DeviceLegState) -> str:
    """The text in a token."""
    dialog = state.dialog
    return _json(
        [
            dialog.call_id,
            dialog.local_tag,
            dialog.remote_tag,
            dialog.local,
            dialog.remote,
            dialog.local_cseq,
            dialog.remote_cseq,
            dialog.target,
            dialog.route_set,
            int(dialog.direction == UAC),
            state.transport,
            state.host,
            state.port,
            state.shown,
            state.acknowledged,
            int(state.by_update),
            state.origin,
            state.timer,
            state.asked,
            # rarely needed, and unknown to earlier versions
            *([state.called, state.sections] if state.sections else [state.called] if state.called else []),
        ]
    )


def decode(values: Sequence[Any]) -> DeviceLegState:
    """The state from the list in a token. Raises ValueError, TypeError or LookupError."""
    dialog = _dialog(*values[:8], tuple(map(str, values[8])), UAC if values[9] else UAS)
    timer = values[17]
    return DeviceLegState(
        dialog,
        str(values[10]),
        str(values[11]),
        int(values[12]),
        str(values[13]),
        int(values[14]),
        bool(values[15]),
        str(values[16]),
        None if timer is None else Timer(int(timer[0]), int(timer[1]), bool(timer[2])),
        str(values[18]),
        str(values[19]) if len(values) > 19 else "",
        str(values[20]) if len(values) > 20 else "",
    )


def head_of(invite: Request) -> str:
    """The request line and those headers of an INVITE that a response to it needs. Support of 100rel is left out: a
    new server does not know which reliable responses, with which RSeq, were sent before."""
    lines = [line for name, line in zip(invite.names, invite.lines, strict=True) if name in _ANSWERED_BY]
    if supports(invite):
        lines.append("Supported: timer")
    return "\r\n".join([f"INVITE {invite.uri} SIP/2.0", *lines])


def resumed(dialog: DialogState, lasted: float) -> DialogState:
    """The dialog as a new server continues it, with a CSeq that is surely unused; ``lasted``: seconds since the
    answer."""
    return dialog._replace(local_cseq=dialog.local_cseq + JUMP + max(0, int(lasted)))


def described(state: DeviceLegState, local: bytes, remote: bytes, lasted: float) -> OfferAnswerState:
    """The offer/answer state of a restored leg. ``local`` and ``remote`` are the SDP that the agent of the other leg
    last sent to the former server, and last got; ``b""`` without an agent. The next SDP continues the same origin
    with a higher version (RFC 3264 section 8). ``lasted``: seconds since the answer."""
    known, jump = state.sections.encode("latin-1"), JUMP + max(0, int(lasted))
    if not local:
        return OfferAnswerState(AGREED, newest=_outlined(state.origin, jump, known))
    try:
        origin = sdp.parse_origin(state.origin.encode("latin-1")) if state.origin else sdp.origin_of(local)
        told = sdp.with_origin(local, origin._replace(version=origin.version + jump))
        if known.count(b"m=") > sdp.count(told):
            told = sdp.padded(told, b"\n" + known)
    except sdp.SdpError:
        return OfferAnswerState(AGREED, local, remote, newest=local)
    return OfferAnswerState(AGREED, told, remote, newest=told)


def _outlined(origin: str, jump: int, sections: bytes) -> bytes:
    """A minimal SDP with the origin line, its version raised by ``jump``, and the ``m=`` lines; ``b""`` if the origin
    cannot be parsed."""
    try:
        former = sdp.parse_origin(origin.encode("latin-1"))
    except sdp.SdpError:
        return b""
    return b"v=0\r\no=%b\r\n%b" % (bytes(former._replace(version=former.version + jump)), sections)


def sections_of(description: bytes) -> str:
    """The ``m=`` lines of an SDP with several of them; ``""`` if there is only one, or they are too long."""
    if sdp.count(description) < 2:
        return ""
    try:
        known = sdp.outline(description)
    except sdp.SdpError:
        return ""
    return known.decode("latin-1") if len(known) <= LONGEST_SECTIONS else ""


def origin_of(description: bytes) -> str:
    """The value of the origin line of an SDP; ``""`` without one that can be parsed."""
    try:
        return bytes(sdp.origin_of(description)).decode("latin-1") if description else ""
    except sdp.SdpError:
        return ""


def is_continued(told: bytes, said: bytes) -> bool:
    """Whether the SDP that one device got (``told``) continues the other device's own (``said``): same origin, any
    version, no more ``m=`` lines."""
    try:
        ours, theirs = sdp.origin_of(told), sdp.origin_of(said)
    except sdp.SdpError:
        return False
    return ours._replace(version=0) == theirs._replace(version=0) and sdp.count(told) <= sdp.count(said)


def place_of(flow: Flow) -> tuple[str, str, int]:
    """Transport, and host and port of the other end of a flow."""
    return flow.transport, flow.remote[0], flow.remote[1]


_ANSWERED_BY: Final = frozenset(
    ("via", "from", "to", "call-id", "cseq", "record-route", "contact", "session-expires", "min-se", "timestamp")
)
_dialog: Final[Callable[..., DialogState]] = DialogState
_json: Final = json.JSONEncoder(separators=(",", ":")).encode
