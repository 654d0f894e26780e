"""The four transaction machines of RFC 3261 section 17, with RFC 6026 (2xx to INVITE) and RFC 4320 (no late 408).

Each machine is a table ``(state, cause) -> (next, action)``, stepped by :meth:`Transaction.step` alone. A transaction
uses one :class:`Layer` below it (to send, for timers, and to be removed) and reports responses to one user above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Protocol

from sip.actions import UNREACHABLE, Flow
from sip.timers import Deadlines, Timers
from sip.wire.build import request_bytes
from sip.wire.message import Request, Response, parse

# States (figures 5 to 8 of RFC 3261; RFC 6026 figures 1 to 4).
CALLING: Final = "calling"
TRYING: Final = "trying"
PROCEEDING: Final = "proceeding"
ACCEPTED: Final = "accepted"
COMPLETED: Final = "completed"
CONFIRMED: Final = "confirmed"
TERMINATED: Final = "terminated"

# Causes.
PROVISIONAL: Final = "1xx"
SUCCESS: Final = "2xx"
FAILURE: Final = "3xx-6xx"
REPEAT: Final = "request again"
ACK: Final = "ACK"
RESEND: Final = "timer A/E/G"
TIMEOUT: Final = "timer B/F/H"
ABSORBED: Final = "timer D/I/J/K/L/M"
CANCEL_LOST: Final = "64*T1 after CANCEL"
SILENT: Final = "no response in time"
TRANSPORT: Final = "transport error"


class Layer(Protocol):
    """What a transaction needs below it: the stack, or a test."""

    timers: Timers
    deadlines: Deadlines

    def send(self, flow: Flow, data: bytes) -> None: ...

    def remove(self, transaction: Any) -> None: ...


class ClientUser(Protocol):
    """The user of a client transaction, to which responses and time-outs are reported."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None: ...

    def timed_out(self, transaction: ClientTransaction, now: float) -> None: ...


Action = Callable[[Any, Any, float], None]
Table = dict[tuple[str, str], tuple[str, Action]]


class Transaction:
    """The common part: a state, a table, and timers that a change of state cancels."""

    __slots__ = ("_interval", "context", "flow", "generation", "key", "layer", "on_site_flow", "state", "user")

    user: Any
    """The object to which the transaction reports, or None."""
    context: Any
    """A value of the user, kept with the transaction."""

    TABLE: ClassVar[Table]
    """Assigned after each class, since it refers to its methods."""

    def __init__(self, layer: Layer, key: str, flow: Flow, state: str, on_site_flow: bool) -> None:
        self.layer = layer
        self.key = key
        self.flow = flow
        self.state = state
        self.on_site_flow = on_site_flow
        """Whether the flow is between agent and server: a stream, but messages may be repeated after it has broken,
        so finished transactions are kept as long as over UDP (docs/wire.md)."""
        self.generation = 0
        self._interval = 0.0

    def step(self, cause: str, subject: Any, now: float) -> None:
        """Process an event by ``TABLE``; one that has no entry in the present state is ignored."""
        entry = self.TABLE.get((self.state, cause))
        if entry is None:
            return
        state, action = entry
        if state is not self.state:
            self.state = state
            self.generation += 1
        action(self, subject, now)

    def due(self, cause: str, now: float) -> None:
        self.step(cause, None, now)

    def terminate(self) -> None:
        """Drop the transaction: nothing is sent and nothing is reported any more."""
        self.state = TERMINATED
        self.generation += 1
        self.user = self.context = None
        self.layer.remove(self)

    def _wake(self, after: float, cause: str, now: float) -> None:
        self.layer.deadlines.set(now + after, self, cause)

    def _linger(self, unreliable: float, now: float) -> None:
        """Timers D, I, J, K: zero on streams, so the end comes at once."""
        if self.on_site_flow or self.flow.transport == "udp":
            self.layer.deadlines.set_about(now + unreliable, self, ABSORBED)
        else:
            self.step(ABSORBED, None, now)

    def _ignore(self, _: Any, now: float) -> None:
        pass

    def _end(self, _: Any, now: float) -> None:
        self.layer.remove(self)


class ClientTransaction(Transaction):
    """What both client machines share."""

    __slots__ = ("branch", "failure", "method", "no_timeout", "request")

    def __init__(
        self,
        layer: Layer,
        key: str,
        flow: Flow,
        method: str,
        branch: str,
        request: bytes,
        user: ClientUser,
        context: Any = None,
        on_site_flow: bool = False,
        no_timeout: bool = False,
    ) -> None:
        super().__init__(layer, key, flow, CALLING if method == "INVITE" else TRYING, on_site_flow)
        self.method = method
        self.branch = branch
        self.request = request
        self.user = user
        self.context = context
        """A value of the user; for a request that is passed on the server transaction of the other leg."""
        self.no_timeout = no_timeout
        """Without timers B and F: towards the call servers, where only the time of holding requests is limited."""
        self.failure = 0
        """The status that takes the place of a missing response (RFC 3261 section 8.1.3.1): 408, or 503 after a
        transport error; 0 before that."""

    def start(self, now: float) -> None:
        """Send the request and set the first timers."""
        if self.flow is UNREACHABLE:
            self._wake(0.0, TRANSPORT, now)
            return
        layer = self.layer
        if self.flow.transport == "udp":  # timer B or F is set after T1 only: most requests are answered before
            layer.deadlines.set(now + layer.timers.t1, self, RESEND)
        elif not self.no_timeout:
            layer.deadlines.set(now + layer.timers.lifetime, self, TIMEOUT)
        layer.send(self.flow, self.request)

    def _begin_timeout(self, now: float) -> None:
        """At the first firing of timer A or E: set timer B or F, counted from the start."""
        timers = self.layer.timers
        self._interval = timers.t1
        if not self.no_timeout:
            self._wake(timers.lifetime - timers.t1, TIMEOUT, now)

    def receive(self, response: Response, now: float) -> None:
        """Process a response that matched (RFC 3261 section 17.1.3)."""
        status = response.status
        self.step(PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE, response, now)

    def resend(self, flow: Flow) -> None:
        """Repeat the request on a new connection, since its answer may have been lost with the old one."""
        if self.state in (CALLING, TRYING, PROCEEDING):
            self.flow = flow
            self.layer.send(flow, self.request)

    def cancelled(self, now: float) -> None:
        """A CANCEL was sent for this INVITE: without a final response it times out after 64*T1 (RFC 3261 section
        9.1)."""
        if not self.no_timeout:
            self._wake(self.layer.timers.lifetime, CANCEL_LOST, now)

    @property
    def answered(self) -> bool:
        """Whether a final response came, or the transaction timed out."""
        return self.state not in (CALLING, TRYING, PROCEEDING)

    def _deliver(self, response: Response, now: float) -> None:
        self.user.responded(self, response, now)

    def _time_out(self, _: Any, now: float) -> None:
        self.failure = 408
        self.layer.remove(self)
        self.user.timed_out(self, now)

    def _lose(self, _: Any, now: float) -> None:
        self.failure = 503
        self.layer.remove(self)
        self.user.timed_out(self, now)

    def _tell_silence(self, _: Any, now: float) -> None:
        """Report that no response came in time. The transaction goes on, since it may still be answered."""
        self.failure = 408
        self.user.timed_out(self, now)


class InviteClient(ClientTransaction):
    """RFC 3261 section 17.1.1, RFC 6026 section 7.2."""

    __slots__ = ("_ack",)

    def _resend(self, _: Any, now: float) -> None:
        if not self._interval:
            self._begin_timeout(now)
        self._interval *= 2  # timer A doubles without bound
        self._wake(self._interval, RESEND, now)
        self.layer.send(self.flow, self.request)

    def _accept(self, response: Response, now: float) -> None:
        self.request = b""
        self.layer.deadlines.set_about(now + self.layer.timers.lifetime, self, ABSORBED)  # timer M
        self.user.responded(self, response, now)

    def _reject(self, response: Response, now: float) -> None:
        self._ack = _ack_of(self.request, response)
        self.request = b""
        self.layer.send(self.flow, self._ack)
        self._linger(self.layer.timers.d, now)
        self.user.responded(self, response, now)

    def _acknowledge(self, response: Response, now: float) -> None:
        self.layer.send(self.flow, self._ack)


InviteClient.TABLE = {
    (CALLING, RESEND): (CALLING, InviteClient._resend),
    (CALLING, TIMEOUT): (TERMINATED, ClientTransaction._time_out),
    (CALLING, SILENT): (CALLING, ClientTransaction._tell_silence),
    (CALLING, TRANSPORT): (TERMINATED, ClientTransaction._lose),
    (CALLING, PROVISIONAL): (PROCEEDING, ClientTransaction._deliver),
    (CALLING, SUCCESS): (ACCEPTED, InviteClient._accept),
    (CALLING, FAILURE): (COMPLETED, InviteClient._reject),
    (PROCEEDING, PROVISIONAL): (PROCEEDING, ClientTransaction._deliver),
    (PROCEEDING, CANCEL_LOST): (TERMINATED, ClientTransaction._time_out),
    (PROCEEDING, TRANSPORT): (TERMINATED, ClientTransaction._lose),
    (PROCEEDING, SUCCESS): (ACCEPTED, InviteClient._accept),
    (PROCEEDING, FAILURE): (COMPLETED, InviteClient._reject),
    (ACCEPTED, SUCCESS): (ACCEPTED, ClientTransaction._deliver),
    (ACCEPTED, ABSORBED): (TERMINATED, Transaction._end),
    (COMPLETED, FAILURE): (COMPLETED, InviteClient._acknowledge),
    (COMPLETED, ABSORBED): (TERMINATED, Transaction._end),
}


class NonInviteClient(ClientTransaction):
    """RFC 3261 section 17.1.2, RFC 4320."""

    __slots__ = ()

    def _resend(self, _: Any, now: float) -> None:
        if not self._interval:
            self._begin_timeout(now)
        t2 = self.layer.timers.t2
        self._interval = min(self._interval * 2, t2) if self.state is TRYING else t2
        self._wake(self._interval, RESEND, now)
        self.layer.send(self.flow, self.request)

    def _proceed(self, response: Response, now: float) -> None:
        self.generation -= 1  # timers E and F run on as they were set (section 17.1.2.2)
        self.user.responded(self, response, now)

    def _complete(self, response: Response, now: float) -> None:
        self.request = b""
        self._linger(self.layer.timers.t4, now)
        self.user.responded(self, response, now)


NonInviteClient.TABLE = {
    (TRYING, RESEND): (TRYING, NonInviteClient._resend),
    (TRYING, TIMEOUT): (TERMINATED, ClientTransaction._time_out),
    (TRYING, TRANSPORT): (TERMINATED, ClientTransaction._lose),
    (TRYING, PROVISIONAL): (PROCEEDING, NonInviteClient._proceed),
    (TRYING, SUCCESS): (COMPLETED, NonInviteClient._complete),
    (TRYING, FAILURE): (COMPLETED, NonInviteClient._complete),
    (PROCEEDING, RESEND): (PROCEEDING, NonInviteClient._resend),
    (PROCEEDING, TIMEOUT): (TERMINATED, ClientTransaction._time_out),
    (PROCEEDING, TRANSPORT): (TERMINATED, ClientTransaction._lose),
    (PROCEEDING, PROVISIONAL): (PROCEEDING, ClientTransaction._deliver),
    (PROCEEDING, SUCCESS): (COMPLETED, NonInviteClient._complete),
    (PROCEEDING, FAILURE): (COMPLETED, NonInviteClient._complete),
    (COMPLETED, ABSORBED): (TERMINATED, Transaction._end),
}


class ServerTransaction(Transaction):
    """What both server machines share. Responses are built by the stack and passed in as bytes."""

    __slots__ = ("last", "request", "request_id")

    def __init__(self, layer: Layer, key: str, flow: Flow, request: Request, on_site_flow: bool = False) -> None:
        super().__init__(layer, key, flow, PROCEEDING if request.method == "INVITE" else TRYING, on_site_flow)
        self.request: Request | None = request
        """The request; None after the final response."""
        self.request_id = ""
        """By what the transaction table recognises the same request on another flow; ``""`` where it need not."""
        self.last = b""
        """The last response, sent again when the request is repeated."""
        self.user = None
        """Told when a final response to an INVITE got no ACK (timer H); None: nobody is."""
        self.context = None
        """A value of the user: for a request that is passed on, the leg on which it came."""

    @property
    def open(self) -> bool:
        """Whether no final response was sent yet."""
        return self.state in (PROCEEDING, TRYING)

    def respond(self, status: int, data: bytes, now: float) -> None:
        """Send a response. After a final one the context is dropped."""
        self.step(PROVISIONAL if status < 200 else SUCCESS if status < 300 else FAILURE, data, now)
        if status >= 200:
            self.context = None

    def repeat(self, now: float) -> None:
        """The request came again (RFC 3261 section 17.2.3)."""
        self.step(REPEAT, None, now)

    def _send(self, data: bytes, now: float) -> None:
        self.last = data
        self.layer.send(self.flow, data)

    def _again(self, _: Any, now: float) -> None:
        if self.last:
            self.layer.send(self.flow, self.last)


class InviteServer(ServerTransaction):
    """RFC 3261 section 17.2.1, RFC 6026 section 7.1."""

    __slots__ = ()

    def _accept(self, data: bytes, now: float) -> None:
        # RFC 6026 section 8.5: the user repeats the 2xx; the transaction only absorbs repeats of the INVITE
        self.request = None
        # between agent and server a repeated INVITE means that the 2xx was lost with a connection
        self.last = data if self.on_site_flow else b""
        self.layer.send(self.flow, data)
        self.layer.deadlines.set_about(now + self.layer.timers.lifetime, self, ABSORBED)  # timer L

    def _success_again(self, data: bytes, now: float) -> None:
        self.layer.send(self.flow, data)

    def _reject(self, data: bytes, now: float) -> None:
        self._send(data, now)
        self.request = None
        timers = self.layer.timers
        if self.flow.transport == "udp":
            self._interval = timers.t1
            self._wake(timers.t1, RESEND, now)
        self._wake(timers.lifetime, TIMEOUT, now)

    def _resend(self, _: Any, now: float) -> None:
        self._interval = min(self._interval * 2, self.layer.timers.t2)
        self._wake(self._interval, RESEND, now)
        self.layer.send(self.flow, self.last)

    def _confirm(self, _: Any, now: float) -> None:
        if not self.on_site_flow:  # there an agent that died after the response may ask for it once more
            self.last = b""
        self._linger(self.layer.timers.t4, now)

    def _give_up(self, _: Any, now: float) -> None:
        self.layer.remove(self)
        if self.user is not None:
            self.user.unacknowledged(self, now)


InviteServer.TABLE = {
    (PROCEEDING, PROVISIONAL): (PROCEEDING, ServerTransaction._send),
    (PROCEEDING, SUCCESS): (ACCEPTED, InviteServer._accept),
    (PROCEEDING, FAILURE): (COMPLETED, InviteServer._reject),
    (PROCEEDING, REPEAT): (PROCEEDING, ServerTransaction._again),
    (ACCEPTED, SUCCESS): (ACCEPTED, InviteServer._success_again),
    (ACCEPTED, REPEAT): (ACCEPTED, ServerTransaction._again),
    (ACCEPTED, ABSORBED): (TERMINATED, Transaction._end),
    (COMPLETED, REPEAT): (COMPLETED, ServerTransaction._again),
    (COMPLETED, RESEND): (COMPLETED, InviteServer._resend),
    (COMPLETED, ACK): (CONFIRMED, InviteServer._confirm),
    (COMPLETED, TIMEOUT): (TERMINATED, InviteServer._give_up),
    (CONFIRMED, REPEAT): (CONFIRMED, ServerTransaction._again),
    (CONFIRMED, ABSORBED): (TERMINATED, Transaction._end),
}


class NonInviteServer(ServerTransaction):
    """RFC 3261 section 17.2.2."""

    __slots__ = ()

    def _complete(self, data: bytes, now: float) -> None:
        self._send(data, now)
        self.request = None
        self._linger(self.layer.timers.lifetime, now)  # timer J


NonInviteServer.TABLE = {
    (TRYING, PROVISIONAL): (PROCEEDING, ServerTransaction._send),
    (TRYING, SUCCESS): (COMPLETED, NonInviteServer._complete),
    (TRYING, FAILURE): (COMPLETED, NonInviteServer._complete),
    (TRYING, REPEAT): (TRYING, Transaction._ignore),
    (PROCEEDING, PROVISIONAL): (PROCEEDING, ServerTransaction._send),
    (PROCEEDING, SUCCESS): (COMPLETED, NonInviteServer._complete),
    (PROCEEDING, FAILURE): (COMPLETED, NonInviteServer._complete),
    (PROCEEDING, REPEAT): (PROCEEDING, ServerTransaction._again),
    (COMPLETED, REPEAT): (COMPLETED, ServerTransaction._again),
    (COMPLETED, ABSORBED): (TERMINATED, Transaction._end),
}


_CREDENTIALS: Final = ("authorization", "proxy-authorization")
"""Headers that an ACK copies from its INVITE, since an ACK cannot be challenged (RFC 3261 section 22.1)."""


def _ack_of(invite: bytes, response: Response) -> bytes:
    """The ACK for a failure response to an INVITE (RFC 3261 section 17.1.1.3), with the To of the response."""
    uri, kept, _ = _copied(invite, _CREDENTIALS)
    kept.append(f"To: {response.get('to') or ''}")
    return _joined("ACK", uri, kept, response.cseq)


def cancel_of(invite: bytes, lines: Iterable[str] = ()) -> bytes:
    """The CANCEL for an INVITE (RFC 3261 section 9.1), with further header lines."""
    uri, kept, to = _copied(invite)
    kept.append(to)
    kept.extend(lines)
    return _joined("CANCEL", uri, kept, parse(invite).cseq)


def _copied(invite: bytes, more: tuple[str, ...] = ()) -> tuple[str, list[str], str]:
    """The parts of an INVITE that its ACK or CANCEL repeats: the Request-URI; the lines of the top Via, From,
    Call-ID, Routes and the headers in ``more``; the To line."""
    lines = invite.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    kept: list[str] = []
    to = ""
    via_taken = False
    for line in lines[1:]:
        name = line.partition(":")[0].lower()
        if name == "via" and not via_taken:
            via_taken = True
            kept.append(line)
        elif name in ("from", "route", "call-id") or name in more:
            kept.append(line)
        elif name == "to":
            to = line
    return lines[0].split(" ", 2)[1], kept, to


def _joined(method: str, uri: str, lines: list[str], cseq: int) -> bytes:
    return request_bytes(method, uri, (*lines, "Max-Forwards: 70", f"CSeq: {cseq} {method}"))
