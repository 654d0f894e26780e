"""The INVITE usage of a dialog (RFC 3261 sections 12 to 15): one leg of a back-to-back user agent.

A leg speaks SIP to one side and call language to its :class:`UsageOwner`: requested, answered, acknowledged,
cancelled, failed. It keeps the rules that hold on one hop: CSeq order, 491 and 500 on crossing INVITEs, the
repetition of a 2xx until its ACK, the ACK for a repeated 2xx, CANCEL only after a provisional response, BYE to a
second 2xx of a fork, the answer to a challenge. What a message means for the other side is the owner's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from sip.actions import Flow
from sip.challenges import Challengeable, Challenges
from sip.dialog import UAC, UAS, Dialog, DialogState, contact_uri, dialog_key
from sip.dialog_sender import Acknowledgement, DialogSender
from sip.digest import DigestClient
from sip.forks import MAX_EARLY, Forks
from sip.header_policy import passable_tag
from sip.layer import Stack
from sip.next_hop import DialogPath, Reach
from sip.success import Success
from sip.transaction import CALLING, SILENT, ClientTransaction, ServerTransaction, cancel_of
from sip.wire.message import Request, Response, elements

SUCCESS_AGAIN: Final = "2xx again"
SUCCESS_LOST: Final = "no ACK"

_REFRESHING: Final = ("INVITE", "UPDATE", "SUBSCRIBE")


class UsageOwner(Protocol):
    """Who has two of them and joins them."""

    def recognised(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether this is a repeat, sent on by another server, of a request seen before; it was then dealt with.

        Asked on hops between agent and server only (docs/wire.md), before the rules of the dialog are applied.
        """

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in the dialog; a BYE has ended the leg already. The owner answers the transaction."""

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """The first ACK for our 2xx."""

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours, ``transaction.context`` as it was given."""

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """A request of ours was never answered; to be taken as 408 (RFC 3261 section 8.1.3.1)."""

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        """Our 2xx was repeated for 64*T1 and no ACK came (section 13.3.1.4: end the call).

        An instant is when to ask again: the other side cannot be reached, so that its silence says nothing.
        """

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Iterable[str]:
        """The header lines that this hop wants on what a leg sends by itself: CANCEL, and ACK and BYE to a fork."""


class InviteUsage:
    """One side of a call. Made from a :class:`~sip.dialog.DialogState`, for a new call as for one taken over."""

    __slots__ = (
        "_answer_within",
        "_cancel_lines",
        "_cancel_sent",
        "_challenges",
        "_pending_client_invite",
        "_pending_server_invite",
        "_sender",
        "_tags",
        "ack",
        "cancelling",
        "dialog",
        "ended",
        "established",
        "forks",
        "generation",
        "no_timeout",
        "owner",
        "path",
        "stack",
        "success",
    )

    def __init__(
        self,
        stack: Stack,
        owner: UsageOwner,
        flow: Flow,
        state: DialogState,
        established: bool = False,
        reach: Reach | None = None,
        digest: DigestClient | None = None,
    ) -> None:
        """``flow`` is the one that the INVITE came by or goes to; with ``reach`` further requests find their own.

        With ``digest`` challenges are answered here, and the owner hears of those only that cannot be.
        """
        self.stack = stack
        self.owner = owner
        self.dialog = Dialog(state)
        self.path = DialogPath(flow, reach)
        """Where requests in the dialog go."""
        self._sender = DialogSender(stack, self.dialog, self.path)
        self.forks = Forks(state.target)
        """Dialogs that further forks of our INVITE made, until one of all has answered."""
        self.ack = Acknowledgement(self._sender)
        """For the 2xx to our last INVITE."""
        self.success = Success(flow)
        """Our 2xx to their last INVITE."""
        self._challenges = Challenges(digest) if digest is not None else None
        self.established = established
        """A 2xx to the first INVITE was sent or received."""
        self.ended = False
        """A BYE went or came, or the first INVITE failed."""
        self._pending_server_invite: ServerTransaction | None = None
        self._pending_client_invite: ClientTransaction | None = None
        self.no_timeout = False
        """Requests on this leg never time out (``sip.transaction``)."""
        self.generation = 0
        self.cancelling = False
        """Our INVITE is given up."""
        self._cancel_lines: tuple[str, ...] = ()
        self._cancel_sent = False
        self._answer_within = 0.0
        self._tags: tuple[str, ...] = ()
        self._register(state.local_tag)

    @property
    def flow(self) -> Flow:
        """The dialog's own flow."""
        return self.path.flow

    # What is under way: the transactions themselves say so, hence nothing can be left of one that is over.

    @property
    def pending_server_invite(self) -> ServerTransaction | None:
        """The INVITE from there that we have not finally answered."""
        invite = self._pending_server_invite
        return invite if invite is not None and invite.open else None

    @pending_server_invite.setter
    def pending_server_invite(self, transaction: ServerTransaction) -> None:
        self._pending_server_invite = transaction

    @property
    def pending_client_invite(self) -> ClientTransaction | None:
        """Our INVITE that was not finally answered there."""
        pending = self._pending_client_invite
        return None if pending is None or pending.answered else pending

    # Towards the network.

    def call(
        self,
        uri: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any = None,
        max_forwards: int = 70,
        answer_within: float = 0.0,
    ) -> None:
        """Send the first INVITE (section 13.2.1) to ``uri``, on the flow that the leg was made with.

        When nothing at all is heard for ``answer_within`` seconds (0: timer B decides) the INVITE is given up: its
        owner hears of a time-out, it is cancelled at its first response, and what it still brings is the owner's to
        end. May be sent once more when it was refused (sections 8.1.3.5, 22.2): with the same Call-ID, From and To
        and the next CSeq.
        """
        if self.ended:
            self._open_again()
        self.dialog.target = self.forks.uri = uri
        self._answer_within = answer_within
        invite = self._send("INVITE", tuple(lines), body, now, context, max_forwards, self.no_timeout, opening=True)
        self._expect_a_word(invite, now)
        self._pending_client_invite = invite

    def send(
        self,
        method: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any = None,
        max_forwards: int = 70,
        no_timeout: bool = False,
    ) -> ClientTransaction:
        """Send a request in the dialog; not ACK or CANCEL. A ``no_timeout`` one never times out.

        As long as there are early dialogs, a request that is passed on goes into the one of the same tag: tags cross
        a call unchanged (docs/wire.md).
        """
        if method == "INVITE":
            self.cancelling = self._cancel_sent = False
        transaction = self._send(
            method, tuple(lines), body, now, context, max_forwards, no_timeout or self.no_timeout
        )
        if method == "INVITE":
            self._pending_client_invite = transaction
        elif method == "BYE":
            self._close()  # findable until it is answered: a BYE from there may cross ours
        return transaction

    def _send(
        self,
        method: str,
        lines: tuple[str, ...],
        body: bytes,
        now: float,
        context: Any,
        max_forwards: int,
        no_timeout: bool,
        opening: bool = False,
        again: Challengeable | None = None,
    ) -> ClientTransaction:
        sender = self._sender if self.established or opening else self._sender_for(context)
        counter = self.dialog if sender is not self._sender and self._is_site else sender.dialog
        counter.local_cseq += 1
        branch = self.stack.branch()
        if self._challenges is not None:
            lines = self._challenges.sign(method, sender.dialog.target, branch, lines, body, max_forwards, again)
        if method == "INVITE":
            self.ack.note_credentials(lines)
        flow = self.path.flow if opening else None
        return sender.send(
            branch, method, counter.local_cseq, lines, body, max_forwards, self, now, context, no_timeout, flow
        )

    def _sender_for(self, context: Any) -> DialogSender:
        """The early dialog of the request that ``context`` passes on."""
        tag = _early_tag(context) if isinstance(context, ServerTransaction) else ""
        dialog = self.dialog
        if tag and dialog.direction == UAS and tag in self._tags and tag != dialog.local_tag:
            return DialogSender(self.stack, Dialog(dialog.export()._replace(local_tag=tag)), self.path)
        if tag and dialog.direction == UAC and self.forks:
            return self.forks.find_passed(tag) or self._sender
        return self._sender

    @property
    def _is_site(self) -> bool:
        """Between agent and server: the record of the dialog has one number each way for all forks."""
        return self.no_timeout or self.path.flow in self.stack.site_flows

    def acknowledge(self, lines: Iterable[str], body: bytes, now: float) -> None:
        """Send the ACK for the 2xx to our last INVITE (section 13.2.2.4)."""
        self.ack.send(lines, body, now)

    def cancel(self, now: float, lines: Iterable[str] = ()) -> None:
        """Cancel our INVITE (section 9.1), at once or as soon as a provisional response allows it."""
        transaction = self.pending_client_invite
        if transaction is None or self.cancelling:
            return
        self.cancelling = True
        self._cancel_lines = tuple(lines)
        if transaction.state != CALLING:
            self._send_cancel(transaction, now)

    def _send_cancel(self, invite: ClientTransaction, now: float) -> None:
        self._cancel_sent = True
        lines = (*self.owner.hop_headers(self, "CANCEL", now), *self._cancel_lines)
        data = cancel_of(invite.request, lines)
        self.stack.request("CANCEL", data, invite.branch, invite.flow, self, now, None, invite.no_timeout)
        invite.cancelled(now)

    def reply(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> None:
        """Answer a request of this leg. ``tag`` names the early dialog; without one it is the leg's own."""
        if not transaction.open:
            return
        method, cseq = "", 0
        if transaction.request is not None:
            method, cseq = transaction.request.method, transaction.request.cseq
        former, dialog = transaction.flow, self.dialog
        self.stack.responder.revive(transaction)
        if transaction.flow != former == self.path.flow:
            self.path.move(transaction.flow)
        if status > 100 and not self.established and tag and tag != dialog.local_tag:
            if status < 200 and len(self._tags) > MAX_EARLY and tag not in self._tags:
                return  # each is kept, and a callee could invent any number of them
            self._register(tag)
        tag = tag or dialog.local_tag
        if method == "INVITE" and 100 < status < 300:
            lines = (self.stack.contact(self.flow), *lines)
        data = self.stack.reply(transaction, status, now, reason, lines, body, tag if status > 100 else "")
        if method == "INVITE" and status >= 200:
            if transaction is self._pending_server_invite:
                self._pending_server_invite = None
            if status < 300:
                self._succeed(transaction, tag, data, cseq, now)
            elif not self.established:
                self.end()

    def _succeed(self, transaction: ServerTransaction, tag: str, data: bytes, cseq: int, now: float) -> None:
        if not self.established:
            self.dialog.local_tag = tag
            self.established = True
            self._keep_tag(tag)
        self.generation += 1
        timers, deadlines = self.stack.timers, self.stack.deadlines
        self.success.sent(data, cseq, transaction.flow, timers.t1)
        if not transaction.on_site_flow:
            deadlines.set(now + timers.t1, self, SUCCESS_AGAIN)
        if not self.no_timeout:
            deadlines.set(now + timers.lifetime, self, SUCCESS_LOST)

    def end(self) -> None:
        """Nothing more is to come on this leg; what is under way may finish."""
        self._close()
        self._keep_tag("")

    def _close(self) -> None:
        if (asked := self._pending_client_invite) is not None and asked.answered:
            self._pending_client_invite = None
        if not self.ended:
            self.ended = True
            self.generation += 1
            self.success.stop()

    def moved(self, flow: Flow) -> None:
        """The connection was made anew: a 2xx that was not acknowledged is given again.

        What was asked on the old one is the business of its transactions, of all legs in the order of asking.
        """
        self.move(flow)
        self.success.moved(self.stack, flow)

    def move(self, flow: Flow) -> None:
        """The dialog goes by another connection; so do those of all forks, of which one may be answered."""
        self.path.move(flow)
        self.forks.move(flow)

    # From the network.

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in this dialog (section 12.2.2)."""
        if transaction.on_site_flow and self.owner.recognised(self, transaction, request, now):
            return
        sender: DialogSender | None = self._sender
        if self.dialog.remote_tag and request.from_tag != self.dialog.remote_tag:
            sender = self.forks.find(request.from_tag)
        method = request.method
        if sender is None or self.ended:
            self.stack.reply(transaction, 200 if sender is not None and method == "BYE" else 481, now)
            return
        if not sender.path.admits(transaction, request, now):
            return
        dialog = sender.dialog
        counter = self.dialog if transaction.on_site_flow else dialog
        if request.cseq <= counter.remote_cseq and counter.remote_cseq:
            self.stack.reply(transaction, 500, now, "Server Internal Error - CSeq Out Of Order")
            return
        counter.remote_cseq = request.cseq
        if method == "BYE" and not self.established and dialog.direction == UAC:
            # Only the caller may end an early dialog so (section 15); what becomes of the call its INVITE will tell.
            self.stack.reply(transaction, 200, now)
            return
        if method == "INVITE":
            if self.pending_client_invite is not None:  # section 14.2
                self.stack.reply(transaction, 491, now)
                return
            if self.pending_server_invite is not None:
                self.stack.reply(transaction, 500, now, lines=(f"Retry-After: {1 + request.cseq % 10}",))
                return
            self._pending_server_invite = transaction
        if method in _REFRESHING:
            dialog.target = contact_uri(request) or dialog.target
        transaction.context = self
        if method == "BYE":
            invite = self.pending_server_invite
            self.end()
            if invite is not None:  # section 15.1.2
                self.stack.reply(invite, 487, now, tag=dialog.local_tag)
                self._pending_server_invite = None
        self.owner.requested(self, transaction, request, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        if self.success.acknowledged(ack.cseq):
            self.generation += 1
            self.owner.acknowledged(self, ack, now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours (the transaction's call)."""
        method, status = transaction.method, response.status
        if method == "CANCEL":
            return
        if self._challenges is not None and status >= 200:
            known = self._challenges.closed(transaction.branch)
            if known is not None and status in (401, 407) and self._prove(known, transaction, response, now):
                return
        if method == "INVITE":
            if not self._invite_responded(transaction, response, now):
                return
        elif method == "BYE" and status >= 200:
            self.end()
        self.owner.answered(self, transaction, response, now)

    def _prove(self, asked: Challengeable, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Answer a challenge: the request once more, with credentials; False when it cannot be answered."""
        method = transaction.method
        invite, opening = method == "INVITE", method == "INVITE" and not self.established
        if self._challenges is None or (invite and self.cancelling):
            return False
        again = self._challenges.answer(asked, response, method, self.dialog.target)
        if again is None:
            return False
        if opening:
            self._open_again()
        context, no_timeout = transaction.context, transaction.no_timeout
        sent = self._send(
            method, asked.lines, asked.body, now, context, asked.max_forwards, no_timeout, opening, again
        )
        if opening:
            self._expect_a_word(sent, now)
        if invite:
            self._pending_client_invite = sent
        return True

    def _expect_a_word(self, invite: ClientTransaction, now: float) -> None:
        """The place of our first INVITE is given up when nothing comes from it in time."""
        if self._answer_within:
            self.stack.deadlines.set(now + self._answer_within, invite, SILENT)

    def _open_again(self) -> None:
        """The first INVITE was refused, and is to be sent once more."""
        self.ended = False
        self.forks.clear()
        dialog = self.dialog
        dialog.remote_tag, dialog.remote_cseq = "", 0
        dialog.route_set, dialog.target = (), self.forks.uri
        self._register(dialog.local_tag)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.method == "CANCEL":
            return
        if transaction.failure == 503 and self._go_elsewhere(transaction, now):
            return
        if self._challenges is not None:
            self._challenges.closed(transaction.branch)
        if not transaction.answered:  # nothing was heard of our first INVITE; it may still ring
            self.cancelling = True
        elif transaction is self._pending_client_invite:
            self._pending_client_invite = None
            if not self.established:
                self.end()
        elif transaction.method == "BYE":
            self.end()
        self.owner.timed_out(self, transaction, now)

    def _go_elsewhere(self, transaction: ClientTransaction, now: float) -> bool:
        """After a transport error a request is sent to another place, if there is one (RFC 3263 section 4.3)."""
        pending = transaction is self._pending_client_invite
        if pending and self.cancelling:
            return False
        again = self._sender.send_elsewhere(transaction, self, not self.established, now)
        if again is None:
            return False
        if pending:
            self._pending_client_invite = again
        if self._challenges is not None:
            self._challenges.moved(again.branch, self._challenges.closed(transaction.branch))
        if not self.established:
            self._expect_a_word(again, now)
        return True

    def _invite_responded(self, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Keep the dialog; whether the owner is to hear of this response."""
        status, pending = response.status, transaction is self._pending_client_invite
        if status < 200:
            if self.cancelling and not self._cancel_sent and pending:
                self._send_cancel(transaction, now)
            if status > 100 and not self.established and response.to_tag:
                self.forks.meet(self._sender, response)
        elif pending:
            self._pending_client_invite = None  # another 2xx is a repetition, or of a fork
            if status < 300:
                self._accepted(response)
            elif not self.established:
                self.end()
        elif status < 300:
            if response.to_tag == self.dialog.remote_tag:
                self.ack.again(response.cseq)
            else:
                ack, bye = (self.owner.hop_headers(self, method, now) for method in ("ACK", "BYE"))
                self.forks.decline(self._sender, response, ack, bye, now)
            return False
        return True

    def _accepted(self, response: Response) -> None:
        """A 2xx to our INVITE: it makes the dialog, or refreshes its target."""
        if self.established:
            self.dialog.target = contact_uri(response) or self.dialog.target
        else:
            first, self._sender = self._sender, self.forks.choose(self._sender, response.to_tag)
            if first is not self._sender:
                site, counters = self._is_site, first.dialog
                self.dialog, self.path = self._sender.dialog, self._sender.path
                if site:
                    self.dialog.local_cseq, self.dialog.remote_cseq = counters.local_cseq, counters.remote_cseq
                self.ack.sender = self._sender
            self.forks.clear()
            self.dialog.establish(response)
            self.established = True
            self._tags = (self.dialog.local_tag,)
        self.ack.expect(response.cseq)

    # Time.

    def due(self, cause: str, now: float) -> None:
        deadlines = self.stack.deadlines
        if cause is SUCCESS_AGAIN:
            deadlines.set(now + self.success.again(self.stack), self, SUCCESS_AGAIN)
        elif cause is SUCCESS_LOST:
            later = self.owner.unacknowledged(self, now)
            if later is None:
                self.success.stop()
                self.generation += 1
            else:
                deadlines.set(later, self, SUCCESS_LOST)

    def repeated(self, invite: Request, transaction: ServerTransaction) -> None:
        """Another server sent the INVITE that opened this leg once more: go on in the dialog of the repeat."""
        dialog, tags = self.dialog, self._tags
        self._keep_tag("")
        dialog.call_id = invite.call_id
        dialog.remote_tag = invite.from_tag
        dialog.remote_cseq = invite.cseq
        dialog.target = contact_uri(invite) or dialog.target
        dialog.route_set = tuple(elements(invite, "record-route"))
        self.move(transaction.flow)
        for tag in tags:
            self._register(tag)

    # Being found.

    def _register(self, tag: str) -> None:
        if tag not in self._tags:
            self._tags = (*self._tags, tag)
            self.stack.legs[dialog_key(self.dialog.call_id, tag)] = self

    def _keep_tag(self, kept: str) -> None:
        """Be found by no other local tag; by none when it is ``""``."""
        for tag in self._tags:
            if tag != kept or not kept:
                self.stack.legs.pop(dialog_key(self.dialog.call_id, tag), None)
        self._tags = (kept,) if kept else ()


def _early_tag(asked: ServerTransaction) -> str:
    """The tag of the early dialog that a request came in, ``""`` for one in a dialog that is established."""
    leg, request = asked.context, asked.request
    if not isinstance(leg, InviteUsage) or request is None or leg.established:
        return ""
    return passable_tag(request.from_tag if leg.dialog.direction == UAC else request.to_tag)
