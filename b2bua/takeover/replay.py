"""Requests inside calls after a takeover: those that agents have kept, and those that arrive before their dialogs are
reported.

A request that was never answered is treated as just arrived. A request in a dialog that is not reported yet waits for
it, and that dialog is fetched ahead of the others. A request in an early dialog waits until the INVITE, kept by its
agent as well, has created the dialog anew (docs/wire.md, "What a new server does with the lists").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from b2bua.agent_connection import AgentConnection
from b2bua.state_token import call_id_of
from b2bua.takeover import orphaned_calls
from b2bua.takeover.cookie_recovery import CookieRecovery
from b2bua.takeover.records import DialogReport
from b2bua.takeover.restoration import Restorations
from b2bua.takeover.verdicts import REPLAYED
from sip.dialog import dialog_key
from sip.invite import InviteUsage
from sip.transaction import ServerTransaction, cancel_of
from sip.wire.message import Request, parse

MOST_WAITING: Final = 10_000
"""Dialogs with waiting requests; requests in further ones are answered 500 with Retry-After."""
MOST_UNAUTHENTICATED: Final = 500
"""The same limit for requests from senders that cannot be told from strangers."""
MOST_OF_ONE: Final = 16
"""Requests that may wait for one dialog."""
PROGRESSED: Final = "the set-up of a call went on"
LOOK: Final = "look whether all is restored"
LOOK_EVERY: Final = 0.1
"""Seconds between two checks."""
OWN_LINE: Final = "a line of the servers' own"
"""Context of a waiting transaction from an own line, where others have the name of their agent."""


class Replay:
    """The waiting requests. A server has one instance for its whole life."""

    def __init__(
        self,
        restorations: Restorations,
        cookies: CookieRecovery,
        cancelled: Callable[[ServerTransaction, Request, float], None],
        unrestored: Callable[[float], bool],
    ) -> None:
        """``cancelled`` is called with an INVITE that waited and its CANCEL, once their dialog is known.
        ``unrestored``: whether some calls may not be restored yet."""
        self._restorations = restorations
        self._cookies = cookies
        self._index = restorations.index
        self._services = restorations.services
        self._stack = restorations.services.stack
        self._records = restorations.services.records
        self._connections = restorations.agents.connections
        self._cancelled = cancelled
        self._unrestored = unrestored
        self._looks = False
        restorations.device_leg_made = self.device_leg_made
        restorations.unrestored = unrestored
        self._waiting: dict[str, list[tuple[ServerTransaction, Request]]] = {}
        """By the key of the dialog that they wait for; the context of each transaction names the agent."""
        self.generation = 0

    def clear(self) -> None:
        """Another server leads: drop all waiting requests without an answer."""
        self.generation += 1
        self._looks = False
        for key in list(self._waiting):
            self._abandon(key)

    def waits_for(self, key: str) -> bool:
        """Whether a request waits for the dialog with that key."""
        return key in self._waiting

    def unknown_dialog(self, agent: str, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Handle a request in a dialog that is unknown here, or not known yet, from an agent (``""``: from an own
        line). Returns False when it is to be answered 481."""
        if not agent:
            return self._cookies.requested(transaction, request, now) or self._of_device(transaction, request, now)
        key = dialog_key(request.call_id, request.to_tag)
        told = self._index.get(key)
        if told is not None and (leg := self._leg_of(told, now)) is not None:
            leg.receive(transaction, request, now)
            return True
        connection = self._connections.get(agent)
        if connection is None or not self._may_come(agent, key, request):
            return False
        if len(self._waiting) >= MOST_WAITING or len(self._waiting.get(key, ())) >= MOST_OF_ONE:
            self._stack.respond_stateless(transaction, 500, ("Retry-After: 5",))
            return True
        self._waiting.setdefault(key, []).append((transaction, request))
        self._services.progressed = self._progressed
        transaction.context = agent
        if not connection.complete:
            connection.fetch(request.call_id, now)
        return True

    def _of_device(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Let a device's request wait. Its leg is restored with the other leg of the call and unknown until then, so
        the request waits until all reported calls are restored. Where telephones may register from any address, those
        of unknown senders wait as well, up to a lower limit. False: the request is not to wait."""
        key, known = (
            dialog_key(request.call_id, request.to_tag),
            self._services.own_lines.senders.has_dialogs(transaction.flow),
        )
        if (
            known is False
            or not self._unrestored(now)
            or (known is None and len(self._waiting) >= MOST_UNAUTHENTICATED)
        ):
            return False
        if len(self._waiting) >= MOST_WAITING or len(self._waiting.get(key, ())) >= MOST_OF_ONE:
            self._stack.respond_stateless(transaction, 500, ("Retry-After: 5",))
            return True
        if not self._looks:
            self._looks = True
            self._stack.deadlines.set(now + LOOK_EVERY, self, LOOK)
        transaction.context = OWN_LINE
        self._waiting.setdefault(key, []).append((transaction, request))
        return True

    def device_leg_made(self, leg: InviteUsage, now: float) -> None:
        """A leg with a device is restored: its waiting requests go on once the call is complete."""
        if leg.dialog.key in self._waiting:
            self._stack.deadlines.set(now, self, PROGRESSED)

    def _may_come(self, agent: str, key: str, request: Request) -> bool:
        """Whether an unknown dialog may still be reported, or is an early dialog of a call that is being set up."""
        connection = self._connections.get(agent)
        if connection is None or not connection.complete:
            return connection is not None
        told = self._index.get(key)
        call = self._services.calls.get((told.call if told is not None else "") or call_id_of(agent, request.call_id))
        if call is not None:
            return not call.state.answered
        return told is not None and told.live and not told.talks and not self._restorations.agents.all_complete

    def _progressed(self, now: float) -> None:
        """The set-up of a call went on: an early dialog that requests wait for may exist now, or never will."""
        self._stack.deadlines.set(now, self, PROGRESSED)

    def due(self, cause: str, now: float) -> None:
        if cause is LOOK:
            self._looks = any(waiting[0][0].context is OWN_LINE for waiting in self._waiting.values())
            if self._looks and self._unrestored(now):
                self._stack.deadlines.set(now + LOOK_EVERY, self, LOOK)
                return
            self._looks = False
        for key, waiting in list(self._waiting.items()):
            leg = self._stack.legs.get(key)
            if isinstance(leg, InviteUsage):
                self._deliver(key, leg, now)
            elif waiting[0][0].context is OWN_LINE:
                if not self._unrestored(now):
                    self._deliver(key, None, now)
            elif not self._may_come(waiting[0][0].context, key, waiting[0][1]):
                self._deliver(key, None, now)

    def cancelled(self, invite: ServerTransaction, cancel: Request) -> None:
        """Queue the CANCEL of a waiting re-INVITE behind it: a former server may have sent that INVITE on."""
        for waiting in self._waiting.values():
            if any(transaction is invite for transaction, _ in waiting):
                waiting.append((invite, cancel))

    def stray_ack(self, ack: Request, now: float) -> None:
        """Handle an ACK in a dialog that is reported but not restored: restore the dialog."""
        told = self._index.get(dialog_key(ack.call_id, ack.to_tag))
        if told is not None and (leg := self._leg_of(told, now)) is not None:
            leg.receive_ack(ack, now)

    def dialog_told(self, told: DialogReport, now: float) -> None:
        """A dialog was reported that requests wait for: deliver them, unless its INVITE has yet to create it anew."""
        leg = self._leg_of(told, now)
        waiting = self._waiting.get(told.key)
        if waiting and (leg is not None or not self._may_come(told.agent, told.key, waiting[0][1])):
            self._deliver(told.key, leg, now)

    def _deliver(self, key: str, leg: InviteUsage | None, now: float) -> None:
        """Give all requests that waited for a dialog to its leg; without a leg, answer them 481."""
        waiting = self._waiting.pop(key, [])
        if not self._waiting:
            self._services.progressed = None
        for transaction, request in waiting:
            if leg is None:
                self._stack.reply(transaction, 481, now)
            elif request.method == "CANCEL":
                self._cancelled(transaction, request, now)
            else:
                leg.receive(transaction, request, now)

    def list_complete(self, agent: str, now: float) -> None:
        """An agent's list is complete: dialogs that are not in it do not exist, and requests in them are answered."""
        for key in self._keys_of(agent):
            if not self._may_come(agent, key, self._waiting[key][0][1]):
                self._deliver(key, None, now)

    def agent_gone(self, agent: str) -> None:
        """An agent is gone: drop its requests, since nobody is there to be answered."""
        for key in self._keys_of(agent):
            self._abandon(key)

    def replay(self, connection: AgentConnection, told: DialogReport, now: float) -> None:
        """Treat the agent's unanswered requests as just arrived."""
        if connection.flow is None:
            return
        for request, data, cancelled in told.sent():
            in_dialog = bool(request.to_tag)
            if in_dialog and told.key in self._index.by_key:
                self._leg_of(told, now)
            call_id = told.call or call_id_of(connection.name, request.call_id)
            self._restorations.verdicts.note(call_id, REPLAYED, f"{request.method} was kept")
            if request.method == "BYE" or (cancelled and not in_dialog):
                self._learn_end(call_id, told)
            self._restorations.replaying = True
            try:
                self._stack.receive_message(data, connection.flow, now)
            finally:
                self._restorations.replaying = False
            # the CANCEL follows the INVITE to the other side, as a former server may have sent the INVITE there
            if cancelled and (in_dialog or "replaces" in request.first):
                self._stack.receive_message(cancel_of(data), connection.flow, now)
            elif cancelled:
                self._restorations.cancel(call_id_of(connection.name, request.call_id), _cancel_for(data), now)

    def _learn_end(self, call_id: str, told: DialogReport) -> None:
        """Remember the end that a record reports; if both sides have ended the call, the earlier one counts."""
        records = self._records
        if told.live or call_id in records.ended:
            return
        orphaned_calls.note_quality(records, told)
        end, known = orphaned_calls.end_of(told), records.ends.get(call_id)
        if known is None or end.at < known.at:
            records.ends[call_id] = end

    def _leg_of(self, told: DialogReport, now: float) -> InviteUsage | None:
        """Restore the call of a record, and return the record's leg, or None if it has none."""
        self._restorations.restore(told.call, now, told)
        leg = self._stack.legs.get(told.key)
        return leg if isinstance(leg, InviteUsage) else None

    def _keys_of(self, agent: str) -> list[str]:
        return [key for key, waiting in self._waiting.items() if waiting[0][0].context == agent]

    def _abandon(self, key: str) -> None:
        """Drop the requests that wait for a dialog, and their transactions: a retransmission would otherwise be taken
        for a request that is being dealt with."""
        waiting = self._waiting.pop(key)
        if not self._waiting:
            self._services.progressed = None
        for transaction, _ in waiting:
            transaction.terminate()


def _cancel_for(invite: bytes) -> Request:
    """The CANCEL that an agent would have sent for its INVITE."""
    cancel = parse(cancel_of(invite))
    assert isinstance(cancel, Request)
    return cancel
