"""In the background after a takeover: all calls are restored, those that ended are written down, and what is left of
a call is released on evidence that its other side is gone (docs/wire.md, "What a new server does with the lists").
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from b2bua.call import Call
from b2bua.takeover import orphaned_calls
from b2bua.takeover.records import ToldDialog
from sip.wire.grammar import quote

if TYPE_CHECKING:
    from b2bua.agents import AgentLink
    from b2bua.state_token import CallState
    from b2bua.takeover.recovery import Recovery

logger = logging.getLogger(__name__)

WORK: Final = "restore some"
GRACE: Final = "waited for agents"
LAST: Final = "say goodbye"
RELEASED: Final = "released"

AT_ONCE: Final = 25
"""Calls restored, and calls written down, in the background before the loop is given back: what is asked for goes
before."""
LOOKED_AT: Final = 500
"""Calls looked at for them: most were restored by the list of one agent and come up again with that of the other."""
PAUSE: Final = 0.005
"""Seconds between two such portions."""


class Evidence:
    """One for the life of a server."""

    def __init__(self, recovery: Recovery) -> None:
        self.generation = 0
        self._recovery = recovery
        self.core = recovery.core
        self._backlog: deque[str] = deque()
        self._over: deque[str] = deque()
        """Calls that ended, as an agent tells. They do not wait behind those that live: until they are written down,
        nobody has their call records but the agents, and not for long."""
        self._untold: set[str] = set()
        """Those of them of which another agent has still to be heard."""
        self._working = False
        self._last: list[Callable[[float], None]] = []

    def begin(self, now: float) -> None:
        """A new epoch of ours."""
        self.core.stack.deadlines.set(now + self.core.site.timing.agent_grace, self, GRACE)

    def forget(self) -> None:
        """Another server has the calls."""
        self.generation += 1
        self._backlog.clear()
        self._over.clear()
        self._untold.clear()
        self._last.clear()
        self._working = False

    def due(self, cause: str, now: float) -> None:
        if cause is WORK:
            self._work(now)
        elif cause is LAST:
            acts, self._last = self._last, []
            for act in acts:
                act(now)
        elif cause is GRACE:
            index = self._recovery.index
            for record in [record for record in index.by_key.values() if not record.call]:
                index.remove(record)
            self.look_at(list(index.by_key.values()), now)

    def at_last(self, act: Callable[[float], None], now: float) -> None:
        """A BYE that waited for the other side goes on behind what that side's record has under way."""
        self._last.append(act)
        self.core.stack.deadlines.set(now, self, LAST)

    # -- the work ---------------------------------------------------------------------------------------------------

    def look_at(self, records: list[ToldDialog], now: float) -> None:
        """Restore the calls of these records, and judge them; and those of which more may be known by now."""
        self._over.extend(dict.fromkeys(record.call for record in records if record.is_over))
        self._over.extend(self._untold)
        self._untold.clear()
        self._backlog.extend(dict.fromkeys(record.call for record in records if not record.is_over))
        self._backlog.extend(self._recovery.alone)
        self._work_on(now)

    def _work_on(self, now: float) -> None:
        if (self._backlog or self._over) and not self._working:
            self._working = True
            self.core.stack.deadlines.set(now + PAUSE, self, WORK)

    def _work(self, now: float) -> None:
        self._portion(self._over, now)
        self._portion(self._backlog, now)
        self._working = False
        self._work_on(now)

    def _portion(self, queue: deque[str], now: float) -> None:
        done, recovery = 0, self._recovery
        for _ in range(min(LOOKED_AT, len(queue))):
            call_id = queue.popleft()
            if call_id not in recovery.index.by_call and call_id not in recovery.alone:
                continue
            try:
                self._settle(call_id, now)
            except Exception as error:  # by whatever an agent told of it; the others are not to pay for it
                recovery.passed_over(call_id, error, now)
            done += 1
            if done == AT_ONCE:
                return

    def hasten(self, now: float) -> None:
        """This process is about to end: write down what is known to have ended, whoever has still to be heard."""
        waiting = dict.fromkeys((*self._over, *self._untold))
        self._over.clear()
        self._untold.clear()
        for call_id in waiting:
            records = self._recovery.index.of_call(call_id)
            if all(record.is_over for record in records):
                try:
                    self._conclude(call_id, now, in_haste=True)
                except Exception as error:
                    self._recovery.passed_over(call_id, error, now)

    # -- judging ----------------------------------------------------------------------------------------------------

    def _settle(self, call_id: str, now: float) -> None:
        """Restore a call, and judge whether what is missing of it is gone."""
        recovery = self._recovery
        call = recovery.restore(call_id, now)
        if call is None:
            self._settle_unanswered(call_id, now)
        elif not call.bridge.complete:
            missing = call.state.callee_agent if call.bridge.target is None else call.state.caller_agent
            why = self._gone(missing, now)
            if why:
                ended = [r for r in recovery.index.of_call(call_id) if not r.live]
                for record in ended:
                    recovery.index.remove(record)
                self.release(call, orphaned_calls.reason_of(ended) or why, now, ended[0] if ended else None)

    def _settle_unanswered(self, call_id: str, now: float) -> None:
        """What is left of a call that nobody talks on: ended on both sides, or ringing without a caller."""
        recovery = self._recovery
        records = recovery.index.of_call(call_id)
        if not records or any(r.has_sent and not r.opened_by_server for r in records):
            return
        if all(record.is_over for record in records):
            self._conclude(call_id, now)
            return
        state = recovery.state_of(records)
        if state is None or not all(self._gone(agent, now) for agent in (state.caller_agent, state.callee_agent)):
            return
        for record in records:
            recovery.index.remove(record)
        ringing = [record for record in records if record.live and record.opened_by_server]
        if ringing:
            recovery.note(call_id, RELEASED, f"{state.caller_agent} has no such call any more")
            self.core.records.write(state, 487, "caller", now, "the caller is gone")
        for record in ringing:
            orphaned_calls.cancel(self.core, record, now)

    def _conclude(self, call_id: str, now: float, in_haste: bool = False) -> None:
        """Write down a call that is over as far as is known; when more may be heard of it, that is waited for."""
        index, state = self._recovery.index, self._recovery.state_of(self._recovery.index.of_call(call_id))
        ended = index.of_call(call_id)  # without those whose token is not believed
        if not ended:
            return
        if not self._is_sure(ended, state, now, in_haste):
            self._untold.add(call_id)
            return
        for record in ended:
            index.remove(record)
        if call_id not in self.core.ended:
            state = state or orphaned_calls.never_served(self.core, ended[0])
            orphaned_calls.conclude(self.core.records, state, ended)

    def _is_sure(self, ended: list[ToldDialog], state: CallState | None, now: float, in_haste: bool) -> bool:
        """Whether a call is over for good, and all have been heard of it who can be.

        The end of a callee's dialog alone may be that of an attempt, and the hunting goes on. An agent that is not
        there is not waited for: should it come back with more, the records are merged.
        """
        if state is None:
            return True
        if not state.answered and all(record.opened_by_server for record in ended):
            return bool(self._gone(state.caller_agent, now))
        links = [self.core.agents.links.get(agent) for agent in (state.caller_agent, state.callee_agent)]
        return in_haste or all(link is None or link.flow is None or link.complete for link in links)

    def _gone(self, agent: str, now: float) -> str:
        """Why the leg at that agent is surely gone, or ``""``."""
        if not agent:
            return "its other side was a trunk of the former server"
        link = self.core.agents.links.get(agent)
        if link is None:
            return f"{agent} is no agent of this site any more"
        if link.complete:
            return f"{agent} has no such dialog"
        waited = now - self.core.agents.begun_at >= self.core.site.timing.agent_grace
        if waited and self.core.member.may_act(now):  # without the lease, silence ends nothing
            return f"{agent} was silent for {self.core.site.timing.agent_grace:g} s"
        return ""

    def lost_legs(self, link: AgentLink, now: float) -> None:
        """The list of an agent that was connected anew: what it had before it was asked, and lacks now, is gone."""
        asked = link.asked_at + self.core.wall_offset
        for call in list(self.core.calls.values()):
            state = call.state
            if (
                not state.answered
                or state.answered >= asked
                or link.name not in (state.caller_agent, state.callee_agent)
            ):
                continue
            for leg in call.bridge.legs:
                if call.agent_of(leg) == link.name and not leg.ended and leg.dialog.key not in link.seen:
                    leg.end()
                    self.release(call, f"{link.name} has no such dialog any more", now)
                    break

    def release(self, call: Call, because: str, now: float, ended: ToldDialog | None = None) -> None:
        """End what is left of a call; ``ended`` is the record of the side that is gone, where it left one."""
        self._recovery.alone.discard(call.id)
        if not call.bridge.parting:  # else a BYE waits, and ends it as if the other side had heard of it
            self._recovery.note(call.id, RELEASED, because)
            logger.info("call %s is released: %s", call.id, because)
        reason = f"SIP;cause=480;text={quote(because[:80])}"
        if ended is None:
            call.bridge.release(reason, now)
        else:
            reason = ended.ended.reason or reason
            call.bridge.release(reason, now, orphaned_calls.by_of(ended), orphaned_calls.status_of(ended))
