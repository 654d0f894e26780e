"""The dialog of a call with the servers: requests under way in both directions, by the rules of docs/wire.md.

The agent does not send its requests again by itself: a request is in the call's record until it is answered, and a
server that takes over finds it there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.deduplication import Remembered, key_of
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Message, Request

MOST_SENT: Final = 16
"""Requests of one call that may wait for a server."""
MOST_PROVISIONALS: Final = 24
"""Provisional responses kept for one request; when there are more, the oldest but the first is dropped."""


class Answer(NamedTuple):
    """A response, without the header fields that are copied from its request."""

    status: int
    reason: str
    lines: Sequence[str]
    body: bytes
    tag: str


class ServerRequest(Remembered):
    """A request of a server to this agent with all responses given, so that a repeat gets the same ones."""

    __slots__ = ("cancelled", "count", "final", "method", "provisionals", "side", "transaction")

    def __init__(self, key: str, transaction: ServerTransaction, method: str, side: ServerSide | None) -> None:
        super().__init__(key)
        self.transaction = transaction
        """The server transaction that is to be answered, whatever server sent the request last."""
        self.method = method
        self.side = side
        """The dialog of its call; ``None`` when the call is gone, or the request was outside a call."""
        self.provisionals: list[Answer] = []
        self.final: Answer | None = None
        self.count = 0
        """How many responses were given: the ``n`` of the last in its Call-Origin."""
        self.cancelled = False

    def answer(self, status: int, reason: str, lines: Sequence[str], body: bytes, tag: str) -> Answer:
        """Number a response, keep it and return it. A ``status`` of 200 and more makes it the final one."""
        self.count += 1
        if self.key:
            lines = (f"Call-Origin: {self.key};n={self.count}", *lines)
        answer = Answer(status, reason, lines, body, tag)
        if status >= 200:
            self.final = answer
        else:
            self.provisionals.append(answer)
            if len(self.provisionals) > MOST_PROVISIONALS:
                del self.provisionals[1]
        return answer


class PendingRequest:
    """A request to the servers without a final answer."""

    __slots__ = ("asked", "at", "cancelled", "client", "cseq", "deaths", "handed_at", "heard", "offered", "reached")

    def __init__(
        self,
        asked: ServerTransaction | None,
        client: ClientTransaction,
        cseq: int,
        offered: bool,
        reached: bool,
        now: float,
    ) -> None:
        self.asked = asked
        """The device's transaction that waits for the answer; ``None`` for a request of the agent's own, as a BYE."""
        self.client = client
        self.cseq = cseq
        self.offered = offered
        """For an INVITE: whether it has an offer."""
        self.reached = reached
        """Whether it was written to a connection; otherwise no server knows it yet."""
        self.at = now
        """When it was sent, or cancelled by its device."""
        self.cancelled = False
        self.handed_at = now
        """When the present server got it."""
        self.deaths = 0
        """The sum of weights of the servers that died soon after they got it (`gateway_agent.poison`)."""
        self.heard = False
        """Whether the present server has sent any response to it."""


class ServerSide:
    """The servers' side of one call. ``leg`` is the dialog; it is set as soon as the call is made."""

    __slots__ = (
        "_environment",
        "acked_at",
        "asked_for_offer",
        "awaited",
        "ended",
        "epochs",
        "leg",
        "origin",
        "received",
        "sent",
        "token",
        "told",
        "unacknowledged_at",
    )

    def __init__(self, environment: CallEnvironment) -> None:
        self._environment = environment
        self.leg: InviteUsage | None = None
        self.token = ""
        """The last state token of a server, opaque to the agent."""
        self.told = 0
        """How many line states were made of the call."""
        self.origin = ""
        """The origin key of the INVITE with which a server opened the call; ``""`` where the device did."""
        self.sent: list[PendingRequest] = []
        self.received: list[ServerRequest] = []
        """Requests of servers that are not finally answered."""
        self.acked_at: float | None = None
        """When the last ACK went to a server."""
        self.awaited = ""
        """The origin key of the last INVITE of a server that was answered 2xx; its ACK is awaited, or came."""
        self.unacknowledged_at = math.inf
        """When the last such 2xx was sent; infinity when there was none."""
        self.asked_for_offer = False
        """Whether the INVITE of that 2xx had no offer, so that the ACK must have the answer."""
        self.epochs: tuple[int, ...] = (environment.epoch(),)
        """The epochs of leadership in which the call has lived, the newest last; at most eight."""
        self.ended = False
        """The call is over for its users: repeats are answered, and change nothing."""

    def note_token(self, message: Message) -> None:
        """Keep the state token of a message of a server, if it has one."""
        self.token = message.get("call-state") or self.token

    # Requests to the servers.

    def opened(self, asked: ServerTransaction, offered: bool, now: float) -> None:
        """Note that the INVITE of a device, which opens the call, was sent to the servers."""
        assert self.leg is not None
        client = self.leg.client_invite.pending
        assert client is not None
        self.sent.append(
            PendingRequest(asked, client, self.leg.dialog.local_cseq, offered, self._environment.connected, now)
        )

    def send(
        self,
        method: str,
        lines: Sequence[str],
        body: bytes,
        context: ServerTransaction | str,
        max_forwards: int,
        now: float,
        branch: str = "",
    ) -> None:
        """Send a request in the dialog. While no server is connected it is only in the call's record."""
        leg = self.leg
        assert leg is not None
        client = leg.send(method, lines, body, now, context, max_forwards, branch=branch)
        asked = context if isinstance(context, ServerTransaction) else None
        offered = method == "INVITE" and bool(body)
        self.sent.append(
            PendingRequest(asked, client, leg.dialog.local_cseq, offered, self._environment.connected, now)
        )

    def may_send(self) -> bool:
        """Whether one more request of the device may wait for a server."""
        return len(self.sent) < MOST_SENT and self._environment.may_hold()

    def sent_by(self, client: ClientTransaction) -> PendingRequest | None:
        for one in self.sent:
            if one.client is client:
                return one
        return None

    def sent_for(self, asked: ServerTransaction) -> PendingRequest | None:
        """The request to the servers that was sent for that one of the device; None when there is none."""
        return next((one for one in self.sent if one.asked is asked), None)

    def remove(self, sent: PendingRequest) -> None:
        """Forget a request: it is answered, or its answer is not awaited any more."""
        if sent in self.sent:
            self.sent.remove(sent)
            if sent.cancelled:  # its CANCEL may have gone to a server that has died
                self._environment.stack.clients.pop(f"{sent.client.branch}C", None)

    def conclude(self, sent: PendingRequest, status: int, now: float) -> None:
        """Answer the device's request with ``status``, and ignore what a server would answer."""
        if sent.asked is not None and sent.asked.open:
            sent.asked.context.reply(sent.asked, status, now)
        self.remove(sent)
        sent.client.terminate()

    def withdraw(self, sent: PendingRequest, now: float, reasons: Sequence[str] = ()) -> bool:
        """Withdraw a request whose device has its answer already: an INVITE that servers may know is cancelled, which
        returns True; any other request is forgotten, which returns False."""
        if sent.client.method == "INVITE" and sent.reached and self.leg is not None:
            sent.cancelled = True
            self.leg.cancel(now, reasons)
            return True
        self.remove(sent)
        sent.client.terminate()
        return False

    # Requests of the servers.

    def hear(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Note a request in the dialog; it is to be answered by :meth:`respond`."""
        received = ServerRequest(key_of(request), transaction, request.method, self)
        self._environment.deduplication.add(received, now)
        self.received.append(received)
        self.note_token(request)

    def received_as(self, asked: ServerTransaction) -> ServerRequest | None:
        for one in self.received:
            if one.transaction is asked:
                return one
        return None

    def respond(
        self,
        received: ServerRequest,
        status: int,
        now: float,
        reason: str = "",
        lines: Sequence[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> None:
        """Answer a request of a server, and remember the answer for its repeats."""
        environment, leg, transaction = self._environment, self.leg, received.transaction
        assert leg is not None
        if status == 100:
            environment.stack.reply(transaction, 100, now)
            return
        answer = received.answer(status, reason, lines, body, tag)
        if status >= 200:
            environment.deduplication.answered(received, now)
            self.received.remove(received)
            if received.method == "INVITE" and status < 300:
                request = transaction.request
                self.awaited = received.key
                self.asked_for_offer = request is None or not request.body
                self.unacknowledged_at = now
        describes = received.method == "INVITE" or (bool(body) and received.method in ("UPDATE", "PRACK"))
        told = environment.line_states.lines(leg.owner, now) if describes and status < 300 else ()
        leg.reply(transaction, status, now, reason, (*answer.lines, *told), body, tag)

    # The connection.

    def moved(self, target: str) -> None:
        """Use the environment's present connection from now on: to another server, or a new one to the same.
        ``target`` is the server's URI. Nothing is sent again: the server finds it in the call's record."""
        leg, flow = self.leg, self._environment.server_flow
        if leg is None:
            return
        leg.dialogs.move(flow)
        leg.dialog.target = target
        leg.dialog.route_set = ()
        for sent in self.sent:
            sent.client.flow = flow
            sent.reached = True  # by the record
        for received in self.received:
            received.transaction.flow = flow
        epoch = self._environment.epoch()
        if epoch != self.epochs[-1]:
            self.epochs = (*self.epochs[-7:], epoch)

    def drop(self, status: int, now: float) -> None:
        """End the dialog without a message: the servers know (docs/wire.md, ``purpose=reset``)."""
        environment = self._environment
        if self.leg is not None and not self.leg.ended:
            self.leg.end()
        received, self.received[:] = list(self.received), []
        for one in received:
            one.answer(status, "", (), b"", environment.stack.token())
            one.transaction.terminate()
            environment.deduplication.answered(one, now)
        self.terminate()

    def terminate(self) -> None:
        """Terminate all client transactions: their answers are not awaited any more."""
        for sent in list(self.sent):
            self.remove(sent)
            sent.client.terminate()
