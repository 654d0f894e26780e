"""The INVITE that a usage received, from its arrival to the ACK of our 2xx (RFC 3261 sections 13.3.1.4, 14.2)."""

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
    """The usage that sent the 2xx."""

    def unacknowledged(self, now: float) -> float | None:
        """No ACK came in 64*T1. Returns when to report this again, or None."""


class ServerInvite:
    """The last INVITE received in one usage.

    Its 2xx is repeated until the ACK comes, on streams too, since they are reliable for one hop only. On site flows
    it is repeated only when there is a new connection (docs/wire.md).
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
        """The transaction of the INVITE; None when it has a final response, or there was none."""
        self.update: ServerTransaction | None = None
        """The transaction of the last UPDATE received with an offer."""
        self._flow = flow
        self._success = b""
        self._interval = 0.0
        self.success_cseq = 0
        """The CSeq number of the INVITE that our last 2xx answers; 0: unknown, an ACK with any number matches."""
        self._answered: ServerTransaction | None = None
        """The transaction of our last 2xx, as long as its ACK is still to come."""
        self._user: Answering | None = None
        """Told when no ACK comes; None: the wait for it has no limit."""
        self.generation = 0

    @property
    def pending(self) -> ServerTransaction | None:
        """The INVITE's transaction while it has no final response, else None."""
        latest = self.latest
        return latest if latest is not None and latest.open else None

    @property
    def offering(self) -> bool:
        """Whether a received UPDATE with an offer still has to be answered."""
        return self.update is not None and self.update.open

    def take(self, invite: ServerTransaction, request: Request, ours: ClientInvite, now: float) -> bool:
        """Take a re-INVITE or UPDATE. Returns False for an INVITE that crosses another one, or an UPDATE of ours with
        an offer (RFC 6337 section 4): it was answered with 491 or 500 (section 14.2).
        """
        if request.method == "UPDATE":
            if not self.offering and description_in(request) is not None:  # a second offer is refused elsewhere
                self.update = invite
            return True
        # on site flows an INVITE may cross our UPDATE: the conflict is solved at the device that has to answer both
        if (ours.pending if invite.on_site_flow else ours.offering) is not None:
            self._stack.reply(invite, 491, now)
        elif self.pending is not None:
            self._stack.reply(invite, 500, now, lines=(f"Retry-After: {1 + request.cseq % 10}",))
        else:
            self.latest = invite
            return True
        return False

    def terminate(self, local_tag: str, now: float) -> None:
        """A BYE came: answer a pending INVITE with 487 (section 15.1.2)."""
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
        """The bytes of our last 2xx while its ACK is still to come; empty where another process has sent it."""
        return self._success if self._success != _SENT_BEFORE_US else b""

    def succeeded(
        self, transaction: ServerTransaction, data: bytes, cseq: int, user: Answering | None, now: float
    ) -> None:
        """A 2xx was sent: repeat it until its ACK comes. ``user`` is told when no ACK comes in 64*T1."""
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
        """Wait for the ACK of a 2xx that was sent already, by default by another process before us."""
        self._success, self.success_cseq = data, cseq

    def acknowledged(self, cseq: int) -> bool:
        """An ACK came with that CSeq number. Returns whether it is the first one for our 2xx."""
        first = bool(self._success) and self.success_cseq in (0, cseq)
        if first:
            answered = self._answered
            # the 2xx has arrived and need not be kept; except where a CANCEL crossed it: if the caller's side dies
            # before its BYE, it sends the INVITE again and needs the answer once more
            if answered is not None and f"{answered.key.removesuffix('INVITE')}CANCEL" not in self._stack.servers:
                answered.last = b""
            self.stop()
        return first

    def stop(self) -> None:
        """Wait for no ACK any more."""
        self._success = b""
        self._answered = self._user = None
        self.generation += 1

    def moved(self, flow: Flow) -> None:
        """There is a new connection: repeat a 2xx that was not acknowledged."""
        self._flow = flow
        if self._success and self._success != _SENT_BEFORE_US:
            self._stack.send(flow, self._success)

    def due(self, cause: str, now: float) -> None:
        deadlines = self._stack.deadlines
        if cause is SUCCESS_AGAIN:
            timers = self._stack.timers
            if self._interval == timers.t1 and self._user is not None:  # set late: most are acknowledged before T1
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
