"""Calls from the lists of agents: what came of them so far, the replay of requests, and who waits for a dialog.

Nothing here guesses what a former server did. A request that was never answered is taken as just arrived; a dialog is
made from its record by the constructor that makes new ones (``b2bua.takeover.call_restoration``); a leg is ended only
when its other side is known to be gone (``b2bua.takeover.reconciliation``; docs/wire.md, "What a new server does with
the lists").
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from b2bua.state_token import CallState, call_id_of
from b2bua.takeover import orphaned_calls
from b2bua.takeover.call_restoration import KEPT, Restoring
from b2bua.takeover.invite_replay import Attempts
from b2bua.takeover.offer_answer_recovery import Exchanges
from b2bua.takeover.reconciliation import Evidence
from b2bua.takeover.records import Index, ToldDialog
from sip.dialog import dialog_key
from sip.invite import InviteUsage
from sip.packages.line_dialog import BadRecord
from sip.transaction import ServerTransaction, cancel_of
from sip.wire.message import Request, parse

if TYPE_CHECKING:
    from b2bua.agents import AgentLink
    from b2bua.core import Core

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
"""Dialogs whose requests wait for them; beyond, 500 with Retry-After."""
MOST_OF_ONE: Final = 16
"""Requests that wait for one dialog."""
MOST_DETAILS: Final = 200_000
"""Calls of which the verdict of the last takeover is remembered."""
REPLAYED: Final = "replayed"


class Recovery:
    """One for the life of a server: takeovers and agents that come back go the same way."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.index = Index(self._unreadable)
        self.verdicts: Counter[str] = Counter()
        self.details: dict[str, tuple[str, str]] = {}
        """Call id to (verdict, sentence), of the last takeover; bounded."""
        self._requests: dict[str, list[tuple[ServerTransaction, Request]]] = {}
        self.attempts = Attempts(self)
        self.exchanges = Exchanges(core)
        self._restoring = Restoring(self)
        self._evidence = Evidence(self)
        self.alone = self._restoring.alone
        self.restore = self._restoring.restore

    @property
    def busy(self) -> bool:
        """Whether a new INVITE could be one that a former server has sent on already."""
        return bool(len(self.index)) or not self.core.agents.all_complete

    def begin(self, now: float) -> None:
        """A new epoch of ours: nothing is known."""
        self.forget()
        self.verdicts.clear()
        self.details.clear()
        self._evidence.begin(now)

    def forget(self) -> None:
        """Another server has the calls."""
        self.index = Index(self._unreadable)
        for waiting in self._requests.values():
            for transaction, _ in waiting:
                transaction.abandon()  # else its repeat would be taken for one that is being dealt with
        self._requests.clear()
        self.core.records.ends.clear()
        self.attempts.forget()
        self.exchanges.forget()
        self._restoring.forget()
        self._evidence.forget()

    def leave(self, now: float) -> None:
        """This process is about to end."""
        self._evidence.hasten(now)

    def state_of(self, records: list[ToldDialog]) -> CallState | None:
        """The newest token that is signed by the site."""
        return self._restoring.state_of(records)

    def at_last(self, act: Callable[[float], None], now: float) -> None:
        """Do that behind what the record just taken has under way."""
        self._evidence.at_last(act, now)

    # -- lists ------------------------------------------------------------------------------------------------------

    def take(self, link: AgentLink, records: Iterable[ToldDialog], now: float) -> None:
        """Records of a part of an agent's list."""
        for record in records:
            try:
                self._take(link, record, now)
            except Exception as error:  # those behind it are other calls
                self.passed_over(record.call or record.call_id, error, now)

    def _take(self, link: AgentLink, record: ToldDialog, now: float) -> None:
        key = record.key
        link.seen.add(key)
        if not record.call and record.is_over and not record.opened_by_server:
            record.call = call_id_of(link.name, record.call_id)  # no server ever named it
        leg = self.core.stack.legs.get(key)
        if isinstance(leg, InviteUsage):
            orphaned_calls.acknowledge(leg, record, now)
        elif leg is None and not self._is_served(link, record):
            self.index.add(record)
            if key in self._requests:
                self._hand_over(record, now)
            elif record.call in self.alone:
                self.restore(record.call, now)
            elif self.attempts.waits(record.call):
                self.attempts.go_on(now, only=record.call)
            else:
                self._pay(record, now)
        if record.has_sent:
            self._replay(link, record, now)

    def _pay(self, record: ToldDialog, now: float) -> None:
        """Where a 2xx awaits its ACK, do not wait: send the ACK that was under way, or fetch the caller's INVITE."""
        records = self.index.of_call(record.call)
        if len(records) > 1 or not records or not record.ack_awaited:
            if any(each.ack_awaited for each in records) and all(each.talks for each in records):
                self.restore(record.call, now)
            return
        state = self.state_of(records)
        link = self.core.agents.links.get(state.caller_agent) if state is not None else None
        if link is not None and state is not None and state.caller_dialog and not link.complete:
            link.fetch(state.caller_dialog, now)

    def _is_served(self, link: AgentLink, record: ToldDialog) -> bool:
        """Whether the call of a record is here whole: the list of an agent whose connection was made anew."""
        call_id = record.call or call_id_of(link.name, record.call_id)
        if call_id in self.core.ended and not record.live:
            return True
        call = self.core.calls.get(call_id)
        return call is not None and call.bridge.complete and not self.attempts.waits(call.id)

    def complete(self, link: AgentLink, now: float) -> None:
        """An agent's list is whole: what it lacks is gone."""
        for key in [key for key in self._requests if self._agent_of(key) == link.name]:
            for transaction, _ in self._requests.pop(key):
                self.core.stack.reply(transaction, 481, now)
        theirs = [record for record in self.index.by_key.values() if record.agent == link.name]
        for record in theirs:
            if record.key not in link.seen:
                self.index.remove(record)
        if link.relisted:
            self._evidence.lost_legs(link, now)
        self._evidence.look_at([record for record in theirs if record.call in self.index.by_call], now)
        if self.core.agents.all_complete:
            self.attempts.go_on(now)

    def silent(self, link: AgentLink, now: float) -> None:
        """An agent was away for ``agent_grace``: its calls are over for the other side (docs/wire.md)."""
        if not self.core.member.may_act(now):
            return
        for key in [key for key in self._requests if self._agent_of(key) == link.name]:
            for transaction, _ in self._requests.pop(key):
                transaction.abandon()
        for call in list(self.core.calls.values()):
            if link.name in (call.state.caller_agent, call.state.callee_agent):
                because = f"{link.name} was silent for {self.core.site.timing.agent_grace:g} s"
                self._evidence.release(call, because, now)

    # -- requests ---------------------------------------------------------------------------------------------------

    def unknown_dialog(self, agent: str, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """A request in a dialog that is not here (yet); False when it is to be answered 481."""
        key = dialog_key(request.call_id, request.to_tag)
        record = self.index.get(key)
        if record is not None:
            leg = self._leg_of(record, now)
            if leg is None:
                return False
            leg.receive(transaction, request, now)
            return True
        link = self.core.agents.links.get(agent)
        if link is None or link.complete:
            return False
        if len(self._requests) >= MOST_WAITING or len(self._requests.get(key, ())) >= MOST_OF_ONE:
            self.core.stack.respond_stateless(transaction, 500, ("Retry-After: 5",))
            return True
        self._requests.setdefault(key, []).append((transaction, request))
        transaction.context = agent
        link.fetch(request.call_id, now)
        return True

    def cancelled(self, invite: ServerTransaction, cancel: Request) -> None:
        """A re-INVITE that waits for its dialog is to be cancelled where a former server may have sent it."""
        for waiting in self._requests.values():
            if any(transaction is invite for transaction, _ in waiting):
                waiting.append((invite, cancel))

    def stray_ack(self, ack: Request, now: float) -> None:
        record = self.index.get(dialog_key(ack.call_id, ack.to_tag))
        if record is not None and (leg := self._leg_of(record, now)) is not None:
            leg.receive_ack(ack, now)

    def _leg_of(self, record: ToldDialog, now: float) -> InviteUsage | None:
        """The leg that a record is about, restored."""
        self.restore(record.call, now, record)
        leg = self.core.stack.legs.get(record.key)
        return leg if isinstance(leg, InviteUsage) else None

    def _hand_over(self, record: ToldDialog, now: float) -> None:
        """What waited for this dialog can go on."""
        waiting = self._requests.pop(record.key, [])
        leg = self._leg_of(record, now)
        for transaction, request in waiting:
            if leg is None:
                self.core.stack.reply(transaction, 481, now)
            elif request.method == "CANCEL":
                self.core.cancelled(transaction, request, now)
            else:
                leg.receive(transaction, request, now)

    def _agent_of(self, key: str) -> str:
        waiting = self._requests.get(key)
        return str(waiting[0][0].context) if waiting else ""

    def _replay(self, link: AgentLink, record: ToldDialog, now: float) -> None:
        """Take the agent's unanswered requests as just arrived."""
        if link.flow is None:
            return
        stack = self.core.stack
        for request, data, cancelled in record.sent():
            if request.to_tag and record.key in self.index.by_key:
                self._leg_of(record, now)
            call_id = record.call or call_id_of(link.name, request.call_id)
            self.note(call_id, REPLAYED, f"{request.method} was kept")
            self._learn_end(call_id, record, request.method == "BYE" or (cancelled and not request.to_tag))
            stack.receive_message(data, link.flow, now)
            if cancelled and not request.to_tag:
                self.attempts.cancel(call_id_of(link.name, request.call_id), _cancel_of(data), now)
            elif cancelled:  # after it is with the other side: a former server may have sent it there
                stack.receive_message(cancel_of(data), link.flow, now)

    def _learn_end(self, call_id: str, record: ToldDialog, ends: bool) -> None:
        """Of what both sides have done to end a call the first counts."""
        if not ends or record.live or call_id in self.core.ended:
            return
        told = self.core.records.ends
        end, known = orphaned_calls.end_of(record), told.get(call_id)
        if known is None or end.at < known.at:
            told[call_id] = end

    # -- verdicts ---------------------------------------------------------------------------------------------------

    def note(self, call_id: str, verdict: str, because: str) -> None:
        """What became of a call, for the report."""
        former = self.details.get(call_id)
        if former is not None:
            self.verdicts[former[0]] -= 1
            if former[0] == REPLAYED and verdict == KEPT:
                verdict = REPLAYED
        self.verdicts[verdict] += 1
        if len(self.details) < MOST_DETAILS or former is not None:
            self.details[call_id] = (verdict, because)

    def _unreadable(self, told: ToldDialog, fault: BadRecord) -> None:
        """One dialog of an agent is lost, whatever it was; its calls are not."""
        stack = self.core.stack
        stack.counters["bad records"] += 1
        stack.seldom.warning(logger, told.told_at, "%s told of a dialog: %s", told.agent, fault)

    def passed_over(self, what: str, error: Exception, now: float) -> None:
        """What an agent told of a call cannot be used."""
        stack = self.core.stack
        stack.counters["bad records"] += 1
        stack.seldom.warning(logger, now, "what agents told of call %s cannot be used: %r", what, error)


def _cancel_of(invite: bytes) -> Request:
    """The CANCEL that an agent would have sent for its INVITE."""
    cancel = parse(cancel_of(invite))
    assert isinstance(cancel, Request)
    return cancel
