"""A test of one line at the request of an operator, step by step, from the program that its calls leave from.

The names of its peers are resolved; each address gets an OPTIONS on the flow that calls take, with credentials if it
is challenged; the registration is reported; then, if a number is given, a call is made, cancelled when it has rung
for long enough, and hung up as soon as it is answered. The test call has no other leg and no call record, and takes
no channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from sip.actions import UNREACHABLE, Flow
from sip.device.sending import send_request, send_with_proof
from sip.dialog import DialogState
from sip.digest import DigestClient
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.next_hop import Reach
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Request, Response
from sip.wire.uri import as_user

LONGEST_NAMES: Final = 6.0
"""Seconds to wait for DNS, and for the registrar's first answer after a start."""
LONGEST_OPTIONS: Final = 4.0
LONGEST_END: Final = 8.0
"""Seconds for the answer to a BYE or CANCEL."""
MOST_PLACES: Final = 8

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"

NAMES_LATE: Final = "names take too long"
OPTIONS_LATE: Final = "no answer to OPTIONS"
RANG_ENOUGH: Final = "rang long enough"
END_LATE: Final = "no answer to its end"


class Asked(NamedTuple):
    """One address of a line that gets an OPTIONS."""

    said: str
    """The address for people: ``203.0.113.5:5060 by udp``."""
    uri: str
    """Request-URI of the OPTIONS."""
    flow: Flow
    route: tuple[str, ...] = ()


class Opening(NamedTuple):
    """The INVITE of a test call."""

    uri: str
    flow: Flow
    state: DialogState
    lines: tuple[str, ...]
    """Header lines, without Content-Type."""


class Tested(NamedTuple):
    """What a test needs of a line."""

    stack: Stack
    peers: tuple[str, ...]
    """URIs of its peers; empty for a phone."""
    ready: Callable[[Callable[[float], None], float], bool]
    """Whether its addresses are known; if not, it calls the given function when they are."""
    places: Callable[[float], Sequence[Asked]]
    """Its addresses at a time."""
    registration: Callable[[], tuple[bool | None, str]]
    """Whether it is registered (None: it does not register), and why not."""
    digest: DigestClient | None
    reach: Reach | None
    opening: Callable[[str, float], Opening | str]
    """Makes the INVITE to a number; a string says why it cannot be made."""


class Step(NamedTuple):
    """A step of a test and its result."""

    name: str
    """``names``, ``options``, ``registration``, ``call``, ``end``."""
    good: bool
    said: str
    took: float
    """Seconds."""


class LineTest:
    """One test. `state` is `RUNNING` until all steps are done, then `DONE`, or `FAILED` if one of them was not
    good."""

    def __init__(self, tested: Tested, number: str, ring: float, now: float) -> None:
        """``number``: to be called, in the site's form; ``""``: no call. ``ring``: longest ringing, in seconds."""
        self.steps: list[Step] = []
        self.state = RUNNING
        self.generation = 0
        self._tested = tested
        self._number = number
        self._ring = ring
        self._begun_at = now
        self._asking: set[_Question] = set()
        if tested.ready(self._named, now):
            self._named(now)
        else:
            tested.stack.deadlines.set(now + LONGEST_NAMES, self, NAMES_LATE)

    def due(self, cause: str, now: float) -> None:
        if self.state is RUNNING and not self.steps:
            self._named(now)

    def _note(self, name: str, good: bool, said: str, took: float) -> None:
        self.steps.append(Step(name, good, said, took))

    def _named(self, now: float) -> None:
        if self.steps or self.state is not RUNNING:
            return
        tested = self._tested
        places = tested.places(now)[:MOST_PLACES]
        took = now - self._begun_at
        if tested.peers:
            where = ", ".join(one.said for one in places)
            said = f"{' and '.join(tested.peers)}: {where or 'no address was found that can be reached from here'}"
            self._note("names", bool(places), said, took)
        elif not places:
            self._note("options", False, "no device is registered", took)
        self._asking = {_Question(self, tested, one) for one in places}
        for question in sorted(self._asking, key=lambda one: one.place.said):
            question.begin(now)
        self._go_on(now)

    def answered(self, question: _Question, good: bool, said: str, took: float, now: float) -> None:
        """Called by a question: the result of its OPTIONS, which took ``took`` seconds."""
        self._asking.discard(question)
        self._note("options", good, f"{question.place.said}: {said}", took)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._asking:
            return
        registered, why = self._tested.registration()
        if registered is not None:
            self._note("registration", registered, "registered" if registered else why or "not registered", 0.0)
        if not self._number:
            self.end()
            return
        opening = self._tested.opening(self._number, now)
        if isinstance(opening, str):
            self._note("call", False, opening, 0.0)
            self.end()
        else:
            _TestCall(self, self._tested, opening, self._ring, now)

    def called(self, name: str, good: bool, said: str, took: float) -> None:
        """Called by the test call: a result of it."""
        self._note(name, good, said, took)

    def end(self) -> None:
        """All steps are done."""
        self.state = DONE if all(step.good for step in self.steps) else FAILED


class _Question:
    """The OPTIONS to one address."""

    def __init__(self, test: LineTest, tested: Tested, place: Asked) -> None:
        self.place = place
        self.generation = 0
        self._test = test
        self._tested = tested
        self._sent: ClientTransaction | None = None
        self._data = b""
        self._begun_at = 0.0
        self._proved = False

    def begin(self, now: float) -> None:
        self._begun_at = now
        stack, place = self._tested.stack, self.place
        if place.flow is UNREACHABLE:
            self._over(False, "no listener of ours leads there", now)
            return
        own = f"sip:{stack.address(place.flow)}"
        lines = (
            *(f"Route: {each}" for each in place.route),
            f"From: <{own}>;tag={stack.token()}",
            f"To: <{place.uri}>",
            f"Call-ID: {stack.token()}{stack.token()}",
            "CSeq: 1 OPTIONS",
            stack.contact(place.flow),
            "Accept: application/sdp",
        )
        stack.deadlines.set(now + LONGEST_OPTIONS, self, OPTIONS_LATE)
        self._sent = send_request(stack, OutgoingRequest("OPTIONS", place.uri, lines), place.flow, self, now)
        self._data = self._sent.request

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        tested, status = self._tested, response.status
        if status < 200 or self._sent is None:
            return
        if status in (401, 407) and tested.digest is not None and not self._proved:
            self._proved = True
            if send_with_proof(tested.stack, self._data, tested.digest, transaction, response, self, now):
                return
        who = response.get("server") or response.get("user-agent") or ""
        said = f"{status} {response.reason}" + (f", {who[:60]}" if who else "")
        if self._proved:
            said += "; it refuses our credentials" if status in (401, 407) else "; it took our credentials"
        elif status in (401, 407):
            said += "; it is there, and wants to know who asks"
        if names := tested.stack.certified.get(transaction.flow):
            said += f"; its certificate is for {', '.join(names[:4])}"
        self._over(status not in (408, 503) and not (self._proved and status in (401, 407)), said, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        secure = self.place.flow.transport in ("tls", "wss")
        doubt = "; the log says whether its certificate was not believed" if secure else ""
        self._over(False, f"nobody can be reached there{doubt}" if transaction.failure == 503 else "no answer", now)

    def due(self, cause: str, now: float) -> None:
        if self._sent is not None:
            self._over(False, f"no answer within {LONGEST_OPTIONS:g} s", now)

    def _over(self, good: bool, said: str, now: float) -> None:
        sent, self._sent = self._sent, None
        self.generation += 1
        if sent is not None and not sent.answered:
            sent.terminate()
        self._test.answered(self, good, said, now - self._begun_at, now)


class _TestCall:
    """The test call; the owner of its leg (`sip.invite.UsageOwner`)."""

    def __init__(self, test: LineTest, tested: Tested, opening: Opening, ring: float, now: float) -> None:
        self.generation = 0
        self._test = test
        self._stack = tested.stack
        self._ring = ring
        self._begun_at = self._ended_at = now
        self._rang = ""
        self._ending = False
        self._over = False
        leg = InviteUsage(tested.stack, self, opening.flow, opening.state, reach=tested.reach, digest=tested.digest)
        self._leg = leg
        lines = (*opening.lines, ALLOW, "Content-Type: application/sdp")
        offer = _offer(tested.stack.address(opening.flow))
        tested.stack.deadlines.set(now + ring, self, RANG_ENOUGH)
        leg.call(opening.uri, lines, offer, now, self)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, took = response.status, now - self._begun_at
        if transaction.method == "BYE" and status >= 200:
            self._finish(status < 300, f"hung up at once: {status} {response.reason}", now - self._ended_at)
        elif transaction.method != "INVITE":
            return
        elif 180 <= status < 200 and not self._rang:
            self._rang = f"{status} {response.reason} after {took:.1f} s, "
        elif 200 <= status < 300:
            leg.acknowledge((), b"", now)
            if not self._ending:
                self._test.called("call", True, f"{self._rang}answered after {took:.1f} s", took)
            self._await_end(now)
            leg.send("BYE", (), b"", now, self)
        elif status >= 300 and self._ending:
            self._finish(status == 487, f"given up: {status} {response.reason}", now - self._ended_at)
        elif status >= 300:
            self._test.called("call", False, f"{self._rang}refused with {_refusal(response)}", took)
            self._close()

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        if transaction.method != "INVITE" or self._ending:
            self._finish(False, "its end was not answered: see to it that the far end has no call left", 0.0)
        else:
            said = "nobody can be reached there" if transaction.failure == 503 else "no answer at all"
            self._test.called("call", False, said, now - self._begun_at)
            self._close()

    def due(self, cause: str, now: float) -> None:
        if self._over:
            return
        if self._ending:
            self._finish(False, "its end was not answered: see to it that the far end has no call left", 0.0)
            return
        rang = self._rang.removesuffix(", ")
        said = f"{rang}, not answered within {self._ring:g} s" if rang else f"nothing but a 100 for {self._ring:g} s"
        self._test.called("call", bool(rang), said, now - self._begun_at)
        self._await_end(now)
        self._leg.cancel(now)

    def _await_end(self, now: float) -> None:
        self._ending, self._ended_at = True, now
        self.generation += 1
        self._stack.deadlines.set(now + LONGEST_END, self, END_LATE)

    def _finish(self, good: bool, said: str, took: float) -> None:
        if not self._over:
            self._test.called("end", good, said, took)
            self._close()

    def _close(self) -> None:
        self._over = True
        self.generation += 1
        self._test.end()

    # Requests of the far end.

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        if request.method == "BYE":
            leg.reply(transaction, 200, now)
            self._finish(True, "the far end hung up", now - self._ended_at)
        else:
            leg.reply(transaction, 488 if request.method in ("INVITE", "UPDATE") else 405, now, lines=(ALLOW,))

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """Nothing: we answer no INVITE of the far end with a 2xx."""

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        return None

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Iterable[str]:
        return ()


def shown(host: str, port: int, flow: Flow) -> str:
    """An address for people: ``203.0.113.5:5060 by udp``."""
    return f"{bracketed(host)}:{port} by {flow.transport}"


def invite_of(caller: str, number: str, realm: str) -> Request:
    """An INVITE in the site's form, to be converted to that of a trunk."""
    uri = f"sip:{as_user(number)}@{realm}"
    lines = (f"From: <sip:{as_user(caller)}@{realm}>;tag=test", f"To: <{uri}>", "Max-Forwards: 70")
    return Request("INVITE", uri, ["from", "to", "max-forwards"], list(lines))


def _refusal(response: Response) -> str:
    reason = response.get("reason") or response.get("warning") or ""
    return f"{response.status} {response.reason}" + (f" ({reason[:120]})" if reason else "")


def _offer(address: str) -> bytes:
    """An offer of G.711 at the discard port, since nobody listens."""
    host = address.rpartition(":")[0].strip("[]")
    family = "IP6" if ":" in host else "IP4"
    if not host.replace(".", "").isdigit() and family == "IP4":
        family, host = "IP4", "0.0.0.0"  # we advertise a name
    return (
        f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
        "m=audio 9 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    ).encode()
