"""A call server's core without a network: peers and agents made by hand, driven by bytes and a turned clock.

:class:`Bench` is the core and what surrounds it; a :class:`Peer` is a SIP device beside it (agents are in
``fake_agent``). Each end of a call that a peer has is a :class:`Side`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from b2bua.cdr import Cdr
from b2bua.cookie_cipher import CookieCipher
from b2bua.core import CallEnded, Core
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import VoterList
from heartbeat.site.load import parse
from heartbeat.site.model import Site
from sip.actions import Close, Flow, Open, Resolve, Send, Store
from sip.dialog import contact_uri
from sip.location import Place
from sip.wire.errors import SipError
from sip.wire.message import Message, Request, Response
from sip.wire.message import parse as parse_message

KEY = "0123456789abcdef"
WALL = 1_700_000_000.0
SDP = b"v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
HOLD = SDP + b"a=sendonly\r\n"
TYPE = "Content-Type: application/sdp"


def site_of(text: str, key: str = KEY) -> Site:
    return parse(text, Path("site.toml"), {"KEY": key, "OLD": KEY})


def fresh(site: Site) -> PersistentState:
    """What a server has on disk when its site starts for the first time."""
    rules = site.membership()
    return PersistentState(
        incarnation=1, first=True, non_voting=False, voters=VoterList(1, rules.voters, rules.generation)
    )


class Bench:
    """A core, its peers by address, its agents by flow."""

    def __init__(
        self,
        site: Site,
        node: str = "m1",
        now: float = 100.0,
        kept: PersistentState | None = None,
        names: dict[str, list[Place]] | None = None,
    ) -> None:
        self.now = now
        self.site = site
        self.peers: dict[tuple[str, int], Peer] = {}
        self.agents: dict[Flow, Peer] = {}
        self.closed: list[Flow] = []
        self.opened: list[Flow] = []
        self.cdrs: list[Cdr] = []
        self.decisions: list[str] = []
        self.beats: list[Send] = []
        self.stray: list[Send] = []
        self.names = dict(names or {})
        self.disk_fault: str | None = None
        kept = kept or fresh(site)
        secret = f"{node} {kept.incarnation} {now}".encode().ljust(32, b"s")  # other tags and Call-IDs at each start
        self.core = Core(site, node, kept, secret, random.Random(1), now, WALL, cipher=CookieCipher)
        self._waiting: list[tuple[Peer, bytes]] = []
        self.pump()

    @property
    def stack_sizes(self) -> dict[str, int]:
        """All that grows with calls."""
        core, stack = self.core, self.core.stack
        return {
            "servers": len(stack.servers),
            "clients": len(stack.clients),
            "legs": len(stack.legs),
            "deadlines": len(stack.deadlines),
            "calls": len(core.calls),
            "index": len(core.recovery.index),
            "busy": sum(load.busy for load in core.lines.loads.values()),
        }

    def pump(self) -> None:
        """Do what the core wants, until it wants nothing."""
        core = self.core
        while (actions := core.to_do()) or self._waiting:
            for action in actions:
                self._act(action)
            waiting, self._waiting = self._waiting, []
            for peer, data in waiting:
                peer.receive(data)
        while (event := core.next_event()) is not None:
            if isinstance(event, CallEnded):
                self.cdrs.append(event.record)
            else:
                self.decisions.append(str(event))

    def _act(self, action: Any) -> None:
        core = self.core
        if isinstance(action, Resolve):
            core.done(action, self.names.get(action.uri, _targets(action.uri)), self.now)
        elif isinstance(action, Store):
            core.done(action, self.disk_fault, self.now)
        elif isinstance(action, Open):
            self.opened.append(action.flow)
        elif isinstance(action, Close):
            self.closed.append(action.flow)
        elif action.flow in self.agents:
            self._waiting.append((self.agents[action.flow], action.data))
        elif action.flow.remote in self.peers:
            self._waiting.append((self.peers[action.flow.remote], action.data))
        elif action.urgent:
            self.beats.append(action)
        else:
            self.stray.append(action)

    def until(self, at: float) -> None:
        """Turn the clock, stopping wherever the core wants to be woken."""
        while (due := self.core.get_timer()) is not None and due <= at:
            self.now = max(self.now, due)
            self.core.handle_timer(self.now)
            self.pump()
        self.now = max(self.now, at)

    def after(self, seconds: float) -> None:
        self.until(self.now + seconds)

    def serve(self, within: float = 20.0) -> Bench:
        """Turn the clock until the core serves."""
        until = self.now + within
        while not self.core.serving and self.now < until:
            self.after(0.05)
        assert self.core.serving, self.decisions
        return self


def _targets(uri: str) -> list[Place]:
    host, _, port = uri.partition(":")[2].partition(":")
    return [Place("udp", host, int(port or 5060))] if host[0].isdigit() else []


class Side:
    """One end of a call at a peer: what a device or an agent knows of its dialog with the server."""

    def __init__(self, peer: Peer, call_id: str, tag: str, own: str, other: str, target: str) -> None:
        self.peer = peer
        self.call_id = call_id
        self.tag = tag
        self.other_tag = ""
        self.own = own
        self.other = other
        self.target = target
        self.cseq = 0
        self.seen = 0
        """The highest CSeq of the server."""
        self.invite: Request | None = None
        """The INVITE from the server that was answered last or is to be."""
        self.sent: Request | None = None
        """Our last request."""
        self.asked: list[Request] = []
        """Requests of the server in this dialog, oldest first."""
        self.heard: list[Response] = []
        self.token = ""
        self.answers: dict[str, list[bytes]] = {}
        """What was answered, by origin key: to be sent again to a repeat."""
        self.outgoing = False

    # what came

    @property
    def statuses(self) -> list[int]:
        """Statuses heard since the last look."""
        found = [each.status for each in self.heard]
        self.heard.clear()
        return found

    def take(self, method: str) -> Request:
        """The oldest request of the server that was not taken yet: it must be of that method."""
        assert self.asked and self.asked[0].method == method, (method, self.asked)
        return self.asked.pop(0)

    def receive(self, message: Message) -> None:
        token = message.get("call-state")
        if token:
            self.token = token
        if isinstance(message, Request):
            self.seen = max(self.seen, message.cseq)
            self.asked.append(message)
            if message.method == "INVITE":
                self.invite = message
        else:
            assert isinstance(message, Response)
            self.heard.append(message)
            if message.cseq_method == "INVITE" and message.status > 100 and message.to_tag:
                self.other_tag = message.to_tag
                self.target = contact_uri(message) or self.target
            if message.cseq_method == "INVITE" and message.status >= 300 and self.sent is not None:
                self._ack_failure(message)

    # what is said

    def say(
        self, method: str, lines: Iterable[str] = (), body: bytes = b"", branch: str = "", cseq: int | None = None
    ) -> Request:
        """A request in this dialog."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        to = f"{self.other};tag={self.other_tag}" if self.other_tag else self.other
        peer = self.peer
        via = f"Via: SIP/2.0/{peer.transport} {peer.host}:{peer.port};branch={branch or self._branch()}"
        if branch and self.sent is not None and self.sent.branch == branch:
            via = f"Via: {self.sent.get('via')}"  # a CANCEL's is that of its INVITE, whatever connection it goes by
        head = [
            f"{method} {self.target} SIP/2.0",
            via,
            f"From: {self.own};tag={self.tag}",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: {self.peer.contact}",
            "Max-Forwards: 70",
            *([TYPE] if body and not any(line.lower().startswith("content-type") for line in lines) else []),
            *lines,
            f"Content-Length: {len(body)}\r\n\r\n",
        ]
        data = "\r\n".join(head).encode("latin-1") + body
        request = parse_message(data)
        assert isinstance(request, Request)
        if method not in ("ACK", "CANCEL"):
            self.sent = request
        self.peer.send(data)
        return request

    def ack(self, body: bytes = b"", lines: Iterable[str] = ()) -> Request:
        """The ACK for a 2xx to our last INVITE."""
        assert self.sent is not None
        return self.say("ACK", lines, body, cseq=self.sent.cseq)

    def cancel(self) -> None:
        """CANCEL for the INVITE sent last."""
        assert self.sent is not None
        tag, self.other_tag = self.other_tag, ""
        target, self.target = self.target, self.sent.uri
        self.say("CANCEL", branch=self.sent.branch, cseq=self.sent.cseq)
        self.other_tag, self.target = tag, target

    def _ack_failure(self, response: Response) -> None:
        assert self.sent is not None
        tag, self.other_tag = self.other_tag, response.to_tag
        target, self.target = self.target, self.sent.uri
        self.say("ACK", branch=self.sent.branch, cseq=self.sent.cseq)
        self.other_tag, self.target = tag, target

    def answer(
        self,
        request: Request,
        status: int,
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
        reason: str = "Said",
    ) -> bytes:
        """Answer a request of the server."""
        to = request.get("to") or ""
        if not request.to_tag and status > 100:
            to += f";tag={tag or self.tag}"
            if status >= 200:
                self.tag = tag or self.tag
        more = list(lines)
        origin = request.get("call-origin")
        if origin is not None:
            more.append(f"Call-Origin: {origin};n={len(self.answers.setdefault(origin, [])) + 1}")
        head = [
            f"SIP/2.0 {status} {reason}",
            *(f"Via: {value}" for value in request.all("via")),
            f"From: {request.get('from')}",
            f"To: {to}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {request.get('cseq')}",
            *([f"Contact: {self.peer.contact}"] if status < 300 else []),
            *([TYPE] if body else []),
            *more,
            f"Content-Length: {len(body)}\r\n\r\n",
        ]
        data = "\r\n".join(head).encode("latin-1") + body
        if origin is not None:
            self.answers.setdefault(origin, []).append(data)
        self.peer.send(data)
        return data

    def ring(self, status: int = 180, tag: str = "", lines: Iterable[str] = (), body: bytes = b"") -> None:
        assert self.invite is not None
        self.answer(self.invite, status, (*self.peer.line_lines(self), *lines), body, tag)

    def accept(self, status: int = 200, body: bytes = SDP, tag: str = "", lines: Iterable[str] = ()) -> None:
        """Answer the INVITE."""
        assert self.invite is not None
        self.answer(self.invite, status, (*self.peer.line_lines(self), *lines), body, tag)

    def _branch(self) -> str:
        self.peer.branches += 1
        return f"z9hG4bK-{self.peer.name}-{self.peer.branches}"


class Peer:
    """A SIP device beside the server."""

    transport = "UDP"

    def __init__(self, bench: Bench, name: str, host: str = "127.0.0.1", port: int = 5090) -> None:
        self.bench = bench
        self.name = name
        self.host = host
        self.port = port
        self.branches = 0
        self.sides: list[Side] = []
        self.by_call_id: dict[str, Side] = {}
        self.others: list[Message] = []
        """What belongs to no call."""
        self.offline = False
        """Nothing that is said gets anywhere: the server is gone."""
        self.unread: list[bytes] = []
        """Answers that repeat what was wrong with a request."""
        local = f"{bench.site.servers[bench.core.node].sip[0].host}:5060" if type(self) is Peer else ""
        self.flow = Flow("udp", local, (host, port))
        if type(self) is Peer:
            bench.peers[host, port] = self

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self.host}:{self.port}>"

    def line_lines(self, side: Side) -> Sequence[str]:
        return ()

    def send(self, data: bytes | str) -> None:
        """Bytes to the server."""
        if isinstance(data, str):
            data = data.replace("\n", "\r\n").encode("latin-1")
        bench = self.bench
        if not self.offline:
            bench.core.receive(data, self.flow, bench.now)
            bench.pump()

    def receive(self, data: bytes) -> None:
        try:
            message = parse_message(data)
        except SipError:
            self.unread.append(data)
            return
        side = self.by_call_id.get(message.call_id)
        if side is None and isinstance(message, Request) and message.method == "INVITE" and not message.to_tag:
            side = self._called(message)
        if side is None:
            self.others.append(message)
        else:
            side.receive(message)

    def _called(self, invite: Request) -> Side:
        tag = f"{self.name}-{len(self.sides)}"
        side = Side(self, invite.call_id, tag, invite.get("to") or "", "", contact_uri(invite))
        head, _, side.other_tag = (invite.get("from") or "").rpartition(";tag=")
        side.other = head
        self._keep(side)
        return side

    def _keep(self, side: Side) -> None:
        self.sides.append(side)
        self.by_call_id[side.call_id] = side

    def call(
        self,
        number: str,
        body: bytes = SDP,
        lines: Iterable[str] = (),
        caller: str = "caller",
        call_id: str = "",
        uri: str = "",
    ) -> Side:
        """Send an INVITE."""
        host = f"127.0.0.1:{5060 if self.transport == 'UDP' else 5161}"
        call_id = call_id or f"c{len(self.sides)}@{self.name}"
        side = Side(self, call_id, f"t{len(self.sides)}", f"<sip:{caller}@{self.host}>", f"<sip:{number}@{host}>", "")
        side.target = uri or f"sip:{number}@{host}"
        side.outgoing = True
        self._keep(side)
        side.say("INVITE", lines, body)
        return side

    @property
    def called(self) -> Side:
        """The last call that came in."""
        return next(side for side in reversed(self.sides) if not side.outgoing)
