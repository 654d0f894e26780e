"""A softphone without sockets: any number of lines and calls in one object, driven by the verbs of ``sip.actions``.

It is the device of this project's demo, stories and benchmarks. It reacts by a :class:`Policy` (ring, answer after so
many seconds, refuse) and by verbs (call, answer, hold, bye, …), and it writes down every message that it receives,
repeats apart, so that a run can be compared with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from examples.softphone_call import Call, Entry, Event, Line, Policy, mark_of, word_of
from examples.softphone_calls import ALLOW, Calls
from examples.softphone_subscriptions import Subscribed, Subscriptions, Wanted
from sip.actions import Action, Address, Flow, Open
from sip.dialog import DialogState
from sip.digest import DigestClient
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.registration import Account, Registration
from sip.requests import OutgoingRequest
from sip.timers import Timers
from sip.transaction import ClientTransaction, ClientUser, ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Message, Request, Response
from sip.wire.uri import user_of


class _Messaging:
    """Waits for the answer to a message."""

    __slots__ = ("line", "phone")

    def __init__(self, phone: Softphone, line: Line) -> None:
        self.phone = phone
        self.line = line

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.phone.tell("sent", self.line, None, str(response.status), now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.phone.tell("sent", self.line, None, "408", now)


class _Registering:
    """Owns the deadlines and transactions of one line's registration."""

    __slots__ = ("generation", "line", "phone")

    def __init__(self, phone: Softphone, line: Line) -> None:
        self.phone = phone
        self.line = line
        self.generation = 0

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if self.line.registration is not None:
            self.line.registration.answered(response, now)
            self.pump(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if self.line.registration is not None:
            self.line.registration.failed("no answer", now)
            self.pump(now)

    def due(self, cause: str, now: float) -> None:
        if self.line.registration is not None:
            self.line.registration.handle_timer(now)
            self.pump(now)

    def pump(self, now: float) -> None:
        registration = self.line.registration
        assert registration is not None
        for ask in registration.to_do():
            self.phone.ask(self.line, ask, self, now)
        while (event := registration.next_event()) is not None:
            self.phone.tell("registered" if event.registered else "unregistered", self.line, None, event.because, now)
        self.generation += 1
        at = registration.get_timer()
        if at is not None:
            self.phone.stack.deadlines.set(at, self, "registration")


class _Front:
    """What stands above the stack: it writes down what comes, and finds out for which line it is."""

    def __init__(self, phone: Softphone) -> None:
        self._phone = phone
        self._seen: list[set[int]] = [set(), set()]
        self._turned_at = 0.0

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Everything is let in."""
        if now - self._turned_at > 100.0:
            self._seen = [set(), self._seen[0]]
            self._turned_at = now
        mark = mark_of(message)
        repeated = mark in self._seen[0] or mark in self._seen[1]
        self._seen[0].add(mark)
        self._phone.note(message, repeated, now)
        return True

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request outside of dialogs."""
        self._phone.begun(transaction, request, now)

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg = invite.context
        if isinstance(leg, InviteUsage) and leg.server_invite.pending is invite:
            self._phone.given_up(leg, invite, now)

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        self._phone.counters["stray ACK"] += 1

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        self._phone.counters["stray response"] += 1


class Softphone(Calls):
    """All lines. ``secret`` fixes tags, branches and Call-IDs, ``random`` the rest: a run can be repeated."""

    def __init__(
        self,
        listen: str,
        secret: bytes,
        random: Random,
        *,
        place: Callable[[Line], Address] | None = None,
        timers: Timers | None = None,
        logs: bool = False,
    ) -> None:
        """``listen`` is the ``host:port`` of the listener, which stands in Via and Contact too."""
        super().__init__(random, place or (lambda line: ("127.0.0.1", 4000)))
        self.listen = listen
        self.stack = Stack(_Front(self), secret, listen, timers)
        # a dialog is found by its tags (RFC 3261 section 12.2.2), a transaction by its branch (section 17.1.3), from
        # whatever host of a site with several what belongs to it comes
        self.stack.receiver.expected = lambda leg, flow, method: True
        self.stack.admission.name_of = lambda host: "the other side"
        self.lines: dict[str, Line] = {}
        """By user; ``*`` takes the calls for all others."""
        self.logs = logs
        self._owners: dict[str, Line] = {}
        self.subscriptions = Subscriptions(
            self.stack, lambda kind, line, detail, now: self.tell(kind, line, None, detail, now)
        )
        self._streams: dict[Address, Flow] = {}

    # -- the verbs of sip.actions -----------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self.stack.unauthenticated_flows.add(flow)  # so that every message passes by `admits`, read already
        self.stack.receive(data, flow, now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        if state == "lost":
            self.stack.flow_lost(flow)
            if self._streams.get(flow.remote) == flow:
                del self._streams[flow.remote]

    def done(self, request: Any, result: Any, now: float) -> None:
        """Nothing is ever asked for."""

    def handle_timer(self, now: float) -> None:
        self.stack.handle_timer(now)

    def get_timer(self) -> float | None:
        return self.stack.get_timer()

    def to_do(self) -> list[Action]:
        return self.stack.to_do()

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # -- what a user does -----------------------------------------------------------------------------------------

    def add_line(
        self,
        user: str,
        agent: Address,
        *,
        domain: str = "",
        policy: Policy | None = None,
        password: str | None = None,
        transport: str = "udp",
    ) -> Line:
        """``agent`` is the numeric address of the agent, registrar and proxy in one."""
        flow = Flow(transport, self.listen, agent)
        aor = f"sip:{user}@{domain or agent[0]}"
        digest = DigestClient(user, password, self.random) if password is not None else None
        line = self.lines[user] = Line(user, aor, flow, policy or Policy(), digest)
        if self.logs:
            line.log = []
        return line

    def register(self, line: Line, now: float, expires: int = 3600) -> None:
        """Register the line with its agent, and stay registered."""
        if line.registration is None:
            transport = ";transport=tcp" if line.flow.transport == "tcp" else ""
            domain = line.aor.rpartition("@")[2]
            account = Account(
                (f"sip:{domain}",), line.aor, f"<sip:{line.user}@{self.listen}{transport}>", expires, 2.0, 30.0
            )
            call_id = self.stack.token()
            line.registration = Registration(account, line.digest, self.random, call_id, self.stack.token())
            self._owners[call_id] = line
        line.registration.start(now)
        _Registering(self, line).pump(now)

    def follow(self, call: Call, now: float) -> Call:
        """Call whom the other side referred us to."""
        refer = call.refer
        assert refer is not None
        lines = [f"Replaces: {refer.replaces}"] if refer.replaces is not None else []
        other = self.call(call.line, refer.uri.dialled, now, lines=lines)
        other.on_behalf = call
        return other

    def call(
        self,
        line: Line,
        number: str,
        now: float,
        *,
        delayed: bool = False,
        policy: Policy | None = None,
        subject: str = "",
        lines: Iterable[str] = (),
    ) -> Call:
        """Send an INVITE; ``delayed`` leaves the offer to the other side. ``subject`` comes out over there."""
        flow = self._flow(line)
        call_id = f"{self.stack.token()}@{self.listen.rpartition(':')[0]}"
        host = f"{bracketed(flow.remote[0])}:{flow.remote[1]}"
        state = DialogState(
            call_id,
            self.stack.token(),
            "",
            f'"{line.user}" <{line.aor}>',
            f"<sip:{number}@{bracketed(flow.remote[0])}>",
        )
        leg = InviteUsage(self.stack, self, flow, state)
        call = Call(self, line, leg, True, now)
        call.policy = policy or call.policy
        call.uri = f"sip:{number}@{host}"
        call.subject = subject
        self._keep(call)
        if not delayed:
            call.sent_sdp = self._description(call, "sendrecv")
        call.lines = tuple(lines)
        self._invite(call, (), now)
        return call

    def message(self, line: Line, number: str, text: str, now: float) -> None:
        """MESSAGE with a text (RFC 3428); ``sent`` tells of the final answer."""
        call_id, host = self.stack.token(), line.aor.rpartition("@")[2]
        self._owners[call_id] = line
        lines = (
            f"From: <{line.aor}>;tag={self.stack.token()}",
            f"To: <sip:{number}@{host}>",
            f"Call-ID: {call_id}",
            "CSeq: 1 MESSAGE",
            "Content-Type: text/plain",
        )
        ask = OutgoingRequest("MESSAGE", f"sip:{number}@{host}", lines, text.encode())
        self.ask(line, ask, _Messaging(self, line), now)

    def subscribe(self, line: Line, number: str, event: str, now: float, expires: int = 3600) -> Subscribed:
        """SUBSCRIBE to a number (RFC 6665); ``subscribed`` tells of the answer, ``notified`` of each NOTIFY."""
        one = self.subscriptions.subscribe(line, self._flow(line), Wanted(number, event, expires), now)
        assert one.usage is not None
        self._owners[one.usage.dialog.call_id] = line
        return one

    def announce(self, line: Line, number: str, text: str, now: float) -> None:
        """NOTIFY of waiting messages outside any subscription (RFC 3842); ``sent`` tells of the final answer."""
        call_id, host = self.stack.token(), line.aor.rpartition("@")[2]
        self._owners[call_id] = line
        lines = (
            f"From: <{line.aor}>;tag={self.stack.token()}",
            f"To: <sip:{number}@{host}>",
            f"Call-ID: {call_id}",
            "CSeq: 1 NOTIFY",
            self.stack.contact(line.flow),
            "Event: message-summary",
            "Subscription-State: active",
            "Content-Type: application/simple-message-summary",
        )
        ask = OutgoingRequest("NOTIFY", f"sip:{number}@{host}", lines, text.encode())
        self.ask(line, ask, _Messaging(self, line), now)

    # -- inside ----------------------------------------------------------------------------------------------------

    def ask(self, line: Line, ask: OutgoingRequest, user: ClientUser, now: float) -> None:
        """Send a request outside of calls."""
        flow = self._flow(line)
        branch = self.stack.branch()
        head = "\r\n".join(
            (
                f"{ask.method} {ask.uri} SIP/2.0",
                self.stack.via(flow, branch),
                "Max-Forwards: 70",
                *ask.lines,
                f"Content-Length: {len(ask.body)}",
            )
        )
        data = f"{head}\r\n\r\n".encode("latin-1") + ask.body
        self.stack.request(ask.method, data, branch, flow, user, now)

    def _flow(self, line: Line) -> Flow:
        """Where a new request of the line goes; a stream is opened on first use."""
        if line.flow.transport == "udp":
            return line.flow
        flow = self._streams.get(line.flow.remote)
        if flow is None:
            flow = line.flow._replace(local=f"{self.listen}#{self.stack.token()}")
            self._streams[line.flow.remote] = flow
            self.stack.sent_by[flow.local] = self.listen
            self.stack.do(Open(flow))
        return flow

    def _line_of(self, message: Message) -> Line | None:
        call = self._calls.get(message.call_id)
        if call is not None:
            return call.line
        line = self._owners.get(message.call_id)
        if line is None and isinstance(message, Request):
            line = self.lines.get(user_of(message.uri)) or self.lines.get("*")
        return line

    def note(self, message: Message, repeated: bool, now: float) -> None:
        """A message came: write it down."""
        word = self.interned(word_of(message))
        line = self._line_of(message)
        if line is None:
            self.counters["unknown"] += 1
            return
        if line.log is not None:
            line.log.append(Entry(now, word, repeated, message.call_id))
        if not repeated:
            line.heard[word] += 1
            call = self._calls.get(message.call_id)
            if call is not None:
                call.heard.append(word)

    def begun(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        line = self._line_of(request)
        if request.method == "OPTIONS":
            self.stack.reply(transaction, 200, now, lines=(ALLOW,), tag=self.stack.token())
        elif request.to_tag:
            self.stack.reply(transaction, 481, now)
        elif request.method == "MESSAGE" and line is not None:
            self.stack.reply(transaction, 200, now, tag=self.stack.token())
            self.tell("message", line, None, request.body.decode("utf-8", "replace"), now)
        elif request.method == "SUBSCRIBE" and line is not None:
            self.subscriptions.requested(transaction, request, line, now)
        elif request.method == "NOTIFY" and line is not None:
            self.stack.reply(transaction, 200, now, tag=self.stack.token())
            self.tell("announced", line, None, request.body.decode("utf-8", "replace"), now)
        elif request.method != "INVITE":
            self.stack.reply(transaction, 405, now, lines=(ALLOW,), tag=self.stack.token())
        elif line is None:
            self.stack.reply(transaction, 404, now, tag=self.stack.token())
        elif request.call_id in self._calls:
            self.counters["merged"] += 1
            self.stack.reply(transaction, 482, now, tag=self.stack.token())  # RFC 3261 section 8.2.2.2
        else:
            self._ring_up(line, transaction, request, now)
