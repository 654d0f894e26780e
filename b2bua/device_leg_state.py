"""What survives of a call's leg with a line of the server's own: it goes into the state token that the agent of the
other leg keeps (docs/wire.md). What was described there is not in it: that agent has it, but for the origin line.
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
"""Numbers left out after a takeover, of CSeq and of versions of a description: a former server used some of which no
token tells. One more for each second that the call has lasted, as no server asks anything there more often."""

LONGEST_SECTIONS: Final = 200
"""Characters of the ``m=`` lines of a session; longer ones are left out, as a token has an end."""


class Timer(NamedTuple):
    """The session timer there (RFC 4028), as far as it was agreed; seconds."""

    interval: int
    min_se: int
    ours: bool
    """We refresh."""


class DeviceLegState(NamedTuple):
    """See the module."""

    dialog: DialogState
    transport: str
    host: str
    """With ``port`` the other end of the flow that the dialog is at home on."""
    port: int
    shown: str
    """``host:port`` of ours in the Contact by which the peer reaches this dialog."""
    acknowledged: int = 0
    """CSeq of our last INVITE that was accepted; 0 without one."""
    by_update: bool = False
    """The peer takes UPDATE."""
    origin: str = ""
    """The newest origin line that was described there, without ``o=``; ``""`` where nothing was."""
    timer: Timer | None = None
    asked: str = ""
    """The head of its first INVITE as long as that waits for its final answer, as far as an answer needs it."""
    called: str = ""
    """The CANCEL of our first INVITE as long as that rings there."""
    sections: str = ""
    """The ``m=`` lines that the peer knows, refused, where there are several: the other side may know fewer."""

    def moved_from(self, former: DeviceLegState | None) -> bool:
        """Whether a peer has to be told, or asked, by other values than ``former``'s: a token with those would not
        do."""
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
            # of few calls, and unknown to earlier versions
            *([state.called, state.sections] if state.sections else [state.called] if state.called else []),
        ]
    )


def decode(values: Sequence[Any]) -> DeviceLegState:
    """Of the list that a token has. Raises ValueError, TypeError or LookupError."""
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
    """What an answer to an INVITE needs of it. That its sender knows reliable provisional responses is not told: what
    one said by them, and with which numbers, nobody knows who goes on."""
    lines = [line for name, line in zip(invite.names, invite.lines, strict=True) if name in _ANSWERED_BY]
    if supports(invite):
        lines.append("Supported: timer")
    return "\r\n".join([f"INVITE {invite.uri} SIP/2.0", *lines])


def resumed(dialog: DialogState, lasted: float) -> DialogState:
    """The dialog of a token as a new server goes on with it; ``lasted``: seconds since the answer."""
    return dialog._replace(local_cseq=dialog.local_cseq + JUMP + max(0, int(lasted)))


def described(state: DeviceLegState, local: bytes, remote: bytes, lasted: float) -> OfferAnswerState:
    """The session there, by what the agent of the other leg gave the former server last (``local``), and got; ``b""``
    where no agent tells that. What is described next goes on under the same origin (RFC 3264 section 8). ``lasted``:
    seconds since the answer."""
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
    """As much of a description as has an origin line, and the ``m=`` lines of the session."""
    try:
        former = sdp.parse_origin(origin.encode("latin-1"))
    except sdp.SdpError:
        return b""
    return b"v=0\r\no=%b\r\n%b" % (bytes(former._replace(version=former.version + jump)), sections)


def sections_of(description: bytes) -> str:
    """The ``m=`` lines of a description that has several; ``""`` where one says it all, or there are too many."""
    if sdp.count(description) < 2:
        return ""
    try:
        known = sdp.outline(description)
    except sdp.SdpError:
        return ""
    return known.decode("latin-1") if len(known) <= LONGEST_SECTIONS else ""


def origin_of(description: bytes) -> str:
    """The origin line of a description; ``""`` where it has none that can be read."""
    try:
        return bytes(sdp.origin_of(description)).decode("latin-1") if description else ""
    except sdp.SdpError:
        return ""


def is_continued(told: bytes, said: bytes) -> bool:
    """Whether what one device was told is the description of the other one itself, in whatever version."""
    try:
        ours, theirs = sdp.origin_of(told), sdp.origin_of(said)
    except sdp.SdpError:
        return False
    return ours._replace(version=0) == theirs._replace(version=0) and sdp.count(told) <= sdp.count(said)


def place_of(flow: Flow) -> tuple[str, str, int]:
    """Transport, host and port at the other end of a flow."""
    return flow.transport, flow.remote[0], flow.remote[1]


_ANSWERED_BY: Final = frozenset(
    ("via", "from", "to", "call-id", "cseq", "record-route", "contact", "session-expires", "min-se", "timestamp")
)
_dialog: Final[Callable[..., DialogState]] = DialogState
_json: Final = json.JSONEncoder(separators=(",", ":")).encode
