"""The INVITE usage of one leg: applies the rules of its hop to what is received and sent. See ``sip.invite``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from sip.actions import Flow
from sip.dialog import UAC, Dialog, DialogState, contact_uri
from sip.dialog_sender import Acknowledgement, DialogSender
from sip.digest import DigestClient
from sip.header_policy import passable_tag
from sip.invite.client_invite import ClientInvite
from sip.invite.dialogs import Dialogs
from sip.invite.local_tags import LocalTags
from sip.invite.reliable import RELIABLE, OwnPrack, Reliable, Waiting
from sip.invite.requests import Requests
from sip.invite.server_invite import ServerInvite
from sip.layer import Stack
from sip.next_hop import DialogPath, Reach
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

_CHANGING: Final = ("INVITE", "UPDATE")
_REFRESHING: Final = ("INVITE", "UPDATE", "SUBSCRIBE")
_WITH_CONTACT: Final = ("UPDATE", "REFER", "NOTIFY")
"""Methods whose 2xx carries our Contact, besides INVITE."""


class UsageOwner(Protocol):
    """The owner of two legs, which joins them. A leg calls these methods to report what happened on it."""

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether the request is the repeat, sent by another server, of one seen before; it was then dealt with here.

        Called on hops between agent and server only (docs/wire.md), before the rules of the dialog are applied.
        """

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request came in the dialog; the owner answers it. When it is a BYE, the leg has ended already."""

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """The first ACK for our 2xx came, or the first PRACK for a reliable response of ours; nothing is to be
        answered here: ``requested`` follows for a PRACK that the owner must answer."""

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours; ``transaction.context`` is what ``send`` was given."""

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """A request of ours got no answer (RFC 3261 section 8.1.3.1); ``transaction.failure`` is the status, 408 or
        503."""

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        """Our 2xx was repeated for 64*T1 without an ACK (section 13.3.1.4: end the call), or a reliable response
        without a PRACK (RFC 3262 section 3: the same).

        Returns None when the owner has ended the call, or when to report this again: the other side cannot be
        reached at the moment, so its silence proves nothing.
        """

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Iterable[str]:
        """The header lines that this hop needs on what a leg sends by itself: CANCEL, and ACK and BYE to a fork."""


class InviteUsage:
    """One side of a call. Made from a :class:`~sip.dialog.DialogState`, for a new call as for one taken over.

    It applies the rules of one hop: CSeq order, 491 and 500 on crossing INVITEs, the ACK for a repeated 2xx, BYE to
    a second 2xx of a fork, the answer to a challenge. What a message means for the other leg its owner decides.
    """

    __slots__ = (
        "ack",
        "client_invite",
        "dialog",
        "dialogs",
        "ended",
        "established",
        "owner",
        "path",
        "reliable",
        "requests",
        "server_invite",
        "stack",
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
        no_timeout: bool = False,
        branches: Callable[[int], str] | None = None,
    ) -> None:
        """``flow``: by which the INVITE came or goes; with ``reach`` each further request looks up its own. With
        ``digest`` challenges are answered here, and the owner is told only of those that cannot be. With
        ``no_timeout`` neither requests on this leg time out nor the wait for the ACK of our 2xx. ``branches`` gives
        the branch of the opening INVITE by its CSeq number; without it the branch is random.
        """
        self.stack = stack
        self.owner = owner
        self.dialog = Dialog(state)
        self.path = DialogPath(flow, reach)
        """The next hop of requests in the dialog."""
        first = DialogSender(stack, self.dialog, self.path)
        self.dialogs = Dialogs(first, LocalTags(stack.legs, self, state.call_id, state.local_tag))
        self.ack = Acknowledgement(first)
        """For the 2xx to our last INVITE."""
        self.client_invite = ClientInvite(stack)
        self.server_invite = ServerInvite(stack, flow)
        self.requests = Requests(stack, self.dialogs, self.ack, digest, no_timeout, branches)
        """Sends the requests of the leg, with CSeq numbers and answers to challenges."""
        self.reliable: Reliable | None = None
        """The reliable provisional responses, if there were any."""
        self.established = established
        """Whether a 2xx to the first INVITE was sent or received."""
        self.ended = False
        """Whether a BYE was sent or received, or the first INVITE failed."""

    @property
    def flow(self) -> Flow:
        """The dialog's own flow."""
        return self.path.flow

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

        When no response at all comes for ``answer_within`` seconds (0: timer B decides) the INVITE is given up: the
        owner's ``timed_out`` is called, the INVITE is cancelled at its first response, and if it is answered all the
        same, the owner ends that. A refused INVITE may be sent once more (sections 8.1.3.5, 22.2), with the same
        Call-ID, From and To and the next CSeq.
        """
        if self.ended:
            _open_again(self)
        self.dialog.target = self.dialogs.uri = uri
        invite = self.requests.send(self, "INVITE", tuple(lines), body, now, context, max_forwards, opening=True)
        self.client_invite.opened(invite, answer_within, now)
        self.client_invite.offered = bool(body)

    def send(
        self,
        method: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any = None,
        max_forwards: int = 70,
        no_timeout: bool = False,
        branch: str = "",
    ) -> ClientTransaction:
        """Send a request in the dialog; not ACK or CANCEL. With ``no_timeout`` it never times out.

        Before the answer, a request that is passed on goes into the early dialog that its tag names (docs/wire.md).
        """
        tag = "" if self.established else _early_tag(context)
        lines = tuple(lines)
        if method == "PRACK" and self.reliable is not None:
            lines = (*self.reliable.rack(tag), *lines)
        sent = self.requests.send(self, method, lines, body, now, context, max_forwards, no_timeout, tag, branch)
        if method in _CHANGING:
            self.client_invite.changing(sent, bool(body))
        elif method == "BYE":
            self._close()  # findable until it is answered: a BYE from there may cross ours
        return sent

    def acknowledge(self, lines: Iterable[str], body: bytes, now: float) -> None:
        """Send the ACK for the 2xx to our last INVITE (section 13.2.2.4)."""
        self.ack.send(lines, body, now)

    def cancel(self, now: float, lines: Iterable[str] = ()) -> None:
        """Cancel our INVITE (section 9.1), at once or as soon as a provisional response allows it."""
        if self.client_invite.give_up(lines, now):
            self.client_invite.send_cancel(self.owner.hop_headers(self, "CANCEL", now), now)

    def cancel_again(self, now: float) -> None:
        """Repeat the CANCEL that was sent for our INVITE, on a new connection."""
        self.client_invite.cancel_again(self.owner.hop_headers(self, "CANCEL", now), now)

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
        """Answer a request on this leg. ``tag`` names the early dialog, ``""`` the leg's own."""
        if not transaction.open:
            return
        request = transaction.request
        method, cseq = (request.method, request.cseq) if request is not None else ("", 0)
        dialog, path = self.dialog, self.path
        if (former := transaction.flow).transport != "udp" and not transaction.on_site_flow:
            self.stack.responder.revive(transaction)
            if transaction.flow != former == path.flow:
                path.move(transaction.flow)
        if status > 100 and not self.established and tag and not self.dialogs.open(tag, status, self):
            return
        tag = tag or dialog.local_tag
        if method == "INVITE" and status > 100 and (self.reliable is not None or status < 200):
            lines = tuple(lines)
            if not transaction.on_site_flow and (self.reliable is not None or RELIABLE in lines):
                self.reliable = self.reliable or Reliable(self.stack)
                admitted = self.reliable.admit(self, Waiting(transaction, status, reason, lines, body, tag))
                if admitted is None:
                    return
                lines = admitted
        if (method == "INVITE" and 100 < status < 300) or (method in _WITH_CONTACT and status // 100 == 2):
            lines = (self.stack.contact(path.flow, path.user), *lines)
        data = self.stack.reply(transaction, status, now, reason, lines, body, tag if status > 100 else "")
        if self.reliable is not None and status < 200:
            self.reliable.sent(transaction.flow, data, now)
        if method == "INVITE" and status >= 200:
            if transaction is self.server_invite.latest:
                self.server_invite.latest = None
            if status < 300:
                if not self.established:
                    self.established = True
                    self.dialogs.answered(tag)
                user = None if self.requests.no_timeout else self
                self.server_invite.succeeded(transaction, data, cseq, user, now)
            elif not self.established:
                self.end()

    def end(self) -> None:
        """End the leg: it takes no further requests; pending transactions may finish."""
        self._close()
        self.dialogs.local_tags.keep("")

    def _close(self) -> None:
        if self.client_invite.latest is not None or self.client_invite.update is not None:
            self.client_invite.settle()
        if not self.ended:
            self.ended = True
            self.server_invite.update = None
            self.server_invite.stop()
            if self.reliable is not None:
                self.reliable.stop()

    def moved(self, flow: Flow) -> None:
        """There is a new connection: repeat a 2xx that was not acknowledged. Pending requests are not repeated here,
        but with those of all other legs, in the order in which they were sent."""
        self.dialogs.move(flow)
        self.server_invite.moved(flow)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in this dialog (section 12.2.2)."""
        if transaction.on_site_flow and self.owner.is_repeat(self, transaction, request, now):
            return
        sender = self.dialogs.find(request.from_tag)
        method = request.method
        if sender is None or self.ended:
            self.stack.reply(transaction, 200 if sender is not None and method == "BYE" else 481, now)
            return
        dialog = sender.dialog
        counter = self.dialog if transaction.on_site_flow else dialog
        late = request.cseq <= counter.remote_cseq != 0
        if late and not _may_be_late(self, request, counter):
            self.stack.reply(transaction, 500, now, "Server Internal Error - CSeq Out Of Order")
            return
        if not sender.path.admits(transaction, request, now):
            return
        if not late:
            counter.remote_cseq = request.cseq
        if method == "BYE" and not self.established and dialog.direction == UAC:
            # Only the caller may send BYE in an early dialog (section 15); the answer to its INVITE decides the call.
            self.stack.reply(transaction, 200, now)
            return
        if method in _CHANGING and not self.server_invite.take(transaction, request, self.client_invite, now):
            return
        if method in _REFRESHING:
            dialog.target = contact_uri(request) or dialog.target
        transaction.context = self
        if method == "PRACK" and not transaction.on_site_flow:
            _take_prack(self, transaction, request, now)
            return
        if method == "BYE":
            self.end()
            if self.server_invite.latest is not None:
                self.server_invite.terminate(dialog.local_tag, now)
        self.owner.requested(self, transaction, request, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        if self.server_invite.acknowledged(ack.cseq):
            self.owner.acknowledged(self, ack, now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours; called by the transaction."""
        method, final = transaction.method, response.status >= 200
        if final and self.requests.challenges is not None and _send_again(self, transaction, response, now):
            return
        if method == "INVITE":
            if not self._invite_responded(transaction, response, now):
                return
        elif method == "BYE" and final:
            self.end()
        elif method == "UPDATE" and response.status // 100 == 2:
            self.dialog.target = contact_uri(response) or self.dialog.target
        # before the owner is told: its record of the dialog then has the PRACK as sent
        if self.reliable is not None and method == "INVITE" and not (final or self.requests.on_site):
            self.reliable.prack(self, response, self.client_invite.offered, now)
        self.owner.answered(self, transaction, response, now)
        _acknowledge_crossed(self, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.failure == 503 and _send_again(self, transaction, None, now):
            return
        self.requests.gave_up(transaction)
        if not transaction.answered:  # no response in time (SILENT): the transaction goes on, and it may ring there
            self.client_invite.cancelling = True
        elif transaction is self.client_invite.latest:
            self.client_invite.latest = None
            if not self.established:
                self.end()
        elif transaction.method == "BYE":
            self.end()
        self.owner.timed_out(self, transaction, now)

    def unacknowledged(self, now: float) -> float | None:
        """No ACK came for our 2xx in 64*T1."""
        return self.owner.unacknowledged(self, now)

    def _invite_responded(self, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Update the dialog by a response to an INVITE. Returns whether the owner is told of the response."""
        status, invite = response.status, self.client_invite
        pending = transaction is invite.latest
        if status < 200:
            if pending and invite.cancelling and invite.owes_cancel:
                invite.send_cancel(self.owner.hop_headers(self, "CANCEL", now), now)
            if "rseq" in response.first and not _hears(self, response):
                if self.reliable is not None:  # a process before us may have died before it sent the PRACK
                    self.reliable.prack(self, response, invite.offered, now)
                return False
            if status > 100 and not self.established and response.to_tag:
                self.dialogs.meet(response)
        elif pending:
            invite.latest = None  # a further 2xx is a repeat, or comes from another fork
            if status < 300:
                _accepted(self, response)
            elif not self.established:
                self.end()
        elif status < 300:
            if response.to_tag == self.dialog.remote_tag:
                self.ack.again(response.cseq)
            else:
                ack, bye = (self.owner.hop_headers(self, method, now) for method in ("ACK", "BYE"))
                self.dialogs.decline(response, ack, bye, now)
            return False
        return True


def _open_again(leg: InviteUsage) -> None:
    """Prepare a leg whose first INVITE was refused for sending it once more."""
    leg.ended = False
    leg.dialogs.open_again()
    leg.dialogs.local_tags.add(leg.dialog.local_tag, leg)


def _early_tag(context: Any) -> str:
    """The tag of the early dialog in which a request that is passed on came, by the context of the request; ``""``
    for an established dialog.
    """
    if isinstance(context, OwnPrack):
        return context.tag
    request = context.request if isinstance(context, ServerTransaction) else None
    leg = context.context if request is not None else None
    if not isinstance(leg, InviteUsage) or request is None or leg.established:
        return ""
    return passable_tag(request.from_tag if leg.dialog.direction == UAC else request.to_tag)


def _take_prack(leg: InviteUsage, transaction: ServerTransaction, prack: Request, now: float) -> None:
    """Process a PRACK of a device. One that matches no reliable response gets 481 (RFC 3262 section 3)."""
    if leg.reliable is None:
        leg.reply(transaction, 481, now)
    else:
        leg.reliable.acknowledge(leg, transaction, prack, now)


def _send_again(leg: InviteUsage, asked: ClientTransaction, response: Response | None, now: float) -> bool:
    """Send a request again: with credentials after a challenge, or, without a response, to another address. Returns
    False when neither is possible."""
    invite, requests, early = leg.client_invite, leg.requests, not leg.established
    pending = asked is invite.latest
    if pending and invite.cancelling:
        requests.gave_up(asked)
        return False
    if response is None:
        sent = requests.send_elsewhere(leg, asked, early, now)
    else:
        sent = requests.send_proved(leg, asked, response, early, now)
    if sent is not None and pending:
        invite.went_on(sent, early, now)
    elif sent is not None and asked is invite.update:
        invite.update = sent
    return sent is not None


def _accepted(leg: InviteUsage, response: Response) -> None:
    """Process a 2xx to our INVITE: it establishes the dialog, or refreshes its remote target."""
    if leg.established:
        leg.dialog.target = contact_uri(response) or leg.dialog.target
    else:
        first, chosen = leg.dialog, leg.dialogs.choose(response)
        if first is not chosen.dialog:
            leg.dialog, leg.path, leg.ack.sender = chosen.dialog, chosen.path, chosen
            leg.requests.count_on(first)
        leg.established = True
    leg.ack.expect(response.cseq)


def _acknowledge_crossed(leg: InviteUsage, now: float) -> None:
    """Acknowledge a 2xx that crossed a BYE (RFC 5407 section 3.1.3): no ACK will come from the other leg."""
    if leg.ack.pending and leg.ended and not leg.requests.on_site:
        leg.acknowledge(leg.owner.hop_headers(leg, "ACK", now), b"", now)


def _hears(leg: InviteUsage, response: Response) -> bool:
    """Whether a response with RSeq is in order, or not reliable at all (RFC 3262 section 4)."""
    leg.reliable = leg.reliable or Reliable(leg.stack)
    return leg.reliable.hear(response, not leg.requests.on_site)


def _may_be_late(leg: InviteUsage, request: Request, counter: Dialog) -> bool:
    """Whether a request may have a CSeq that is not higher than the last: several early dialogs count separately, and
    a PRACK may be the repeat of one that a process before us received.
    """
    again = request.method == "PRACK" and request.cseq == counter.remote_cseq
    return again or len(leg.dialogs.local_tags.all) > 1
