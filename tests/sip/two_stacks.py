"""Two stacks joined by a wire, one clock: the smallest world in which a leg can be tried."""

from __future__ import annotations

from sip.actions import Flow, Send
from sip.dialog import DialogState, called_by
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.timers import Timers
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Message, Request, Response, parse

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
TYPE = "Content-Type: application/sdp"


class End:
    """Core and owner of one side: it notes what it is told, as short words, and keeps what a test wants to use."""

    def __init__(self, name: str, port: int, transport: str = "udp") -> None:
        self.name = name
        self.local = f"127.0.0.1:{port}"
        self.port = port
        self.stack = Stack(self, name.encode(), self.local, Timers())
        self.transport = transport
        self.heard: list[str] = []
        self.legs: list[InviteUsage] = []
        self.server: ServerTransaction | None = None
        """The last request that came."""
        self.last: Message | None = None
        """The last message told of."""
        self.no_timeout = False
        """Whether its legs are without time-outs."""
        self.patience: float | None = None
        """Seconds after which to ask again for an ACK that did not come."""

    def flow_to(self, other: End) -> Flow:
        return Flow(self.transport, self.local, ("127.0.0.1", other.port))

    def note(self, word: str, message: Message | None = None) -> None:
        self.heard.append(word)
        self.last = message

    def take(self) -> list[str]:
        heard, self.heard = self.heard, []
        return heard

    @property
    def leg(self) -> InviteUsage:
        return self.legs[-1]

    @property
    def asked(self) -> ServerTransaction:
        assert self.server is not None
        return self.server

    # -- Core

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        self.note("asked to admit", message)
        return False

    def requested(self, *args: object) -> None:
        if len(args) == 4:  # as the owner of a leg
            _, transaction, request, _ = args
        else:
            transaction, request, _ = args
        assert isinstance(transaction, ServerTransaction) and isinstance(request, Request)
        self.note(request.method, request)
        self.server = transaction
        if len(args) == 3 and request.method == "INVITE" and not request.to_tag:
            leg = InviteUsage(
                self.stack, self, transaction.flow, called_by(request, self.stack.token()), no_timeout=self.no_timeout
            )
            leg.server_invite.latest = transaction
            transaction.context = leg
            self.legs.append(leg)

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        self.note("CANCEL", cancel)

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        self.note("stray ACK", ack)

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        self.note(f"stray {response.status}", response)

    # -- Owner

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        self.note("ACK", ack)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.note(str(response.status), response)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        self.note(f"{transaction.method} timed out")

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        self.note("unacknowledged")
        return None if self.patience is None else now + self.patience

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> tuple[str, ...]:
        return (f"X-Hop: {method}",)


class TwoStacks:
    """``a`` calls ``b``. ``wire`` has every message that was sent, as ``(instant, from, message)``."""

    def __init__(self, transport: str = "udp") -> None:
        self.now = 0.0
        self.a = End("a", 5001, transport)
        self.b = End("b", 5002, transport)
        self.wire: list[tuple[float, str, Request | Response]] = []
        self.cut = False
        """Nothing arrives; what is sent is noted all the same."""

    def settle(self) -> None:
        """Carry messages until nobody has anything to say."""
        busy = True
        while busy:
            busy = False
            for end, other in ((self.a, self.b), (self.b, self.a)):
                for action in end.stack.to_do():
                    assert isinstance(action, Send)
                    busy = True
                    self.wire.append((self.now, end.name, parse(action.data)))
                    if not self.cut:
                        other.stack.receive(action.data, other.flow_to(end), self.now)

    def turn(self, until: float) -> None:
        """Let time pass."""
        self.settle()
        while True:
            ats = [at for end in (self.a, self.b) if (at := end.stack.get_timer()) is not None and at <= until]
            if not ats:
                break
            self.now = min(ats)
            self.a.stack.handle_timer(self.now)
            self.b.stack.handle_timer(self.now)
            self.settle()
        self.now = until

    def sent(self, name: str, what: str) -> list[float]:
        """When ``name`` sent requests of that method, or responses of that status."""
        return [
            at
            for at, who, message in self.wire
            if who == name and what == (message.method if isinstance(message, Request) else f"{message.status}")
        ]

    def invite(self, body: bytes = SDP, tag: str = "ta", call_id: str = "call@a") -> InviteUsage:
        """``a`` sends an INVITE, ``b`` gets it."""
        state = DialogState(call_id, tag, "", "<sip:a@x>", "<sip:b@x>")
        leg = InviteUsage(self.a.stack, self.a, self.a.flow_to(self.b), state, no_timeout=self.a.no_timeout)
        self.a.legs.append(leg)
        leg.call("sip:b@127.0.0.1:5002", (TYPE,) if body else (), body, self.now)
        self.settle()
        return leg

    def answer(self, body: bytes = SDP) -> None:
        """``b`` answers 200; ``a`` acknowledges."""
        self.b.leg.reply(self.b.asked, 200, self.now, lines=(TYPE,), body=body)
        self.settle()
        self.a.leg.acknowledge((), b"", self.now)
        self.settle()

    def talk(self) -> None:
        """A call, answered."""
        self.invite()
        self.answer()
        self.a.take()
        self.b.take()
