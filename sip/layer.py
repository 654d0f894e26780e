"""The SIP layer in one object: it parses, matches, owns the transactions, the deadlines and the known legs.

Above it stands one :class:`Core`, told by plain calls; below it one shell, told by :meth:`Stack.to_do`
(``sip.actions``).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b, blake2s
from typing import Any, Final, Protocol

from sip.actions import Action, Close, Flow, Send
from sip.dialog import bare_uri, contact_uri, dialog_key
from sip.header_policy import unsupported
from sip.overload.admission import AdmissionControl
from sip.overload.reply_limit import ReplyLimit
from sip.rate_limited_logger import RateLimitedLogger
from sip.requests import ResponseSpec
from sip.stream_reassembly import StreamReassembly
from sip.timers import Deadlines, Timers
from sip.transaction import (
    ACK,
    PROCEEDING,
    TRANSPORT,
    ClientTransaction,
    ClientUser,
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    ServerTransaction,
)
from sip.wire.build import response_bytes
from sip.wire.errors import Malformed, SipError, Unanswerable
from sip.wire.framing import PING, Fault
from sip.wire.headers import Via, same_address, stamp_received
from sip.wire.message import MAGIC, FaultyRequest, Message, Request, Response, head_of, parse
from sip.wire.reasons import REASONS as REASONS
from sip.wire.validation import validate

logger = logging.getLogger(__name__)

MOST_SERVERS: Final = 200_000
"""Server transactions at once; from half of it on each sender has its share (``sip.overload.admission``)."""


class Core(Protocol):
    """What stands above a stack."""

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Whether a message on a guarded flow may be looked at; a request refused was answered by the core."""

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request outside any known dialog (also one with a To-tag that is not known: see ``request.to_tag``)."""

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL for an INVITE still open; it was answered 200."""

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        """An ACK for a dialog that is not known."""

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """A response that belongs to no transaction."""


class InDialog(Protocol):
    """What a stack hands the requests of a known dialog to: a leg."""

    @property
    def flow(self) -> Flow: ...

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None: ...

    def receive_ack(self, ack: Request, now: float) -> None: ...


class Stack:
    """See the module. ``secret`` makes tags and branches unguessable; a fixed one makes a run repeatable."""

    def __init__(self, core: Core, secret: bytes, sent_by: str, timers: Timers | None = None) -> None:
        self.core = core
        self.timers = timers or Timers()
        self.deadlines = Deadlines()
        self.sent_by: dict[str, str] = {}
        """``host:port`` for Via and Contact, by the ``local`` of a flow where it differs from the default."""
        self.advertised: dict[Flow, str] = {}
        """The same for single flows, where it depends on the peer."""
        self.default_sent_by = sent_by
        self.unauthenticated_flows: set[Flow] = set()
        """Flows of which every message is shown to ``core.admits`` before anything is matched."""
        self.kept: set[Flow] = set()
        """Flows between agents and servers (docs/wire.md)."""
        self.legs: dict[str, InDialog] = {}
        self.reconnect: Callable[[Flow, str], Flow] = _as_it_is
        """The stream by which to answer a request with that Via, when the one that it came by may be broken."""
        self.expected: Callable[[InDialog, Flow, str], bool] = _nobody_else
        """Whether a request in that dialog, of that method, may come from another host than the dialog's flow."""
        self.counters: Counter[str] = Counter()
        self.received = 0
        """Messages."""
        self.most_servers = MOST_SERVERS
        self.crowd = AdmissionControl()
        self.echoes = ReplyLimit()
        self._now = 0.0
        self.servers: dict[str, ServerTransaction] = {}
        self.clients: dict[str, ClientTransaction] = {}
        self._invites: dict[str, ServerTransaction] = {}
        """First INVITEs of devices by what they are whichever way they come (:func:`_request_id`)."""
        self._out: list[Action] = []
        self.seldom = RateLimitedLogger()
        """Says what strangers cause."""
        self._halves = StreamReassembly(self)
        self._secret = secret[:32]
        self._serial = 0
        self._marks: list[str] = []
        self._tokens: list[str] = []
        self._branches = MAGIC + blake2s(b"branch", key=self._secret, digest_size=6).hexdigest()

    # -- what the shell calls ---------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Bytes came: a datagram, or some of a stream."""
        self._now = now
        if flow.transport == "udp":
            if data[:2] == b"\r\n":  # RFC 3261 section 7.5: no part of the message
                data = data.lstrip(b"\r\n")
            if len(data) > 4:  # not a keep-alive (RFC 5626 section 4.4)
                self.receive_message(data, flow, now)
            return
        framer, messages = self._halves.feed(data, flow, now)
        failure: Exception | None = None
        for message in messages:
            if message == PING:
                self._out.append(Send(flow, b"\r\n"))  # RFC 5626 section 4.4.1
                continue
            try:
                self.receive_message(message, flow, now)
            except Exception as error:  # the messages behind it are of other calls
                failure = error
            if flow not in self._halves.framers:
                break  # closed on account of this message
        else:
            if framer.fault is not None:
                self.counters["framing"] += 1
                self.seldom.info(logger, now, "closing %s: %s", flow.remote, framer.fault.reason)
                self._answer_fault(framer.fault, flow)
                self.close(flow)
        if failure is not None:
            raise failure

    def _answer_fault(self, fault: Fault, flow: Flow) -> None:
        """Where a stream cannot be read on: 400 or 413 to the request at fault (RFC 3261 sections 18.3, 20.14)."""
        if not fault.head or flow in self.unauthenticated_flows:
            return
        try:
            message: Message | None = parse(fault.head)
        except FaultyRequest as error:
            message = error.request
        except Malformed:
            return
        if isinstance(message, Request):
            self.refuse(message, flow, fault.status, fault.reason)

    def close(self, flow: Flow) -> None:
        """Give up a stream."""
        self._halves.forget(flow)
        self._out.append(Close(flow, True))

    def flow_lost(self, flow: Flow) -> None:
        """Forget what a stream left half-read."""
        self._halves.forget(flow)
        self.unauthenticated_flows.discard(flow)
        self.kept.discard(flow)

    def transport_failed(self, flow: Flow, now: float) -> None:
        """A stream broke, or ICMP says that nobody is there: requests that wait for an answer on it have failed (RFC
        3261 sections 17.1.4, 18.4). Over UDP only those without any response: an ICMP error may be forged, or late.
        """
        stream = flow.transport != "udp"
        waiting = [one for one in self.clients.values() if one.flow == flow and not one.answered]
        for transaction in waiting:
            if stream or transaction.state != PROCEEDING:
                transaction.step(TRANSPORT, None, now)

    def handle_timer(self, now: float) -> None:
        self.deadlines.fire(now)

    def get_timer(self) -> float | None:
        return self.deadlines.next()

    def to_do(self) -> list[Action]:
        """What is to be done outside, in order; handed over."""
        out, self._out = self._out, []
        return out

    def forget_flow(self, flow: Flow) -> None:
        """Forget every transaction on a flow, without a word to anybody."""
        for table in (self.servers, self.clients):
            for transaction in [each for each in table.values() if each.flow == flow]:
                transaction.abandon()

    def repeated(self, transaction: ServerTransaction, repeat: ServerTransaction) -> None:
        """A request that is being answered came again under another branch (docs/wire.md): go on in its place."""
        self.forget(transaction)
        transaction.key, transaction.flow = repeat.key, repeat.flow
        transaction.request, transaction.state = repeat.request, repeat.state
        transaction.last = b""
        transaction.generation += 1
        self.servers[transaction.key] = transaction

    # -- what transactions call -------------------------------------------------------------------------------

    def send(self, flow: Flow, data: bytes) -> None:
        self._out.append(Send(flow, data))

    def do(self, action: Action) -> None:
        self._out.append(action)

    def forget(self, transaction: Any) -> None:
        """A transaction came to its end; another one that took its place stays."""
        key: str = transaction.key
        if not isinstance(transaction, ServerTransaction):
            if self.clients.get(key) is transaction:
                del self.clients[key]
            return
        if self.servers.get(key) is transaction:
            del self.servers[key]
        if transaction.request_id and self._invites.get(transaction.request_id) is transaction:
            del self._invites[transaction.request_id]

    # -- what the core and its legs call ------------------------------------------------------------------------

    def token(self) -> str:
        """16 hexadecimal digits that nobody can guess: a tag, a Call-ID (RFC 3261 section 19.3)."""
        if not self._tokens:
            self._tokens = self._chance(b"token", 16)
        return self._tokens.pop()

    def branch(self) -> str:
        """One that nobody can guess who knows those before it: by its branch a response is believed."""
        if not self._marks:
            self._marks = self._chance(b"branch", 12)
        self._serial += 1
        return f"{MAGIC}{self._marks.pop()}{self._serial:x}"

    def _chance(self, what: bytes, digits: int) -> list[str]:
        """As many pieces of so many hexadecimal digits as one hash yields."""
        self._serial += 1
        text = blake2b(b"%s %d" % (what, self._serial), key=self._secret).hexdigest()
        return [text[at : at + digits] for at in range(0, len(text) - digits + 1, digits)]

    def branch_of_ack(self, key: str, cseq: int) -> str:
        """The same one each time that the ACK of a 2xx goes out: it is the same ACK (RFC 3261 section 13.2.2.4)."""
        mark = blake2s(f"{key} {cseq}".encode(), key=self._secret, digest_size=6).hexdigest()
        return f"{self._branches}-{mark}"

    def address(self, flow: Flow) -> str:
        """Our ``host:port`` as the peer of that flow is to see it."""
        if self.advertised and (own := self.advertised.get(flow)) is not None:
            return own
        return self.sent_by.get(flow.local, self.default_sent_by)

    def contact(self, flow: Flow) -> str:
        """The Contact line for a dialog on that flow."""
        return f"Contact: <{self.contact_uri(flow)}>"

    def contact_uri(self, flow: Flow, user: str = "") -> str:
        """Our URI as the peer of that flow can reach it."""
        transport = ";transport=tcp" if flow.transport == "tcp" else ""
        return f"sip:{user}{'@' if user else ''}{self.address(flow)}{transport}"

    def via(self, flow: Flow, branch: str) -> str:
        return f"Via: SIP/2.0/{flow.transport.upper()} {self.address(flow)};branch={branch};rport"

    def request(
        self,
        method: str,
        data: bytes,
        branch: str,
        flow: Flow,
        user: ClientUser,
        now: float,
        context: Any = None,
        no_timeout: bool = False,
    ) -> ClientTransaction:
        """Start a client transaction for a request that was built with :meth:`via` and ``branch``."""
        transaction = self.prepare(method, branch, flow, user, context, no_timeout)
        self.begin(transaction, flow, data, now)
        return transaction

    def prepare(
        self, method: str, branch: str, flow: Flow, user: ClientUser, context: Any = None, no_timeout: bool = False
    ) -> ClientTransaction:
        """A client transaction whose request is not sent yet: its place is still looked up; see :meth:`begin`."""
        kind = InviteClient if method == "INVITE" else NonInviteClient
        key = branch + "C" if method == "CANCEL" else branch
        return kind(self, key, flow, method, branch, b"", user, context, flow in self.kept, no_timeout)

    def begin(self, transaction: ClientTransaction, flow: Flow, data: bytes, now: float) -> None:
        """Send the request of a transaction that was prepared, unless it was given up since."""
        if transaction.answered:
            return
        transaction.flow = flow
        transaction.request = data
        self.clients[transaction.key] = transaction
        transaction.start(now)

    def reply(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> bytes:
        """Answer (RFC 3261 section 8.2.6). ``lines`` are further header lines; returns what was sent."""
        request = transaction.request
        if request is None:
            return b""
        data = self.response(request, status, reason, lines, body, tag)
        self.revive(transaction)
        transaction.respond(status, data, now)
        return data

    def revive(self, transaction: ServerTransaction) -> None:
        """Where the stream of a device's request broke before it was answered, the answer goes by a new one to the
        sent-by (RFC 3261 section 18.2.2)."""
        if transaction.flow.transport != "udp" and not transaction.kept and transaction.request is not None:
            transaction.flow = self.reconnect(transaction.flow, transaction.request.get("via") or "")

    def response(
        self,
        request: Request,
        status: int,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> bytes:
        """The bytes of a response to ``request``; ``tag`` is added to a To that has none."""
        echoed = _ECHOED if status >= 300 else _ECHOED_BY_100 if status == 100 else _ECHOED_IN_DIALOG
        head = [line for name, line in zip(request.names, request.lines, strict=True) if name in echoed]
        if tag and not request.to_tag:
            to = request.lines[request.names.index("to")]
            head[head.index(to)] = f"{to.rstrip(_TRAILING)};tag={tag}"
        head += lines
        return response_bytes(status, reason, head, body)

    def receive_message(self, data: bytes, flow: Flow, now: float) -> None:
        """One whole message came (also: is replayed from an agent's record)."""
        self.received += 1
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._respond(message, flow, now)
            else:
                self._request(message, flow, now)
        except Unanswerable as error:
            self.counters["garbage"] += 1
            logger.debug("dropped from %s: %s: %s", flow.remote, error, head_of(data))
        except FaultyRequest as fault:  # each name its own: compiled code gives a name one type
            self.counters["malformed"] += 1
            self.refuse(fault.request, flow, fault.status, str(fault))
        except SipError as other:
            self.counters["garbage"] += 1
            logger.debug("dropped from %s: %s", flow.remote, other)

    def refuse(self, request: Request, flow: Flow, status: int, because: str = "", lines: Iterable[str] = ()) -> None:
        """Answer without a transaction (RFC 3261 section 8.2.7): what is faulty, or from a stranger."""
        if request.method == "ACK" or "via" not in request:
            return
        names = request.names
        if any(name not in names for name in ("from", "to", "call-id", "cseq")):
            return
        index = names.index("via")
        try:
            request.lines[index] = stamp_received(request.lines[index], flow.remote)
            flow = self._answer_flow(request, flow)
        except SipError:
            return
        host = flow.remote[0]
        if flow.transport == "udp" and not self.echoes.allows(host, self.crowd.name_of(host) != host, self._now):
            self.counters["unanswered"] += 1
            return
        tag = blake2s(request.call_id.encode("latin-1"), key=self._secret, digest_size=6).hexdigest()
        reason = REASONS.get(status, "") if status != 400 else _phrase(because)
        self.send(flow, self.response(request, status, reason, lines, b"", tag))

    def respond_stateless(self, transaction: ServerTransaction, status: int, lines: Iterable[str] = ()) -> None:
        """Answer a request that has just come and keep nothing of it: whoever is not proved could be anybody."""
        transaction.abandon()
        if transaction.request is not None:
            self.refuse(transaction.request, transaction.flow, status, lines=lines)

    # -- inside -----------------------------------------------------------------------------------------------

    def _respond(self, response: Response, flow: Flow, now: float) -> None:
        if (
            self.unauthenticated_flows
            and flow in self.unauthenticated_flows
            and not self.core.admits(response, flow, now)
        ):
            return
        branch = response.branch
        method = response.cseq_method
        transaction = self.clients.get(branch + "C" if method == "CANCEL" else branch)
        if transaction is None or transaction.method != method:
            self.core.stray_response(response, flow, now)
        elif flow != transaction.flow and not self._is_there(flow, transaction.flow):
            self.counters["foreign"] += 1  # RFC 3581 section 4: from where we sent to, since we ask for rport
        else:
            transaction.receive(response, now)

    def _request(self, request: Request, flow: Flow, now: float) -> None:
        if (
            self.unauthenticated_flows
            and flow in self.unauthenticated_flows
            and not self.core.admits(request, flow, now)
        ):
            return
        branch = request.branch
        method = request.method
        key = self._server_key(request, branch, "INVITE" if method == "ACK" else method)
        known = self.servers.get(key)
        if known is not None:
            if flow is not known.flow and flow != known.flow:
                if not self._is_there(flow, known.flow):
                    self.counters["foreign"] += 1
                    return
                if flow.transport == "tcp":
                    known.flow = flow  # the connection was made anew
            if method != "ACK":
                known.repeat(now)
                return
            if known.state != "accepted":
                known.step(ACK, None, now)
                return
        try:
            validate(request)
        except Malformed as error:
            raise FaultyRequest(str(error), error.status, request) from None
        index = request.names.index("via")
        line = request.lines[index]
        stamped = stamp_received(line, flow.remote)
        if stamped is not line:
            request.lines[index] = stamped
        to_tag = request.to_tag
        leg = self.legs.get(dialog_key(request.call_id, to_tag)) if to_tag else None
        if leg is not None and flow.remote[0] != leg.flow.remote[0] and not self.expected(leg, flow, method):
            self.counters["foreign"] += 1
            self.refuse(request, flow, 481)
            return
        if method == "ACK":
            if leg is not None:
                leg.receive_ack(request, now)
            else:
                self.core.stray_ack(request, flow, now)
            return
        kept = flow in self.kept
        if not kept and method != "CANCEL" and (refusal := self._unfit(request, leg)) is not None:
            self.refuse(request, flow, refusal.status, refusal.because, refusal.lines)
            return
        if len(self.servers) * 2 >= self.most_servers and self._overloaded(flow, method, leg, now):
            self.counters["overload"] += 1
            self.refuse(request, flow, 503, lines=("Retry-After: 10",))
            return
        kind = InviteServer if method == "INVITE" else NonInviteServer
        transaction = kind(self, key, self._answer_flow(request, flow), request, kept)
        self.servers[key] = transaction
        if method == "INVITE" and leg is None and not kept:
            transaction.request_id = _request_id(request)
            self._invites[transaction.request_id] = transaction
        if leg is None and method == "INVITE" and request.get("max-forwards") == "0":
            # RFC 3261 section 16.3 is about proxies, but calls through a B2BUA must not go round for ever either
            self.reply(transaction, 483, now, tag=self.token())
        elif method == "CANCEL":
            self._cancel(transaction, request, branch, flow, now)
        elif leg is not None:
            leg.receive(transaction, request, now)
        else:
            self.core.requested(transaction, request, now)

    def _unfit(self, request: Request, leg: InDialog | None) -> ResponseSpec | None:
        """Why a device's request cannot be taken, whatever it is about (RFC 3261 section 8.2); ``None`` when it can.

        On site flows a repeat is to be recognised before anything else, and both ends are ours.
        """
        if request.uri[:5].lower() == "sips:":  # section 26.2.2: no stream here is secured
            return ResponseSpec(416, "a sips URI on a transport that is not secured")
        if missing := unsupported(request):
            return ResponseSpec(420, "an extension that is required", (f"Unsupported: {', '.join(missing)}",))
        if request.method != "INVITE" or leg is not None or request.to_tag:
            return None
        if not contact_uri(request):
            contact = request.get("contact") or ""
            if bare_uri(contact)[:5].lower() == "sips:":  # RFC 5630 section 5.3
                return ResponseSpec(480, "to be reached by sips alone", ('Warning: 380 holdfast "SIPS Not Allowed"',))
            return ResponseSpec(400, "the Contact of an INVITE is not one SIP URI")
        merged = self._invites.get(_request_id(request))
        if merged is not None and merged.open:  # section 8.2.2.2: the same request by another way
            return ResponseSpec(482, "a merged request")
        return None

    def _overloaded(self, flow: Flow, method: str, leg: InDialog | None, now: float) -> bool:
        """Whether there is no room for one more server transaction; agents and servers share what is left."""
        if flow in self.kept:
            return leg is None and len(self.servers) >= self.most_servers
        return self.crowd.refuses(self.servers, self.most_servers, flow, method, leg is not None, now)

    def _cancel(self, transaction: ServerTransaction, cancel: Request, branch: str, flow: Flow, now: float) -> None:
        """RFC 3261 section 9.2: matched by branch and by the host, answered by us whatever becomes of the INVITE."""
        invite = self.servers.get(self._server_key(cancel, branch, "INVITE")) or self._renamed(cancel, branch)
        if invite is None or not (flow == invite.flow or self._is_there(flow, invite.flow)):
            self.respond_stateless(transaction, 481)
            return
        self.reply(transaction, 200, now, tag=self.token())
        if invite.open:
            self.core.cancelled(invite, cancel, now)

    def _renamed(self, cancel: Request, branch: str) -> ServerTransaction | None:
        """The INVITE of a CANCEL whose sent-by is another one, as of a phone whose NAT has mapped it anew.

        Branch, Call-ID, From tag and CSeq are the same; that the host is, too, is seen to by who asks.
        """
        invite = self._invites.get(_request_id(cancel))
        return invite if invite is not None and branch and invite.key.startswith(f"{branch} ") else None

    def _server_key(self, request: Request, branch: str, method: str) -> str:
        if branch.startswith(MAGIC):
            return f"{branch} {request.sent_by} {method}"
        # RFC 3261 section 17.2.3, elements of RFC 2543: a CANCEL or ACK has the INVITE's fields
        return f"{request.uri} {request.from_tag} {request.call_id} {request.cseq} {request.sent_by} {method}"

    def _answer_flow(self, request: Request, flow: Flow) -> Flow:
        """Where the answer goes (RFC 3261 section 18.2.2, RFC 3581): for a stream, where the request came from."""
        if flow.transport != "udp":
            return flow
        value = request.get("via") or ""
        if ";rport=" in value or request.sent_by == f"{flow.remote[0]}:{flow.remote[1]}":
            return flow
        # To the host that it came from and to no other, whatever maddr says: else anybody could have us write to
        # anybody, and pass for him.
        via = Via.parse(value)
        address = flow.remote[0], via.rport or via.port or 5060
        return flow if address == flow.remote else Flow("udp", flow.local, address)

    def _is_there(self, flow: Flow, known: Flow) -> bool:
        """Whether who speaks on ``flow`` may be who is known by the other one; agents and servers may reconnect."""
        return same_address(flow.remote[0], known.remote[0]) or flow in self.kept


def _request_id(request: Request) -> str:
    """What tells requests apart that are the same one by several ways (RFC 3261 section 8.2.2.2)."""
    return f"{request.call_id} {request.from_tag} {request.cseq}"


def _as_it_is(flow: Flow, via: str) -> Flow:
    return flow


def _nobody_else(leg: InDialog, flow: Flow, method: str) -> bool:
    return False


_TRAILING: Final = " \t\r\n;"
"""What may stand behind a To without a tag: white space, and parameters that are empty."""


_ECHOED: Final = frozenset({"via", "from", "to", "call-id", "cseq"})
_ECHOED_BY_100: Final = _ECHOED | {"timestamp"}
_ECHOED_IN_DIALOG: Final = _ECHOED | {"record-route"}


def _phrase(because: str) -> str:
    """A reason phrase of one line from an error's sentence."""
    return "Bad Request - " + "".join(c for c in because if c.isprintable())[:80] if because else "Bad Request"
