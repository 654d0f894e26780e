"""Their INVITE, from its arrival to the ACK of our 2xx (RFC 3261 sections 13.3.1.4, 14.2)."""

from __future__ import annotations

from typing import Final, Protocol

from sip.actions import Flow
from sip.invite.client_invite import ClientInvite
from sip.layer import Stack
from sip.offer_answer import description_in
from sip.transaction import ServerTransaction
from sip.wire.message import Request, parse

SUCCESS_AGAIN: Final = "2xx again"
SUCCESS_LOST: Final = "no ACK"

_SENT_BEFORE_US: Final = b"?"


class Answering(Protocol):
    """Who gave the 2xx."""

    def unacknowledged(self, now: float) -> float | None:
        """No ACK came in 64*T1; an instant is when to ask again."""


class ServerInvite:
    """The last INVITE of the other side in one usage.

    Its 2xx is repeated on streams too: they are reliable for one hop alone. Not on site flows: there it is given
    again when the connection was made anew (docs/wire.md).
    """

    __slots__ = (
        "_answered",
        "_flow",
        "_interval",
        "_stack",
        "_success",
        "_user",
        "generation",
        "latest",
        "success_cseq",
        "update",
    )

    def __init__(self, stack: Stack, flow: Flow) -> None:
        self._stack = stack
        self.latest: ServerTransaction | None = None
        """Its transaction; None when it is answered, or there never was one."""
        self.update: ServerTransaction | None = None
        """That of their last UPDATE with an offer."""
        self._flow = flow
        self._success = b""
        self._interval = 0.0
        self.success_cseq = 0
        """The number of the INVITE that our last 2xx answers; 0: of any."""
        self._answered: ServerTransaction | None = None
        """The transaction of our last 2xx, as long as its ACK is still to come."""
        self._user: Answering | None = None
        """Who is told that no ACK comes; None when nobody is to be."""
        self.generation = 0

    @property
    def pending(self) -> ServerTransaction | None:
        """It, as long as we have not finally answered it."""
        latest = self.latest
        return latest if latest is not None and latest.open else None

    @property
    def offering(self) -> bool:
        """Whether we have to answer an offer in an UPDATE."""
        return self.update is not None and self.update.open

    def take(self, invite: ServerTransaction, request: Request, ours: ClientInvite, now: float) -> bool:
        """A further INVITE came, or an UPDATE. False: it is an INVITE that crosses another one, or an offer of ours
        in an UPDATE (RFC 6337 section 4), and was answered (section 14.2).
        """
        if request.method == "UPDATE":
            if not self.offering and description_in(request) is not None:  # one that meets another is refused
                self.update = invite
            return True
        # on site flows what meets an UPDATE is held up at the device that has to answer both
        if (ours.pending if invite.on_site_flow else ours.offering) is not None:
            self._stack.reply(invite, 491, now)
        elif self.pending is not None:
            self._stack.reply(invite, 500, now, lines=(f"Retry-After: {1 + request.cseq % 10}",))
        else:
            self.latest = invite
            return True
        return False

    def terminate(self, local_tag: str, now: float) -> None:
        """A BYE came: what is pending gets 487 (section 15.1.2)."""
        invite = self.pending
        if invite is not None:
            self._stack.reply(invite, 487, now, tag=local_tag)
            self.latest = None

    @property
    def awaits_ack(self) -> bool:
        """Whether the ACK for our last 2xx is still to come."""
        return bool(self._success)

    @property
    def success(self) -> bytes:
        """Our last 2xx, whole, as long as its ACK is still to come; empty where another process has sent it."""
        return self._success if self._success != _SENT_BEFORE_US else b""

    def succeeded(
        self, transaction: ServerTransaction, data: bytes, cseq: int, user: Answering | None, now: float
    ) -> None:
        """A 2xx was sent: repeat it until its ACK comes. ``user`` is told when none does."""
        self.generation += 1
        self._success, self.success_cseq, self._flow, self._user = data, cseq, transaction.flow, user
        self._answered = transaction
        timers, deadlines = self._stack.timers, self._stack.deadlines
        if not transaction.on_site_flow:
            self._interval = timers.t1
            deadlines.set(now + timers.t1, self, SUCCESS_AGAIN)
        elif user is not None:
            deadlines.set(now + timers.lifetime, self, SUCCESS_LOST)

    def expect_ack(self, data: bytes = _SENT_BEFORE_US, cseq: int = 0) -> None:
        """A 2xx was sent, perhaps by another process before us."""
        self._success, self.success_cseq = data, cseq

    def acknowledged(self, cseq: int) -> bool:
        """An ACK came for the INVITE with that number; whether it is the first one for this 2xx."""
        first = bool(self._success) and self.success_cseq in (0, cseq)
        if first:
            answered = self._answered
            # who acknowledges it has it; where a CANCEL crossed it and he dies before his BYE, he asks for it again
            if answered is not None and f"{answered.key.removesuffix('INVITE')}CANCEL" not in self._stack.servers:
                answered.last = b""
            self.stop()
        return first

    def stop(self) -> None:
        """No ACK is awaited any more."""
        self._success = b""
        self._answered = self._user = None
        self.generation += 1

    def moved(self, flow: Flow) -> None:
        """The connection was made anew: what was not acknowledged is given again."""
        self._flow = flow
        if self._success and self._success != _SENT_BEFORE_US:
            self._stack.send(flow, self._success)

    def due(self, cause: str, now: float) -> None:
        deadlines = self._stack.deadlines
        if cause is SUCCESS_AGAIN:
            timers = self._stack.timers
            if self._interval == timers.t1 and self._user is not None:  # most are acknowledged before
                deadlines.set(now + timers.lifetime - timers.t1, self, SUCCESS_LOST)
            self._repeat()
            deadlines.set(now + self._interval, self, SUCCESS_AGAIN)
        elif self._user is not None:
            later = self._user.unacknowledged(now)
            if later is None:
                self.stop()
            else:
                deadlines.set(later, self, SUCCESS_LOST)

    def _repeat(self) -> None:
        stack = self._stack
        if self._flow.transport != "udp":
            self._flow = stack.responder.reconnect(self._flow, parse(self._success).get("via") or "")
        stack.send(self._flow, self._success)
        self._interval = min(self._interval * 2, stack.timers.t2)
