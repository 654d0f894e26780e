"""Calls made of records: by the constructors that make new ones, leg by leg as their agents tell of them.

Legs are joined by the call id in their tokens and by nothing else; of all tokens of a call the newest is true. A call
that lacks a leg is *alone*: what its parties ask waits until the other leg is there, or surely gone
(``b2bua.takeover.reconciliation``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from b2bua.call import Call
from b2bua.state_token import CallState, TokenError, call_id_of, read
from b2bua.takeover.records import ToldDialog
from sip.b2b.bridge import CAUGHT_UP, phase_of
from sip.invite import InviteUsage
from sip.packages.line_dialog import ACK_AWAITED, ACK_PENDING

if TYPE_CHECKING:
    from b2bua.takeover.recovery import Recovery

logger = logging.getLogger(__name__)

KEPT: Final = "kept"


class Restoring:
    """One for the life of a server."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self.core = recovery.core
        self.alone: set[str] = set()
        """Calls that lack a leg."""

    def forget(self) -> None:
        """Another server has the calls."""
        self.alone.clear()

    def restore(self, call_id: str, now: float, record: ToldDialog | None = None) -> Call | None:
        """Make the call of these records, or give it the legs that it lacks; None when nothing of it lives."""
        core = self.core
        records = self._recovery.index.of_call(call_id) if call_id else []
        if record is not None and not records:
            records = [record]
        call = core.calls.get(call_id) if call_id else None
        talking = [r for r in records if r.talks]
        if call is None:
            if not talking:
                return None
            state = self.state_of(records)
            if state is None:
                if (
                    record is None
                ):  # no token that can be believed: each dialog is alone, and restored when it is used
                    return None
                talking = [record]
            known = self._stray(talking[0]) if state is None else state
            known = known._replace(epochs=(*known.epochs, core.epoch))
            call = Call(core.services, known, phase_of(bool(known.answered)), restored=state is not None)
            core.calls[call.id] = call
            call.take_line(known.caller_line, now)
            call.take_line(known.callee_line, now)
        elif not call.bridge.complete:
            self._catch_up(call, talking, now)
        for each in talking:
            self._attach(call, each, now)
        if not call.bridge.complete:
            if call.bridge.origin is not None and call.bridge.target is not None:
                self._joined(call, now)
            else:
                self.alone.add(call.id)
        return call

    def _catch_up(self, call: Call, records: list[ToldDialog], now: float) -> None:
        """The leg that came later may know more: the 2xx on its way to the caller carried the newest token."""
        state = self.state_of(records)
        if state is not None and state.counter > call.state.counter:
            call.state = state._replace(epochs=call.state.epochs)
            if state.answered:
                call.bridge.step(CAUGHT_UP, None, None, None, now)

    def _attach(self, call: Call, record: ToldDialog, now: float) -> None:
        link = self.core.agents.links.get(record.agent)
        bridge = call.bridge
        taken = bridge.target if record.opened_by_server else bridge.origin
        if link is None or link.flow is None:
            return
        spare = (
            record.opened_by_server and bool(call.state.callee_dialog) and call.state.callee_dialog != record.call_id
        )
        if not spare and taken is not None and not taken.ended:
            return
        leg = InviteUsage(self.core.stack, bridge, link.flow, record.record.dialog, established=True)
        ack = record.record.ack
        if ack.state == ACK_AWAITED:
            leg.set_ack_pending(ack.cseq)
        elif ack.state == ACK_PENDING:
            leg.await_ack()
        if spare:  # of a target that was given up, and answered all the same
            self._recovery.index.remove(record)
            self.core.discarded.hang_up(leg, "SIP;cause=487", now)
            return
        bridge.attach(leg, as_origin=not record.opened_by_server)
        held = record.record.held
        call.held = "".join(sorted({*call.held, *_side(held, record.opened_by_server)}))
        self._recovery.exchanges.told(call, record)
        self._recovery.index.remove(record)

    def _joined(self, call: Call, now: float) -> None:
        """Both legs are known."""
        self.alone.discard(call.id)
        self._recovery.note(call.id, KEPT, "both of its legs were handed over")
        self._recovery.exchanges.joined(call, now)

    def state_of(self, records: list[ToldDialog]) -> CallState | None:
        """The newest token that is signed by the site."""
        for record in sorted(records, key=lambda r: r.counter, reverse=True):
            token = record.record.token
            if not token:
                continue
            try:
                return read(token, self.core.keys)
            except (TokenError, ValueError) as error:
                self.core.stack.counters["bad token"] += 1
                logger.warning("a dialog of %s: %s; it is kept alone", record.agent, error)
                self._recovery.index.part(record)
        return None

    def _stray(self, record: ToldDialog) -> CallState:
        """A dialog without a token that can be believed: kept, but joined with nothing."""
        return CallState(
            call_id_of(record.agent, record.call_id),
            caller_agent="" if record.opened_by_server else record.agent,
            callee_agent=record.agent if record.opened_by_server else "",
            answered=record.told_at - (record.record.ages.answer or 0.0) + self.core.wall_offset,
        )


def _side(held: str, from_server: bool) -> set[str]:
    """Which sides hold, from the words of one agent: ``remote`` is its device, ``local`` the server's side."""
    near, far = ("b", "a") if from_server else ("a", "b")
    return {"none": set(), "": set(), "remote": {near}, "local": {far}, "both": {near, far}}.get(held, set())
