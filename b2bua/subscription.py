"""The server's half of one subscription to an agent's list (RFC 6665 section 4.1, docs/line-dialog.md)."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from sip.actions import Flow
from sip.dialog import dialog_key
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.headers import bracketed
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from b2bua.agents import AgentLink

logger = logging.getLogger(__name__)

PACKAGE: Final = "line-dialog"
TAKEOVER: Final = "takeover"
RESET: Final = "reset"
OBSERVE: Final = "observe"
BODY: Final = "application/line-dialog+json-seq"
REQUEST_BODY: Final = "application/line-dialog-request+json"
AGAIN: Final = "subscribe again"
NO_NOTIFY: Final = "no NOTIFY"


class Subscription:
    """One SUBSCRIBE of ours and its NOTIFYs (RFC 6665 section 4.1): the subscriber's half."""

    def __init__(self, link: AgentLink, purpose: str, flow: Flow, expires: int) -> None:
        stack = link.agents.core.stack
        self.link = link
        self.purpose = purpose
        self.flow = flow
        self.expires = expires
        self.generation = 0
        self._call_id = stack.token() + stack.token()
        self._tag = stack.token()
        self._cseq = 0
        stack.legs[dialog_key(self._call_id, self._tag)] = self

    def send(self, request: dict[str, Any], now: float) -> None:
        core = self.link.agents.core
        stack, flow = core.stack, self.flow
        body = json.dumps(request, separators=(",", ":")).encode()
        branch = stack.branch()
        self._cseq += 1
        host = f"{bracketed(flow.remote[0])}:{flow.remote[1]}"
        lines = [
            stack.via(flow, branch),
            "Max-Forwards: 70",
            f"From: <sip:{core.node}@{core.site.name}>;tag={self._tag}",
            f"To: <sip:{self.link.name}@{core.site.name}>",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self._cseq} SUBSCRIBE",
            stack.contact(flow),
            f"Event: {PACKAGE};purpose={self.purpose}",
            f"Accept: {BODY};version=1",
            f"Expires: {self.expires}",
            *core.reign.site_lines,
            f"Content-Type: {REQUEST_BODY}",
        ]
        data = request_bytes("SUBSCRIBE", f"sip:{self.link.name}@{host}", lines, body)
        stack.request("SUBSCRIBE", data, branch, flow, self, now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        core = self.link.agents.core
        if 200 <= response.status < 300 and self.link.is_current(self):
            self.link.adopted(now)
        if response.status == 403 and core.reign.heard_refusal(response, self.link.name, now):
            self.forget()
            self._later(1.0, now)  # when we still rule then, it is to hear of that
        elif response.status >= 300:
            logger.warning("%s refused a %s subscription: %s", self.link.name, self.purpose, response.status)
            self.forget()
            self._later(5.0, now)
        elif response.status >= 200 and self.expires:
            granted = response.get("expires") or ""
            self._later(
                0.8
                * (int(granted) if granted.isascii() and granted.isdigit() and len(granted) < 8 else self.expires),
                now,
            )

        elif response.status >= 200:
            lifetime = core.stack.timers.lifetime  # RFC 6665 section 4.1.2.4: timer N
            core.stack.deadlines.set(now + lifetime, self, NO_NOTIFY)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.forget()
        self._later(1.0, now)

    def _later(self, after: float, now: float) -> None:
        if self.purpose == TAKEOVER:
            self.link.agents.core.stack.deadlines.set(now + after, self, AGAIN)

    def due(self, cause: str, now: float) -> None:
        core = self.link.agents.core
        if cause is NO_NOTIFY:
            self.forget()
        elif core.member.participant.proof is not None and core.serving:
            self.link.subscribe(core.member.participant.proof, now)

    def receive(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A NOTIFY, on the connection of this agent and no other."""
        core = self.link.agents.core
        self.link.agents.messages += 2  # with its answer
        if request.method != "NOTIFY" or transaction.flow != self.link.flow:
            core.stack.reply(transaction, 481, now)
        elif not self.link.notified(request, self.purpose, now):
            core.stack.reply(transaction, 400, now, "Bad Request - the list cannot be read")
        elif self.purpose != TAKEOVER or not self.link.agents.put_off(transaction, now):
            core.stack.reply(transaction, 200, now)
        if (request.get("subscription-state") or "").startswith("terminated"):
            self.forget()
            self.link.agents.go_on(now)

    def receive_ack(self, ack: Request, now: float) -> None:
        pass

    def forget(self) -> None:
        self.generation += 1
        self.link.ended(self)
        self.link.agents.core.stack.legs.pop(dialog_key(self._call_id, self._tag), None)
