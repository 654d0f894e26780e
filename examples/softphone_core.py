"""A softphone without sockets: any number of lines and calls in one object, driven by the verbs of ``sip.rim``.

It is the device of this project's demo, stories and benchmarks. It reacts by a :class:`Policy` (ring, answer after so
many seconds, refuse) and by verbs (call, answer, hold, bye, …), and it writes down every message that it receives,
repeats apart, so that a run can be compared with another one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, Final

from examples.softphone_call import (
    ANSWER,
    ANSWERED,
    CALLING,
    CHANGE,
    DELAYED,
    ENDED,
    FORGET,
    HANG_UP,
    INCOMING,
    OFFERED,
    RING,
    TALKING,
    Call,
    Entry,
    Event,
    Line,
    Policy,
    mark_of,
    word_of,
)
from sip.dialog import DialogState, called_by
from sip.digest import DigestClient, Refusal
from sip.errors import SipError
from sip.events import Ask
from sip.message import Message, Request, Response
from sip.registration import Account, Registration
from sip.rim import Action, Address, Flow, Open
from sip.sdp import Direction, continued, direction
from sip.session import Leg
from sip.stack import Stack
from sip.timers import Timers
from sip.transaction import ClientTransaction, ServerTransaction
from sip.uri import host_port, user_of

SDP_TYPE: Final = "Content-Type: application/sdp"
ALLOW: Final = "Allow: INVITE, ACK, BYE, CANCEL, INFO, OPTIONS"


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


class Softphone:
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
        self.listen = listen
        self.random = random
        self.stack = Stack(self, secret, listen, timers)
        self.lines: dict[str, Line] = {}
        """By user; ``*`` takes the calls for all others."""
        self.logs = logs
        self.counters: Counter[str] = Counter()
        self.place: Callable[[Line], Address] = place or (lambda line: ("127.0.0.1", 4000))
        self._events: deque[Event] = deque()
        self._calls: dict[str, Call] = {}
        self._owners: dict[str, Line] = {}
        self._words: dict[str, str] = {}
        self._seen: list[set[int]] = [set(), set()]
        self._turned_at = 0.0
        self._streams: dict[Address, Flow] = {}

    # -- the verbs of sip.rim -----------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        self.stack.guarded.add(flow)  # so that every message passes by `admits`, read already
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
        host = f"{flow.remote[0]}:{flow.remote[1]}"
        state = DialogState(
            call_id, self.stack.token(), "", f'"{line.user}" <{line.aor}>', f"<sip:{number}@{flow.remote[0]}>"
        )
        leg = Leg(self.stack, self, flow, state)
        call = Call(self, line, leg, True, now)
        call.policy = policy or call.policy
        call.uri = f"sip:{number}@{host}"
        call.subject = subject
        self._keep(call)
        if not delayed:
            call.sent_sdp = self._description(call, "sendrecv")
        self._invite(call, tuple(lines), now)
        return call

    def ring(self, call: Call, now: float, early: bool = False) -> None:
        """180, or 183 with a description."""
        invite = call.leg.invite
        if invite is None or call.state is not INCOMING:
            return
        if early and call.received_sdp:
            call.early_media = True
            self._answer_offer(call)
            call.leg.reply(invite, 183, now, lines=(SDP_TYPE,), body=call.sent_sdp)
        else:
            call.leg.reply(invite, 180, now)

    def answer(self, call: Call, now: float) -> None:
        """200 with our answer, or with an offer when the INVITE had none."""
        invite = call.leg.invite
        if invite is None or call.state is not INCOMING:
            return
        self._answer_offer(call)
        call.state = TALKING
        call.status = 200
        call.answered_at = now
        call.leg.reply(invite, 200, now, lines=(ALLOW, SDP_TYPE), body=call.sent_sdp)
        self._plan_end(call, now)

    def reject(self, call: Call, status: int, now: float) -> None:
        """Refuse an incoming call."""
        invite = call.leg.invite
        if invite is not None and call.state is INCOMING:
            call.status = status
            call.leg.reply(invite, status, now)
            self._end(call, now)
            self.tell("refused", call.line, call, str(status), now)

    def cancel(self, call: Call, now: float) -> None:
        """Give up a call that was not answered yet."""
        if call.state is CALLING:
            call.leg.cancel(now)

    def hold(self, call: Call, now: float) -> None:
        """Re-INVITE with ``a=sendonly``."""
        self._change(call, True, now)

    def resume(self, call: Call, now: float) -> None:
        """Re-INVITE with ``a=sendrecv``."""
        self._change(call, False, now)

    def reoffer(self, call: Call, now: float) -> None:
        """Re-INVITE without an offer: the other side makes it."""
        if call.state is TALKING and call.leg.inviting is None and call.leg.invite is None:
            call.leg.send("INVITE", (), b"", now, DELAYED)

    def info(self, call: Call, digit: str, now: float) -> None:
        """INFO with a DTMF digit."""
        if call.state is TALKING:
            body = f"Signal={digit}\r\nDuration=160\r\n".encode()
            call.leg.send("INFO", ("Content-Type: application/dtmf-relay",), body, now)

    def bye(self, call: Call, now: float) -> None:
        """Hang up."""
        if call.state is TALKING:
            call.leg.send("BYE", (), b"", now)
            self._end(call, now)
            self.tell("ended", call.line, call, "by us", now)

    def hang_up(self, call: Call, now: float) -> None:
        """Whatever ends the call in its state: BYE, CANCEL, or 603."""
        if call.state is TALKING:
            self.bye(call, now)
        elif call.state is CALLING:
            self.cancel(call, now)
        else:
            self.reject(call, 603, now)

    @property
    def calls(self) -> list[Call]:
        """All calls that have not ended."""
        return [call for call in self._calls.values() if call.state is not ENDED]

    def known_call(self, call_id: str) -> Call | None:
        """A call by its Call-ID here, the ended ones for 64*T1 too."""
        return self._calls.get(call_id)

    # -- Core of the stack -----------------------------------------------------------------------------------------

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Everything is let in; this is where it is written down."""
        if now - self._turned_at > 100.0:
            self._seen = [set(), self._seen[0]]
            self._turned_at = now
        mark = mark_of(message)
        repeated = mark in self._seen[0] or mark in self._seen[1]
        self._seen[0].add(mark)
        word = word_of(message)
        word = self._words.setdefault(word, word)
        line = self._line_of(message)
        if line is None:
            self.counters["unknown"] += 1
            return True
        if line.log is not None:
            line.log.append(Entry(now, word, repeated, message.call_id))
        if not repeated:
            line.heard[word] += 1
            call = self._calls.get(message.call_id)
            if call is not None:
                call.heard.append(word)
        return True

    def requested(self, *args: Any) -> None:
        """A request outside of dialogs (three arguments), or one of a leg (four)."""
        if len(args) == 3:
            self._begun(*args)
        else:
            self._asked(*args)

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg = invite.context
        call = self._calls.get(leg.dialog.call_id) if isinstance(leg, Leg) else None
        if call is not None and isinstance(leg, Leg) and leg.invite is invite:
            leg.reply(invite, 487, now)
            if call.state is INCOMING:
                call.status = 487
                self._end(call, now)
                self.tell("cancelled", call.line, call, "", now)

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        self.counters["stray ACK"] += 1

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        self.counters["stray response"] += 1

    # -- Owner of the legs -----------------------------------------------------------------------------------------

    def recognised(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def acknowledged(self, leg: Leg, ack: Request, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is not None:
            if ack.body:
                call.received_sdp = ack.body
            self.tell("acknowledged", call.line, call, "", now)

    def answered(self, leg: Leg, transaction: ClientTransaction, response: Response, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is None or call.leg is not leg or transaction.method != "INVITE":
            return
        if call.state is CALLING:
            self._progressed(call, response, now)
        elif response.status >= 200:
            self._changed(call, transaction, response, now)

    def timed_out(self, leg: Leg, transaction: ClientTransaction, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is None or transaction.method not in ("INVITE", "BYE"):
            self.counters[f"{transaction.method} timed out"] += 1
        elif call.state is CALLING:
            self._failed(call, 408, now)
        elif call.state is TALKING:
            call.wanted = None
            self.counters["INVITE timed out"] += 1

    def unacknowledged(self, leg: Leg, now: float) -> None:
        self.counters["unacknowledged"] += 1
        call = self._calls.get(leg.dialog.call_id)
        if call is not None:
            self.bye(call, now)

    # -- what calls do by themselves ---------------------------------------------------------------------------------

    def due(self, call: Call, cause: str, now: float) -> None:
        """A deadline of a call."""
        if cause is RING:
            self.ring(call, now, call.policy.early)
        elif cause is ANSWER:
            self.answer(call, now)
        elif cause is HANG_UP:
            self.bye(call, now)
        elif cause is CHANGE:
            if call.wanted is not None:
                self._change(call, call.wanted, now)
        elif cause is FORGET:
            call_id = call.leg.dialog.call_id
            self._calls.pop(call_id, None)
            self._owners.pop(call_id, None)
            call.line.calls.pop(call_id, None)

    def tell(self, kind: str, line: Line, call: Call | None, detail: str, now: float) -> None:
        self._events.append(Event(kind, line, call, detail, now))

    def ask(self, line: Line, ask: Ask, user: _Registering, now: float) -> None:
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

    # -- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, call: Call) -> None:
        call_id = call.leg.dialog.call_id
        self._calls[call_id] = call
        call.line.calls[call_id] = call

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

    def _invite(self, call: Call, lines: tuple[str, ...], now: float) -> None:
        more = [*lines, ALLOW]
        if call.subject:
            more.append(f"Subject: {call.subject}")
        if call.sent_sdp:
            more.append(SDP_TYPE)
        call.leg.call(call.uri, more, call.sent_sdp, now, lines)

    def _description(self, call: Call, wanted: Direction) -> bytes:
        """Our side, in the direction given; its version grows when it says something new (RFC 3264 section 8)."""
        host, port = call.place
        family = "IP6" if ":" in host else "IP4"
        body = (
            f"v=0\r\no={call.line.user} 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na={wanted}\r\n"
        ).encode()
        return continued(call.sent_sdp, body) if call.sent_sdp else body

    def _answer_offer(self, call: Call) -> None:
        """Make ``sent_sdp`` the answer to what came, or an offer when nothing did."""
        wanted: Direction = "sendrecv"
        if call.received_sdp:
            try:
                offered = direction(call.received_sdp)
                wanted = ANSWERED[offered]
                call.held_there = offered in ("sendonly", "inactive")
            except SipError:
                self.counters["unreadable SDP"] += 1
        if call.held:
            wanted = "sendonly" if wanted in ("sendrecv", "sendonly") else "inactive"
        call.sent_sdp = self._description(call, wanted)

    def _begun(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        line = self._line_of(request)
        if request.method == "OPTIONS":
            self.stack.reply(transaction, 200, now, lines=(ALLOW,), tag=self.stack.token())
        elif request.to_tag:
            self.stack.reply(transaction, 481, now)
        elif request.method != "INVITE":
            self.stack.reply(transaction, 405, now, lines=(ALLOW,), tag=self.stack.token())
        elif line is None:
            self.stack.reply(transaction, 404, now, tag=self.stack.token())
        elif request.call_id in self._calls:
            self.counters["merged"] += 1
            self.stack.reply(transaction, 482, now, tag=self.stack.token())  # RFC 3261 section 8.2.2.2
        else:
            self._ring_up(line, transaction, request, now)

    def _ring_up(self, line: Line, transaction: ServerTransaction, request: Request, now: float) -> None:
        leg = Leg(self.stack, self, transaction.flow, called_by(request, self.stack.token()))
        leg.invite = transaction
        transaction.context = leg
        self._retarget(leg)
        call = Call(self, line, leg, False, now)
        call.uri = request.uri
        call.received_sdp = request.body
        call.subject = request.get("subject") or ""
        word = word_of(request)
        call.heard.append(self._words.setdefault(word, word))
        self._keep(call)
        self.tell("incoming", line, call, request.uri, now)
        policy = call.policy
        if policy.refuse:
            self.reject(call, policy.refuse, now)
            return
        if policy.ring_after == 0.0:
            self.ring(call, now, policy.early)
        elif policy.ring_after is not None:
            self.stack.deadlines.set(now + policy.ring_after, call, RING)
        if policy.answer_after == 0.0:
            self.answer(call, now)
        elif policy.answer_after is not None:
            self.stack.deadlines.set(now + policy.answer_after, call, ANSWER)

    def _asked(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in the dialog."""
        call = self._calls.get(leg.dialog.call_id)
        if call is None:
            leg.reply(transaction, 481, now)
            return
        self._retarget(leg)
        if request.method == "INVITE":
            if request.body:
                call.received_sdp = request.body
                self._answer_offer(call)
            else:
                call.sent_sdp = self._description(call, OFFERED[call.held, call.held_there])
            leg.reply(transaction, 200, now, lines=(ALLOW, SDP_TYPE), body=call.sent_sdp)
            self.tell("changed", call.line, call, call.media_direction, now)
        elif request.method == "INFO":
            leg.reply(transaction, 200, now)
            self.tell("info", call.line, call, request.body.decode("latin-1"), now)
        elif request.method == "BYE":
            leg.reply(transaction, 200, now)
            self._end(call, now)
            self.tell("ended", call.line, call, request.get("reason") or "", now)
        else:
            leg.reply(transaction, 200 if request.method == "OPTIONS" else 405, now, lines=(ALLOW,))

    def _progressed(self, call: Call, response: Response, now: float) -> None:
        """A response to our first INVITE."""
        status = response.status
        if status < 200:
            if response.body:
                call.received_sdp = response.body
                call.early_media = True
            if status > 100:
                self.tell("progress" if response.body else "ringing", call.line, call, str(status), now)
        elif status < 300:
            self._retarget(call.leg)
            call.state = TALKING
            call.status = status
            call.answered_at = now
            self._acknowledge(call, response, not call.sent_sdp, now)
            self.tell("answered", call.line, call, str(status), now)
            if call.leg.cancelling:
                self.bye(call, now)
            else:
                self._plan_end(call, now)
        elif not self._authorized(call, response, now):
            self._failed(call, status, now)

    def _acknowledge(self, call: Call, response: Response, offered: bool, now: float) -> None:
        """ACK, with our answer when the 2xx made the offer."""
        if response.body:
            call.received_sdp = response.body
        if offered:
            self._answer_offer(call)
            call.leg.acknowledge((SDP_TYPE,), call.sent_sdp, now)
        else:
            call.leg.acknowledge((), b"", now)

    def _authorized(self, call: Call, response: Response, now: float) -> bool:
        """Try again with credentials (RFC 3261 section 22.2); whether that is so."""
        if response.status not in (401, 407) or call.line.digest is None:
            return False
        answer = call.line.digest.answer(response, "INVITE", call.uri, call.tried)
        if isinstance(answer, Refusal):
            return False
        call.tried = (*call.tried, answer)
        dialog = call.leg.dialog
        state = replace(dialog.export(), remote_tag="", route_set=())
        call.leg = Leg(self.stack, self, call.leg.flow, state)
        self._invite(call, (answer.line,), now)
        return True

    def _failed(self, call: Call, status: int, now: float) -> None:
        call.status = status
        self._end(call, now)
        self.tell("failed", call.line, call, str(status), now)

    def _change(self, call: Call, held: bool, now: float) -> None:
        if call.state is not TALKING:
            return
        call.wanted = held
        if call.leg.inviting is not None or call.leg.invite is not None:
            self.stack.deadlines.set(now + 0.5, call, CHANGE)  # section 14.1: not while another one is under way
            return
        call.sent_sdp = self._description(call, OFFERED[held, call.held_there])
        call.leg.send("INVITE", (ALLOW, SDP_TYPE), call.sent_sdp, now)

    def _changed(self, call: Call, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The final answer to a re-INVITE."""
        status = response.status
        if status < 300:
            if call.wanted is not None and transaction.context != DELAYED:
                call.held, call.wanted = call.wanted, None
            self._retarget(call.leg)
            self._acknowledge(call, response, transaction.context == DELAYED, now)
            if call.state is TALKING:
                self.tell("changed", call.line, call, call.media_direction, now)
            return
        if call.state is not TALKING:
            return
        if call.wanted is not None and status in (491, 500, 503):
            # section 14.1: who made the Call-ID waits longer; other failures pass when the far side says when
            wait = self.random.uniform(2.1, 4.0) if call.outgoing else self.random.uniform(0.0, 2.0)
            given = response.get("retry-after") or ""
            if status != 491:
                wait = float(given) if given.isdigit() else wait
            self.stack.deadlines.set(now + wait, call, CHANGE)
        else:
            call.wanted = None
            if status in (408, 481):  # section 12.2.1.2: the dialog is gone
                self.bye(call, now)
        self.tell("unchanged", call.line, call, str(status), now)

    def _retarget(self, leg: Leg) -> None:
        """Over UDP, send to where the remote target or the first route is (section 12.2.1.1)."""
        flow = leg.flow
        if flow.transport != "udp":
            return
        route = leg.dialog.route_set
        uri = route[0].partition("<")[2].partition(">")[0] if route else leg.dialog.target
        host, port = host_port(uri)
        if (host, port or 5060) != flow.remote and host[:1].isdigit():
            leg.flow = flow._replace(remote=(host, port or 5060))

    def _plan_end(self, call: Call, now: float) -> None:
        if call.policy.hang_up_after is not None:
            self.stack.deadlines.set(now + call.policy.hang_up_after, call, HANG_UP)

    def _end(self, call: Call, now: float) -> None:
        if call.state is not ENDED:
            call.state = ENDED
            call.generation += 1
            self.stack.deadlines.set(now + self.stack.timers.lifetime + 8.0, call, FORGET)
