"""An agent of the site made by hand: it proves itself, votes, obeys, hands over lists, recognises repeats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from heartbeat import carriage
from heartbeat.agent_voter import AgentVoter
from heartbeat.decision import Persist, Tell
from heartbeat.handshake import Initiator
from heartbeat.header import OPEN
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof
from sip.actions import Flow
from sip.dialog import bare_uri, contact_uri
from sip.wire.message import Message, Request, Response
from sip.wire.message import parse as parse_message
from tests.b2bua.fake import SDP, Bench, Peer, Side, site_of


class FakeAgent(Peer):
    """An agent of the site: it proves itself, votes, obeys, hands over what it is told to hand over."""

    transport = "TCP"

    def __init__(
        self, bench: Bench, name: str, line: str, voter: AgentVoter | None = None, port: int = 40001
    ) -> None:
        super().__init__(bench, name, "127.0.0.1", port)
        self.line = line
        site = bench.site
        self.voter = voter or AgentVoter(
            name, site.membership(name), PersistentState(incarnation=1, non_voting=False), bench.now
        )
        self.keys = site.membership(name).keys
        self.records: list[dict[str, Any]] = []
        """What its lists hold."""
        self.lines: list[dict[str, Any]] = [{"line": line, "in-service": True}]
        self.silent = False
        """SUBSCRIBEs are answered, lists are held back until :meth:`notify`."""
        self.refuses = 0
        """Status with which SUBSCRIBEs are refused; 0: they are not."""
        self.mute = False
        """SUBSCRIBEs are not answered."""
        self.asked: list[tuple[str, dict[str, Any], Request]] = []
        """SUBSCRIBEs: purpose, body, request."""
        self.notified: list[int] = []
        """What NOTIFYs were answered."""
        self.repeats: list[Request] = []
        self.origins: dict[str, tuple[Side, list[bytes]]] = {}
        self.caller: Initiator | None = None
        self.connected = False
        self._conversations = 0

    # the connection

    def connect(self) -> FakeAgent:
        """Open a connection and prove ourselves."""
        bench = self.bench
        self._conversations += 1
        self.port += 10
        local = _local(bench)
        self.flow = Flow("tcp", f"{local}#{self.name}-{self._conversations}", (self.host, self.port))
        bench.agents[self.flow] = self
        bench.core.flow_changed(self.flow, "open", bench.now)
        self.caller = Initiator(bench.core.node, "ab" * 16)
        self.tell(self.caller.hello(self.voter.participant.stamp(bench.core.node)))
        assert self.connected
        return self

    def disconnect(self) -> None:
        bench = self.bench
        self.connected = False
        del bench.agents[self.flow]
        bench.core.flow_changed(self.flow, "lost", bench.now)
        bench.pump()

    def move(self, bench: Bench) -> FakeAgent:
        """To another server, with all that it has."""
        self.bench = bench
        self.offline = self.connected = False
        self.asked.clear()
        self.notified.clear()
        return self

    def tell(self, beat: Any) -> None:
        """A signed OPTIONS."""
        self.branches += 1
        via = f"Via: SIP/2.0/TCP {self.host}:{self.port};branch=z9hG4bKb{self.branches}"
        address = ("127.0.0.1", 5161)
        self.send(carriage.request(beat, self.keys[0], via, address, f"open-{self.port}", self.branches))

    def line_lines(self, side: Side) -> Sequence[str]:
        return (f"Line: {self.line}/{self.sides.index(side) + 1}",)

    def call(
        self,
        number: str,
        body: bytes = SDP,
        lines: Iterable[str] = (),
        caller: str = "caller",
        call_id: str = "",
        uri: str = "",
    ) -> Side:
        more = [*lines, f"Line: {self.line}/{len(self.sides) + 1}"]
        return super().call(number, body, more, caller, call_id, uri)

    # what comes

    def receive(self, data: bytes) -> None:
        message = parse_message(data)
        if message.cseq_method == "OPTIONS" and "heartbeat" in message:
            self._beat(message)
        elif isinstance(message, Request) and message.method == "SUBSCRIBE":
            self._subscribed(message)
        elif isinstance(message, Response) and message.cseq_method == "NOTIFY":
            self.notified.append(message.status)
        elif isinstance(message, Request) and not self._obeys(message):
            self._refuse(message)
        elif isinstance(message, Request) and (origin := message.get("call-origin")) in self.origins:
            self._recognised(message, str(origin))
        else:
            super().receive(data)
            if isinstance(message, Request) and (origin := message.get("call-origin")) is not None:
                side = self.by_call_id[message.call_id]
                self.origins[origin] = (side, side.answers.setdefault(origin, []))

    def _obeys(self, request: Request) -> bool:
        if request.method in ("ACK", "CANCEL") or not self.voter.leadership.node:
            return True
        said = dict(re.findall(r"(\w+)=([^;\s]+)", request.get("heartbeat") or ""))
        return self.voter.obeys(said.get("node", ""), int(said.get("epoch", 0)))

    def _refuse(self, request: Request) -> None:
        beat = self.voter.participant.stamp(self.bench.core.node, re=(1, 0), leader=self.voter.leadership.node)
        line = carriage.header(beat, self.keys[0], request.method, request.call_id, request.cseq)
        Side(self, request.call_id, "x", "", "", "").answer(request, 403, (line,))

    def _recognised(self, request: Request, origin: str) -> None:
        """A repeat by another server: its transaction takes the place of the old one (docs/wire.md)."""
        side, answers = self.origins[origin]
        self.repeats.append(request)
        if request.method == "INVITE" and not request.to_tag:
            self.by_call_id[request.call_id] = side
            side.call_id = request.call_id
            side.other, _, side.other_tag = (request.get("from") or "").rpartition(";tag=")
            side.target = contact_uri(request)
            side.invite, side.seen = request, request.cseq
        if token := request.get("call-state"):
            side.token = token
        final = [data for data in answers if not data.startswith(b"SIP/2.0 1")]
        for data in final[-1:] or list(answers):
            self.send(_for(request, data))

    def _beat(self, message: Message) -> None:
        assert isinstance(message, Request | Response)
        bench, voter = self.bench, self.voter
        beat = carriage.beat_in(message, self.keys)
        if beat.kind == OPEN:
            assert self.caller is not None
            again = self.caller.answered(beat, voter.participant.stamp(beat.node))
            voter.participant.opened(beat)
            if again is not None:
                self.tell(again)
            else:
                self.connected = True
            return
        assert isinstance(message, Request)
        voter.receive(beat, bench.core.node, bench.now)
        self._fence_acts(message)

    def _fence_acts(self, request: Request | None) -> None:
        for _ in range(4):
            for action in self.voter.to_do():
                if isinstance(action, Persist):
                    self.voter.persisted(action.state, self.bench.now)
                elif isinstance(action, Tell) and request is not None:
                    self.send(carriage.answer(request, action.beat, self.keys[0]))

    # lists

    def _subscribed(self, request: Request) -> None:
        purpose = (request.get("event") or "").partition("purpose=")[2]
        body = json.loads(request.body) if request.body else {}
        self.asked.append((purpose, body, request))
        if self.mute:
            return
        if self.refuses:
            Side(self, request.call_id, f"s{len(self.asked)}", "", "", "").answer(request, self.refuses)
            return
        if "proof" in body:
            fault = self.voter.participant.offer(Proof.parse(body["proof"]), self.bench.now)
            self._fence_acts(None)
            if fault or not self.voter.obeys(self.bench.core.node, body["epoch"]):
                self._refuse(request)
                return
        side = Side(self, request.call_id, f"s{len(self.asked)}", "", "", "")
        side.answer(request, 200, (f"Expires: {request.get('expires')}",))
        if not self.silent:
            self.notify(len(self.asked) - 1)

    def notify(
        self,
        which: int = -1,
        records: list[dict[str, Any]] | None = None,
        complete: bool = True,
        raw: bytes | None = None,
    ) -> int:
        """A part of the list for the SUBSCRIBE of that number; what it was answered."""
        purpose, wanted, request = self.asked[which]
        if records is None:
            records = self.records
            if "call-id" in wanted:
                records = [each for each in records if each["call-id"] in wanted["call-id"]]
        body = raw if raw is not None else self.list_of(records, complete)
        state = "terminated;reason=timeout" if request.get("expires") == "0" else "active;expires=3600"
        cseq = 1 + len(self.notified)
        head = [
            f"NOTIFY {contact_uri(request)} SIP/2.0",
            f"Via: SIP/2.0/TCP {self.host}:{self.port};branch=z9hG4bKn{self.port}-{which % 1000}-{cseq}",
            f"From: {request.get('to')};tag=s{which % len(self.asked) + 1}",
            f"To: {request.get('from')}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {cseq} NOTIFY",
            f"Event: line-dialog;purpose={purpose}",
            f"Subscription-State: {state}",
            "Content-Type: application/line-dialog+json-seq",
            f"Content-Length: {len(body)}\r\n\r\n",
        ]
        before = len(self.notified)
        self.send("\r\n".join(head).encode() + body)
        return self.notified[-1] if len(self.notified) > before else 0

    def list_of(self, records: list[dict[str, Any]], complete: bool = True) -> bytes:
        voter = self.voter
        head = {
            "site": self.bench.site.name,
            "agent": self.name,
            "boot": 1,
            "epoch": voter.leadership.epoch,
            "version": 1,
            "part": 1,
            "complete": complete,
        }
        return b"".join(b"\x1e" + _json(each) + b"\n" for each in (head, *self.lines, *records))


def _local(bench: Bench) -> str:
    at = bench.core.server.listen[0]
    return f"{at.host}:{at.port}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def _for(request: Request, data: bytes) -> bytes:
    """An answer given before, as the answer to a repeat."""
    response = parse_message(data)
    lines = [f"Via: {value}" for value in request.all("via")]
    lines += [request.line(name) for name in ("from", "call-id", "cseq")]
    replaced = ("via", "from", "call-id", "cseq")
    lines += [line for name, line in zip(response.names, response.lines, strict=True) if name not in replaced]
    return "\r\n".join((response.start, *lines, "", "")).encode("latin-1") + response.body


def record(side: Side, state: str = "confirmed", **more: Any) -> dict[str, Any]:
    """What an agent hands over of one dialog, seen from the server (docs/wire.md)."""
    sent = [parse_message(each["request"].encode("latin-1")).cseq for each in more.get("sent", ())]
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {
        "call-id": side.call_id,
        "local-tag": side.other_tag,
        "call-state": side.token,
        "state": state,
        "remote-tag": side.tag,
        "direction": "recipient" if side.outgoing else "initiator",
        "local": side.other,
        "remote": side.own,
        "target": bare_uri(side.peer.contact),
        "cseq": {"local": side.seen, "remote": min(sent) - 1 if sent else side.cseq},
        **named,
    }


def kept(request: Request | None, cancelled: bool = False) -> dict[str, Any]:
    """A request that an agent has no final answer to."""
    assert request is not None
    return {"request": text_of(request), "cancelled": cancelled}


def text_of(message: Message) -> str:
    """A message as records hold it."""
    return message.to_bytes().decode("latin-1")


AGENTS = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
sip = "udp:127.0.0.1:5060"
beat = "udp:127.0.0.1:5162"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5161"
sip = "udp:127.0.0.2:5060"
beat = "udp:127.0.0.2:5162"
[agents.gw1]
sip = "udp:127.0.0.11:5060"
[agents.gw2]
sip = "udp:127.0.0.12:5060"
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["1001"]
password = { env = "KEY" }
channels = 2000
[lines.bob]
kind = "phone"
agent = "gw2"
numbers = ["1002"]
password = { env = "KEY" }
forward = { busy = "1003", no_answer = "1004", after = 10 }
channels = 2000
[lines.carol]
kind = "phone"
agent = "gw2"
numbers = ["1003"]
password = { env = "KEY" }
channels = 2000
[lines.dave]
kind = "phone"
agent = "gw1"
numbers = ["1004"]
password = { env = "KEY" }
[lines.own]
kind = "trunk"
peer = "sip:127.0.0.1:5080"
channels = 2000
[[routes]]
match = "9*"
to = ["own"]
[[routes]]
match = "2000"
to = ["bob", "dave"]
"""


class ServerFixture:
    """A main server with two agents, elected by their votes."""

    def __init__(self, text: str = AGENTS) -> None:
        self.bench = Bench(site_of(text))
        self.gw1 = FakeAgent(self.bench, "gw1", "alice").connect()
        self.gw2 = FakeAgent(self.bench, "gw2", "bob", port=40002).connect()
        self.bench.serve()
        self.bench.after(1)
        assert self.bench.core.agents.all_complete

    def talk(self) -> tuple[Side, Side]:
        a = self.gw1.call("1002")
        b = self.gw2.called
        b.ring()
        b.accept()
        a.ack()
        assert [each.method for each in b.asked] == ["INVITE", "ACK"] and a.statuses == [100, 180, 200]
        b.asked.clear()
        return a, b

    def die(self) -> None:
        """The server is gone from one moment to the next."""
        self.gw1.offline = self.gw2.offline = True

    def succeed(self, *without: str, node: str = "m2", boot: int = 1) -> Bench:
        """The stand-by wins the site, with the agents that are not left out; what they hand over was set before."""
        disk = self.gw1.voter.participant.on_disk
        mind = PersistentState(
            incarnation=boot, non_voting=False, voters=disk.voters, leadership=disk.leadership, granted=disk.granted
        )
        bench = Bench(self.bench.site, node, self.bench.now, mind)
        self.bench = bench
        for agent in (self.gw1, self.gw2):
            agent.move(bench)
            if agent.name not in without:
                agent.connect()
        if without:
            bench.core.member.force(bench.now)
            bench.pump()
        bench.serve()
        bench.after(0.1)
        return bench
