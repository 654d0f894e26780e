"""The values of the softphone: what a line does by itself, its calls, and what it has received."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Final, NamedTuple

from sip.actions import Address, Flow
from sip.digest import Authorization, DigestClient
from sip.invite import InviteUsage
from sip.references import ReferTo
from sip.registration import Registration
from sip.wire.errors import SipError
from sip.wire.message import Message, Request, Response
from sip.wire.sdp import Direction, direction, endpoints

if TYPE_CHECKING:
    from examples.softphone_calls import Calls

# States of a call.
CALLING: Final = "calling"
INCOMING: Final = "incoming"
TALKING: Final = "talking"
ENDED: Final = "ended"

DELAYED: Final = "delayed offer"

# Deadlines of a call.
RING: Final = "ring"
ANSWER: Final = "answer"
HANG_UP: Final = "hang up"
CHANGE: Final = "change again"
FORGET: Final = "forget"

OFFERED: Final[dict[tuple[bool, bool], Direction]] = {
    (False, False): "sendrecv",
    (True, False): "sendonly",
    (False, True): "recvonly",
    (True, True): "inactive",
}
"""What to offer, by who holds whom: we, they (RFC 3264 section 8.4)."""
ANSWERED: Final[dict[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a line does with a call by itself. Times are seconds after the INVITE, ``None``: not by itself."""

    ring_after: float | None = 0.0
    """180."""
    early: bool = False
    """183 with a description instead of 180."""
    reliable: bool = False
    """Reliably (RFC 3262), where the caller can take that."""
    answer_after: float | None = None
    """200; without it the line rings for ever."""
    refuse: int = 0
    """Answer with this status at once, instead."""
    video: bool = False
    """It has a camera: its offers have a section for video, too."""
    moved_to: str = ""
    """Where a refusal with 3xx sends the caller: a URI."""
    hang_up_after: float | None = None
    """BYE so long after the answer, either side's."""


class Event(NamedTuple):
    """Something that a user of the phone wants to know."""

    kind: str
    """incoming, ringing, progress, pracked, answered, acknowledged, update, updated (ours was answered), agreed (our
    PRACK was), prack (with a description), changed, unchanged (a re-INVITE failed), info, refused (by us), failed,
    cancelled, ended, refer, notify (how a transfer goes), concluded (how it went), registered, unregistered,
    message (came), sent (ours was answered), announced (a NOTIFY came outside subscriptions); of subscriptions:
    subscribed (ours was answered), notified and subscription (what a NOTIFY said, and of its state), watched (another
    one's came), refreshed, told (a NOTIFY of ours was answered)."""
    line: Line
    call: Call | None
    detail: str
    """A status, the body of an INFO, the direction after a change, or a sentence."""
    at: float


class Entry(NamedTuple):
    """One message in a line's log."""

    at: float
    word: str
    repeated: bool
    call_id: str


class Line:
    """One user of the phone: where it calls through, what it does with calls, what it has received."""

    __slots__ = ("aor", "calls", "digest", "flow", "heard", "log", "policy", "registration", "user")

    def __init__(self, user: str, aor: str, flow: Flow, policy: Policy, digest: DigestClient | None) -> None:
        self.user = user
        self.aor = aor
        self.flow = flow
        """Where requests of this line go: an agent's address."""
        self.policy = policy
        self.digest = digest
        self.registration: Registration | None = None
        self.calls: dict[str, Call] = {}
        """By Call-ID, the ended ones for 64*T1 too."""
        self.heard: Counter[str] = Counter()
        """How often each message was received, repeats apart (see :func:`word_of`)."""
        self.log: list[Entry] | None = None
        """With ``Softphone.logs`` every message, repeats too."""


class Call:
    """One call of one line."""

    __slots__ = (
        "agreed_early",
        "answered_at",
        "began_at",
        "early_media",
        "generation",
        "heard",
        "held",
        "held_there",
        "leg",
        "line",
        "lines",
        "on_behalf",
        "outgoing",
        "phone",
        "place",
        "policy",
        "received_sdp",
        "refer",
        "sent_sdp",
        "state",
        "status",
        "subject",
        "tried",
        "uri",
        "wanted",
    )

    def __init__(self, phone: Calls, line: Line, leg: InviteUsage, outgoing: bool, now: float) -> None:
        self.phone = phone
        self.line = line
        self.leg = leg
        self.outgoing = outgoing
        self.state: str = CALLING if outgoing else INCOMING
        self.status = 0
        """The final status of the first INVITE."""
        self.began_at = now
        self.answered_at = 0.0
        self.early_media = False
        self.refer: ReferTo | None = None
        """Whom the other side wants called, instead."""
        self.on_behalf: Call | None = None
        """The call that asked for this one, and is to hear how it goes."""
        self.agreed_early = False
        """Offer and answer were exchanged reliably before the answer of the call."""
        self.held = False
        """We hold the other side."""
        self.held_there = False
        """The other side holds us: its last offer said so."""
        self.wanted: bool | None = None
        """A hold (True) or resumption (False) that is under way, and is tried again after 491 and 500."""
        self.policy = line.policy
        self.place: Address = phone.place(line)
        """Where we want RTP."""
        self.sent_sdp = b""
        self.received_sdp = b""
        self.subject = ""
        self.lines: tuple[str, ...] = ()
        """Further lines of its INVITE."""
        self.uri = ""
        """The Request-URI of the first INVITE."""
        self.heard: list[str] = []
        """Every message received in this call, repeats apart, in order."""
        self.generation = 0
        self.tried: tuple[Authorization, ...] = ()

    def __repr__(self) -> str:
        return f"<Call {self.line.user} {self.state} {self.leg.dialog.call_id}>"

    @property
    def remote_place(self) -> Address | None:
        """Where the other side wants its RTP."""
        try:
            first = endpoints(self.received_sdp)[0]
        except (SipError, IndexError):
            return None
        return None if first.rejected else (first.address, first.port)

    @property
    def media_direction(self) -> Direction:
        """What we do with media: ours of the last description that we sent."""
        try:
            return direction(self.sent_sdp)
        except SipError:
            return "inactive"

    def due(self, cause: str, now: float) -> None:
        self.phone.due(self, cause, now)


def word_of(message: Message) -> str:
    """What a message says, without what differs from run to run: Via, tags, Call-ID, ``o=``.

    For example ``INVITE sdp=5f3a12c0``, ``200 INVITE sdp=77aa0c1e``, ``BYE Reason: Q.850;cause=31``.
    """
    what = message.method if isinstance(message, Request) else f"{_status(message)} {message.cseq_method}"
    if message.body:
        lines = [line for line in message.body.split(b"\r\n") if not line.startswith(b"o=")]
        what += f" body={blake2s(b'|'.join(lines), digest_size=4).hexdigest()}"
    reason = message.get("reason")
    return f"{what} Reason: {reason}" if reason else what


def _status(message: Message) -> int:
    return message.status if isinstance(message, Response) else 0


def mark_of(message: Message) -> int:
    """Equal for a message and its retransmission. The ACK of a repeated 2xx has a branch of its own each time."""
    if isinstance(message, Request) and message.method == "ACK":
        return hash(("ACK", message.call_id, message.from_tag, message.cseq, message.body))
    return hash(message.to_bytes())
