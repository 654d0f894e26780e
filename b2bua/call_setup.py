"""The first half of a call: from the caller's INVITE over one target after the other to an answer or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from b2bua.call_state import DIALING, ENDING, RINGING, ROUTING, TALKING, changed, hops, record_of, rings, with_user
from b2bua.cdr import Cdr, EndedBy
from b2bua.routing import Plan, Refusal, Target
from b2bua.state_token import MOST_CHARACTERS, CallState, sign
from b2bua.takeover.fenced_retry_queue import LONGEST
from sip.dialog import DialogState, called_by
from sip.header_policy import crossing, passable_tag, unsupported
from sip.invite import InviteUsage
from sip.next_hop import Reach
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response
from sip.wire.uri import NO_PARAMS, Uri, with_params

if TYPE_CHECKING:
    from b2bua.core import Core

NO_ANSWER: Final = "no answer"
TOO_LONG: Final = "too long"


class Alarm:
    """Wakes a call, unless it was turned off. What is left of it in the heap then holds no call any more."""

    __slots__ = ("call", "generation")

    def __init__(self, call: Hunting) -> None:
        self.call: Hunting | None = call
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        if self.call is not None:
            self.call.due(cause, now)


class Hunting:
    """A call as long as nobody has answered, and what both halves need. ``a`` is the caller's leg, ``b`` the callee's
    of the present attempt.
    """

    __slots__ = (
        "a",
        "alarm",
        "attempt",
        "b",
        "because",
        "cancelled",
        "core",
        "counter",
        "ended_at",
        "epochs",
        "held",
        "last_ack",
        "lines",
        "no_answer",
        "parting",
        "phase",
        "plan",
        "request",
        "state",
        "then",
        "tried",
        "waiting",
    )

    def __init__(self, core: Core, state: CallState) -> None:
        self.core = core
        self.state = state
        """What the last token said, or would say; replaced, never changed."""
        self.a: InviteUsage | None = None
        self.b: InviteUsage | None = None
        self.phase = ROUTING
        self.plan: Plan | None = None
        self.request: Request | None = None
        """The caller's first INVITE, as long as it may have to be sent to another target."""
        self.cancelled = False
        self.no_answer = False
        self.parting = False
        """After a takeover: a BYE waits behind the other side's requests, which that leg may still answer."""
        self.held = ""
        """Which sides hold: ``""``, ``a``, ``b``, ``ab``."""
        self.lines: tuple[str, ...] = ()
        """The lines on which it counts."""
        self.tried = 0
        """Addresses of the present target that were tried in vain (RFC 3263 section 4.3)."""
        self.alarm: Alarm | None = None
        self.ended_at = 0.0
        self.because = ""
        """The decision that routed it last, for ``explain``."""
        self.waiting: list[Callable[[float], None]] | None = None
        """After a takeover: what waits for the other leg to be known."""
        self.then: list[Callable[[float], None]] = []
        """After a takeover: what the callee asked before the caller had heard of the answer."""
        self.last_ack = b""
        """After a takeover: the ACK that an agent had sent last, should the other one not have it."""

    @property
    def id(self) -> str:
        return self.state.call_id

    # -- setting up -------------------------------------------------------------------------------------------------

    def admit(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Take the caller's first INVITE: make the leg, answer 100. False when it was refused."""
        stack = self.core.stack
        agent = self.state.caller_agent
        leg = InviteUsage(
            stack,
            self,
            transaction.flow,
            called_by(request, stack.token()),
            reach=self._reach_of(agent, self.state.caller_line),
        )
        leg.invite = transaction
        transaction.context = leg
        self.a, self.request = leg, request
        if missing := unsupported(request):
            self._refuse(420, "", now, (f"Unsupported: {', '.join(missing)}",))
            return False
        stack.reply(transaction, 100, now, lines=self._token_lines(agent))
        return True

    def route(self, plan: Plan | Refusal, now: float) -> None:
        """Try the first target of a plan, or refuse."""
        if isinstance(plan, Refusal):
            self.because = plan.because
            lines = (f"Retry-After: {plan.retry_after}",) if plan.retry_after else ()
            self._refuse(plan.status, plan.reason, now, lines)
            return
        self.plan = plan
        self.tried = 0
        self.dial(now, attempt=self.state.attempt + 1)

    def dial(self, now: float, dialog: DialogState | None = None, attempt: int = 0) -> None:
        """Send the INVITE of an attempt, the present one where no number is given.

        ``dialog`` is that of a former server which sent it before.
        """
        plan, request, core = self.plan, self.request, self.core
        assert plan is not None and request is not None
        target = plan.target
        self.because = target.because
        place = core.place(target, self.tried)
        if place is None:
            if not self._await_agent(target, dialog, attempt, now):
                self._next(503, now, "")
            return
        stack = core.stack
        caller = request.from_untagged
        if target.caller_number and target.caller_number != self.state.caller:
            caller = with_user(caller, target.caller_number)
        state = dialog or DialogState(stack.token() + stack.token(), stack.token(), "", caller, request.to_untagged)
        leg = InviteUsage(stack, self, place.flow, state, reach=self._reach_of(place.agent, target.line))
        self.b = leg
        self.phase = DIALING
        core.lines.take(self, target.line, now)
        self._update(
            callee=target.request_number,
            callee_line=target.line,
            callee_agent=place.agent,
            callee_dialog=state.call_id,
            # only agents are given it to keep
            plan=plan.to_token() if place.agent or self.state.caller_agent else "",
            attempt=attempt or self.state.attempt,
        )
        lines = crossing(request)
        if place.agent:
            lines.append(f"Call-Origin: {self.state.origin};{self.state.attempt}")
            lines += core.reign.site_lines
            lines += self._token_lines(place.agent)
        self._wake(now + target.ring_for, NO_ANSWER)
        # what a forwarded call was dialled with belongs to another number
        carried = NO_PARAMS if plan.forwards or target.forwarded_from else Uri.parse(request.uri).number_params
        leg.call(with_params(place.uri, carried), lines, request.body, now, self, hops(request))

    def _await_agent(self, target: Target, dialog: DialogState | None, attempt: int, now: float) -> bool:
        """Whether the agent of that target may be here in a moment: its connection broke just now, or we began."""
        line = self.core.site.lines.get(target.line)
        link = self.core.agents.links.get(line.agent) if line is not None else None
        if link is None or link.flow is not None:
            return False
        if now - max(link.lost_at or self.core.started_at, self.core.agents.begun_at) >= LONGEST:
            return False

        def again(now: float) -> None:
            if self.phase == ROUTING:
                self.dial(now, dialog, attempt)

        def in_vain(now: float) -> None:
            if self.phase == ROUTING:
                self._next(503, now, "")

        self.phase = ROUTING
        return link.refused.add(again, now, in_vain)

    def cancel(self, now: float) -> None:
        """The caller gave up (RFC 3261 section 9.2)."""
        self.cancelled = True
        if self.b is not None and self.b.pending_client_invite is not None:
            self.b.cancel(now)
        elif self.phase in (ROUTING, DIALING, RINGING):
            self._refuse(487, "", now)

    def due(self, cause: str, now: float) -> None:
        """The present target did not answer in time, or the call has lasted as long as it may."""
        if cause is TOO_LONG:
            self.release('SIP;cause=480;text="longest call"', now)
        elif cause is NO_ANSWER and self.b is not None and self.b.pending_client_invite is not None:
            self.no_answer = True
            self.b.cancel(now, ('Reason: SIP;cause=408;text="No answer"',))

    def _wake(self, at: float, cause: str) -> None:
        self._turn_off()
        self.alarm = Alarm(self)
        self.core.stack.deadlines.set(at, self.alarm, cause)

    def _turn_off(self) -> None:
        if self.alarm is not None:
            self.alarm.call = None
            self.alarm = None

    def _longest(self) -> float:
        """How long the call may last: agents see to their own lines, the server to its trunks; 0: without limit."""
        lines = [self.core.site.lines.get(name) for name in self.lines]
        return min(
            (line.longest_call for line in lines if line and line.at_servers and line.longest_call), default=0.0
        )

    # -- what the present target says -------------------------------------------------------------------------------

    def _answered_too_late(self, leg: InviteUsage, response: Response, now: float) -> None:
        """The final answer of a target that was given up; a 2xx is to be ended (RFC 3261 section 9.1)."""
        if response.status < 300:
            self.hang_up(leg, "SIP;cause=487", now)
        elif leg is self.b:
            self._forget(now)

    def _invite_answered(self, leg: InviteUsage, response: Response, now: float) -> None:
        status = response.status
        if status == 100:
            return
        if status < 200:
            self._rang(leg, response, now)
        elif status < 300:
            self._picked_up(leg, response, now)
        else:
            self._attempt_failed(status, response, now)

    def _rang(self, leg: InviteUsage, response: Response, now: float) -> None:
        first = self.phase == DIALING
        self.phase = RINGING
        line = response.get("line")
        changes: dict[str, Any] = {}
        if line and self.state.callee_agent and line != self.state.callee_line:
            changes["callee_line"] = line[:MOST_CHARACTERS]
        if not self.state.ringing and rings(response.status):
            changes["ringing"] = now + self.core.wall_offset
        if changes:
            self._update(**changes)
        self._pass_up(response, now, first or bool(changes))

    def _picked_up(self, leg: InviteUsage, response: Response, now: float) -> None:
        self.phase = TALKING
        self._turn_off()
        line = (response.get("line") if self.state.callee_agent else "") or self.state.callee_line
        self._update(answered=now + self.core.wall_offset, callee_line=line[:MOST_CHARACTERS], plan="")
        self._pass_up(response, now, True)
        self.request = self.plan = None
        if (longest := self._longest()) > 0:
            self._wake(now + longest, TOO_LONG)
        if self.a is None or self.a.ended:  # the caller is gone for good
            self.hang_up(leg, "SIP;cause=487", now)
        then, self.then = self.then, []
        for act in then:
            act(now)

    def _pass_up(self, response: Response, now: float, with_token: bool) -> None:
        """Give the caller a provisional or a 2xx to the first INVITE."""
        a = self.a
        if a is None or a.invite is None:
            return
        lines = crossing(response)
        if self.state.caller_agent:
            if self.state.callee_agent and (origin := response.get("call-origin")) is not None:
                lines.append(f"Call-Origin: {origin}")
            if with_token:
                lines += self._token_lines(self.state.caller_agent)
        a.reply(a.invite, response.status, now, response.reason, lines, response.body, passable_tag(response.to_tag))

    def _attempt_failed(self, status: int, response: Response | None, now: float) -> None:
        """The present target will not: hunt on, or tell the caller (RFC 3261 section 16.7)."""
        self._turn_off()
        core = self.core
        core.lines.give(self, self.state.callee_line)
        if self.b is not None:
            self.b.end()
        unreached = status == 503 or (status == 408 and response is None)
        if self.no_answer and status == 487:
            status, response = 408, None
        self.no_answer = False
        if self.cancelled and status != 487:  # RFC 3261 section 9.2: whatever its target says by now
            status, response = 487, None
        if self.cancelled or self.a is None or self.a.ended:
            self._conclude(487 if response is None else status, response, now)
            return
        if unreached and self.plan is not None and core.place(self.plan.target, self.tried + 1) is not None:
            self.tried += 1
            self.dial(now)
            return
        redirect = core.redirect_of(response) if response is not None and status < 400 else ""
        self._next(status, now, redirect, response)

    def _next(self, status: int, now: float, redirect: str, response: Response | None = None) -> None:
        assert self.plan is not None
        core = self.core
        rest = core.router.after(self.plan, status, core.load, now, redirect)
        if isinstance(rest, Refusal):
            self.because = rest.because
            self._conclude(rest.status, response if rest.status == status else None, now)
        else:
            self.phase = ROUTING
            self.route(rest, now)

    def _conclude(self, status: int, response: Response | None, now: float) -> None:
        """The first INVITE ends with a failure."""
        if response is not None and self.a is not None and self.a.invite is not None and not self.a.ended:
            lines = crossing(response)
            self.finish(status, "caller" if self.cancelled else "callee", now)
            self.a.reply(self.a.invite, status, now, response.reason, lines, response.body)
            self._forget(now)
        else:
            self._refuse(status, "", now)

    def _refuse(self, status: int, reason: str, now: float, lines: tuple[str, ...] = ()) -> None:
        a = self.a
        self.finish(status, "caller" if self.cancelled else "server", now)
        if a is not None and a.invite is not None:
            a.reply(a.invite, status, now, reason, lines)
        self._forget(now)

    # -- ending -----------------------------------------------------------------------------------------------------

    def _send_pending_ack(self, leg: InviteUsage, now: float) -> None:
        """A 2xx is acknowledged before anything else is said, whether the other side acknowledged or not."""
        if leg.ack_pending:
            leg.acknowledge(self.core.reign.site_lines if self._agent_of(leg) else (), b"", now)

    def hang_up(self, leg: InviteUsage, reason: str, now: float) -> None:
        """Send BYE on one leg."""
        self._send_pending_ack(leg, now)
        lines = [f"Reason: {reason}"]
        if self._agent_of(leg):
            lines += [self._own_key(), *self.core.reign.site_lines]
        leg.send("BYE", lines, b"", now, reason)

    def finish(self, status: int, ended_by: EndedBy, now: float, reason: str = "") -> None:
        """Write the call record, once."""
        if self.ended_at:
            return
        self.ended_at = now
        self.phase = ENDING
        end = self.core.recovery.ends.pop(self.state.call_id, None)
        if end is None:
            self.core.record(self.cdr(status, ended_by, now, reason), self)
            return
        if not self.state.answered:
            status, self.cancelled = end.status, end.status == 487
        at = max(end.at, self.state.answered - self.core.wall_offset)  # it may have been given up as it was answered
        self.core.record(self.cdr(status, end.by, at, reason or end.reason), self)

    def cdr(self, status: int, ended_by: EndedBy, ended: float, reason: str = "") -> Cdr:
        """The call record as it would be if the call ended then."""
        return record_of(self.core, self.state, status, ended_by, ended, reason, self.cancelled)

    def _forget(self, now: float) -> None:
        """Let go, unless a leg still has something to finish."""
        self.phase = ENDING
        a, b = self.a, self.b
        if b is not None and not b.ended and (b.pending_client_invite is not None or b.ack_pending):
            return
        self._turn_off()
        waiting, self.waiting, self.then = [*(self.waiting or ()), *self.then], None, []
        if a is not None and a.invite is not None and not a.established:
            a.reply(a.invite, 487, now)  # the callee hung up before the caller had heard of its answer
        for leg in (a, b):
            if leg is None:
                continue
            if (change := leg.pending_client_invite) is not None:  # a re-INVITE that nobody may ever answer now
                if change.patient:
                    change.abandon()
                else:
                    change.cancelled(now)
            if (change_asked := leg.invite) is not None:  # RFC 3261 section 15.1.2
                leg.reply(change_asked, 487, now)
            if not leg.ended:
                leg.end()
        self.core.forget(self)
        self.request = self.plan = None  # a deadline may hold the call for a while
        for act in waiting:  # to be answered, now that there is nobody to pass it on to
            act(now)

    # -- small ones -------------------------------------------------------------------------------------------------

    def _other(self, leg: InviteUsage) -> InviteUsage | None:
        return self.b if leg is self.a else self.a

    def _agent_of(self, leg: InviteUsage | None) -> str:
        return self.state.caller_agent if leg is self.a else self.state.callee_agent

    def _reach_of(self, agent: str, line: str) -> Reach | None:
        """How requests find the device of a leg; None on the hop to an agent."""
        return None if agent else self.core.trunks.reach_of(line.partition("/")[0])

    def _update(self, **changes: Any) -> None:
        self.state = changed(self.state, **changes)

    def _own_key(self) -> str:
        """The origin key of a request that the server makes itself (docs/wire.md)."""
        return f"Call-Origin: {self.core.node};{self.core.stack.branch()};0"

    def _token_lines(self, agent: str) -> tuple[str, ...]:
        if not agent:
            return ()
        return (f"Call-State: {sign(self.state, self.core.key)}",)

    # -- what legs say: the other half ------------------------------------------------------------------------------

    def recognised(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Only agents recognise repeats; to a server each request of an agent is what it seems to be."""
        return False

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        raise NotImplementedError  # pragma: no cover

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        raise NotImplementedError  # pragma: no cover

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        raise NotImplementedError  # pragma: no cover

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        raise NotImplementedError  # pragma: no cover

    def release(self, reason: str, now: float, ended_by: EndedBy = "server", status: int = 200) -> None:
        raise NotImplementedError  # pragma: no cover

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        raise NotImplementedError  # pragma: no cover

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        raise NotImplementedError  # pragma: no cover
