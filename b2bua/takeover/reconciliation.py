"""Background work after a takeover: restores all calls, writes the records of those that ended, and releases the
remaining leg of a call on evidence that its other side is gone (docs/wire.md, "What a new server does with the
lists").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from b2bua.agent_connection import AgentConnection
from b2bua.state_token import CallState
from b2bua.takeover import orphaned_calls
from b2bua.takeover.device_leg_recovery import FORMER
from b2bua.takeover.records import DialogReport
from b2bua.takeover.restoration import ALL_ENDED, CALLER_GONE, CallReport, Release, Restoration, Restorations
from sip.dialog import Dialog, dialog_key

WORK: Final = "restore some"
GRACE: Final = "waited for agents"

AT_ONCE: Final = 25
"""Calls restored, and call records written, in one portion of work. Between portions the event loop serves requests,
which go first."""
LOOKED_AT: Final = 500
"""Queue entries looked at in one portion: most calls were restored from the list of one agent, and are queued again
with that of the other."""
PAUSE: Final = 0.005
"""Seconds between two portions."""


class Reconciliation:
    """The queues of calls to look at. A server has one instance for its whole life."""

    def __init__(
        self,
        restorations: Restorations,
        may_act: Callable[[float], bool],
        passed_over: Callable[[str, Exception, float], None],
    ) -> None:
        """``may_act``: whether this server has its lease. ``passed_over`` is called with the call id and the error
        for a call whose records cannot be used."""
        self.generation = 0
        self._restorations = restorations
        self._services = restorations.services
        self._agents = restorations.agents
        self._index = restorations.index
        self._may_act = may_act
        self._passed_over = passed_over
        self._backlog: deque[str] = deque()
        self._over: deque[str] = deque()
        """Calls that have ended according to an agent. They have a queue of their own, since until their records are
        written only the agents have them, and not for long."""
        self._untold: set[str] = set()
        """Ended calls of which another agent has still to report."""
        self._ringing: set[str] = set()
        """Ringing calls whose caller's leg is not reported yet, and may still be."""
        self._working = False

    def begin(self, now: float) -> None:
        """This server leads under a new epoch."""
        self._services.stack.deadlines.set(now + self._services.site.timing.agent_grace, self, GRACE)

    def clear(self) -> None:
        """Another server leads: forget everything."""
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
        elif not self._may_act(now):  # without the lease an agent's silence proves nothing: look again later
            self.begin(now)
        else:
            for told in [told for told in self._index.by_key.values() if not told.call]:
                self._index.remove(told)
            self.look_at(self._index.by_key.values(), now)

    def look_at(self, records: Iterable[DialogReport], now: float) -> None:
        """Queue the calls of these records to be restored and judged, and with them all calls that were left
        undecided before."""
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
        """Whether every reported call has been looked at."""
        return not (self._backlog or self._over)

    def _portion(self, queue: deque[str], now: float) -> None:
        done, index, half = 0, self._index.by_call, self._restorations.half
        for _ in range(min(LOOKED_AT, len(queue))):
            call_id = queue.popleft()
            if call_id not in index and call_id not in half:
                continue
            try:
                self._judge(call_id, now)
            except Exception as error:  # whatever an agent reported: other calls must not suffer
                self._passed_over(call_id, error, now)
            done += 1
            if done == AT_ONCE:
                return

    def hasten(self, now: float) -> None:
        """The process is about to end: write the records of calls known to have ended, even if an agent has still to
        report."""
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
        """Restore a call; if one of its legs is missing, and surely gone, release the other."""
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
        """Deal with a call that has no answered leg: it has ended on both sides, or rings without a caller."""
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
            self._restorations.step(Restoration(call_id), CALLER_GONE, CallReport(state, records), now)
        else:
            self._ringing.add(call_id)

    def _conclude(self, call_id: str, now: float, in_haste: bool = False) -> None:
        """Write the record of a call whose reported dialogs have all ended, or wait for another agent's report."""
        state = self._restorations.state_of(self._index.of_call(call_id))
        ended = self._index.of_call(call_id)  # again, as `state_of` takes out records whose token is not believed
        if not ended:
            return
        if self._is_sure(ended, state, now, in_haste):
            self._restorations.step(Restoration(call_id), ALL_ENDED, CallReport(state, ended), now)
        else:
            self._untold.add(call_id)

    def _is_sure(self, ended: list[DialogReport], state: CallState | None, now: float, in_haste: bool) -> bool:
        """Whether a call is over for good, and every connected agent of it has reported.

        If only callees' dialogs have ended, they may be failed attempts of a call that goes on to other targets. An
        agent that is not connected is not waited for: if it comes back with more, the call records are merged.
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
        """A sentence that says why the leg at an agent, or on an own line (``""``), is surely gone; ``""`` if not."""
        if not agent:
            return FORMER
        connection = self._agents.connections.get(agent)
        if connection is None:
            return f"{agent} is no agent of this site any more"
        if connection.complete and connection.flow is not None:  # without a flow, its records cannot be used yet
            return f"{agent} has no such dialog"
        grace = self._services.site.timing.agent_grace
        waited = now - self._agents.begun_at >= grace
        if waited and self._may_act(now):  # without the lease, silence proves nothing
            return f"{agent} was silent for {grace:g} s"
        return ""

    def lost_legs(self, connection: AgentConnection, now: float) -> None:
        """End legs that are missing from the complete list of an agent that has reconnected, if they were answered
        before the list was asked for, and release their calls."""
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
    """Whether an agent's list has a dialog, under the server's tag, or without it if the agent never got the server's
    answer."""
    return dialog.key in connection.seen or dialog_key(dialog.call_id, "") in connection.seen
