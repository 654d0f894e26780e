"""Disorder from seeds: servers come and go, both sides say anything at any time, messages are mangled.

Nothing may raise, no channel may be lost or given twice, and when all is over nothing may be left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from sip.wire.errors import SipError
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture, Server

TEXT = SITE.replace(
    "%s",
    'session_timer = { expires = 100, min_se = 90 }\nlongest_call = 300\ntransfer = "pass"\nsession_id = true\n%s',
)
TAGS = ("srvtag", "devtag", "far", "")
METHODS = ("INVITE", "BYE", "INFO", "ACK", "CANCEL", "UPDATE", "OPTIONS", "MESSAGE", "PRACK", "REFER", "NOTIFY")
STATUSES = (100, 180, 183, 183, 200, 200, 202, 302, 401, 405, 407, 422, 481, 486, 487, 500, 503, 603)
LINES: tuple[tuple[str, ...], ...] = (
    (),
    ("Require: timer",),
    ("Session-Expires: 100;refresher=uac", "Supported: timer"),
    ("Min-SE: 200",),
    ("Call-Origin: gw1;b;1;n=2",),
    ("Call-Origin: x;;n=",),
    ("Max-Forwards: 0",),
    ("Require: 100rel", "RSeq: 7"),
    ("Require: 100rel", "RSeq: 8", "RAck: 7 1 INVITE"),
    ("Supported: 100rel, 199", "RAck: x", "RSeq: 99999999999999999999"),
    ("Refer-To: <sip:1001@h?Replaces=c1%3Bto-tag%3Dsrvtag%3Bfrom-tag%3Ddevtag>", "Event: refer;id=1"),
    ("Replaces: c1;to-tag=far;from-tag=devtag", "Allow: INVITE"),
)


class Disorder:
    """One seed's worth."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.fixture = AgentFixture(text=TEXT)
        self.said: list[bytes] = []

    def run(self, steps: int) -> None:
        acts: list[Callable[[], None]] = [
            self._device_asks,
            self._device_asks,
            self._server_asks,
            self._server_answers,
            self._server_answers,
            self._device_answers,
            self._device_answers,
            self._time,
            self._life,
            self._takeover,
            self._mangled,
        ]
        for _ in range(steps):
            try:
                self.random.choice(acts)()
            except SipError:
                pass  # of the fixture: it cannot read the answer to a mangled message

    def _one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def _servers(self) -> list[Server]:
        return [server for server in (self.fixture.m1, self.fixture.m2) if server.flow is not None]

    def _device_asks(self) -> None:
        self.fixture.request(
            self._one(*METHODS),
            body=self._one(SDP, b"", b"junk"),
            lines=self._one(*LINES),
            call_id=f"c{self.random.randrange(4)}",
            to_tag=self._one(*TAGS),
            cseq=self.random.randrange(1, 6),
            branch=self._one("", f"z9hG4bKb{self.random.randrange(6)}"),
        )

    def _server_asks(self) -> None:
        for server in self._servers()[: self._one(1, 2)]:
            server.request(
                self._one(*METHODS),
                self._one("sip:1@gw1;line=trunk1", "sip:gw1", "sip:1@gw1;line=alice", "tel:+1"),
                body=self._one(SDP, b""),
                call_id=f"s{self.random.randrange(3)}",
                to_tag=self._one(*TAGS),
                cseq=self.random.randrange(1, 6),
                origin=self._one("", f"o;{self.random.randrange(5)};1"),
                branch=self._one("", f"z9hG4bKs{self.random.randrange(6)}"),
            )

    def _server_answers(self) -> None:
        for server in self._servers():
            asked = [one for one in server.inbox if isinstance(one, Request) and one.method != "ACK"]
            if asked:
                body, tag = self._one(SDP, b""), self._one("srvtag", "t2")
                server.reply(self._one(*asked), self._one(*STATUSES), self._one(*LINES), body, tag)

    def _device_answers(self) -> None:
        for flow, inbox in list(self.fixture.inbox.items()):
            asked = [one for one in inbox if isinstance(one, Request) and one.method != "ACK"]
            if asked:
                body, tag = self._one(SDP, b""), self._one("devtag", "d2")
                self.fixture.reply(self._one(*asked), self._one(*STATUSES), self._one(*LINES), body, tag, flow)

    def _time(self) -> None:
        self.fixture.run(self._one(0.1, 1, 9, 40, 120))

    def _life(self) -> None:
        server = self._one(self.fixture.m1, self.fixture.m2)
        if server.up:
            self.fixture.kill(server)
        else:
            server.up = True

    def _takeover(self) -> None:
        for server in self._servers()[:1]:
            epoch = max(1, self.fixture.core.epoch + self._one(-1, 0, 1, 1))
            server.subscribe(self._one("takeover", "takeover", "reset", "observe"), self._one(0, 3600), epoch)

    def _mangled(self) -> None:
        lines = (
            b"INVITE sip:1@x SIP/2.0",
            b"Via: SIP/2.0/UDP h;branch=z9hG4bKm",
            b"From: <sip:a@x>;tag=1",
            b"To: <sip:b@x>",
            b"Call-ID: m",
            b"CSeq: 1 INVITE",
            b"Contact: <sip:x>",
            b"Content-Length: 0",
        )
        data = bytearray(b"\r\n".join((*lines, b"", b"")))
        for _ in range(self.random.randrange(1, 5)):
            at = self.random.randrange(len(data))
            data[at : at + self._one(0, 1, 20)] = self._one(b"", b"\r\n", b";", b'"', b"\x00", b"<", b"9" * 30)
        self.fixture.say(bytes(data))

    def settle(self) -> None:
        """A server takes over and drops everything; then time passes."""
        fixture = self.fixture
        fixture.m1.up = fixture.m2.up = True
        fixture.run(5)
        assert fixture.m2.subscribe(epoch=fixture.core.epoch + 7) == 200
        assert fixture.m2.subscribe("reset", 0, lines=["trunk1", "alice"]) == 200
        fixture.run(200)
        fixture.m2.beat()
        fixture.run(100)


@pytest.mark.parametrize("seed", range(40))
def test_disorder(seed: int) -> None:
    disorder = Disorder(seed)
    core = disorder.fixture.core
    for _ in range(4):
        disorder.run(20)
        for line in core.lines.values():
            assert line.busy == sum(call.line is line and call.end is None for call in core.calls.values())
    disorder.settle()
    assert not core.calls
    assert not core.by_call_id
    assert not core.gone
    assert not core.stack.servers
    assert not core.stack.clients
    assert len(core.stack.legs) == len(core.handover.subscriptions)
    assert not any(line.busy for line in core.lines.values())
