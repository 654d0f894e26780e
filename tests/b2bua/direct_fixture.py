"""Telephones that register with the servers, beside agents: made by hand, with passwords."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from sip.actions import Flow
from sip.digest import DigestClient, Refusal
from sip.wire.message import Response
from tests.b2bua.fake import KEY, SDP, TYPE, Bench, Peer, Side
from tests.b2bua.fake_agent import AGENTS

DIRECT = (
    AGENTS
    + """
[lines.desk]
kind = "direct"
numbers = ["1061"]
password = { env = "KEY" }
channels = 100
[lines.hall]
kind = "direct"
numbers = ["1062"]
password = { env = "KEY" }
channels = 100
"""
)


class Telephone(Peer):
    """One that registers, and proves itself where it is challenged."""

    def __init__(self, bench: Bench, user: str, host: str = "127.0.0.61", port: int = 5060) -> None:
        super().__init__(bench, user, host, port)
        self.digest = DigestClient(user, KEY, Random(2))
        self.cseq = 0
        self.behind = ""
        """``host:port`` that its Contact shows, where that is not where it is."""
        self.go(bench)

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self.behind or f'{self.host}:{self.port}'}>"

    def go(self, bench: Bench, host: str = "", port: int = 0) -> Telephone:
        """To another server, perhaps from elsewhere."""
        self.bench.peers.pop((self.host, self.port), None)
        self.bench, self.host, self.port = bench, host or self.host, port or self.port
        local = f"{bench.site.servers[bench.core.node].sip[0].host}:5060"
        self.flow = Flow("udp", local, (self.host, self.port))
        bench.peers[self.host, self.port] = self
        return self

    def register(self, expires: int = 300, lines: Iterable[str] = (), password: str = KEY) -> int:
        """The status that it comes to."""
        self.digest = DigestClient(self.name, password, Random(2))
        status = 401
        proof: tuple[str, ...] = ()
        for _ in range(2):
            if status != 401:
                break
            self.cseq += 1
            self.branches += 1
            head = [
                "REGISTER sip:paris SIP/2.0",
                f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bK-r{self.name}{self.branches}",
                f"From: <sip:{self.name}@paris>;tag=r",
                f"To: <sip:{self.name}@paris>",
                f"Call-ID: reg-{self.name}",
                f"CSeq: {self.cseq} REGISTER",
                f"Contact: {self.contact}",
                f"Expires: {expires}",
                "Max-Forwards: 70",
                *lines,
                *proof,
            ]
            self.send("\n".join(head) + "\nContent-Length: 0\n\n")
            response = self.others.pop()
            assert isinstance(response, Response)
            status = response.status
            if status == 401:
                proof = self.proof(response, "REGISTER", "sip:paris")
        return status

    def proof(self, response: Response, method: str, uri: str) -> tuple[str, ...]:
        """The header line that answers a challenge."""
        found = self.digest.answer(response, method, uri)
        assert not isinstance(found, Refusal), found
        return tuple(one.line for one in found)

    def dial(self, number: str, body: bytes = SDP, lines: Iterable[str] = ()) -> Side:
        """Call, with credentials once they are asked for."""
        side = self.call(number, body, lines, caller=self.name)
        [challenge] = [each for each in side.heard if each.status == 407]
        side.heard.clear()
        side.other_tag = ""
        side.target = side.sent.uri if side.sent is not None else side.target
        side.say("INVITE", (*lines, *self.proof(challenge, "INVITE", side.target)), body)
        return side

    def prove(self, side: Side, method: str, lines: Iterable[str] = (), body: bytes = b"") -> list[int]:
        """A request in a dialog that is challenged first, and the statuses that come of it."""
        side.say(method, (*lines, *([TYPE] if body else ())), body)
        challenge = side.heard.pop()
        assert challenge.status == 407, challenge.status
        side.say(method, (*lines, *([TYPE] if body else ()), *self.proof(challenge, method, side.target)), body)
        return side.statuses
