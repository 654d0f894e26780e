"""Recovery of calls from the lists of agents: passes each record on to restoration, replay and reconciliation.

Nothing here guesses what the former server did. A request that was never answered is treated as just arrived; a
dialog is made from its record by the same constructor as a new one; a leg is ended only when its other side is known
to be gone (docs/wire.md, "What a new server does with the lists").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from b2bua.agent_connection import AgentConnection
from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.pickup import picks_up
from b2bua.state_token import call_id_of
from b2bua.takeover import orphaned_calls
from b2bua.takeover.cookie_recovery import CookieRecovery
from b2bua.takeover.reconciliation import Reconciliation
from b2bua.takeover.records import DialogReport, Index
from b2bua.takeover.replay import Replay
from b2bua.takeover.restoration import Release, Restorations
from b2bua.takeover.verdicts import Verdicts
from sip.b2b.bridge import SETTING_UP
from sip.invite import InviteUsage
from sip.packages.line_dialog import BadRecord
from sip.transaction import ServerTransaction
from sip.wire.message import Request

logger = logging.getLogger(__name__)

LOOK: Final = "look"
LOOK_EVERY: Final = 1.0
"""Seconds between two checks of agents whose lists are not complete."""


class Recovery:
    """Handles takeovers and the return of single agents in the same way. A server has one for its whole life."""

    def __init__(
        self,
        services: CallServices,
        agents: Agents,
        keys: Sequence[bytes],
        may_act: Callable[[float], bool],
        cancelled: Callable[[ServerTransaction, Request, float], None],
        served: Callable[[float], None],
    ) -> None:
        """``keys`` are the site's keys, which verify state tokens. ``may_act``: whether this server has its lease.
        ``cancelled`` is called with an INVITE and its CANCEL once their dialog is known, ``served`` when the lists of
        all connected agents are complete.
        """
        self.index = Index(self._unreadable)
        self.verdicts = Verdicts()
        self.restorations = Restorations(services, agents, self.index, self.verdicts, keys)
        self._reconciliation = Reconciliation(self.restorations, may_act, self._passed_over)
        self.cookies = CookieRecovery(services, self.verdicts)
        self.replay = Replay(self.restorations, self.cookies, cancelled, self._unrestored)
        self._services = services
        self._agents = agents
        self._may_act = may_act
        self._served = served
        self.generation = 0

    def _unrestored(self, now: float) -> bool:
        """Whether some calls may not be restored yet: their records are still to come, or wait to be looked at.
        Agents that have not come back are waited for half as long as a device waits for an answer (timer F)."""
        if not (self._agents.all_complete and self._reconciliation.idle):
            return True
        away = any(not each.complete and not each.hung for each in self._agents.connections.values())
        return away and now - self._agents.begun_at < self._services.stack.timers.lifetime / 2

    def begin(self, now: float) -> None:
        """This server leads under a new epoch: start with no knowledge of calls."""
        self.reset()
        self.verdicts.clear()
        self._reconciliation.begin(now)
        self.generation += 1
        self._services.stack.deadlines.set(now + LOOK_EVERY, self, LOOK)

    def due(self, cause: str, now: float) -> None:
        """While a list is outstanding: do not wait any longer for a connected agent that has gone quiet."""
        if not self._agents.all_complete:
            for connection in self._agents.incomplete:
                connection.hung = connection.is_quiet(now)
            if self._agents.all_complete:
                self._all_told(now)
        if self._agents.incomplete:
            self._services.stack.deadlines.set(now + LOOK_EVERY, self, LOOK)

    def reset(self) -> None:
        """Another server leads: forget all records and what waits for them."""
        self.generation += 1
        self.index.clear()
        self._services.records.ends.clear()
        self.replay.clear()
        self.restorations.clear()
        self._reconciliation.clear()

    def leave(self, now: float) -> None:
        """The process is about to end: write what can be written of ended calls."""
        self._reconciliation.hasten(now)
        if (quality := self._services.records.quality) is not None:
            quality.hasten()

    # Reports of agents.

    def take(self, connection: AgentConnection, records: Iterable[DialogReport], now: float) -> None:
        """Handle the records in one part of an agent's list."""
        for told in records:
            try:
                self._take(connection, told, now)
            except Exception as error:  # the records behind it are of other calls
                self._passed_over(told.call or told.call_id, error, now)

    def _take(self, connection: AgentConnection, told: DialogReport, now: float) -> None:
        key = told.key
        connection.seen.add(key)
        if not told.call and told.is_over and not told.opened_by_server:
            told.call = call_id_of(connection.name, told.call_id)  # no server ever gave it a token
        leg = self._services.stack.legs.get(key)
        if isinstance(leg, InviteUsage):
            orphaned_calls.acknowledge(leg, told, now)
        elif leg is None and not self._is_served(connection, told):
            self.index.add(told)
            if self.replay.waits_for(key):
                self.replay.dialog_told(told, now)
            elif told.call in self.restorations.half:
                self.restorations.restore(told.call, now)
            elif (waiting := self.restorations.waiting.get(told.call)) is not None:
                self.restorations.look_again(waiting, now, at_last=False)
            elif told.call in self._services.calls and self._services.calls[told.call].bridge.complete:
                self.restorations.restore(told.call, now, told)
            else:
                self._acknowledge_soon(told, now)
        if told.has_sent:
            self.replay.replay(connection, told, now)

    def _acknowledge_soon(self, told: DialogReport, now: float) -> None:
        """If a 2xx of a call awaits its ACK, do not leave that to the background: restore the call when both legs are
        reported, which sends the ACK; otherwise fetch the caller's dialog."""
        same = self.index.told_of_call(told.call)
        if not any(each.ack_awaited for each in same):
            return
        records = self.index.of_call(told.call)
        if len(records) > 1:
            if all(each.talks for each in records):
                self.restorations.restore(told.call, now)
            return
        state = self.restorations.state_of(records)
        connection = self._agents.connections.get(state.caller_agent) if state is not None else None
        if connection is not None and state is not None and state.caller_dialog and not connection.complete:
            connection.fetch(state.caller_dialog, now)

    def _is_served(self, connection: AgentConnection, told: DialogReport) -> bool:
        """Whether a record needs no recovery, as its call is complete here or has ended (an agent reconnected)."""
        call_id = told.call or call_id_of(connection.name, told.call_id)
        records = self._services.records
        ended = records.ended.get(call_id)
        # if the call record was written under an earlier epoch, a BYE may still have to be passed on
        if ended is not None and not told.live and (ended.record.epoch == records.epoch or not told.talks):
            return True
        call = self._services.calls.get(call_id)
        if call is None or not call.bridge.complete or call_id in self.restorations.waiting:
            return False
        state = call.state
        if call.bridge.phase in SETTING_UP:  # the attempt is, or will be, repeated; only a pickup needs its record
            return not (told.talks and picks_up(state, told.call_id, told.opened_by_server))
        if told.call_id in (state.caller_dialog, state.callee_dialog):
            return True
        # a dialog of neither party: it was replaced, or has replaced one of them, or still rings without need
        return not (told.talks or state.part or (told.live and told.opened_by_server))

    def complete(self, connection: AgentConnection, now: float) -> None:
        """An agent's list is complete: dialogs that are not in it are gone."""
        self.replay.list_complete(connection.name, now)
        theirs = [told for told in self.index.by_key.values() if told.agent == connection.name]
        for told in theirs:
            if told.key not in connection.seen:
                self.index.remove(told)
        if connection.relisted:
            self._reconciliation.lost_legs(connection, now)
        self._reconciliation.look_at((told for told in theirs if told.call in self.index.by_call), now)
        if self._agents.all_complete:
            self._all_told(now)

    def _all_told(self, now: float) -> None:
        """The lists of all connected agents are complete."""
        self.restorations.lists_complete(now)
        self._served(now)

    def silent(self, connection: AgentConnection, now: float) -> bool:
        """An agent was away for ``agent_grace``: release the other legs of its calls (docs/wire.md).

        Returns False without the lease: silence then proves nothing, and the caller is to try again later.
        """
        if not self._may_act(now):
            return False
        self.replay.agent_gone(connection.name)
        release = Release(f"{connection.name} was silent for {self._services.site.timing.agent_grace:g} s")
        for call in list(self._services.calls.values()):
            if connection.name in (call.state.caller_agent, call.state.callee_agent):
                self.restorations.release(call, release, now)
        return True

    # Records that cannot be used.

    def _unreadable(self, told: DialogReport, fault: BadRecord) -> None:
        """A record cannot be decoded: count and log it. That dialog is lost, the call's other one is not."""
        stack = self._services.stack
        stack.counters["bad records"] += 1
        stack.limited_logger.warning(logger, told.told_at, "%s told of a dialog: %s", told.agent, fault)

    def _passed_over(self, what: str, error: Exception, now: float) -> None:
        """The records of a call cannot be used: count and log it."""
        stack = self._services.stack
        stack.counters["bad records"] += 1
        stack.limited_logger.warning(logger, now, "what agents told of call %s cannot be used: %r", what, error)
