"""A call that the device opens: its INVITE goes to the servers, and is kept until one has answered it."""

from __future__ import annotations

from functools import lru_cache

from gateway_agent.call import HOLD, Call, Setup
from gateway_agent.deduplication import place_of
from gateway_agent.line_state import SentInvite
from gateway_agent.transfer import naming_lines_to_servers
from sip.b2b.policy import LATER, NOTHING, Passed
from sip.device.header_rules import ruled
from sip.device.identity import Numbers
from sip.device.reliability import across, answers_reliably, is_reliable
from sip.device.session import SDP
from sip.device.session_id import line_of, made
from sip.dialog import DialogState, called_by
from sip.header_policy import ALLOW, DEVICE_HOP, crossing, lines_of_body, max_forwards_left, passable_tag
from sip.invite import InviteUsage
from sip.invite.dialogs import MAX_EARLY
from sip.invite.reliable import RELIABLE
from sip.offer_answer import REMOTE_OFFER, description_in
from sip.priority import FIELDS
from sip.redirection import contact_lines
from sip.references import TOLD
from sip.transaction import CALLING, ServerTransaction
from sip.wire.errors import Malformed
from sip.wire.message import Request, Response


class Incoming(Setup):
    """The setup of a call that the device opened."""

    __slots__ = ("_described", "eager", "passed")

    direction = "in"

    def __init__(self) -> None:
        self.passed = (0, 0)
        """The highest (attempt, n) of the provisional responses passed on (docs/wire.md)."""
        self.eager = False
        """Whether responses that come unreliably may have to be sent to the device reliably (RFC 3262)."""
        self._described: dict[str, Passed] = {}
        """SDP answers that came in reliable responses and went to the device in unreliable ones, by early dialog. The
        2xx need not repeat them, but the device must get them with its 2xx."""

    def begin(
        self, call: Call, transaction: ServerTransaction, request: Request, numbers: Numbers, now: float
    ) -> None:
        """Take the INVITE: answer 100 to the device, and send it to the servers, now or when one is connected."""
        environment, line = call.environment, call.line
        stack = environment.stack
        device = InviteUsage(
            stack, call, transaction.flow, called_by(request, stack.token()), reach=line.reach, digest=line.digest
        )
        call.device = call.session.leg = device
        call.bridge.offer(device, transaction)
        if not transaction.last:  # it has waited, and was told so
            stack.reply(transaction, 100, now)
        call.session.calls(line.settings.session_timer, request, now)
        self.eager = "require" in request.names or line.settings.reliable == "required"
        call.session_id = request.get("session-id") or ""
        opening = environment.derivation.to_servers(request)
        call_id, local_tag, branches = opening or (stack.token() + stack.token(), stack.token(), None)
        stack.call_ids.join(call_id, request.call_id, call.label, call.label)
        state = DialogState(call_id, local_tag, "", numbers.sender, numbers.recipient)
        server = InviteUsage(stack, call, environment.server_flow, state, no_timeout=True, branches=branches)
        call.server = call.server_side.leg = server
        try:
            body = call.description.from_device(request, device.flow.remote[0], now)
        except Malformed as error:
            call.bridge.refuse(error.status, now, by="server")
            return
        kept_back = _kept_back(numbers.dropped, line.settings.trust_priority)
        lines = [*crossing(request, kept_back), *numbers.more]
        if line.identity.from_device_headers:
            lines = ruled(line.identity.from_device_headers, lines)
        if not request.body and line.settings.reliable != "no":
            lines += across(request)
        if line.settings.session_id and not call.session_id:
            call.session_id = made(call_id)
            lines += line_of(call.session_id, request)
        lines += naming_lines_to_servers(call, request)
        sent = SentInvite(branches(1), 1, bool(body)) if branches is not None else None
        lines += [f"Line: {call.label}", *environment.line_states.lines(call, now, sent)]
        call.bridge.invite(server, numbers.uri(environment.server), lines, body, max_forwards_left(request), 0.0, now)
        call.server_side.opened(transaction, bool(body), now)
        stack.deadlines.set(now + environment.hold_attempt, call, HOLD)

    def heard(self, call: Call, response: Response, now: float) -> None:
        """Note a provisional response that was passed on before a restart."""
        tag, device, server = passable_tag(response.to_tag), call.device, call.server
        call.early[tag] = response
        if device is not None and tag:
            device.dialogs.open(tag, response.status, device)
        plainly = call.description.device.state == REMOTE_OFFER
        if server is not None and plainly and response.body and "rseq" in response.names:
            self._reliably(call, response, call.passed(server, response, now), tag)

    def rang(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed | None:
        place = place_of(response)
        if place is not None:
            if place <= self.passed:
                return None  # the repetition of what the device has heard already
            self.passed = place
        tag = passable_tag(response.to_tag)
        if len(call.early) < MAX_EARLY or tag in call.early:
            call.early[tag] = response
        elif tag:
            return None
        if call.ringing_at is None and response.status in (180, 183):
            call.ringing_at = now
            call.environment.watched(call.line, now)
        passed = call.passed(leg, response, now)
        if self.eager or "rseq" in response.names:
            passed = self._reliably(call, response, passed, tag)
        # an answer that came reliably may not come again; what goes on reliably is told with its number, as it leaves
        alone = "rseq" in response.names and RELIABLE not in passed.lines
        call.environment.line_states.changed(call, now, alone and bool(passed.body))
        return passed

    def _reliably(self, call: Call, response: Response, passed: Passed, tag: str) -> Passed:
        """The response as the device gets it: reliably, where the device's INVITE, the line's settings and the
        response want that."""
        device, wanted = call.device, call.line.settings.reliable
        invite = device.server_invite.pending if device is not None else None
        if invite is not None and answers_reliably(wanted, invite.request, response):
            return Passed([*passed.lines, RELIABLE], passed.body)
        if passed.body and is_reliable(response) and tag and description_in(response) is not None:
            self._described[tag] = Passed(lines_of_body(passed.lines), passed.body)
        return passed

    def answered(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed:
        device = call.device
        assert device is not None and device.server_invite.pending is not None
        request = device.server_invite.pending.request
        lines, body = call.passed(leg, response, now)
        if not body and request is not None and request.body:
            more, body = self._answer(call, response)
            lines = [*lines, *more]
        lines = [*lines, *call.session.agree(request, now)]
        lines += TOLD[call.line.settings.transfer]
        if not any(line[:6].lower() == "allow:" for line in lines):
            lines.append(ALLOW)
        if request is not None and request.body:
            call.rollback.accept()
        call.picked_up(device, now)
        return Passed(lines, body)

    def _answer(self, call: Call, response: Response) -> Passed:
        """The SDP answer for a 2xx that has none because the answer came before in a reliable response; the device
        got that one unreliably, so it needs the answer in the 2xx."""
        described, offers = self._described.get(passable_tag(response.to_tag)), call.description.device
        if described is None and offers.state == REMOTE_OFFER and offers.last_local:  # told by a process before us
            described = Passed((SDP,), offers.last_local)
        return NOTHING if described is None else described

    def refusal(self, call: Call, response: Response) -> Passed:
        passed = super().refusal(call, response)
        if response.status >= 400 or call.device is None:
            return passed
        contacts = contact_lines(response, call.environment.stack, call.device.flow)
        return Passed([*passed.lines, *contacts], passed.body)

    def hold_over(self, call: Call, now: float) -> None:
        calling = call.server.client_invite.pending if call.server is not None else None
        if call.answered_at is None and calling is not None and calling.state == CALLING:
            call.environment.counters["no server"] += 1
            call.why = 'SIP;cause=503;text="No server"'
            call.bridge.refuse(503, now, lines=LATER.lines)

    def failed(self, call: Call, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        call.why = response.get("reason") or "" if response is not None else ""
        call.bridge.refuse(status, now, response=response, by="callee")


@lru_cache(maxsize=16)
def _kept_back(dropped: frozenset[str], trust_priority: bool) -> frozenset[str]:
    """Names of the header fields that are not passed on to the servers: those of the hop, and those that are not
    trusted from the line."""
    return DEVICE_HOP | dropped if trust_priority else DEVICE_HOP | dropped | FIELDS
