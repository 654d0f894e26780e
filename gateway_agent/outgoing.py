"""A call that a server opens: to one peer of a trunk after the other, or to all contacts of a phone at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway_agent.call import Call, Setup, believed_of_device
from gateway_agent.far_side import Target
from gateway_agent.transfer import naming_lines_to_device
from sip.actions import Flow
from sip.b2b.bridge import SETUP
from sip.b2b.policy import Passed
from sip.device.header_rules import ruled
from sip.device.identity import Numbers, to_device
from sip.device.reliability import SUPPORTED, asking, is_reliable, marks
from sip.device.session_id import made
from sip.dialog import DialogState, called_by
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, passable_tag
from sip.invite import InviteUsage
from sip.invite.dialogs import MAX_EARLY
from sip.references import TOLD
from sip.transaction import ServerTransaction
from sip.wire.errors import Malformed
from sip.wire.headers import tokens
from sip.wire.message import Request, Response


class Attempt(NamedTuple):
    """One target that was called."""

    target: Target
    uri: str
    told: Numbers
    """The caller and called number, as the target was told them."""


class Outgoing(Setup):
    """The setup of a call that a server opened."""

    __slots__ = ("_best", "_called", "_shown", "_silent", "_spare", "_tags")

    direction = "out"

    def __init__(self, targets: Sequence[Target], shown: Callable[[Flow], str]) -> None:
        """``shown`` gives the agent's host as the far end of a flow is to see it."""
        self._spare = list(targets)
        self._shown = shown
        self._silent = False
        """Whether a target has not answered at all, or with 408."""
        self._called: dict[InviteUsage, Attempt] = {}
        """Targets that were tried, by their leg."""
        self._best: Response | None = None
        self._tags: tuple[str, ...] = ()
        """The To tags of the early dialogs that the device's side made; their number is limited."""

    def begin(self, call: Call, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Take the INVITE of a server and send it to the device."""
        stack, side = call.environment.stack, call.server_side
        server = InviteUsage(stack, call, transaction.flow, called_by(request, stack.token()), no_timeout=True)
        call.server = side.leg = server
        call.bridge.offer(server, transaction)
        side.hear(transaction, request, now)
        side.origin = side.received[0].key
        call.session_id = request.get("session-id") or ""
        if call.line.settings.session_id:
            call.session_id = made(side.origin or request.call_id, request)
        stack.reply(transaction, 100, now)
        call.session.called(call.line.settings.session_timer, now)
        try:
            for _ in range(len(self._spare) if call.line.far_side.parallel else 1):
                self._try(call, self._spare.pop(0), request, now)
        except Malformed as error:
            call.bridge.refuse(error.status, now, by="server")

    def _try(self, call: Call, target: Target, request: Request, now: float) -> None:
        stack, line, flow = call.environment.stack, call.line, target.flow
        told = to_device(line.identity, request, self._shown(flow), target.host)
        opening = call.environment.derivation.to_device(call.server_side.origin, target.uri, flow)
        call_id, tag, branches = opening or (stack.token() + stack.token(), stack.token(), None)
        stack.call_ids.join(request.call_id, call_id, call.label, call.label)
        state = DialogState(call_id, tag, "", told.sender, told.recipient, route_set=target.route)
        leg = InviteUsage(stack, call, flow, state, reach=line.reach, digest=line.digest, branches=branches)
        uri = told.uri(target.uri) if target.fill else target.uri
        self._called[leg] = Attempt(target, uri, told)
        call.description.anchor.device_at(flow.remote[0])
        lines, body = _invite(call, request, told, now)
        within = line.settings.answer_within
        call.bridge.invite(leg, uri, lines, body, max_forwards_left(request), 0.0, now, within)

    def rang(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed | None:
        if call.ringing_at is None and response.status in (180, 183):
            call.ringing_at = now
            call.environment.watched(call.line, now)
        tag = passable_tag(response.to_tag)
        if tag not in self._tags:
            if len(self._tags) >= MAX_EARLY:
                return None
            self._tags = (*self._tags, tag)
        passed = _named(call, tag, call.passed(leg, response, now))
        if "rseq" not in response.names or not is_reliable(response):
            return passed
        if passed.body and leg.client_invite.offered:  # it is the answer (RFC 3262 section 5)
            call.rollback.accept()
        return Passed([*passed.lines, *marks(response)], passed.body)

    def answered(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed:
        opening = call.opening
        passed = _named(call, passable_tag(response.to_tag), call.passed(leg, response, now))
        if opening is not None and opening.request is not None and opening.request.body:
            call.rollback.accept()
        call.picked_up(leg, now)
        del self._called[leg]
        self._spare = []
        return passed

    @property
    def given_up(self) -> list[InviteUsage]:
        return [leg for leg in self._called if leg.client_invite.pending is not None]

    def resume(self, call: Call, leg: InviteUsage, uri: str, request: Request) -> None:
        """Note a target that was called before a restart."""
        told = to_device(call.line.identity, request, self._shown(leg.flow), leg.flow.remote[0])
        self._called[leg] = Attempt(Target(uri, "", False, leg.flow), uri, told)

    def again(self, call: Call, leg: InviteUsage, request: Request, now: float) -> Passed:
        """Lines and body of a server's INVITE, to be sent to that target once more."""
        return _invite(call, request, self._called[leg].told, now)

    def called_at(self, leg: InviteUsage) -> str:
        attempt = self._called.get(leg)
        return attempt.uri if attempt is not None else ""

    def refusal(self, call: Call, response: Response) -> Passed:
        lines = believed_of_device(call.line, response, call.session_id)
        if 300 <= response.status < 400:
            lines += [line for name, line in zip(response.names, response.lines, strict=True) if name == "contact"]
        return Passed(lines, response.body)

    def once_more(self, call: Call, leg: InviteUsage, response: Response, now: float) -> bool:
        """After a 422, send the INVITE with a longer session interval (RFC 4028 section 7.3). False when that is not
        possible."""
        opening, attempt = call.opening, self._called.get(leg)
        request = opening.request if opening is not None else None
        if request is None or attempt is None or not call.session.raised(leg, response):
            return False
        lines, body = _invite(call, request, attempt.told, now)
        within = call.line.settings.answer_within
        leg.call(attempt.uri, lines, body, now, SETUP, max_forwards_left(request), within)
        return True

    def failed(self, call: Call, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        attempt, opening, bridge = self._called.pop(leg, None), call.opening, call.bridge
        self._silent = self._silent or status == 408
        if attempt is not None and (response is None or status == 503):
            call.line.far_side.failed(attempt.target, response, now)
        if response is not None and (self._best is None or _rank(status) < _rank(self._best.status)):
            self._best = response
        if status >= 600:
            bridge.refuse(status, now, response=response, by="callee")
        elif self._spare and status in (408, 500, 503) and opening is not None and opening.request is not None:
            self._try(call, self._spare.pop(0), opening.request, now)
        elif not bridge.targets:  # RFC 3261 section 16.7, step 6
            best, none = self._best, 408 if self._silent else 503
            bridge.refuse(none if best is None else best.status, now, response=best, by="callee")
        elif opening is not None and opening.request is not None and _knows_199(opening.request):
            self._tell_ended(call, opening, leg, status, now)

    def _tell_ended(self, call: Call, opening: ServerTransaction, leg: InviteUsage, status: int, now: float) -> None:
        """One of several ringing targets has failed: tell the caller by a 199 that its early dialog has ended (RFC
        6228)."""
        tag = passable_tag(leg.dialog.remote_tag)
        if tag in self._tags:
            passed = Passed((f"Reason: SIP;cause={status}",), b"")
            call.bridge.passage.reply(call, opening, 199, now, passed=passed, tag=tag)


def _knows_199(invite: Request) -> bool:
    return "supported" in invite.names and "199" in tokens(invite.all("supported"))


def _invite(call: Call, request: Request, told: Numbers, now: float) -> Passed:
    """Lines and body of a server's INVITE, as a device gets it."""
    lines = crossing(request, DEVICE_HOP | told.dropped if told.dropped else DEVICE_HOP)
    lines += (*told.more, *naming_lines_to_device(call, request))
    if call.line.identity.to_device_headers:
        lines = ruled(call.line.identity.to_device_headers, lines)
    if (wanted := call.line.settings.reliable) == "supported" and request.body:
        lines.append(SUPPORTED)
    else:
        lines += asking(wanted, request)
    lines += call.session.asking()
    lines += TOLD[call.line.settings.transfer]
    if (stir := call.environment.stir) is not None:
        lines += stir.signed(call.line.settings, request, told, now)
    return Passed(lines, call.description.from_server(request, now))


def _named(call: Call, tag: str, passed: Passed) -> Passed:
    """Add to the first response with a tag the channel that carries the call (docs/wire.md, ``Line``)."""
    opening = call.opening
    received = call.server_side.received_as(opening) if opening is not None else None
    if tag and received is not None and not received.count:
        return Passed([*passed.lines, f"Line: {call.label}"], passed.body)
    return passed


def _rank(status: int) -> tuple[int, int]:
    """Sort key of a failure, the best first: 6xx, then the lowest class; in one class, 408, 480, 487 and 503 last,
    since they only say that nobody was reached."""
    return (0 if status >= 600 else status // 100, 1 if status in (408, 480, 487, 503) else 0)
