"""The INVITE usage of a dialog (RFC 3261 sections 12 to 15): one leg of a back-to-back user agent.

A leg speaks SIP to one side and call language to its :class:`Owner`: requested, answered, acknowledged, cancelled,
failed. It keeps the rules that hold on one hop: CSeq order, 491 and 500 on crossing INVITEs, the repetition of a 2xx
until its ACK, the ACK for a repeated 2xx, CANCEL only after a provisional response, BYE to a second 2xx of a fork.
What a message means for the other side is the owner's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from sip.actions import UNREACHABLE, Flow
from sip.dialog import UAC, UAS, Dialog, DialogState, contact_uri, dialog_key
from sip.digest import Authorization, DigestClient, Refusal
from sip.header_policy import passable_tag
from sip.layer import Stack
from sip.next_hop import DialogPath, Reach, hop_uri
from sip.transaction import CALLING, SILENT, ClientTransaction, ServerTransaction, cancel_of
from sip.wire.message import Request, Response, elements, parse

SUCCESS_AGAIN: Final = "2xx again"
SUCCESS_LOST: Final = "no ACK"

_REFRESHING: Final = ("INVITE", "UPDATE", "SUBSCRIBE")


class Owner(Protocol):
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


class _Challengeable:
    """A request that may be challenged, as it is to be sent again (RFC 3261 section 22.2)."""

    __slots__ = ("body", "credentials", "hops", "lines", "tries")

    def __init__(
        self, lines: tuple[str, ...], body: bytes, hops: int, credentials: tuple[Authorization, ...]
    ) -> None:
        self.lines = lines
        self.body = body
        self.hops = hops
        self.credentials = credentials
        self.tries = 1


class EarlyDialog(NamedTuple):
    """A dialog that a fork of our INVITE made (RFC 3261 section 12.1.2), beside the first one."""

    dialog: Dialog
    path: DialogPath


class InviteUsage:
    """One side of a call. Made from a :class:`~sip.dialog.DialogState`, for a new call as for one taken over."""

    __slots__ = (
        "_acked",
        "_answer_within",
        "_cancel_sent",
        "_cancelling",
        "_challengeable",
        "_credentials",
        "_datagrams",
        "_declined",
        "_interval",
        "_invite",
        "_pending_client_invite",
        "_success",
        "_success_cseq",
        "_success_flow",
        "_tags",
        "_uri",
        "dialog",
        "digest",
        "early",
        "ended",
        "established",
        "generation",
        "owner",
        "path",
        "patient",
        "stack",
    )

    def __init__(
        self,
        stack: Stack,
        owner: Owner,
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
        self.path = DialogPath(flow, reach)
        """Where requests in the dialog go."""
        self.dialog = Dialog(state)
        self.digest = digest
        self._challengeable: dict[str, _Challengeable] = {}
        """Requests without a final answer, by branch; only where challenges are answered."""
        self.established = established
        """A 2xx to the first INVITE was sent or received."""
        self.ended = False
        """A BYE went or came, or the first INVITE failed."""
        self._invite: ServerTransaction | None = None
        self._pending_client_invite: ClientTransaction | None = None
        self.early: dict[str, EarlyDialog] | None = None
        """Dialogs that further forks of our INVITE made, by the remote tag, until one of all has answered."""
        self._uri = self.dialog.target
        """Where our INVITE went: the remote target of dialogs that name none."""
        self.patient = False
        """Requests on this leg never time out (``sip.transaction``)."""
        self.generation = 0
        self._success = b""
        self._success_cseq = 0
        self._success_flow = flow
        self._interval = 0.0
        self._acked: tuple[int, tuple[str, ...], bytes] | None = None
        self._credentials: tuple[str, ...] = ()
        """Those of our last INVITE, which its ACK carries as well (section 13.2.2.4)."""
        self._cancelling: tuple[str, ...] | None = None
        self._cancel_sent = False
        self._answer_within = 0.0
        self._datagrams: Flow | None = None
        """Where a large request goes when no stream comes about."""
        self._declined: tuple[str, ...] = ()
        self._tags: tuple[str, ...] = ()
        self._register(self.dialog.local_tag)

    @property
    def flow(self) -> Flow:
        """The dialog's own flow."""
        return self.path.flow

    @flow.setter
    def flow(self, flow: Flow) -> None:
        self.path.move(flow)
        if self.early is not None:  # one of them may be the dialog that is answered
            for early in self.early.values():
                early.path.move(flow)

    # -- what is under way: the transactions themselves say so, hence nothing can be left of one that is over ----

    @property
    def invite(self) -> ServerTransaction | None:
        """The INVITE from there that we have not finally answered."""
        invite = self._invite
        return invite if invite is not None and invite.open else None

    @invite.setter
    def invite(self, transaction: ServerTransaction) -> None:
        self._invite = transaction

    @property
    def pending_client_invite(self) -> ClientTransaction | None:
        """Our INVITE that was not finally answered there."""
        pending_client_invite = self._pending_client_invite
        return None if pending_client_invite is None or pending_client_invite.answered else pending_client_invite

    # -- towards the network ------------------------------------------------------------------------------------

    def call(
        self,
        uri: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any = None,
        hops: int = 70,
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
        self.dialog.target = self._uri = uri
        self._answer_within = answer_within
        invite = self._send("INVITE", lines, body, now, context, hops, self.patient, self.path.flow)
        self._expect_a_word(invite, now)
        self._pending_client_invite = invite

    def send(
        self,
        method: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any = None,
        hops: int = 70,
        patient: bool = False,
    ) -> ClientTransaction:
        """Send a request in the dialog; not ACK or CANCEL. A ``patient`` one never times out.

        As long as there are early dialogs, a request that is passed on goes into the one of the same tag: tags cross
        a call unchanged (docs/wire.md).
        """
        if method == "INVITE":
            self._cancelling = None
            self._cancel_sent = False
        transaction = self._send(method, lines, body, now, context, hops, patient or self.patient)
        if method == "INVITE":
            self._pending_client_invite = transaction
        elif method == "BYE":
            self._close()  # findable until it is answered: a BYE from there may cross ours
        return transaction

    def _send(
        self,
        method: str,
        lines: Iterable[str],
        body: bytes,
        now: float,
        context: Any,
        hops: int,
        patient: bool,
        flow: Flow | None = None,
        credentials: tuple[Authorization, ...] | None = None,
    ) -> ClientTransaction:
        stack = self.stack
        branch = stack.branch()
        dialog, path = (self.dialog, self.path) if self.established else self._dialog_for(context)
        counter = self.dialog if dialog is not self.dialog and self._is_site else dialog
        counter.local_cseq += 1
        cseq = counter.local_cseq
        if self.digest is not None:
            lines = self._with_credentials(method, branch, tuple(lines), body, hops, credentials)
        if method == "INVITE":
            lines = tuple(lines)
            self._credentials = tuple(line for line in lines if line.startswith(_CREDENTIALS))
        if flow is None:
            flow = path.flow_for(dialog.target, dialog.route_set, now)
            if flow is None:
                return self._send_later(
                    dialog, path, cseq, method, branch, tuple(lines), body, now, context, hops, patient
                )
        data = self._compose(dialog, method, cseq, branch, flow, lines, body, hops)
        if len(data) > LARGEST_DATAGRAM and flow.transport == "udp":
            stream = self._stream(dialog, path, flow, now)
            if stream is not None:
                data, flow = readdressed(data, stack.via(stream, branch), stack.contact(stream)), stream
        return stack.request(method, data, branch, flow, self, now, context, patient)

    def _stream(self, dialog: Dialog, path: DialogPath, flow: Flow, now: float) -> Flow | None:
        """For a request that is too large for a datagram (RFC 3261 section 18.1.1); when none comes about, it goes by
        UDP all the same.
        """
        if path.reach is None:
            return None
        stream = path.reach.stream(hop_uri(dialog.target, dialog.route_set), flow, now)
        if stream is not None:
            self._datagrams = flow
            path.move(stream)
        return stream

    def _dialog_for(self, context: Any) -> tuple[Dialog, DialogPath]:
        """The early dialog of the request that ``context`` passes on."""
        tag = _early_tag(context) if isinstance(context, ServerTransaction) else ""
        dialog = self.dialog
        if tag and dialog.direction == UAS and tag in self._tags and tag != dialog.local_tag:
            return Dialog(dialog.export()._replace(local_tag=tag)), self.path
        if tag and dialog.direction == UAC and self.early:
            for remote_tag, early in self.early.items():
                if passable_tag(remote_tag) == tag:
                    return early.dialog, early.path
        return dialog, self.path

    def knows(self, tag: str) -> bool:
        """Whether a fork of our INVITE has made a dialog with that remote tag."""
        return any(passable_tag(one) == tag for one in (self.dialog.remote_tag, *(self.early or ())))

    def _send_later(
        self,
        dialog: Dialog,
        path: DialogPath,
        cseq: int,
        method: str,
        branch: str,
        lines: tuple[str, ...],
        body: bytes,
        now: float,
        context: Any,
        hops: int,
        patient: bool,
    ) -> ClientTransaction:
        """The next hop is a name that is looked up; the request goes behind those that wait already."""
        transaction = self.stack.prepare(method, branch, path.flow, self, context, patient)

        def go(flow: Flow, now: float) -> None:
            data = self._compose(dialog, method, cseq, branch, flow, lines, body, hops)
            self.stack.begin(transaction, flow, data, now)

        path.wait(go, now)
        return transaction

    def _compose(
        self,
        dialog: Dialog,
        method: str,
        cseq: int,
        branch: str,
        flow: Flow,
        lines: Iterable[str],
        body: bytes,
        hops: int,
    ) -> bytes:
        stack = self.stack
        uri, head = dialog.lines(method, cseq, stack.via(flow, branch))
        contact = f"{stack.contact(flow)}\r\n" if method in _REFRESHING else ""
        more = "\r\n".join((*lines, ""))
        text = f"{method} {uri} SIP/2.0\r\n{head}{contact}Max-Forwards: {hops}\r\n{more}Content-Length: {len(body)}"
        return f"{text}\r\n\r\n".encode("latin-1") + body

    def acknowledge(self, lines: Iterable[str], body: bytes, now: float) -> None:
        """Send the ACK for the 2xx to our last INVITE (section 13.2.2.4)."""
        if self._acked is None:
            return
        self._acked = (self._acked[0], tuple(lines), body)
        self._send_ack(self.path.flow_for(self.dialog.target, self.dialog.route_set, now), now)

    @property
    def ack_pending(self) -> bool:
        """A 2xx came that we have not acknowledged."""
        return self._acked is not None and self._acked[1] == _NO_ACK_YET

    def set_ack_pending(self, cseq: int) -> None:
        """A 2xx with that number came, perhaps to another process before us; :meth:`acknowledge` pays."""
        self._acked = (cseq, _NO_ACK_YET, b"")

    def acknowledge_again(self, cseq: int) -> None:
        """The ACK for our INVITE with that number may have been lost: send it as it was."""
        if self._acked is not None and self._acked[0] == cseq and not self.ack_pending and not self.path.waits:
            self.stack.send(self.path.out, self._ack(self.path.out, *self._acked))

    @property
    def acked_cseq(self) -> int:
        """The number of the INVITE of ours whose 2xx is, or is to be, acknowledged; 0 when there was none."""
        return self._acked[0] if self._acked is not None else 0

    def last_ack(self) -> bytes:
        """The last ACK that we sent, whole; empty when there is none."""
        return b"" if self._acked is None or self.ack_pending else self._ack(self.path.out, *self._acked)

    def _send_ack(self, flow: Flow | None, now: float) -> None:
        """Once to the dialog's next hop, when that is known (section 13.2.2.4); it is not tried elsewhere."""
        if flow is None:
            self.path.wait(self._send_ack, now)
        elif self._acked is not None and flow is not UNREACHABLE:
            self.stack.send(flow, self._ack(flow, *self._acked))

    def _ack(self, flow: Flow, cseq: int, lines: tuple[str, ...], body: bytes) -> bytes:
        branch = self.stack.branch_of_ack(self.dialog.key, cseq)
        uri, head = self.dialog.lines("ACK", cseq, self.stack.via(flow, branch))
        if self._credentials and not any(line.startswith(_CREDENTIALS) for line in lines):
            lines = (*lines, *self._credentials)
        more = "".join(f"{line}\r\n" for line in lines)
        text = f"ACK {uri} SIP/2.0\r\n{head}Max-Forwards: 70\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        return text.encode("latin-1") + body

    def cancel(self, now: float, lines: Iterable[str] = ()) -> None:
        """Cancel our INVITE (section 9.1), at once or as soon as a provisional response allows it."""
        transaction = self.pending_client_invite
        if transaction is None or self._cancelling is not None:
            return
        self._cancelling = tuple(lines)
        if transaction.state != CALLING:
            self._send_cancel(transaction, now)

    @property
    def cancelling(self) -> bool:
        return self._cancelling is not None

    def _send_cancel(self, invite: ClientTransaction, now: float) -> None:
        self._cancel_sent = True
        lines = (*self.owner.hop_headers(self, "CANCEL", now), *(self._cancelling or ()))
        data = cancel_of(invite.request, lines)
        self.stack.request("CANCEL", data, invite.branch, invite.flow, self, now, None, invite.patient)
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
        self.stack.revive(transaction)
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
            if transaction is self._invite:
                self._invite = None
            if status < 300:
                self._succeed(transaction, tag, data, cseq, now)
            elif not self.established:
                self.end()

    def _succeed(self, transaction: ServerTransaction, tag: str, data: bytes, cseq: int, now: float) -> None:
        """Our 2xx is repeated until its ACK comes, on streams too: they are reliable for one hop alone (section
        13.3.1.4). Not on site flows: there it is given again when the connection was made anew (docs/wire.md).
        """
        if not self.established:
            self.dialog.local_tag = tag
            self.established = True
            self._forget_tags_but(tag)
        self._success = data
        self._success_cseq = cseq
        self._success_flow = transaction.flow
        self.generation += 1
        timers = self.stack.timers
        if not transaction.kept:
            self._interval = timers.t1
            self.stack.deadlines.set(now + timers.t1, self, SUCCESS_AGAIN)
        if not self.patient:
            self.stack.deadlines.set(now + timers.lifetime, self, SUCCESS_LOST)

    @property
    def awaits_ack(self) -> bool:
        """Our 2xx was not acknowledged yet."""
        return bool(self._success)

    @property
    def success_cseq(self) -> int:
        """The number of the INVITE that our last 2xx answered."""
        return self._success_cseq

    def await_ack(self, success: bytes = b"?", cseq: int = 0) -> None:
        """A 2xx was sent, perhaps by another process before us; its ACK (0: of any number) is still to come."""
        self._success = success
        self._success_cseq = cseq

    def end(self) -> None:
        """Nothing more is to come on this leg; what is under way may finish."""
        self._close()
        self._forget_tags_but("")

    def _close(self) -> None:
        if (asked := self._pending_client_invite) is not None and asked.answered:
            self._pending_client_invite = None
        if not self.ended:
            self.ended = True
            self.generation += 1
            self._success = b""

    def moved(self, flow: Flow) -> None:
        """The connection was made anew: a 2xx that was not acknowledged is given again.

        What was asked on the old one is the business of its transactions, of all legs in the order of asking.
        """
        self.flow = self._success_flow = flow
        if len(self._success) > 1:
            self.stack.send(flow, self._success)

    # -- from the network ---------------------------------------------------------------------------------------

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in this dialog (section 12.2.2)."""
        if transaction.kept and self.owner.recognised(self, transaction, request, now):
            return
        dialog, path = self.dialog, self.path
        if dialog.remote_tag and request.from_tag != dialog.remote_tag:
            early = self.early.get(request.from_tag) if self.early is not None else None
            if early is None:
                self.stack.reply(transaction, 481, now)
                return
            dialog, path = early
        if self.ended:
            self.stack.reply(transaction, 200 if request.method == "BYE" else 481, now)
            return
        if not path.admits(transaction, request, now):
            return
        counter = self.dialog if transaction.kept else dialog
        if request.cseq <= counter.remote_cseq and counter.remote_cseq:
            self.stack.reply(transaction, 500, now, "Server Internal Error - CSeq Out Of Order")
            return
        counter.remote_cseq = request.cseq
        method = request.method
        if method == "BYE" and not self.established and dialog.direction == UAC:
            # Only the caller may end an early dialog so (section 15); what becomes of the call its INVITE will tell.
            self.stack.reply(transaction, 200, now)
            return
        if method == "INVITE":
            if self.pending_client_invite is not None:  # section 14.2
                self.stack.reply(transaction, 491, now)
                return
            if self.invite is not None:
                self.stack.reply(transaction, 500, now, lines=(f"Retry-After: {1 + request.cseq % 10}",))
                return
            self.invite = transaction
        if method in _REFRESHING:
            dialog.target = contact_uri(request) or dialog.target
        transaction.context = self
        if method == "BYE":
            invite = self.invite
            self.end()
            if invite is not None:  # section 15.1.2
                self.stack.reply(invite, 487, now, tag=dialog.local_tag)
                self._invite = None
        self.owner.requested(self, transaction, request, now)

    def receive_ack(self, ack: Request, now: float) -> None:
        if self._success and self._success_cseq in (0, ack.cseq):
            self._success = b""
            self.generation += 1
            self.owner.acknowledged(self, ack, now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response to a request of ours (the transaction's call)."""
        if transaction.method == "CANCEL":
            return
        if self._challengeable and response.status >= 200:
            known = self._challengeable.pop(transaction.branch, None)
            if known is not None and response.status in (401, 407) and self._prove(known, transaction, response, now):
                return
        if transaction.method == "INVITE":
            if not self._invite_responded(transaction, response, now):
                return
        elif transaction.method == "BYE" and response.status >= 200:
            self.end()
        self.owner.answered(self, transaction, response, now)

    def _with_credentials(
        self,
        method: str,
        branch: str,
        lines: tuple[str, ...],
        body: bytes,
        hops: int,
        credentials: tuple[Authorization, ...] | None,
    ) -> tuple[str, ...]:
        """The lines of a request with what proves who we are, as far as that is known."""
        assert self.digest is not None
        if credentials is None:
            credentials = tuple(self.digest.authorize(method, self.dialog.target))
        self._challengeable[branch] = _Challengeable(lines, body, hops, credentials)
        return (*lines, *(one.line for one in credentials))

    def _prove(self, known: _Challengeable, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Answer a challenge: the request once more, with credentials; False when it cannot be answered."""
        invite, digest = transaction.method == "INVITE", self.digest
        if digest is None or known.tries >= MOST_TRIES or (invite and self._cancelling is not None):
            return False
        answer = digest.answer(response, transaction.method, self.dialog.target, known.credentials)
        if isinstance(answer, Refusal):
            return False
        if invite and not self.established:
            self._open_again()
        opening = invite and not self.established
        again = self._send(
            transaction.method, known.lines, known.body, now, transaction.context, known.hops, transaction.patient,
            self.path.flow if opening else None, answer,
        )  # fmt: skip
        self._challengeable[again.branch].tries = known.tries + 1
        if opening:
            self._expect_a_word(again, now)
        if invite:
            self._pending_client_invite = again
        return True

    def _expect_a_word(self, invite: ClientTransaction, now: float) -> None:
        """The place of our first INVITE is given up when nothing comes from it in time."""
        if self._answer_within:
            self.stack.deadlines.set(now + self._answer_within, invite, SILENT)

    def _open_again(self) -> None:
        """The first INVITE was refused, and is to be sent once more."""
        self.ended = False
        self.early = None
        self.dialog.remote_tag = ""
        self.dialog.remote_cseq = 0
        self.dialog.route_set = ()
        self.dialog.target = self._uri
        self._register(self.dialog.local_tag)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.method == "CANCEL":
            return
        challengeable = self._challengeable.pop(transaction.branch, None)
        if transaction.failure == 503 and self._go_elsewhere(transaction, challengeable, now):
            return
        if not transaction.answered:  # nothing was heard of our first INVITE; it may still ring
            self._cancelling = self._cancelling or ()
        elif transaction is self._pending_client_invite:
            self._pending_client_invite = None
            if not self.established:
                self.end()
        elif transaction.method == "BYE":
            self.end()
        self.owner.timed_out(self, transaction, now)

    def _go_elsewhere(self, transaction: ClientTransaction, challengeable: _Challengeable | None, now: float) -> bool:
        """After a transport error a request in the dialog is sent to the next place of its hop, one that was too
        large for UDP by UDP all the same (RFC 3263 section 4.3).
        """
        path, stack = self.path, self.stack
        datagrams, self._datagrams = self._datagrams, None
        if transaction is self._pending_client_invite and self._cancelling is not None:
            return False
        if datagrams is not None and path.reach is not None and transaction.flow.transport != "udp":
            path.reach.streamless(datagrams, now)
            path.move(datagrams)
            flow: Flow | None = datagrams
        else:
            flow = path.again(transaction.flow, now) if self.established else None
        if flow is None:
            return False
        branch = stack.branch()
        data = readdressed(transaction.request, stack.via(flow, branch), stack.contact(flow))
        again = self.stack.prepare(transaction.method, branch, flow, self, transaction.context, transaction.patient)
        if transaction is self._pending_client_invite:
            self._pending_client_invite = again
        if challengeable is not None:
            self._challengeable[branch] = challengeable
        stack.begin(again, flow, data, now)
        if not self.established:
            self._expect_a_word(again, now)
        return True

    def _invite_responded(self, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Keep the dialog; whether the owner is to hear of this response."""
        status = response.status
        if status < 200:
            if self._cancelling is not None and not self._cancel_sent and self._pending_client_invite is transaction:
                self._send_cancel(transaction, now)
            if status > 100 and not self.established and response.to_tag:
                self._meet_early(response)
            return True
        if status >= 300:
            if transaction is self._pending_client_invite:
                self._pending_client_invite = None
                if not self.established:
                    self.end()
            return True
        if transaction is self._pending_client_invite:
            self._pending_client_invite = None  # another 2xx is a repetition, or of a fork
            if not self.established:
                self._choose(response.to_tag)
                self.dialog.establish(response)
                self.established = True
                self.early = None
                self._tags = (self.dialog.local_tag,)
            else:
                self.dialog.target = contact_uri(response) or self.dialog.target
            self.set_ack_pending(response.cseq)
            return True
        if response.to_tag != self.dialog.remote_tag:
            self._decline_fork(response, now)
        else:
            self.acknowledge_again(response.cseq)
        return False

    def _meet_early(self, response: Response) -> None:
        """The first fork that says something has the dialog, each further one a dialog of its own."""
        tag = response.to_tag
        if not self.dialog.remote_tag:
            self.dialog.establish(response)
        elif tag != self.dialog.remote_tag:
            if self.early is None:
                self.early = {}
            if tag not in self.early and len(self.early) < MAX_EARLY:
                dialog = self._fork()
                dialog.establish(response)
                self.early[tag] = EarlyDialog(dialog, DialogPath(self.path.flow, self.path.reach))

    def _fork(self) -> Dialog:
        """The dialog of our INVITE as a fork of it that has said nothing yet would have it."""
        first = self.dialog
        return Dialog(first.export()._replace(remote_tag="", target=self._uri, route_set=(), remote_cseq=0))

    @property
    def _is_site(self) -> bool:
        """Between agent and server: the record of the dialog has one number each way for all forks."""
        return self.patient or self.path.flow in self.stack.kept

    def _choose(self, tag: str) -> None:
        """That fork has answered: its dialog is the one, with its own numbers; the others are forgotten."""
        first = self.dialog
        if first.remote_tag and tag != first.remote_tag:
            chosen = self.early.get(tag) if self.early is not None else None
            if chosen is not None:
                self.dialog, self.path = chosen
            else:
                self.dialog = self._fork()
            if self._is_site:
                self.dialog.local_cseq, self.dialog.remote_cseq = first.local_cseq, first.remote_cseq

    def _decline_fork(self, response: Response, now: float) -> None:
        """A 2xx from another branch of a fork: acknowledge and end that dialog (section 13.2.2.4)."""
        other = self._fork()
        other.establish(response)
        path = DialogPath(self.flow, self.path.reach)
        flow = path.flow_for(other.target, other.route_set, now)
        bye = response.to_tag not in self._declined and len(self._declined) < MAX_EARLY
        if bye:
            self._declined = (*self._declined, response.to_tag)

        def go(flow: Flow, now: float) -> None:
            stack = self.stack
            if flow is UNREACHABLE:
                return
            stack.send(flow, self._own(other, "ACK", response.cseq, flow, stack.branch(), now))
            if bye:
                branch = stack.branch()
                data = self._own(other, "BYE", response.cseq + 1, flow, branch, now)
                stack.request("BYE", data, branch, flow, Unheard(), now)

        if flow is None:
            path.wait(go, now)
        else:
            go(flow, now)

    def _own(self, dialog: Dialog, method: str, cseq: int, flow: Flow, branch: str, now: float) -> bytes:
        """A request without a body in another dialog than the leg's."""
        uri, head = dialog.lines(method, cseq, self.stack.via(flow, branch))
        more = "".join(f"{line}\r\n" for line in ("Max-Forwards: 70", *self.owner.hop_headers(self, method, now)))
        return f"{method} {uri} SIP/2.0\r\n{head}{more}Content-Length: 0\r\n\r\n".encode("latin-1")

    # -- time -----------------------------------------------------------------------------------------------------

    def due(self, cause: str, now: float) -> None:
        if cause is SUCCESS_AGAIN:
            self._interval = min(self._interval * 2, self.stack.timers.t2)
            self.stack.deadlines.set(now + self._interval, self, SUCCESS_AGAIN)
            if self._success_flow.transport != "udp":
                via = parse(self._success).get("via") or ""
                self._success_flow = self.stack.reconnect(self._success_flow, via)
            self.stack.send(self._success_flow, self._success)
        elif cause is SUCCESS_LOST:
            later = self.owner.unacknowledged(self, now)
            if later is None:
                self._success = b""
                self.generation += 1
            else:
                self.stack.deadlines.set(later, self, SUCCESS_LOST)

    def repeated(self, invite: Request, transaction: ServerTransaction) -> None:
        """Another server sent the INVITE that opened this leg once more: go on in the dialog of the repeat."""
        dialog, tags = self.dialog, self._tags
        self._forget_tags_but("")
        dialog.call_id = invite.call_id
        dialog.remote_tag = invite.from_tag
        dialog.remote_cseq = invite.cseq
        dialog.target = contact_uri(invite) or dialog.target
        dialog.route_set = tuple(elements(invite, "record-route"))
        self.flow = transaction.flow
        for tag in tags:
            self._register(tag)

    # -- being found ------------------------------------------------------------------------------------------------

    def _register(self, tag: str) -> None:
        if tag not in self._tags:
            self._tags = (*self._tags, tag)
            self.stack.legs[dialog_key(self.dialog.call_id, tag)] = self

    def _forget_tags_but(self, kept: str) -> None:
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


class Unheard:
    """The user of a request whose answer changes nothing."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        pass

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        pass


_CREDENTIALS: Final = ("Authorization:", "Proxy-Authorization:")
"""As they are written here (``sip.digest``)."""
MOST_TRIES: Final = 6
"""Times that a request is sent: the first, and once for each challenge of it."""


def readdressed(request: bytes, via: str, contact: str) -> bytes:
    """The same request for another place, with our address as it is seen there."""
    head, end, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines[1] = via.encode("latin-1")
    lines = [contact.encode("latin-1") if line.startswith(b"Contact: ") else line for line in lines]
    return b"\r\n".join(lines) + end + body


LARGEST_DATAGRAM: Final = 1300
"""Bytes of a request beyond which it goes by a stream where it may (RFC 3261 section 18.1.1)."""
MAX_EARLY: Final = 16
"""More early dialogs than this in one INVITE are not remembered apart."""

_NO_ACK_YET: Final = ("",)
