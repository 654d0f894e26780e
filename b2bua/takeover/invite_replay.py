"""First INVITEs after a takeover: each was perhaps sent on by a former server, and rings somewhere already.

Before one is routed anew its attempt is looked for in what the agents handed over, and the agents whose lists are
still to come are waited for, ``replay_wait`` at the most (docs/wire.md).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from b2bua.call import Call
from b2bua.routing import Plan
from b2bua.state_token import CallState
from b2bua.takeover.records import ToldDialog
from sip.b2b.bridge import OFFERED_AGAIN, ROUTING
from sip.transaction import ServerTransaction
from sip.wire.message import Request

if TYPE_CHECKING:
    from b2bua.takeover.recovery import Recovery

logger = logging.getLogger(__name__)

WAITED: Final = "waited for lists"


class Attempts:
    """The INVITEs that wait, and how each goes on."""

    def __init__(self, recovery: Recovery) -> None:
        self.generation = 0
        self._recovery = recovery
        self._waiting: dict[str, tuple[Call, float]] = {}

    @property
    def expected(self) -> bool:
        """Whether a new INVITE could be one that a former server has sent on already."""
        return self._recovery.busy

    def forget(self) -> None:
        """Another server has the calls."""
        self.generation += 1
        self._waiting.clear()

    def waits(self, call_id: str) -> bool:
        """Whether the INVITE of that call waits for lists."""
        return call_id in self._waiting

    def resume(self, call: Call, now: float) -> None:
        """Route a first INVITE that a former server may have had before."""
        core = self._recovery.core
        former, record = self._found(call)
        if former is not None and record is not None:
            self._repeat(call, former, record, now)
        elif core.agents.all_complete:
            self._start(call, former, now)
        else:
            until = now + core.site.timing.replay_wait
            self._waiting[call.id] = (call, until)
            core.stack.deadlines.set(until, self, WAITED)

    def adopt(self, call: Call, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """The first INVITE of a call of which the callee's side was restored already: it had answered, and the caller
        has not heard of it. The attempt is sent again; its agent answers it as it did before.

        False when the call is nothing of the kind.
        """
        recovery, bridge = self._recovery, call.bridge
        answered, plan = bridge.target, self._plan_of(call.state)
        if bridge.origin is not None or bridge.complete or answered is None or plan is None:
            return False
        dialog = answered.dialog.export()._replace(remote_tag="", route_set=())
        call.admit(transaction, request, now)
        recovery.alone.discard(call.id)
        call.give_line(call.state.callee_line)
        bridge.step(OFFERED_AGAIN, answered, None, None, now)
        for each in recovery.index.of_call(call.id):
            recovery.index.remove(each)
        call.plan = plan
        call.dial(now, dialog)
        return True

    def cancel(self, call_id: str, cancel: Request, now: float) -> None:
        """The caller gave up in the gap: whoever has the INVITE is to hear of it, so it goes on first."""
        call = self._recovery.core.calls.get(call_id)
        if call is None:
            return
        if call_id in self._waiting:
            call.cancelled = cancel
        else:
            call.cancel(cancel, now)

    def due(self, cause: str, now: float) -> None:
        self.go_on(now, now)

    def go_on(self, now: float, until: float | None = None, only: str = "") -> None:
        """Go on with INVITEs that waited: all, those whose time is up, or the one of a call that was found."""
        chosen = [only] if only else list(self._waiting)
        for call_id in chosen:
            call, deadline = self._waiting[call_id]
            if until is not None and deadline > until:
                continue
            if call.bridge.phase is not ROUTING:
                del self._waiting[call_id]
                continue
            former, record = self._found(call)
            if former is not None and record is not None:
                del self._waiting[call_id]
                self._repeat(call, former, record, now)
            elif not only:  # else a record of a target that was given up before: go on waiting
                del self._waiting[call_id]
                self._start(call, former, now)

    def _found(self, call: Call) -> tuple[CallState | None, ToldDialog | None]:
        """The newest token of the call, whose state it takes on, and the record of the attempt that it names."""
        recovery = self._recovery
        records = recovery.index.of_call(call.id)
        former = recovery.state_of(records)
        if former is not None:
            epoch = recovery.core.epoch
            epochs = former.epochs if epoch in former.epochs else (*former.epochs, epoch)
            call.state = former._replace(origin=call.state.origin, epochs=epochs)
        known = [r for r in records if r.opened_by_server and r.record.attempt == call.state.attempt]
        return former, known[-1] if known else None

    def _repeat(self, call: Call, former: CallState, record: ToldDialog, now: float) -> None:
        """Send the attempt again to where it is under way, under the same key."""
        recovery = self._recovery
        plan = self._plan_of(former)
        for each in recovery.index.of_call(call.id):
            if not each.opened_by_server or each is record or each.is_over:
                recovery.index.remove(each)
        if plan is None:
            call.start(now)
            return
        call.plan = plan
        # a first INVITE has no To-tag; the number goes on where the agent saw it last
        dialog = record.record.dialog._replace(remote_tag="", route_set=())
        call.dial(now, dialog)
        if call.cancelled is not None:
            call.cancel(call.cancelled, now)

    def _start(self, call: Call, former: CallState | None, now: float) -> None:
        """Nobody has it: route it at the place that the token names, or from the beginning."""
        recovery = self._recovery
        for each in recovery.index.of_call(call.id):
            if not each.opened_by_server or each.is_over:
                recovery.index.remove(each)
        if call.cancelled is not None:
            call.cancel(call.cancelled, now)
            return
        plan = self._plan_of(former) if former is not None else None
        if plan is None:
            call.start(now)
        else:
            call.plan = plan
            call.dial(now)

    def _plan_of(self, state: CallState) -> Plan | None:
        if not state.plan:
            return None
        try:
            plan = Plan.from_token(self._recovery.core.site, state.plan)
        except ValueError as error:
            logger.warning("call %s: %s", state.call_id, error)
            return None
        return plan if plan.targets else None
