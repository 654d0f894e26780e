"""An agent's core, with servers and devices played by hand, message by message, and the clock turned by hand."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from gateway_agent.core import Core
from gateway_agent.media_relay import AgentRelay
from gateway_agent.webrtc.legs import WebrtcLegs
from heartbeat import carriage
from heartbeat.handshake import Responder
from heartbeat.header import ACTIVE, OPEN, Beat
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof, VoterList, sign_grant
from heartbeat.site.load import parse
from heartbeat.site.model import Site
from sip.actions import Close, Flow, Open, Resolve, Send, Store
from sip.packages.line_dialog import LINE_STATE_TAG, LIST_TYPE, Head, body_of
from sip.wire.framing import PING
from sip.wire.message import Message, Request, Response
from sip.wire.message import parse as parse_message
from tests.tokens import KEY as TOKEN_KEY

KEY = b"0123456789abcdef0123456789abcdef"
LISTEN = "127.0.0.11:5060"
CARRIER = Flow("udp", LISTEN, ("127.0.0.21", 5060))
ALICE = Flow("udp", LISTEN, ("127.0.0.31", 5062))

SITE = """
[site]
name = "paris"
key = { env = "KEY" }
[timing]
interval = 0.5
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "udp:127.0.0.2:5162"
[agents.gw1]
sip = ["udp:127.0.0.11:5060", "tcp:127.0.0.11:5060"]
rtp = { address = "127.0.0.11", ports = [20000, 20999] }
[lines.trunk1]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 3
%s
[lines.alice]
kind = "phone"
agent = "gw1"
password = { env = "ALICE" }
numbers = ["1001"]
[[routes]]
match = "+*"
to = ["trunk1"]
"""

SDP = b"\r\n".join(
    (
        b"v=0",
        b"o=- 1 1 IN IP4 127.0.0.21",
        b"s=-",
        b"c=IN IP4 127.0.0.21",
        b"t=0 0",
        b"m=audio 4000 RTP/AVP 0",
        b"a=sendrecv",
        b"",
    )
)


def site(trunk: str = "", text: str = SITE) -> Site:
    return parse(
        text % trunk, Path("site.toml"), {"KEY": KEY.decode(), "ALICE": "secret", "TOKEN_KEY": TOKEN_KEY.decode()}
    )


def proof_of(epoch: int, server: str, boot: int = 1) -> Proof:
    voters = VoterList(1, ("gw1",), 1)
    return Proof(
        epoch, server, boot, voters, (("gw1", sign_grant(KEY, "paris", "gw1", epoch, server, boot, voters)),)
    )


def dialog_lines(sender: str, from_tag: str, recipient: str, to_tag: str) -> tuple[str, ...]:
    return (
        f"From: {sender};tag={from_tag}",
        f"To: {recipient}" + (f";tag={to_tag}" if to_tag else ""),
        "Max-Forwards: 70",
    )


def message(lines: Sequence[str], body: bytes) -> bytes:
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def taken(who: str, inbox: deque[Message], kind: str | int) -> Any:
    """The next message in ``inbox``, which must be that method or status."""
    assert inbox, f"{who} got nothing where {kind} was due"
    found = inbox.popleft()
    got: str | int = found.status if isinstance(found, Response) else found.method  # type: ignore[attr-defined]
    assert got == kind, f"{who} got {got} where {kind} was due:\n{found.to_bytes().decode('latin-1')}"
    return found


class Server:
    """A call server, played by hand."""

    def __init__(self, fixture: AgentFixture, name: str, boot: int = 1) -> None:
        self.fixture = fixture
        self.name = name
        self.boot = boot
        self.epoch = 0
        self.seq = 0
        self.up = True
        self.flow: Flow | None = None
        self.inbox: deque[Message] = deque()
        self.beats: list[Beat] = []
        self.list: list[dict[str, Any]] = []
        """Records of the last list, the head apart."""
        self.heads: list[dict[str, Any]] = []
        self.answers_notify = True
        self.keeps = False
        """It keeps line states, and says so."""
        self._callee = Responder("b" * 32)
        self._serial = self._part = 0

    def opened(self, flow: Flow) -> None:
        self.flow = flow
        self._callee = Responder("b" * 32)

    def stamp(self, **more: Any) -> Beat:
        self.seq += 1
        return Beat("paris", self.name, self.boot, self.epoch, ACTIVE, self.seq, to="gw1", **more)

    def received(self, data: bytes) -> None:
        message = parse_message(data)
        if message.cseq_method == "OPTIONS" and "heartbeat" in message:
            beat = carriage.beat_in(message, [KEY])
            if beat.kind == OPEN and isinstance(message, Request):
                self.send(carriage.answer(message, self._callee.asked(beat, self.stamp()), KEY))
            else:
                self.beats.append(beat)
        elif isinstance(message, Request) and message.method == "NOTIFY":
            self._notified(message)
        else:
            self.inbox.append(message)

    def _notified(self, request: Request) -> None:
        pieces = [json.loads(piece) for piece in request.body.split(b"\x1e") if piece.strip()]
        if pieces:
            self.heads.append(pieces[0])
            if pieces[0]["part"] == 1:
                self.list = []
            self.list += pieces[1:]
        if self.answers_notify:
            self.reply(request, 200)

    def send(self, data: bytes) -> None:
        assert self.flow is not None
        self.fixture.core.receive(data, self.flow, self.fixture.now)
        self.fixture.pump()

    def subscribe(self, purpose: str = "takeover", expires: int = 3600, epoch: int | None = None, **body: Any) -> int:
        """Send a SUBSCRIBE; the status of its answer, 0 without one."""
        if epoch is not None:
            self.epoch = epoch
        if purpose != "observe":
            body.setdefault("epoch", self.epoch)
            body.setdefault("proof", proof_of(self.epoch, self.name, self.boot).text)
        lines = [
            f"Event: line-dialog;purpose={purpose}",
            f"Expires: {expires}",
            "Contact: <sip:srv;transport=tcp>",
            "Content-Type: application/line-dialog-request+json",
            *([f"Supported: {LINE_STATE_TAG}"] if self.keeps else []),
        ]
        self.request("SUBSCRIBE", "sip:gw1", lines, json.dumps(body).encode())
        found = [one for one in self.inbox if isinstance(one, Response) and one.cseq_method == "SUBSCRIBE"]
        for one in found:
            self.inbox.remove(one)
        return found[-1].status if found else 0

    def give_back(
        self, *records: str, complete: bool = True, covered: bool = True, asked: Request | None = None
    ) -> Request:
        """Answer what the agent asks with ``purpose=return``, with a part that has these records; what it asked."""
        first = asked is None
        asked = asked or self.take("SUBSCRIBE")
        if first:
            self.reply(asked, 200, ["Expires: 60"])
        self._part = 1 if first else self._part + 1
        head = Head("paris", "gw1", 0, self.epoch, 1, self._part, complete, covered)
        state = "terminated;reason=timeout" if complete else "active;expires=60"
        lines = ["Event: line-dialog;purpose=return", f"Subscription-State: {state}", f"Content-Type: {LIST_TYPE}"]
        self.request(
            "NOTIFY",
            "sip:gw1",
            lines,
            body_of((head.encode(), *records)),
            call_id=asked.call_id,
            from_tag="srvtag",
            to_tag=asked.from_tag,
            cseq=self._part,
        )
        return asked

    def request(
        self,
        method: str,
        uri: str,
        lines: Sequence[str] = (),
        body: bytes = b"",
        *,
        branch: str = "",
        call_id: str = "",
        from_tag: str = "srv",
        to_tag: str = "",
        cseq: int = 1,
        origin: str = "",
        site: bool = True,
        sender: str = "<sip:+33155@paris>",
        recipient: str = "<sip:+33166@paris>",
    ) -> str:
        """Send a request; its branch."""
        self._serial += 1
        branch = branch or f"z9hG4bK{self.name}{self._serial}"
        head = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/TCP {self.name};branch={branch}",
            *dialog_lines(sender, from_tag, recipient, to_tag),
            f"Call-ID: {call_id or f'{self.name}-{self._serial}'}",
            f"CSeq: {cseq} {method}",
        ]
        if method == "INVITE":
            head.append(f"Contact: <sip:{self.name};transport=tcp>")
        if site:
            head.append(f"Heartbeat: site=paris; node={self.name}; boot={self.boot}; epoch={self.epoch}")
        if origin:
            head.append(f"Call-Origin: {origin}")
        if body and not any(line.startswith("Content-Type") for line in lines):
            head.append("Content-Type: application/sdp")
        self.send(message([*head, *lines], body))
        return branch

    def reply(
        self,
        request: Request,
        status: int,
        lines: Sequence[str] = (),
        body: bytes = b"",
        tag: str = "srvtag",
    ) -> None:
        self.send(response_to(request, status, [f"Contact: <sip:{self.name};transport=tcp>", *lines], body, tag))

    def beat(self, **more: Any) -> None:
        stamp = self.stamp(**more)
        self.send(
            carriage.request(stamp, KEY, "Via: SIP/2.0/TCP m;branch=z9hG4bKbt", ("127.0.0.1", 1), "bt", self.seq)
        )

    def take(self, kind: str | int) -> Any:
        """The next message, which must be that method or status."""
        return taken(self.name, self.inbox, kind)


class AgentFixture:
    """The clock, the wires, the agent."""

    def __init__(
        self,
        trunk: str = "",
        relay: AgentRelay | None = None,
        text: str = SITE,
        adopted: bool = True,
        keeps: bool = False,
        incarnation: int = 1,
        webrtc: WebrtcLegs | None = None,
    ) -> None:
        """``keeps``: its servers keep line states."""
        self.now = 100.0
        self.core = Core(
            site(trunk, text),
            "gw1",
            PersistentState(incarnation=incarnation, non_voting=False),
            b"s" * 32,
            Random(1),
            self.now,
            {"relay": relay} if relay is not None else {},
            webrtc,
        )
        self.m1 = Server(self, "m1")
        self.m2 = Server(self, "m2")
        self.m1.keeps = self.m2.keeps = keeps
        self.reached = {("127.0.0.1", 5161): self.m1, ("127.0.0.2", 5161): self.m2}
        self.inbox: dict[Flow, deque[Message]] = {}
        """What devices got, by flow."""
        self.resolving: list[Resolve] = []
        self.disk: list[Store] | None = None
        """What is to be kept while the disk is slow; None: it is kept at once."""
        self.refusing: set[tuple[str, int]] = set()
        """Addresses at which nobody listens."""
        self.dead: set[tuple[str, int]] = set()
        """Addresses from which no answer to a connect comes."""
        self.pings: list[Flow] = []
        """Where something without a message went."""
        self.opened: list[Flow] = []
        self.all_opened: list[Open] = []
        """Whatever came of it."""
        self.closed: list[Flow] = []
        self._serial = 0
        self.pump()
        if adopted:
            assert self.m1.subscribe(epoch=1) == 200
            if keeps:
                self.m1.give_back()
                self.m1.take(200)

    def pump(self) -> None:
        while actions := self.core.to_do():
            for action in actions:
                if isinstance(action, Send):
                    self._carry(action)
                elif isinstance(action, Open):
                    server = self.reached.get(action.flow.remote)
                    self.opened.append(action.flow)
                    self.all_opened.append(action)
                    if action.flow.remote in self.dead:
                        self.opened.remove(action.flow)
                    elif action.flow.remote in self.refusing:
                        self.opened.remove(action.flow)
                        self.core.flow_changed(action.flow, "lost", self.now)
                    elif server is None:
                        self.core.flow_changed(action.flow, "open", self.now)
                    elif server.up:
                        server.opened(action.flow)
                        self.core.flow_changed(action.flow, "open", self.now)
                    else:
                        self.core.flow_changed(action.flow, "lost", self.now)
                elif isinstance(action, Store) and self.disk is not None:
                    self.disk.append(action)
                elif isinstance(action, Store):
                    self.core.done(action, None, self.now)
                elif isinstance(action, Close):
                    self.closed.append(action.flow)
                elif isinstance(action, Resolve):
                    self.resolving.append(action)

    def _carry(self, action: Send) -> None:
        if action.data == PING:
            self.pings.append(action.flow)
            return
        for server in (self.m1, self.m2):
            if server.flow == action.flow:
                if server.up:
                    server.received(action.data)
                return
        if action.flow.transport == "udp" or action.flow in self.opened:
            self.inbox.setdefault(action.flow, deque()).append(parse_message(action.data))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (at := self.core.get_timer()) is not None and at <= until:
            self.now = max(self.now, at)
            self.core.handle_timer(self.now)
            self.pump()
        self.now = until

    def kill(self, server: Server) -> None:
        """The server dies: its connection breaks."""
        server.up = False
        flow, server.flow = server.flow, None
        if flow is not None:
            self.core.flow_changed(flow, "lost", self.now)
            self.pump()

    def say(self, data: bytes, flow: Flow = CARRIER) -> None:
        """A device speaks."""
        self.core.receive(data, flow, self.now)
        self.pump()

    def take(self, kind: str | int, flow: Flow = CARRIER) -> Any:
        """The next message to a device, which must be that method or status."""
        return taken("the device", self.inbox.get(flow, deque()), kind)

    def silent(self, flow: Flow = CARRIER) -> bool:
        """Whether a device got nothing more."""
        return not self.inbox.get(flow)

    def request(
        self,
        method: str,
        uri: str = "sip:+33166@127.0.0.11",
        lines: Sequence[str] = (),
        body: bytes = b"",
        *,
        flow: Flow = CARRIER,
        branch: str = "",
        call_id: str = "dev-1",
        from_tag: str = "dev",
        to_tag: str = "",
        cseq: int = 1,
        sender: str = "<sip:+33155@127.0.0.21>",
        recipient: str = "<sip:+33166@127.0.0.11>",
    ) -> str:
        """A device sends a request; its branch."""
        self._serial += 1
        branch = branch or f"z9hG4bKdev{self._serial}"
        host, port = flow.remote
        head = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{flow.transport.upper()} {host}:{port};branch={branch}",
            *dialog_lines(sender, from_tag, recipient, to_tag),
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
        ]
        if not any(line.startswith("Contact") for line in lines):
            head.append(f"Contact: <sip:{host}:{port}>")
        if body:
            head.append("Content-Type: application/sdp")
        self.say(message([*head, *lines], body), flow)
        return branch

    def reply(
        self,
        request: Request,
        status: int,
        lines: Sequence[str] = (),
        body: bytes = b"",
        tag: str = "devtag",
        flow: Flow = CARRIER,
    ) -> None:
        host, port = flow.remote
        self.say(response_to(request, status, [f"Contact: <sip:{host}:{port}>", *lines], body, tag), flow)

    # -- short ways -----------------------------------------------------------------------------------------------

    def answered_in(self, server: Server | None = None) -> tuple[Request, str]:
        """A call of the carrier, answered and acknowledged: the server's INVITE and the To-tag."""
        server = server or self.m1
        self.request("INVITE", body=SDP)
        self.take(100)
        invite: Request = server.take("INVITE")
        server.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
        self.take(200)
        self.request("ACK", to_tag="srvtag", cseq=1)
        server.take("ACK")
        return invite, "srvtag"

    def answered_out(self, server: Server | None = None, **more: Any) -> tuple[Request, Response]:
        """A call to the carrier, answered and acknowledged: the device's INVITE and the server's 200."""
        server = server or self.m1
        uri = "sip:+33166@gw1;line=trunk1"
        server.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1", **more)
        server.take(100)
        invite: Request = self.take("INVITE")
        self.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
        ok: Response = server.take(200)
        server.request("ACK", "sip:gw1", call_id="s-1", to_tag=ok.to_tag, cseq=1)
        self.take("ACK")
        self.run(0.02)
        return invite, ok


def response_to(request: Request, status: int, lines: Sequence[str], body: bytes, tag: str) -> bytes:
    to = request.get("to") or ""
    if status > 100 and not request.to_tag:
        to += f";tag={tag}"
    head = [
        f"SIP/2.0 {status} Because",
        *(f"Via: {value}" for value in request.all("via")),
        f"From: {request.get('from')}",
        f"To: {to}",
        f"Call-ID: {request.call_id}",
        f"CSeq: {request.cseq} {request.cseq_method}",
    ]
    return message([*head, *lines], body)
