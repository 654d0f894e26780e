"""The receiving side of SIP: bytes become messages, and each message is dispatched.

A response goes to its client transaction; a request to its server transaction, to the leg of its dialog, or to the
:class:`Listener`; malformed and excess messages are refused here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from sip.actions import Action, Flow, Send
from sip.dialog import bare_uri, contact_uri, dialog_key
from sip.endpoint import SECURE, WHOLE
from sip.header_policy import max_forwards_left, unsupported
from sip.identifiers import Identifiers
from sip.media_quality import NAME
from sip.message_ring import Note
from sip.rate_limited_logger import RateLimitedLogger
from sip.requests import ResponseSpec
from sip.responder import Responder, answer_flow
from sip.stream_reassembly import StreamReassembly
from sip.transaction import ACK, InviteServer, NonInviteServer, ServerTransaction
from sip.transaction_table import TransactionTable
from sip.wire.errors import Malformed, SipError, Unanswerable
from sip.wire.framing import PING, PONG, Fault
from sip.wire.headers import keep_answered, stamp_received
from sip.wire.message import MAGIC, FaultyRequest, Message, Request, Response, head_of, parse
from sip.wire.validation import validate

logger = logging.getLogger(__name__)

MOST_SERVERS: Final = 200_000
"""Server transactions at once; from half of it on each sender has its share (``sip.overload.admission``)."""


class Listener(Protocol):
    """The user of the SIP layer, called with what belongs to no known dialog or transaction."""

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Whether a message on an unauthenticated flow is processed; if not, a request was answered by this
        method."""

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request outside any known dialog (also one with an unknown To tag: see ``request.to_tag``)."""

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL for an open INVITE; it was answered 200, or ``answers_later`` has taken that over."""

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        """An ACK in an unknown dialog."""

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """A response without a transaction."""


class InDialog(Protocol):
    """A leg: takes the requests of its dialog."""

    @property
    def flow(self) -> Flow: ...

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None: ...

    def receive_ack(self, ack: Request, now: float) -> None: ...


class Receiver:
    """See the module. The sets and dictionaries given to it are shared with its owner, who changes them."""

    def __init__(
        self,
        listener: Listener,
        transactions: TransactionTable,
        responder: Responder,
        identifiers: Identifiers,
        legs: dict[str, InDialog],
        site_flows: set[Flow],
        unauthenticated_flows: set[Flow],
        counters: Counter[str],
        limited_logger: RateLimitedLogger,
        out: list[Action],
    ) -> None:
        self.received = 0
        """Messages received."""
        self.most_servers = MOST_SERVERS
        self.expected: Callable[[InDialog, Flow, str], bool] = _nobody_else
        """Whether a request of that method in that dialog may come from another host than that of its flow."""
        self.line_state_came: Callable[[Message, Flow, float], None] | None = None
        """Called with each message between agent and server that has a Line-State (docs/wire.md)."""
        self.measured: Callable[[Message, float], None] | None = None
        """Called with each message that has a Media-Quality."""
        self.calls_return: Callable[[], bool] = _never
        """Whether calls are still being recovered; a CANCEL that matches nothing is then not answered, so that it is
        repeated."""
        self.answers_later: Callable[[ServerTransaction, ServerTransaction, float], bool] = _at_once
        """Called with an open INVITE and its CANCEL: whether somebody else answers the CANCEL later."""
        self.streams = StreamReassembly(transactions.deadlines, counters, site_flows, out)
        self.note: Note | None = None
        """Called with each message received, before it is parsed."""
        self.sips_flows: set[Flow] = set()
        """TLS flows whose peers use ``sips`` URIs."""
        self.aliased: Callable[[Flow, str], None] = _nowhere
        """Called with a stream that its peer wants to be used for requests to it, and its Via (RFC 5923)."""
        self._listener = listener
        self._transactions = transactions
        self._servers = transactions.servers
        self._clients = transactions.clients
        self._responder = responder
        self._bans = responder.bans
        self._banned = responder.bans.banned
        self._identifiers = identifiers
        self._legs = legs
        self._site_flows = site_flows
        self._unauthenticated_flows = unauthenticated_flows
        self._counters = counters
        self._limited_logger = limited_logger
        self._out = out

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Process a datagram, or bytes of a stream."""
        self._responder.now = now
        if self._banned and self._bans.stops(flow, now):
            if flow.transport != "udp":
                self.streams.close(flow)
            return
        if flow.transport in WHOLE:
            if data[:2] == b"\r\n":  # RFC 3261 section 7.5: CRLF before a message is ignored
                if data == PING and flow.transport != "udp":
                    self._out.append(Send(flow, PONG))  # RFC 7118 section 6
                data = data.lstrip(b"\r\n")
            if len(data) > 4:  # not a keep-alive (RFC 5626 section 4.4)
                if self.note is not None:
                    self.note(data, flow, now, False)
                self.receive_message(data, flow, now)
            return
        framer, messages = self.streams.feed(data, flow, now)
        failure: Exception | None = None
        for message in messages:
            if message == PING:
                self._out.append(Send(flow, PONG))  # RFC 5626 section 4.4.1
                continue
            if self.note is not None:
                self.note(message, flow, now, False)
            try:
                self.receive_message(message, flow, now)
            except Exception as error:  # the messages behind it are of other calls
                failure = error
            if flow not in self.streams.framers:
                break  # closed on account of this message
        else:
            if framer.fault is not None:
                self._counters["framing"] += 1
                self._limited_logger.info(logger, now, "closing %s: %s", flow.remote, framer.fault.reason)
                self._answer_fault(framer.fault, flow)
                self.streams.close(flow)
        if failure is not None:
            raise failure

    def _answer_fault(self, fault: Fault, flow: Flow) -> None:
        """Answer 400, 413 or 513 to the request at which a stream became unreadable (RFC 3261 18.3, 20.14)."""
        message: Message | None = None
        try:
            if fault.head and flow not in self._unauthenticated_flows:
                message = parse(fault.head)
        except FaultyRequest as error:
            message = error.request
        except Malformed:
            pass
        if isinstance(message, Request):
            self._responder.refuse(message, flow, fault.status, fault.reason)
        else:
            self._bans.offend(flow, "unreadable", self._responder.now)

    def receive_message(self, data: bytes, flow: Flow, now: float) -> None:
        """Process one whole message (or one that is replayed from an agent's record)."""
        self.received += 1
        try:
            message = parse(data)
            if self.line_state_came is not None and "line-state" in message.first and flow in self._site_flows:
                self.line_state_came(message, flow, now)
            if self.measured is not None and NAME in message.first and flow in self._site_flows:
                self.measured(message, now)
            if isinstance(message, Response):
                self._respond(message, flow, now)
            else:
                self._request(message, flow, now)
        except Unanswerable as error:
            self._garbage(flow, now)
            logger.debug("dropped from %s: %s: %s", flow.remote, error, head_of(data))
        except FaultyRequest as fault:  # not ``error``: a compiled function gives each name one type
            self._counters["malformed"] += 1
            self._responder.refuse(fault.request, flow, fault.status, str(fault))
        except SipError as other:
            self._garbage(flow, now)
            logger.debug("dropped from %s: %s", flow.remote, other)

    def _garbage(self, flow: Flow, now: float) -> None:
        self._counters["garbage"] += 1
        self._bans.offend(flow, "unreadable", now)

    def _admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Whether a message may be looked at, or comes by a flow on which the listener refuses it."""
        return flow not in self._unauthenticated_flows or self._listener.admits(message, flow, now)

    def _respond(self, response: Response, flow: Flow, now: float) -> None:
        if self._unauthenticated_flows and not self._admits(response, flow, now):
            return
        branch = response.branch
        method = response.cseq_method
        transaction = self._clients.get(branch + "C" if method == "CANCEL" else branch)
        if transaction is None or transaction.method != method:
            self._listener.stray_response(response, flow, now)
        elif flow != transaction.flow and not self._is_there(flow, transaction.flow):
            self._counters["foreign"] += 1  # RFC 3581 section 4: from where we sent to, since we ask for rport
        else:
            transaction.receive(response, now)

    def _request(self, request: Request, flow: Flow, now: float) -> None:
        if self._unauthenticated_flows and not self._admits(request, flow, now):
            return
        branch = request.branch
        method = request.method
        key = _server_key(request, branch, "INVITE" if method == "ACK" else method)
        known = self._servers.get(key)
        if known is not None:
            if flow is not known.flow and flow != known.flow:
                if not self._is_there(flow, known.flow):
                    self._counters["foreign"] += 1
                    return
                if flow.transport != "udp":
                    known.flow = flow  # the connection was made anew
            if method != "ACK":
                known.repeat(now)
                return
            if known.state != "accepted":
                known.step(ACK, None, now)
                return
        elif self._responder.refused and self._responder.is_repeat_of_refused(key, flow, method, now):
            return
        try:
            validate(request)
        except Malformed as error:
            raise FaultyRequest(str(error), error.status, request) from None
        line = request.first["via"]
        stamped = stamp_received(line, flow.remote)
        if stamped is not line:
            request.set("via", stamped)
        to_tag = request.to_tag
        leg = self._legs.get(dialog_key(request.call_id, to_tag)) if to_tag else None
        if leg is not None and flow.remote[0] != leg.flow.remote[0] and not self.expected(leg, flow, method):
            self._counters["foreign"] += 1
            self._responder.refuse(request, flow, 481)
            return
        if method == "ACK":
            if leg is not None:
                leg.receive_ack(request, now)
            else:
                self._listener.stray_ack(request, flow, now)
            return
        on_site_flow = flow in self._site_flows
        if not on_site_flow and method != "CANCEL" and (refusal := self._unfit(request, leg, flow)) is not None:
            self._responder.refuse(request, flow, refusal.status, refusal.because, refusal.lines)
            return
        if len(self._servers) * 2 >= self.most_servers and self._overloaded(flow, method, leg, now):
            self._counters["overload"] += 1
            self._responder.refuse(request, flow, 503, lines=("Retry-After: 10",))
            return
        kind = InviteServer if method == "INVITE" else NonInviteServer
        transaction = kind(self._transactions, key, answer_flow(request, flow), request, on_site_flow)
        self._servers[key] = transaction
        if method == "INVITE" and leg is None and not on_site_flow:
            transaction.request_id = _request_id(request)
            self._transactions.invites[transaction.request_id] = transaction
        if leg is None and method == "INVITE" and max_forwards_left(request) < 0:
            # RFC 3261 section 16.3 is for proxies, but calls through a B2BUA must not loop either
            self._responder.reply(transaction, 483, now, tag=self._identifiers.token())
        elif method == "CANCEL":
            self._cancel(transaction, request, branch, flow, now)
        elif leg is not None:
            leg.receive(transaction, request, now)
        else:
            self._listener.requested(transaction, request, now)

    def resume(self, request: Request, flow: Flow) -> ServerTransaction:
        """The server transaction of a request that an earlier process received and that is not answered yet."""
        method = request.method
        on_site_flow = flow in self._site_flows
        key = _server_key(request, request.branch, method)
        kind = InviteServer if method == "INVITE" else NonInviteServer
        transaction = kind(self._transactions, key, flow, request, on_site_flow)
        self._servers[key] = transaction
        if method == "INVITE" and not request.to_tag and not on_site_flow:
            transaction.request_id = _request_id(request)
            self._transactions.invites[transaction.request_id] = transaction
        return transaction

    def _unfit(self, request: Request, leg: InDialog | None, flow: Flow) -> ResponseSpec | None:
        """The response to a device's faulty request, of any method (RFC 3261 section 8.2); ``None``: it is correct.

        On site flows a repeat is to be recognised before anything else, and both ends are ours.
        """
        if flow.transport != "udp":
            self._note(request, flow)
        if request.uri[:5].lower() == "sips:" and flow.transport not in SECURE:  # section 26.2.2
            return ResponseSpec(416, "a sips URI on a transport that is not secured")
        if missing := unsupported(request):
            return ResponseSpec(420, "an extension that is required", (f"Unsupported: {', '.join(missing)}",))
        if request.method != "INVITE" or leg is not None or request.to_tag:
            return None
        uri = contact_uri(request)
        if not uri or (uri[:5].lower() == "sips:" and flow.transport not in SECURE):
            contact = request.get("contact") or ""
            if bare_uri(contact)[:5].lower() == "sips:":  # RFC 5630 section 5.3
                return ResponseSpec(480, "to be reached by sips alone", ('Warning: 380 holdfast "SIPS Not Allowed"',))
            return ResponseSpec(400, "the Contact of an INVITE is not one SIP URI")
        merged = self._transactions.invites.get(_request_id(request))
        if merged is not None and merged.open:  # section 8.2.2.2: the same request by another path
            return ResponseSpec(482, "a merged request")
        return None

    def _note(self, request: Request, flow: Flow) -> None:
        """Note what a device's request shows about its stream: ``sips``, and connection reuse (RFC 5923)."""
        via = request.line("via")
        if ";keep" in via and (kept := keep_answered(via)) != via:
            request.set("via", kept)
        if flow.transport in SECURE:
            if ";alias" in via and request.method != "CANCEL":
                self.aliased(flow, via)
            contact = bare_uri(request.get("contact") or "")
            if "sips:" in (request.uri[:5].lower(), contact[:5].lower()):
                self.sips_flows.add(flow)

    def _overloaded(self, flow: Flow, method: str, leg: InDialog | None, now: float) -> bool:
        """Whether there is no room for another server transaction of this sender."""
        if flow in self._site_flows:
            return leg is None and len(self._servers) >= self.most_servers
        return self._responder.admission.refuses(self._servers, self.most_servers, flow, method, leg is not None, now)

    def _cancel(self, transaction: ServerTransaction, cancel: Request, branch: str, flow: Flow, now: float) -> None:
        """A CANCEL (RFC 3261 section 9.2): matched by branch and host, and answered whatever becomes of the
        INVITE."""
        invite = self._servers.get(_server_key(cancel, branch, "INVITE")) or self._renamed(cancel, branch)
        if invite is None or not (flow == invite.flow or self._is_there(flow, invite.flow)):
            if invite is None and self.calls_return():
                transaction.terminate()
            else:
                self._responder.respond_stateless(transaction, 481)
            return
        if not invite.open or not self.answers_later(invite, transaction, now):
            self._responder.reply(transaction, 200, now, tag=self._identifiers.token())
        if invite.open:
            self._listener.cancelled(invite, cancel, now)

    def _renamed(self, cancel: Request, branch: str) -> ServerTransaction | None:
        """The INVITE of a CANCEL with another sent-by, as of a phone that got a new NAT mapping.

        Branch, Call-ID, From tag and CSeq have to be the same; the caller checks the host.
        """
        invite = self._transactions.invites.get(_request_id(cancel))
        return invite if invite is not None and branch and invite.key.startswith(f"{branch} ") else None

    def _is_there(self, flow: Flow, known: Flow) -> bool:
        """Whether the sender on ``flow`` may be the one known by the other flow; agents and servers may reconnect."""
        return flow in self._site_flows or self._responder.admission.is_one(flow.remote[0], known.remote[0])


def _server_key(request: Request, branch: str, method: str) -> str:
    if branch.startswith(MAGIC):
        return f"{branch} {request.sent_by} {method}"
    # RFC 3261 section 17.2.3, for RFC 2543 clients: a CANCEL or ACK has the INVITE's fields
    return f"{request.uri} {request.from_tag} {request.call_id} {request.cseq} {request.sent_by} {method}"


def _request_id(request: Request) -> str:
    """The key of requests that are the same one by several paths: merged requests (RFC 3261 section 8.2.2.2)."""
    return f"{request.call_id} {request.from_tag} {request.cseq}"


def _nowhere(flow: Flow, via: str) -> None:
    pass


def _at_once(invite: ServerTransaction, cancel: ServerTransaction, now: float) -> bool:
    return False


def _never() -> bool:
    return False


def _nobody_else(leg: InDialog, flow: Flow, method: str) -> bool:
    return False
