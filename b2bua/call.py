"""One call: the caller's leg, the callee's leg, and what is left to hunt (a back-to-back user agent).

The call passes on first and answers after: what a request is answered is what the far end said. Everything a new
server must know to go on is in the state token (``b2bua.state_token``) and in the agents' records; :class:`Call` is
made from a :class:`~b2bua.state_token.CallState` for a new call as for one taken over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from b2bua.call_setup import Hunting
from b2bua.call_state import DIALING, RINGING, held_after, hops
from b2bua.cdr import EndedBy
from sip.header_policy import ALLOW, PASSED_METHODS, crossing
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)


class Call(Hunting):
    """Joins two legs, ``a`` the caller's and ``b`` the callee's."""

    __slots__ = ()

    # -- what legs say ----------------------------------------------------------------------------------------------

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        asked = transaction.context
        if response.status == 403 and self.core.fenced(leg, response, now):
            if self.core.serving:
                self._refused_by_fence(leg, transaction, now)
            return
        if asked is self:
            if leg is self.b and self.phase in (DIALING, RINGING):
                self._invite_answered(leg, response, now)
            elif response.status >= 200:
                self._answered_too_late(leg, response, now)
        elif isinstance(asked, ServerTransaction):
            self._relay(leg, asked, response, now)
        if transaction.method == "BYE" and response.status >= 200 and leg in (self.a, self.b):
            self._forget(now)

    def _refused_by_fence(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """The agent has not adopted us yet, but it will: what was asked is asked again then."""
        link = self.core.agents.by_flow.get(leg.flow)
        if link is None:
            return
        asked = transaction.context
        if asked is self:
            if leg is self.b and self.phase in (DIALING, RINGING):
                again, in_vain = partial(self._dial_again, leg), partial(self._not_adopted, leg)
                if not link.refused.add(again, now, in_vain):
                    in_vain(now)
        elif isinstance(asked, ServerTransaction):
            if asked.open and not link.refused.add(partial(self._ask_again, leg, asked), now):
                self._reply(asked, 500, now, ("Retry-After: 5",))
        elif transaction.method == "BYE":
            link.refused.add(partial(self.hang_up, leg, str(asked)), now)

    def _dial_again(self, leg: InviteUsage, now: float) -> None:
        if leg is self.b and self.phase in (DIALING, RINGING):
            self.core.lines.give(self, self.state.callee_line)
            self.dial(now)

    def _not_adopted(self, leg: InviteUsage, now: float) -> None:
        if leg is self.b and self.phase in (DIALING, RINGING):
            self._attempt_failed(503, None, now)

    def _ask_again(self, leg: InviteUsage, asked: ServerTransaction, now: float) -> None:
        request, origin = asked.request, asked.context
        if request is None or not asked.open or not isinstance(origin, InviteUsage):
            return
        if request.method == "BYE":
            lines = self._onward(origin, leg, asked, request)
            leg.send("BYE", lines, request.body, now, asked, hops(request))
        else:
            self._forward(origin, asked, request, now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        if transaction.context is self:
            if leg is self.b and self.phase in (DIALING, RINGING):
                self._attempt_failed(487 if self.cancelled or self.no_answer else 408, None, now)
            elif leg is self.b:
                self._forget(now)
            return
        asked = transaction.context
        if isinstance(asked, ServerTransaction) and asked.open:
            if transaction.method == "BYE":
                self._reply(asked, 200, now)
            elif transaction.method == "INVITE" and leg.cancelling:
                self._reply(asked, 487, now)
            elif self._agent_of(leg):  # for want of an agent no dialog is ended (docs/wire.md)
                self._reply(asked, 500, now, ("Retry-After: 5",))
            else:
                self._reply(asked, 408, now)
        if transaction.method == "BYE":
            self._forget(now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """The ACK travels end to end, with its body (a delayed offer has its answer in it)."""
        other = self._other(leg)
        if other is None:
            self._wait(lambda then: self.acknowledged(leg, ack, then), leg, now)
        elif not other.ended:
            lines = crossing(ack)
            if agent := self._agent_of(other):
                lines += self.core.reign.site_lines
                if other is self.b:
                    lines += self._token_lines(agent)
            other.acknowledge(lines, ack.body, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        """RFC 3261 section 13.3.1.4: no ACK in 64*T1, the session is ended; but an agent must have been within reach
        for so long, else the path is cut, which is no evidence of an end (docs/decisions.md).
        """
        link = self.core.agents.links.get(self._agent_of(leg))
        lifetime = self.core.stack.timers.lifetime
        if link is not None and (reached := link.reached_for(now)) < lifetime:
            return now + lifetime - reached
        self.release('SIP;cause=408;text="No ACK"', now)
        return None

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        if not self.core.agents.agent_of(leg.flow):
            return ()
        lines = self.core.reign.site_lines
        return (self._own_key(), *lines) if method == "BYE" else lines

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        method = request.method
        if method == "BYE":
            self._bye(leg, transaction, request, now)
        elif method == "OPTIONS":
            self._reply(transaction, 200, now, (ALLOW,))
        elif method not in PASSED_METHODS:
            self._reply(transaction, 405, now, (ALLOW,))
        else:
            if method == "INVITE":  # RFC 3261 section 17.2.1; and its CANCEL need not wait for the other side
                self._reply(transaction, 100, now)
            self._forward(leg, transaction, request, now)

    def change_cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A re-INVITE is to be cancelled: the other side's answer to that is the answer (RFC 3261 section 9)."""
        other = self._other(leg)
        then = partial(self.change_cancelled, leg, invite, cancel)
        if not invite.open or (other is None and self._wait(then, leg, now)):
            return
        changing = other.pending_client_invite if other is not None else None
        link = self.core.agents.by_flow.get(other.flow) if other is not None else None
        if other is not None and changing is not None and changing.context is invite:
            reason = cancel.get("reason")
            other.cancel(now, (f"Reason: {reason}",) if reason else ())
        elif link is not None and link.refused:  # it is to go there again
            link.refused.add(then, now)
        else:
            self._reply(invite, 487, now)

    def _bye(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        other = self._other(leg)
        if other is None:
            farewell = partial(self._bye, leg, transaction, request)
            self.parting = True
            if self._wait(lambda then: self.core.recovery.at_last(farewell, then), leg, now):
                return
        self.parting = False
        if leg is not self.a and leg is not self.b and self.b is not None:
            self._send_pending_ack(
                self.b, now
            )  # the callee's side was restored, hung up, and its answer asked for again
            self.b.end()
        early = not leg.established
        self.cancelled = self.cancelled or early
        by: EndedBy = "caller" if leg is self.a else "callee"
        self.finish(487 if early else 200, by, now, request.get("reason") or "")
        if other is not None and other.established and not other.ended:
            self._send_pending_ack(other, now)
            lines = self._onward(leg, other, transaction, request)
            other.send("BYE", lines, request.body, now, transaction, hops(request))
            return
        self._reply(transaction, 200, now)
        if other is not None and other.pending_client_invite is not None:
            other.cancel(now)
        else:
            self._forget(now)

    def _forward(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request inside the call, to the other side."""
        other = self._other(leg)
        if other is None and self.waiting is not None:
            if not self._wait(partial(self._forward, leg, transaction, request), leg, now):
                self._reply(transaction, 500, now, ("Retry-After: 5",))  # too many wait
        elif other is None or (other.ended and not self.parting):
            self._reply(transaction, 481, now)
        elif request.method == "INVITE" and self._glares(leg, other, request):
            self._reply(transaction, 491, now)
        else:
            lines = self._onward(leg, other, transaction, request)
            # between agents the one that asks knows when its device gave up, and undoes what comes about all the same
            patient = request.method == "INVITE" and bool(self._agent_of(leg) and self._agent_of(other))
            other.send(request.method, lines, request.body, now, transaction, hops(request), patient)

    def _glares(self, leg: InviteUsage, other: InviteUsage, request: Request) -> bool:
        """Whether a re-INVITE meets another one (RFC 3261 section 14.2); not one that the other side has carried out
        already, by a former server: its answer is waiting there.
        """
        if other.pending_client_invite or not other.established:
            return True
        half_done = self.core.recovery.exchanges.half_done.get(self.id)
        return other.invite is not None and half_done != f"{self._agent_of(leg)};{request.branch};1"

    def _onward(
        self, leg: InviteUsage, other: InviteUsage, transaction: ServerTransaction, request: Request
    ) -> list[str]:
        """The header lines of a request passed on inside the call, under the key of its origin."""
        lines = crossing(request)
        if self._agent_of(other):
            origin = self._agent_of(leg) or self.core.node
            lines.append(f"Call-Origin: {origin};{request.branch};1")
            lines += self.core.reign.site_lines
        return lines

    def _relay(self, leg: InviteUsage, asked: ServerTransaction, response: Response, now: float) -> None:
        """An answer inside the call, back to where the request came from."""
        status = response.status
        if status == 100 or not asked.open:
            return
        method = response.cseq_method
        lines = crossing(response)
        between_agents = self._agent_of(leg) and self._agent_of(self._other(leg))
        if between_agents and (origin := response.get("call-origin")) is not None:
            lines.append(f"Call-Origin: {origin}")
        if method == "INVITE" and status // 100 == 2:
            offer = asked.request.body if asked.request is not None else b""
            self.held = held_after(self.held, "b" if leg is self.a else "a", offer, response.body)
        asked.context.reply(asked, status, now, response.reason, lines, response.body)

    # -- ending -----------------------------------------------------------------------------------------------------

    def release(self, reason: str, now: float, ended_by: EndedBy = "server", status: int = 200) -> None:
        """End what is left of the call, on evidence only: BYE or CANCEL or a final response, with a Reason."""
        self.finish(status, ended_by, now, reason)
        a, b = self.a, self.b
        if b is not None and not b.ended:
            if b.pending_client_invite is not None and not b.established:
                self.cancelled = True
                b.cancel(now, (f"Reason: {reason}",))
            elif b.established:
                self.hang_up(b, reason, now)
        if a is not None and not a.ended:
            if a.established:
                self.hang_up(a, reason, now)
            elif a.invite is not None:
                a.reply(a.invite, 480, now, lines=(f"Reason: {reason}",))
        self._forget(now)

    def drop(self) -> None:
        """Forget the call without a word: another server has it."""
        self._turn_off()
        for leg in (self.a, self.b):
            if leg is not None:
                leg.end()
                for transaction in (leg.invite, leg.pending_client_invite):
                    if transaction is not None:
                        transaction.abandon()
        self.lines = ()
        self.a = self.b = None

    # -- small ones -------------------------------------------------------------------------------------------------

    def _wait(self, act: Callable[[float], None], leg: InviteUsage, now: float) -> bool:
        """After a takeover: keep ``act`` until the other leg is known. False when there is nothing to wait for."""
        if self.waiting is None or len(self.waiting) >= MOST_WAITING:
            return False
        self.waiting.append(act)
        self.core.fetch_peer(self, leg, now)
        return True

    def _reply(self, transaction: ServerTransaction, status: int, now: float, lines: tuple[str, ...] = ()) -> None:
        """Answer a request inside the call by the leg that it came to."""
        transaction.context.reply(transaction, status, now, lines=lines)


MOST_WAITING: Final = 16
"""Requests of one call that may wait for its other leg."""
