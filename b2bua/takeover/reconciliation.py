"""In the background after a takeover: all calls are restored, those that ended are written down, and what is left of
a call is released on evidence that its other side is gone (docs/wire.md, "What a new server does with the lists").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from b2bua.agent_connection import AgentConnection
from b2bua.state_token import CallState
from b2bua.takeover import orphaned_calls
from b2bua.takeover.device_leg_recovery import FORMER
from b2bua.takeover.records import ToldDialog
from b2bua.takeover.restoration import ALL_ENDED, CALLER_GONE, Release, Restoration, Restorations, Told
from sip.dialog import Dialog, dialog_key

WORK: Final = "restore some"
GRACE: Final = "waited for agents"

AT_ONCE: Final = 25
"""Calls restored, and calls written down, in the background before the loop is given back: what is asked for goes
before."""
LOOKED_AT: Final = 500
"""Calls looked at for them: most were restored by the list of one agent and come up again with that of the other."""
PAUSE: Final = 0.005
"""Seconds between two such portions."""


class Reconciliation:
    """One for the life of a server."""

    def __init__(
        self,
        restorations: Restorations,
        may_act: Callable[[float], bool],
        passed_over: Callable[[str, Exception, float], None],
    ) -> None:
        """``may_act``: whether this server has its lease; ``passed_over`` is told of calls that cannot be judged."""
        self.generation = 0
        self._restorations = restorations
        self._services = restorations.services
        self._agents = restorations.agents
        self._index = restorations.index
        self._may_act = may_act
        self._passed_over = passed_over
        self._backlog: deque[str] = deque()
        self._over: deque[str] = deque()
        """Calls that ended, as an agent tells. They do not wait behind those that live: until they are written down,
        nobody has their call records but the agents, and not for long."""
        self._untold: set[str] = set()
        """Those of them of which another agent has still to be heard."""
        self._ringing: set[str] = set()
        """Attempts whose callers are not told, and may be still."""
        self._working = False

    def begin(self, now: float) -> None:
        """A new epoch of ours."""
        self._services.stack.deadlines.set(now + self._services.site.timing.agent_grace, self, GRACE)

    def clear(self) -> None:
        """Another server has the calls."""
        self.generation += 1
        self._backlog.clear()
        self._over.clear()
        self._untold.clear()
        self._ringing.clear()
        self._working = False

    def due(self, cause: str, now: float) -> None:
        if cause is WORK:
            self._portion(self._over, now)
            self._portion(self._backlog, now)
            self._working = False
            self._work_on(now)
        elif not self._may_act(now):  # without the lease silence ends nothing; it is looked at again with it
            self.begin(now)
        else:
            for told in [told for told in self._index.by_key.values() if not told.call]:
                self._index.remove(told)
            self.look_at(self._index.by_key.values(), now)

    def look_at(self, records: Iterable[ToldDialog], now: float) -> None:
        """Restore the calls of these records, and judge them; and those of which more may be known by now."""
        ended: dict[str, None] = {}
        living: dict[str, None] = {}
        for told in records:
            (ended if told.is_over else living)[told.call] = None
        self._over.extend(ended)
        self._over.extend(self._untold)
        self._untold.clear()
        self._backlog.extend(living)
        self._backlog.extend(self._restorations.half)
        self._backlog.extend(self._ringing)
        self._ringing.clear()
        self._work_on(now)

    def _work_on(self, now: float) -> None:
        if (self._backlog or self._over) and not self._working:
            self._working = True
            self._services.stack.deadlines.set(now + PAUSE, self, WORK)

    @property
    def idle(self) -> bool:
        """Whether all that was told has been looked at."""
        return not (self._backlog or self._over)

    def _portion(self, queue: deque[str], now: float) -> None:
        done, index, half = 0, self._index.by_call, self._restorations.half
        for _ in range(min(LOOKED_AT, len(queue))):
            call_id = queue.popleft()
            if call_id not in index and call_id not in half:
                continue
            try:
                self._judge(call_id, now)
            except Exception as error:  # by whatever an agent told of it; the others are not to pay for it
                self._passed_over(call_id, error, now)
            done += 1
            if done == AT_ONCE:
                return

    def hasten(self, now: float) -> None:
        """This process is about to end: write down what is known to have ended, whoever has still to be heard."""
        waiting = dict.fromkeys((*self._over, *self._untold))
        self._over.clear()
        self._untold.clear()
        for call_id in waiting:
            try:
                if all(told.is_over for told in self._index.of_call(call_id)):
                    self._conclude(call_id, now, in_haste=True)
            except Exception as error:
                self._passed_over(call_id, error, now)

    def _judge(self, call_id: str, now: float) -> None:
        """Restore a call, and judge whether what is missing of it is gone."""
        call = self._restorations.restore(call_id, now)
        if call is None:
            self._judge_unanswered(call_id, now)
        elif not call.bridge.complete and self._services.transfers.ending.isdisjoint(
            leg.dialog.key for leg in call.bridge.legs
        ):
            missing = call.state.callee_agent if call.bridge.target is None else call.state.caller_agent
            why = self.gone(missing, now)
            one = self._restorations.half.get(call_id)
            if not missing and one is not None:
                why = one.why or why
            if why:
                ended = [told for told in self._index.of_call(call_id) if not told.live]
                for told in ended:
                    self._index.remove(told)
                release = Release(orphaned_calls.reason_of(ended) or why, ended[0] if ended else None)
                self._restorations.release(call, release, now)

    def _judge_unanswered(self, call_id: str, now: float) -> None:
        """What is left of a call that nobody talks on: ended on both sides, or ringing without a caller."""
        records = self._index.of_call(call_id)
        if not records or any(told.has_sent and not told.opened_by_server for told in records):
            return
        if all(told.is_over for told in records):
            self._conclude(call_id, now)
            return
        state = self._restorations.state_of(records)
        if state is None or self._restorations.ring_on(state, records, now):
            return
        if all(self.gone(agent, now) for agent in (state.caller_agent, state.callee_agent)):
            self._restorations.step(Restoration(call_id), CALLER_GONE, Told(state, records), now)
        else:
            self._ringing.add(call_id)

    def _conclude(self, call_id: str, now: float, in_haste: bool = False) -> None:
        """Write down a call that is over as far as is known; when more may be heard of it, that is waited for."""
        state = self._restorations.state_of(self._index.of_call(call_id))
        ended = self._index.of_call(call_id)  # without those whose token is not believed
        if not ended:
            return
        if self._is_sure(ended, state, now, in_haste):
            self._restorations.step(Restoration(call_id), ALL_ENDED, Told(state, ended), now)
        else:
            self._untold.add(call_id)

    def _is_sure(self, ended: list[ToldDialog], state: CallState | None, now: float, in_haste: bool) -> bool:
        """Whether a call is over for good, and all have been heard of it who can be.

        The end of a callee's dialog alone may be that of an attempt, and the hunting goes on. An agent that is not
        there is not waited for: should it come back with more, the records are merged.
        """
        if state is None:
            return True
        if not state.answered and all(told.opened_by_server for told in ended):
            return bool(self.gone(state.caller_agent, now))
        connections = [self._agents.connections.get(agent) for agent in (state.caller_agent, state.callee_agent)]
        return in_haste or all(
            connection is None or connection.flow is None or connection.complete for connection in connections
        )

    def gone(self, agent: str, now: float) -> str:
        """Why the leg at that agent is surely gone, or ``""``."""
        if not agent:
            return FORMER
        connection = self._agents.connections.get(agent)
        if connection is None:
            return f"{agent} is no agent of this site any more"
        if connection.complete and connection.flow is not None:  # else what it told may be waiting for its connection
            return f"{agent} has no such dialog"
        grace = self._services.site.timing.agent_grace
        waited = now - self._agents.begun_at >= grace
        if waited and self._may_act(now):  # without the lease, silence ends nothing
            return f"{agent} was silent for {grace:g} s"
        return ""

    def lost_legs(self, connection: AgentConnection, now: float) -> None:
        """The list of an agent that was connected anew: what it had before it was asked, and lacks now, is gone."""
        for call in list(self._services.calls.values()):
            state = call.state
            agents = (state.caller_agent, state.callee_agent)
            answered_at = state.answered - call.wall_offset
            if not state.answered or answered_at >= connection.asked_at or connection.name not in agents:
                continue
            for leg in call.bridge.legs:
                if call.agent_of(leg) == connection.name and not leg.ended and not _is_told(connection, leg.dialog):
                    leg.end()
                    because = f"{connection.name} has no such dialog any more"
                    self._restorations.release(call, Release(because), now)
                    break


def _is_told(connection: AgentConnection, dialog: Dialog) -> bool:
    """Whether the list of an agent has that dialog, under our tag or, where it has not heard our answer, without."""
    return dialog.key in connection.seen or dialog_key(dialog.call_id, "") in connection.seen
