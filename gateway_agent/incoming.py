"""A call that the device opens: its INVITE goes to the servers, and is kept until one has answered it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gateway_agent.call import HOLD, RINGING, TALKING
from gateway_agent.deduplication import place_of
from gateway_agent.dialogs import Dialogs
from gateway_agent.numbers import Numbers
from gateway_agent.pending import AGENT, DEVICE, Sent, for_device, hops_of
from gateway_agent.session_timer import SessionTimer, asked_by, supports
from sip.dialog import DialogState, called_by
from sip.header_policy import ALLOW, DEVICE_HOP, crossing, passable_tag
from sip.invite import MAX_EARLY, InviteUsage
from sip.transaction import CALLING, ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line

_UNTRUSTED: Final = DEVICE_HOP | {"p-asserted-identity"}
_NO_PRIORITY: Final = DEVICE_HOP | {"priority"}
_NEITHER: Final = _UNTRUSTED | _NO_PRIORITY


class Incoming(Dialogs):
    """The device called."""

    __slots__ = ("early", "passed")

    direction = "in"

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        super().__init__(core, line, channel, number, now)
        self.early: dict[str, Response] | None = None
        """The last provisional response of each early dialog, for the record."""
        self.passed = (0, 0)
        """The highest (attempt, n) of the provisional responses passed on (docs/wire.md)."""

    def begin(self, transaction: ServerTransaction, request: Request, numbers: Numbers, now: float) -> None:
        """Take the INVITE: 100 to the device, and on to the servers, now or when one is there."""
        core, stack, settings = self.core, self.core.stack, self.line.settings
        device = InviteUsage(stack, self, transaction.flow, called_by(request, stack.token()), reach=self.line.reach)
        device.invite = transaction
        transaction.context = self.device = device
        stack.reply(transaction, 100, now)
        timer = settings.session_timer
        if timer is not None or (asked_by(request) is not None and supports(request)):
            interval, least = (timer.expires, timer.min_se) if timer is not None else (1800, 90)
            self.timer = SessionTimer(interval, least, now)
        self.session_id = request.get("session-id") or ""
        state = DialogState(stack.token() + stack.token(), stack.token(), "", numbers.sender, numbers.recipient)
        server = self.server = InviteUsage(stack, self, core.upstream, state)
        server.patient = True
        sent = Sent(transaction, now, core.connected, 1, bool(request.body))
        self.sent.append(sent)
        lines = crossing(request, self._kept_back())
        lines.append(f"Line: {self.label}")
        uri = numbers.uri(core.server_host)
        body = self.description.from_device(request, device.flow.remote[0], now)
        server.call(uri, lines, body, now, sent, hops_of(request))
        sent.client = server.pending_client_invite
        stack.deadlines.set(now + core.hold_attempt, self, HOLD)

    def _kept_back(self) -> frozenset[str]:
        """What is not believed from this line."""
        if self.line.kind == "phone":  # RFC 3325 section 5: from outside the trust domain
            return _UNTRUSTED if self.line.settings.trust_priority else _NEITHER
        return DEVICE_HOP if self.line.settings.trust_priority else _NO_PRIORITY

    def _server_answered(
        self, leg: InviteUsage, transaction: ClientTransaction, sent: Sent, response: Response, now: float
    ) -> None:
        device = self.device
        if transaction.method != "INVITE" or self.answered_at is not None or sent.asked is None:
            super()._server_answered(leg, transaction, sent, response, now)
            return
        status = response.status
        invite = device.invite if device is not None else None
        if self.ended is not None or device is None or invite is None:
            if status // 100 == 2:  # it crossed what ended the call (docs/wire.md, CANCEL)
                self.answered_at = now
                self.early = None
                leg.acknowledge((), b"", now)
                reason = self.ended.reason if self.ended is not None else ""
                self.to_server("BYE", (f"Reason: {reason}",) if reason else (), b"", now, None, 70)
            return
        if 100 < status < 200:
            self._rang(device, invite, response, now)
        elif status // 100 == 2:
            self._picked_up(device, invite, response, now)
        elif status >= 300:
            lines = crossing(response, DEVICE_HOP)
            self.finish("server", response.get("reason") or "", status, now)
            device.reply(invite, for_device(status), now, response.reason, lines, response.body)

    def _rang(self, device: InviteUsage, invite: ServerTransaction, response: Response, now: float) -> None:
        place = place_of(response)
        if place is not None:
            if place <= self.passed:
                return  # the repetition of what the device has heard already
            self.passed = place
        tag = passable_tag(response.to_tag)
        if self.early is None:
            self.early = {}
        if len(self.early) < MAX_EARLY or tag in self.early:
            self.early[tag] = response
        elif tag:
            return
        if self.ringing_at is None and response.status in (180, 183):
            self.ringing_at = now
            self.phase = RINGING
        body = self.description.from_server(response, now)
        lines = crossing(response, DEVICE_HOP)
        device.reply(invite, response.status, now, response.reason, lines, body, tag)

    def _picked_up(self, device: InviteUsage, invite: ServerTransaction, response: Response, now: float) -> None:
        self.answered_at = now
        self.phase = TALKING
        self.early = None
        lines = crossing(response, DEVICE_HOP)
        if self.timer is not None and invite.request is not None:
            lines += self.timer.agree(invite.request, now)
        longest = self.line.settings.longest_call
        self.ends_at = now + longest if longest else None
        self.description.anchor.watch(self.line.settings.media_timeout)
        self.arm(now)
        if not any(line[:6].lower() == "allow:" for line in lines):
            lines.append(ALLOW)
        body = self.description.from_server(response, now)
        if invite.request is not None and invite.request.body:
            self.agreed()
        device.reply(invite, response.status, now, response.reason, lines, body, passable_tag(response.to_tag))

    # -- the end before the answer --------------------------------------------------------------------------------

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """200 was said; 487 now, and the agent owns what is left to do (docs/wire.md)."""
        device = self.device
        if leg is not device or device.established:
            super().cancelled(leg, invite, cancel, now)
            return
        if device.invite is None:
            return
        self.finish(DEVICE, cancel.get("reason") or "", 487, now)
        device.reply(device.invite, 487, now)
        self.abandon_setup(cancel.get("reason") or "", now)
        self.settle(now)

    def abandon_setup(self, reason: str, now: float) -> None:
        server = self.server
        for sent in list(self.sent):
            client = sent.client
            if client is None or client.method != "INVITE" or client.answered or server is None:
                continue
            if sent.reached:
                sent.cancelled = True
                server.cancel(now, (f"Reason: {reason}",) if reason else ())
            else:
                self.withdraw(sent, now)

    def refuse_setup(self, status: int, lines: Sequence[str], now: float) -> None:
        device = self.device
        if device is not None and device.invite is not None and not device.established:
            device.reply(device.invite, status, now, lines=lines)
            self.abandon_setup("", now)

    def _hold_over(self, now: float) -> None:
        if self.answered_at is not None:
            super()._hold_over(now)
            return
        client = self.server.pending_client_invite if self.server is not None else None
        device = self.device
        if client is None or client.state != CALLING or device is None or device.invite is None:
            return
        self.core.counters["no server"] += 1
        self.finish(AGENT, 'SIP;cause=503;text="No server"', 503, now)
        device.reply(device.invite, 503, now, lines=("Retry-After: 5",))
        self.abandon_setup("", now)
        self.settle(now)
