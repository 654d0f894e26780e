"""How messages are passed on between the device's leg and the servers' leg of a call, and what each of these two
hops does by itself (``sip.b2b``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway_agent.call import ALONE, Call
from gateway_agent.last_figures import told
from gateway_agent.line_state import SentInvite
from gateway_agent.reinvite_rollback import ROLLBACK
from gateway_agent.transfer import notified, referred
from sip.b2b.bridge import ACKNOWLEDGED, ANSWERED, FAILED, PROVISIONAL, REQUESTED, RESPONDED, SETUP
from sip.b2b.policy import NOTHING, Passage, Passed
from sip.device.session import REFRESH, for_device
from sip.header_policy import max_forwards_left
from sip.invite import InviteUsage
from sip.invite.reliable import RELIABLE
from sip.offer_answer import description_in
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response


class DevicePassage(Passage):
    """The passage for the calls of an agent; it has one object of this."""

    def pass_on(
        self,
        call: Any,
        event: str,
        leg: InviteUsage,
        other: InviteUsage | None,
        message: Any,
        first: bool,
        now: float,
    ) -> Passed | None:
        assert isinstance(call, Call)
        if event is PROVISIONAL:
            return call.setup.rang(call, leg, message, first, now)
        if event is ANSWERED:
            return call.setup.answered(call, leg, message, first, now)
        if event is FAILED:
            return call.setup.refusal(call, message)
        if event is REQUESTED and message.method in _APART:
            return _passed_apart(call, leg, other, message, now)
        passed = call.passed(leg, message, now)
        if event is RESPONDED and message.cseq_method == "INVITE" and other is not None:
            return _changed(call, leg, other, message, passed, now)
        if event is ACKNOWLEDGED:
            if passed.body:
                call.rollback.accept()
            if leg is not call.server:
                passed = Passed([*passed.lines, *call.environment.line_states.lines(call, now)], passed.body)
        return passed

    def send(
        self,
        call: Any,
        leg: InviteUsage,
        method: str,
        passed: Passed,
        asked: ServerTransaction | str,
        max_forwards: int,
        now: float,
    ) -> None:
        assert isinstance(call, Call)
        lines, body = passed
        branch = ""
        if isinstance(asked, ServerTransaction) and asked.request is not None:
            branch = call.environment.derivation.branch(asked.request, leg.dialog.call_id)
        if leg is not call.server:
            if method == "INVITE":
                if leg.ack.unsure:  # about the former INVITE: its 2xx could be mistaken for that of this one
                    leg.ack.again(leg.ack.cseq)
                lines = (*lines, *call.session.asking())
            leg.send(method, lines, body, now, asked, max_forwards, branch=branch)
            return
        if isinstance(asked, ServerTransaction):
            call.rollback.hold(now)
            if method == "PRACK" and _has_offered(asked.context):
                method = "UPDATE"  # it has a new offer; towards the servers the response is acknowledged already
            if method == "INVITE":
                sent = SentInvite(branch, leg.dialog.local_cseq + 1, bool(body)) if branch else None
                lines = (*lines, *call.environment.line_states.lines(call, now, sent))
        elif method == "BYE":
            if call.end is not None and call.end.reason and not _has_reason(passed):
                lines = (*lines, f"Reason: {call.end.reason}")
            lines = (*lines, *told(call.figures))
        call.server_side.send(method, lines, body, asked, max_forwards, now, branch)

    def reply(
        self,
        call: Any,
        asked: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        passed: Passed | None = None,
        tag: str = "",
    ) -> None:
        leg: InviteUsage = asked.context
        lines, body = passed or NOTHING
        request = asked.request
        if status >= 200 and request is not None and request.method in _OFFERING and isinstance(call, Call):
            status, lines = _concluded(call, leg, request, status, lines, now)
        if not isinstance(call, Call) or leg is not call.server:
            if isinstance(call, Call) and call.held_answers.waits(asked, status, now):
                call.held_answers.keep(
                    asked,
                    lambda then: leg.reply(asked, for_device(status, lines), then, reason, lines, body, tag),
                    now,
                )
                return
            leg.reply(asked, for_device(status, lines), now, reason, lines, body, tag)
            if status < 200 and RELIABLE in lines and isinstance(call, Call):
                call.environment.line_states.changed(
                    call, now, True
                )  # servers know its RSeq before the device gets it
            return
        status = 403 if status in (401, 407) else status
        received = call.server_side.received_as(asked)
        if received is None:
            leg.reply(asked, status, now, reason, lines, body, tag)
            return
        if received.method == "BYE":
            lines = (*lines, *told(call.figures))
        call.server_side.respond(received, status, now, reason, lines, body, tag)
        if received.method == "INVITE" and 200 <= status < 300:
            # no device is to end the call for want of an ACK because the path is cut (docs/decisions.md)
            timers, deadlines = call.environment.stack.timers, call.environment.stack.deadlines
            deadlines.set_about(now + timers.lifetime / 2, call, ALONE)

    def own(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response | None, now: float
    ) -> None:
        if not isinstance(call, Call):
            return
        if transaction.method == "BYE" and leg is call.server and (response is None or response.status >= 200):
            call.held_answers.end(now)
        if transaction.context is ROLLBACK and response is not None:
            call.rollback.answered(response, now)
        elif transaction.context is REFRESH and response is not None:
            call.session.refreshed(leg, response, now)

    def intercepts(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float
    ) -> bool:
        """A 422 of the device is not passed on (RFC 4028 section 7.3), nor is an answer that UPDATE is not known: the
        request is sent again in another form. Returns whether it was."""
        if transaction.method == "UPDATE" and response.status in (405, 501):
            return isinstance(call, Call) and _by_reinvite(call, leg, transaction, now)
        if not isinstance(call, Call) or response.status != 422 or leg is call.server:
            return False
        asked = transaction.context
        if asked is SETUP:
            return call.setup.once_more(call, leg, response, now)
        request = asked.request if isinstance(asked, ServerTransaction) and asked.open else None
        if call.server is None or request is None or not call.session.raised(leg, response):
            return False
        lines, body = call.passed(call.server, request, now)
        lines = (*lines, *call.session.asking())
        leg.send("INVITE", lines, body, now, asked, max_forwards_left(request))  # under another branch
        return True

    def busy(self, call: Any) -> bool:
        return isinstance(call, Call) and bool(call.sent or call.received)

    def unanswered(self, call: Any, leg: InviteUsage, transaction: ClientTransaction) -> int:
        return transaction.failure

    def answers_at_once(self, call: Any, leg: InviteUsage) -> bool:
        """Whether BYE and CANCEL on that leg are answered at once: those of the device, and a server's CANCEL, since
        an attempt is over once it is cancelled."""
        return isinstance(call, Call) and (leg is not call.server or not leg.established)

    def keeps(self, call: Any, leg: InviteUsage) -> bool:
        if not isinstance(call, Call) or leg is not call.server:
            return False
        return leg.established or leg.client_invite.pending is not None


def _passed_apart(call: Call, leg: InviteUsage, other: InviteUsage | None, request: Request, now: float) -> Passed:
    """Lines and body of a PRACK, REFER or NOTIFY, which needs more than other header fields. Raises
    :class:`Malformed`."""
    if request.method == "PRACK" or other is None:
        return _acknowledged_early(call, leg, request, now)
    if request.method == "REFER":
        return referred(call, leg, other, request, now)
    return notified(call, leg, request, now)


def _acknowledged_early(call: Call, leg: InviteUsage, prack: Request, now: float) -> Passed:
    """Lines and body of a PRACK, which is passed on for its session description. An answer in it to the offer of a
    provisional response is valid at once."""
    passed = call.passed(leg, prack, now)
    if not _has_offered(leg):
        call.rollback.accept()
    return passed


def _has_offered(leg: InviteUsage) -> bool:
    """Whether the unanswered INVITE on that leg has an offer, so that a description in its PRACK is a further
    offer."""
    invite = leg.server_invite.pending
    return invite is not None and invite.request is not None and bool(invite.request.body)


def _changed(
    call: Call, leg: InviteUsage, other: InviteUsage, response: Response, passed: Passed, now: float
) -> Passed:
    """Conclude the offer of a re-INVITE that came on ``other``, and return its answer as that side gets it."""
    asked = other.server_invite.pending.request if other.server_invite.pending is not None else None
    if response.status >= 300:
        call.description.refuse(now)
    elif response.status >= 200:
        if asked is not None and asked.body:
            call.rollback.accept()
        if leg is call.server:
            return Passed([*passed.lines, *call.session.agree(asked, now)], passed.body)
    return passed


def _concluded(
    call: Call, leg: InviteUsage, request: Request, status: int, lines: Sequence[str], now: float
) -> tuple[int, Sequence[str]]:
    """Status and lines of the final answer to an UPDATE or PRACK on that leg, which concludes what it offered."""
    if description_in(request) is not None:
        if status < 300:
            call.rollback.accept()
        else:
            call.description.refuse(now)
            status = 488 if status in (405, 501) else status
    elif status in (405, 501):  # an UPDATE without an offer only tells an identity; it need not be understood
        status = 200
    if request.method == "UPDATE" and status == 200 and leg is not call.server:
        lines = [*lines, *call.session.agree(request, now)]
    return status, lines


def _by_reinvite(call: Call, leg: InviteUsage, transaction: ClientTransaction, now: float) -> bool:
    """Send the offer of an UPDATE in a re-INVITE, to a side that does not know UPDATE; False where it cannot be."""
    asked, other = transaction.context, call.bridge.other(leg)
    request = asked.request if isinstance(asked, ServerTransaction) and asked.open else None
    busy = leg.client_invite.pending is not None or leg.server_invite.pending is not None
    if request is None or other is None or busy or not leg.established or description_in(request) is None:
        return False
    lines, body = call.passed(other, request, now)
    if leg is not call.server:
        lines = (*lines, *call.session.asking())
        leg.send("INVITE", lines, body, now, asked, max_forwards_left(request))
    else:
        lines = (*lines, *call.environment.line_states.lines(call, now))
        call.server_side.send("INVITE", lines, body, asked, max_forwards_left(request), now)
    return True


_APART: Final = frozenset({"PRACK", "REFER", "NOTIFY"})
_OFFERING: Final = frozenset({"UPDATE", "PRACK"})
"""Methods whose answers conclude an offer, beside INVITE."""


def _has_reason(passed: Passed) -> bool:
    return any(line[:7].lower() == "reason:" for line in passed.lines)
