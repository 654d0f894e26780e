"""The two programs that meet devices, seen from one trunk: an agent with a line, a server with a trunk of its own.

A :class:`Rig` is played from the device's side by the verbs of ``tests.gateway_agent.agent_fixture``; what is behind
the program, a server or another trunk, only calls, answers and asks by the few verbs that begin with ``far``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from b2bua.core import Core as ServerCore
from gateway_agent.core import Core as AgentCore
from heartbeat.site.load import parse as parse_site
from sip.actions import Flow
from sip.wire.framing import PING
from sip.wire.message import Message, Request, Response, parse
from tests.b2bua.fake import WALL, fresh
from tests.gateway_agent.agent_fixture import CARRIER, KEY, LISTEN, SDP, SITE, AgentFixture, response_to, taken

PEER = 'peer = "sip:127.0.0.21:5060"'
TYPE = "Content-Type: application/sdp"
FAR = Flow("udp", LISTEN, ("127.0.0.41", 5060))
ACCOUNT = 'register = { registrar = "sip:127.0.0.21:5060", user = "u", password = { env = "ALICE" } }'

_OWN = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.11:5060", "tcp:127.0.0.11:5060"]
[lines.trunk1]
kind = "trunk"
%s
channels = 9
%s
[lines.far]
kind = "trunk"
peer = "sip:127.0.0.41:5060"
channels = 9
%s
[[routes]]
match = "+33166"
to = ["far"]
[[routes]]
match = "*"
to = ["trunk1"]
"""


def secured(text: str, program: str) -> str:
    """A site file with a listener for TLS."""
    listen = '"udp:127.0.0.11:5060", '
    tls = 'tls = { certificate = "sbc.pem", key = "sbc.key", clients = "required" }'
    assert listen in text
    text = text.replace(listen, f'{listen}"tls:127.0.0.11:5061", ', 1)
    return text.replace(f"[{program}]\n", f"[{program}]\n{tls}\n", 1)


class Rig(Protocol):
    """What a test of the device side needs."""

    now: float
    inbox: dict[Flow, deque[Message]]
    core: Any

    def far_calls(self, body: bytes = SDP, call_id: str = "far-1", lines: Sequence[str] = ()) -> None:
        """Call the device, by the number +33177."""

    def far_takes(self, kind: str | int) -> Any:
        """The next message behind the program; it must be that method or status."""

    def far_replies(self, status: int, lines: Sequence[str] = (), body: bytes = b"") -> None:
        """Answer the request that was taken last."""

    def far_asks(self, method: str, body: bytes = b"") -> None:
        """A request in the dialog; an ACK or CANCEL for the INVITE before it."""

    def far_pracks(self, response: Response, body: bytes) -> None:
        """Answer the offer in a provisional response, by PRACK."""

    def far_serves_prack(self) -> None:
        """Whoever acknowledges the reliable response that was given there is answered."""

    def far_hears_nothing(self) -> bool:
        """Whether nothing else came there."""

    def far_forgets(self) -> list[int]:
        """Nothing that came there matters; the statuses that it heard."""


class _Device(AgentFixture):
    """The device's side, the same for both."""

    def calls_in(self, lines: Sequence[str] = ()) -> Any:
        """The device's call is answered and acknowledged: its 200."""
        self.request("INVITE", lines=lines, body=SDP)
        self.take(100)
        rig: Any = self
        rig.far_takes("INVITE")
        rig.far_replies(200, [TYPE], SDP)
        ok = self.take(200)
        self.request("ACK", to_tag=ok.to_tag)
        rig.far_takes("ACK")
        self.run(0.02)
        return ok

    def calls_out(self, lines: Sequence[str] = ()) -> Request:
        """The device is called, has answered and heard the ACK: its INVITE."""
        rig: Any = self
        rig.far_calls()
        rig.far_takes(100)
        invite: Request = self.take("INVITE")
        self.reply(invite, 200, [TYPE, *lines], SDP)
        rig.far_takes(200)
        rig.far_asks("ACK")
        self.take("ACK")
        self.run(0.02)
        return invite

    def asks(self, invite: Request, method: str, cseq: int, lines: Sequence[str] = (), body: bytes = b"") -> str:
        """A request of the called device, in the dialog of that INVITE."""
        contact = (invite.get("contact") or "").strip("<>")
        return self.request(
            method,
            contact,
            lines,
            body,
            call_id=invite.call_id,
            from_tag="devtag",
            to_tag=invite.from_tag,
            cseq=cseq,
            sender=invite.to_untagged,
            recipient=invite.from_untagged,
        )

    @property
    def far_taken(self) -> Any:
        """What was taken last behind the program."""
        rig: Any = self
        return rig._taken

    def far_retakes(self, message: Any) -> None:
        """Go back to that, to be answered."""
        rig: Any = self
        rig._taken = message

    def inbox_of(self) -> list[Message]:
        """What the device got and did not read."""
        return list(self.inbox.get(CARRIER, ()))


class AgentRig(_Device):
    """The trunk is a line of an agent."""

    def __init__(self, more: str = "", peer: str = PEER, lines: str = "", secure: bool = False) -> None:
        text = SITE.replace(PEER, peer) + lines
        super().__init__(more, text=secured(text, "agents.gw1") if secure else text)
        self.core: AgentCore
        self._branch = ""
        self._cseq = 0
        self._taken: Any = None
        self._call_id, self._tags = "", ("", "")

    def far_calls(self, body: bytes = SDP, call_id: str = "far-1", lines: Sequence[str] = ()) -> None:
        self._cseq = 1
        self._call_id, self._tags = call_id, ("srv", "")
        uri = "sip:+33177@gw1;line=trunk1"
        self._branch = self.m1.request("INVITE", uri, lines, body, call_id=call_id, origin=f"gw2;z9hG4bK{call_id};1")

    def far_takes(self, kind: str | int) -> Any:
        message = self._taken = self.m1.take(kind)
        if kind == "INVITE" and not message.to_tag:
            self._call_id, self._tags = message.call_id, ("srvtag", message.from_tag)
        elif kind == 200 and message.cseq_method == "INVITE":
            self._tags = (self._tags[0], message.to_tag)
        return message

    def far_replies(self, status: int, lines: Sequence[str] = (), body: bytes = b"") -> None:
        self.m1.reply(self._taken, status, lines, body)

    def far_asks(self, method: str, body: bytes = b"") -> None:
        again = method in ("ACK", "CANCEL")
        self._cseq += not again
        mine, theirs = self._tags
        branch = self.m1.request(
            method,
            "sip:gw1",
            body=body,
            branch=self._branch if method == "CANCEL" else "",
            call_id=self._call_id,
            from_tag=mine,
            to_tag=theirs,
            cseq=self._cseq,
            origin="" if again else f"gw2;z9hG4bK{method}{self._cseq};1",
        )
        if method == "INVITE":
            self._branch = branch

    def far_pracks(self, response: Response, body: bytes) -> None:
        self._tags = (self._tags[0], response.to_tag)
        self.far_asks("PRACK", body)

    def far_serves_prack(self) -> None:
        pass  # its own agent has

    def far_hears_nothing(self) -> bool:
        return not self.m1.inbox

    def far_forgets(self) -> list[int]:
        heard = [one.status for one in self.m1.inbox if isinstance(one, Response)]
        self.m1.inbox.clear()
        return heard


class ServerRig(_Device):
    """The trunk is the server's own, and so is the one behind it."""

    def __init__(self, more: str = "", peer: str = PEER, lines: str = "", secure: bool = False) -> None:
        self.now = 100.0
        source = "" if "from = " in peer or secure else '\nfrom = ["127.0.0.21", "127.0.0.22"]'
        text = _OWN % (peer + source, more, lines.replace('agent = "gw1"', ""))
        text = secured(text, "servers.m1") if secure else text
        site = parse_site(text, Path("site.toml"), {"KEY": KEY.decode(), "ALICE": "secret"})
        self.core: Any = ServerCore(site, "m1", fresh(site), b"s" * 32, Random(1), self.now, WALL)
        self.inbox = {}
        self.resolving = []
        self.disk = None
        self.refusing, self.dead = set(), set()
        self.opened, self.all_opened, self.closed, self.pings = [], [], [], []
        self.reached = {}
        self._serial = 0
        self._cseq = 0
        self._branch = ""
        self._taken: Any = None
        self._call_id, self._tags = "", ("", "")
        self.pump()
        while not self.core.serving:
            self.run(0.1)

    def _carry(self, action: Any) -> None:
        if action.data == PING:
            self.pings.append(action.flow)
        elif action.flow.transport == "udp" or action.flow in self.opened:
            box = self.inbox.setdefault(action.flow, deque())
            box.append(parse(action.data))

    def far_calls(self, body: bytes = SDP, call_id: str = "far-1", lines: Sequence[str] = ()) -> None:
        self._cseq = 1
        self._call_id, self._tags = call_id, ("far", "")
        self._branch = self._far_request("INVITE", "sip:+33177@127.0.0.11", body, lines=lines)

    def far_takes(self, kind: str | int) -> Any:
        message = self._taken = taken("the far trunk", self.inbox.get(FAR, deque()), kind)
        if kind == "INVITE" and not message.to_tag:
            self._call_id, self._tags = message.call_id, ("srvtag", message.from_tag)
        elif kind == 200 and message.cseq_method == "INVITE":
            self._tags = (self._tags[0], message.to_tag)
        return message

    def far_replies(self, status: int, lines: Sequence[str] = (), body: bytes = b"") -> None:
        contact = "Contact: <sip:127.0.0.41:5060>"
        self.say(response_to(self._taken, status, [contact, *lines], body, "srvtag"), FAR)

    def far_asks(self, method: str, body: bytes = b"") -> None:
        self._cseq += method not in ("ACK", "CANCEL")
        branch = self._far_request(method, "sip:127.0.0.11:5060", body, self._branch if method == "CANCEL" else "")
        if method == "INVITE":
            self._branch = branch

    def _far_request(self, method: str, uri: str, body: bytes, branch: str = "", lines: Sequence[str] = ()) -> str:
        mine, theirs = self._tags
        return self.request(
            method,
            uri,
            lines,
            body,
            flow=FAR,
            branch=branch,
            call_id=self._call_id,
            from_tag=mine,
            to_tag=theirs if method != "CANCEL" or self._cseq > 1 else "",
            cseq=self._cseq,
            sender="<sip:+33155@paris>",
            recipient="<sip:+33177@paris>",
        )

    def far_pracks(self, response: Response, body: bytes) -> None:
        self._tags = (self._tags[0], response.to_tag)
        self._cseq += 1
        lines = [f"RAck: {response.get('rseq')} {response.cseq} INVITE"]
        self._far_request("PRACK", "sip:127.0.0.11:5060", body, lines=lines)

    def far_serves_prack(self) -> None:
        prack = taken("the far trunk", self.inbox.get(FAR, deque()), "PRACK")
        self.say(response_to(prack, 200, [], b"", "srvtag"), FAR)

    def far_hears_nothing(self) -> bool:
        return self.silent(FAR)

    def far_forgets(self) -> list[int]:
        heard = [one.status for one in self.inbox.get(FAR, ()) if isinstance(one, Response)]
        self.inbox.get(FAR, deque()).clear()
        return heard


def sent(rig: Any, kind: str, flow: Flow = CARRIER) -> list[Message]:
    """What went to a device, of that method, left unread."""
    return [one for one in rig.inbox.get(flow, ()) if isinstance(one, Request) and one.method == kind]
