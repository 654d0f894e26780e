"""Calls from the lists of agents: replay, restoring on first use or in the background, and release on evidence.

Nothing here guesses what a former server did. A request that was never answered is taken as just arrived; a
dialog is made from its record by the constructor that makes new ones; a leg is ended only when its other side is
known to be gone (docs/wire.md, "What a new server does with the lists").
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from b2bua import leftovers
from b2bua.attempts import Attempts
from b2bua.call import Call
from b2bua.call_state import RINGING, TALKING
from b2bua.exchanges import Exchanges
from b2bua.records import Index, Record
from b2bua.token import CallState, TokenError, call_id_of, read
from sip.dialog import dialog_key
from sip.grammar import quote
from sip.message import Request
from sip.session import Leg
from sip.transaction import ServerTransaction, cancel_of

if TYPE_CHECKING:
    from b2bua.agents import AgentLink
    from b2bua.core import Core

logger = logging.getLogger(__name__)

WORK: Final = "restore some"
GRACE: Final = "waited for agents"
LAST: Final = "say goodbye"

AT_ONCE: Final = 10
"""Calls restored in the background before the loop is given back: what is asked for goes before."""
PAUSE: Final = 0.005
"""Seconds between two such portions."""
MOST_WAITING: Final = 10_000
"""Dialogs whose requests wait for them; beyond, 500 with Retry-After."""
MOST_OF_ONE: Final = 16
"""Requests that wait for one dialog."""

KEPT: Final = "kept"
REPLAYED: Final = "replayed"
RELEASED: Final = "released"


class Recovery:
    """One for the life of a server: takeovers and agents that come back go the same way."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.generation = 0
        self.index = Index()
        self.verdicts: Counter[str] = Counter()
        self.details: dict[str, tuple[str, str]] = {}
        """Call id to (verdict, sentence), of the last takeover; bounded."""
        self._requests: dict[str, list[tuple[ServerTransaction, Request]]] = {}
        self.attempts = Attempts(self)
        self._backlog: deque[str] = deque()
        self._working = False
        self.alone: set[str] = set()
        """Calls that lack a leg."""
        self.hung_up: dict[str, float] = {}
        """By call id, when a device hung up while no server was there: the end that a call record tells."""
        self._last: list[Callable[[float], None]] = []
        self.exchanges = Exchanges(core)

    @property
    def busy(self) -> bool:
        """Whether a new INVITE could be one that a former server has sent on already."""
        return bool(len(self.index)) or not self.core.agents.all_complete

    def begin(self, now: float) -> None:
        """A new epoch of ours: nothing is known."""
        self.forget()
        self.verdicts.clear()
        self.details.clear()
        deadlines = self.core.stack.deadlines
        deadlines.set(now + self.core.site.timing.agent_grace, self, GRACE)

    def forget(self) -> None:
        """Another server has the calls."""
        self.generation += 1
        self.index = Index()
        for waiting in self._requests.values():
            for transaction, _ in waiting:
                transaction.abandon()  # else its repeat would be taken for one that is being dealt with
        self._requests.clear()
        self.attempts.forget()
        self._backlog.clear()
        self.alone.clear()
        self._last.clear()
        self.hung_up.clear()
        self.exchanges.forget()
        self._working = False

    # -- lists ------------------------------------------------------------------------------------------------------

    def take(self, link: AgentLink, records: Iterable[Record], now: float) -> None:
        """Records of a part of an agent's list."""
        for record in records:
            try:
                self._take(link, record, now)
            except Exception as error:  # those behind it are other calls
                self._passed_over(record.call or record.call_id, error, now)

    def _take(self, link: AgentLink, record: Record, now: float) -> None:
        key = record.key
        link.seen.add(key)
        leg = self.core.stack.legs.get(key)
        if isinstance(leg, Leg):
            leftovers.acknowledge(leg, record, now)
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

    def _pay(self, record: Record, now: float) -> None:
        """Where a 2xx awaits its ACK, do not wait: send the ACK that was under way, or fetch the caller's INVITE."""
        records = self.index.of_call(record.call)
        if len(records) > 1 or not records or not record.awaited:
            if any(each.awaited for each in records) and all(each.talks for each in records):
                self.restore(record.call, now)
            return
        state = self.state_of(records)
        link = self.core.agents.links.get(state.caller_agent) if state is not None else None
        if link is not None and state is not None and state.caller_dialog and not link.complete:
            link.fetch(state.caller_dialog, now)

    def _is_served(self, link: AgentLink, record: Record) -> bool:
        """Whether the call of a record is here whole: the list of an agent whose connection was made anew."""
        call_id = record.call or call_id_of(link.name, record.call_id)
        if call_id in self.core.ended and not record.live:
            return True
        call = self.core.calls.get(call_id)
        return call is not None and call.waiting is None and not self.attempts.waits(call.id)

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
            self._lost_legs(link, now)
        self._backlog.extend(dict.fromkeys(record.call for record in theirs if record.call in self.index.by_call))
        self._backlog.extend(self.alone)
        self._work_on(now)
        if self.core.agents.all_complete:
            self.attempts.go_on(now)

    def _lost_legs(self, link: AgentLink, now: float) -> None:
        asked = link.asked_at + self.core.wall_offset
        for call in list(self.core.calls.values()):
            state = call.state
            if (
                not state.answered
                or state.answered >= asked
                or link.name not in (state.caller_agent, state.callee_agent)
            ):
                continue
            for leg, agent in ((call.a, state.caller_agent), (call.b, state.callee_agent)):
                if leg is not None and agent == link.name and not leg.ended and leg.dialog.key not in link.seen:
                    leg.end()
                    self._release(call, f"{agent} has no such dialog any more", now)
                    break

    # -- requests ---------------------------------------------------------------------------------------------------

    def unknown_dialog(self, agent: str, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """A request in a dialog that is not here (yet); False when it is to be answered 481."""
        key = dialog_key(request.call_id, request.to_tag)
        record = self.index.by_key.get(key)
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
            self.core.stack.turn_away(transaction, 500, ("Retry-After: 5",))
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
        record = self.index.by_key.get(dialog_key(ack.call_id, ack.to_tag))
        if record is not None and (leg := self._leg_of(record, now)) is not None:
            leg.receive_ack(ack, now)

    def _leg_of(self, record: Record, now: float) -> Leg | None:
        """The leg that a record is about, restored."""
        self.restore(record.call, now, record)
        leg = self.core.stack.legs.get(record.key)
        return leg if isinstance(leg, Leg) else None

    def _hand_over(self, record: Record, now: float) -> None:
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

    def _replay(self, link: AgentLink, record: Record, now: float) -> None:
        """Take the agent's unanswered requests as just arrived."""
        if link.flow is None:
            return
        stack = self.core.stack
        for request, data, cancelled in record.sent():
            if request.to_tag and record.key in self.index.by_key:
                self._leg_of(record, now)
            self._note(record.call or call_id_of(link.name, request.call_id), REPLAYED, f"{request.method} was kept")
            if request.method == "BYE" and record.call and record.ended.ago:
                self.hung_up[record.call] = now - record.ended.ago
            stack.receive_message(data, link.flow, now)
            if cancelled and not request.to_tag:
                self.attempts.cancel(call_id_of(link.name, request.call_id), now)
            elif cancelled:  # after it is with the other side: a former server may have sent it there
                stack.receive_message(cancel_of(data), link.flow, now)

    # -- restoring --------------------------------------------------------------------------------------------------

    def restore(self, call_id: str, now: float, record: Record | None = None) -> Call | None:
        """Make the call of these records, or give it the legs that it lacks; None when nothing of it lives."""
        core = self.core
        records = self.index.of_call(call_id) if call_id else []
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
            call = Call(core, self._stray(talking[0]) if state is None else state)
            call.state = call.state._replace(epochs=(*call.state.epochs, core.epoch))
            call.phase = TALKING if call.state.answered else RINGING
            call.waiting = None if state is None else []
            core.calls[call.id] = call
            core.lines.take(call, call.state.caller_line, now)
            core.lines.take(call, call.state.callee_line, now)
        elif call.waiting is not None:
            self._catch_up(call, talking)
        for each in talking:
            self._attach(call, each, now)
        if call.waiting is not None and call.a is not None and call.b is not None:
            self._joined(call, talking, now)
        elif call.waiting is not None:
            self.alone.add(call.id)
        return call

    def _catch_up(self, call: Call, records: list[Record]) -> None:
        """The leg that came later may know more: the 2xx on its way to the caller carried the newest token."""
        state = self.state_of(records)
        if state is not None and state.counter > call.state.counter:
            call.state = state._replace(epochs=call.state.epochs)
            call.phase = TALKING if state.answered else RINGING

    def _attach(self, call: Call, record: Record, now: float) -> None:
        link = self.core.agents.links.get(record.agent)
        taken = call.b if record.from_server else call.a
        if link is None or link.flow is None:
            return
        spare = record.from_server and bool(call.state.callee_dialog) and call.state.callee_dialog != record.call_id
        if not spare and taken is not None and not taken.ended:
            return
        leg = Leg(self.core.stack, call, link.flow, record.dialog(), established=True)
        if record.ack == "awaited":
            leg.owe_ack(record.ack_cseq)
        elif record.ack == "owed":
            leg.await_ack()
        if spare:  # of a target that was given up, and answered all the same
            self.index.remove(record)
            call.hang_up(leg, "SIP;cause=487", now)
            return
        if record.from_server:
            call.b = leg
        else:
            call.a = leg
        held = record.text("held")
        call.held = "".join(sorted({*call.held, *_side(held, record.from_server)}))
        self.exchanges.told(call, record)
        self.index.remove(record)

    def _joined(self, call: Call, records: list[Record], now: float) -> None:
        """Both legs are known."""
        self.alone.discard(call.id)
        waiting, call.waiting = call.waiting or [], None
        self._note(call.id, KEPT, "both of its legs were handed over")
        self.exchanges.joined(call, waiting, now)

    def state_of(self, records: list[Record]) -> CallState | None:
        """The newest token that is signed by the site."""
        for record in sorted(records, key=lambda r: r.counter, reverse=True):
            token = record.text("call-state")
            if not token:
                continue
            try:
                return read(token, self.core.keys)
            except (TokenError, ValueError) as error:
                self.core.stack.counters["bad token"] += 1
                logger.warning("a dialog of %s: %s; it is kept alone", record.agent, error)
                self.index.part(record)
        return None

    def _stray(self, record: Record) -> CallState:
        """A dialog without a token that can be believed: kept, but joined with nothing."""
        return CallState(
            call_id_of(record.agent, record.call_id),
            caller_agent="" if record.from_server else record.agent,
            callee_agent=record.agent if record.from_server else "",
            answered=self.core.clock_of(record.age("answer") or 0.0),
        )

    # -- background and evidence ------------------------------------------------------------------------------------

    def due(self, cause: str, now: float) -> None:
        if cause is WORK:
            self._work(now)
        elif cause is LAST:
            acts, self._last = self._last, []
            for act in acts:
                act(now)
        elif cause is GRACE:
            self._backlog.extend(self.index.by_call)
            self._backlog.extend(self.alone)
            for record in [record for record in self.index.by_key.values() if not record.call]:
                self.index.remove(record)
            self._work_on(now)

    def silent(self, link: AgentLink, now: float) -> None:
        """An agent was away for ``agent_grace``: its calls are over for the other side (docs/wire.md)."""
        if not self.core.member.may_act(now):
            return
        for key in [key for key in self._requests if self._agent_of(key) == link.name]:
            for transaction, _ in self._requests.pop(key):
                transaction.abandon()
        for call in list(self.core.calls.values()):
            if link.name in (call.state.caller_agent, call.state.callee_agent):
                self._release(call, f"{link.name} was silent for {self.core.site.timing.agent_grace:g} s", now)

    def _work_on(self, now: float) -> None:
        if self._backlog and not self._working:
            self._working = True
            self.core.stack.deadlines.set(now + PAUSE, self, WORK)

    def _work(self, now: float) -> None:
        for _ in range(min(AT_ONCE, len(self._backlog))):
            call_id = self._backlog.popleft()
            try:
                self._settle(call_id, now)
            except Exception as error:  # by whatever an agent told of it; the others are not to pay for it
                self._passed_over(call_id, error, now)
        self._working = False
        if self._backlog:
            self._work_on(now)

    def _passed_over(self, what: str, error: Exception, now: float) -> None:
        stack = self.core.stack
        stack.counters["bad records"] += 1
        stack.seldom.warning(logger, now, "what agents told of call %s cannot be used: %r", what, error)

    def at_last(self, act: Callable[[float], None], now: float) -> None:
        """A BYE that waited for the other side goes on behind what that side's record has under way."""
        self._last.append(act)
        self.core.stack.deadlines.set(now, self, LAST)

    def _settle(self, call_id: str, now: float) -> None:
        """Restore a call, and judge whether what is missing of it is gone."""
        call = self.restore(call_id, now)
        if call is None:
            self._settle_unanswered(call_id, now)
        elif call.waiting is not None:
            missing = call.state.callee_agent if call.b is None else call.state.caller_agent
            why = self._gone(missing, now)
            if why:
                ended = [r for r in self.index.of_call(call_id) if not r.live]
                for record in ended:
                    self.index.remove(record)
                self._release(call, leftovers.reason_of(ended) or why, now, ended[0] if ended else None)

    def _settle_unanswered(self, call_id: str, now: float) -> None:
        """What is left of a call that nobody talks on: ended on both sides, or ringing without a caller."""
        records = self.index.of_call(call_id)
        if not records or any(r.has_sent and not r.from_server for r in records):
            return
        state = self.state_of(records)
        if state is None or not all(self._is_told(agent, now) for agent in (state.caller_agent, state.callee_agent)):
            return
        for record in records:
            self.index.remove(record)
        ended = [r for r in records if not r.live]
        if ended == records and call_id in self.core.ended:
            return
        call = Call(self.core, state)
        if ended and not any(r.live for r in records):
            leftovers.conclude(call, ended, now)
            return
        for record in records:
            if record.live and record.from_server:
                self._note(call_id, RELEASED, f"{state.caller_agent} has no such call any more")
                leftovers.cancel(call, record, now)

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

    def _is_told(self, agent: str, now: float) -> bool:
        return bool(self._gone(agent, now))

    def _release(self, call: Call, because: str, now: float, ended: Record | None = None) -> None:
        """End what is left of a call; ``ended`` is the record of the side that is gone, where it left one."""
        self.alone.discard(call.id)
        waiting, call.waiting = call.waiting or [], None
        self._note(call.id, RELEASED, because)
        logger.info("call %s is released: %s", call.id, because)
        reason = f"SIP;cause=480;text={quote(because[:80])}"
        if ended is None:
            call.release(reason, now)
        else:
            call.release(ended.ended.reason or reason, now, leftovers.by_of(ended), leftovers.status_of(ended))
        for act in waiting:  # to be answered, now that there is nobody to pass it on to
            act(now)

    def _note(self, call_id: str, verdict: str, because: str) -> None:
        former = self.details.get(call_id)
        if former is not None:
            self.verdicts[former[0]] -= 1
            if former[0] == REPLAYED and verdict == KEPT:
                verdict = REPLAYED
        self.verdicts[verdict] += 1
        if len(self.details) < MOST_DETAILS or former is not None:
            self.details[call_id] = (verdict, because)


MOST_DETAILS: Final = 200_000
"""Calls of which the verdict of the last takeover is remembered."""


def _side(held: str, from_server: bool) -> set[str]:
    """Which sides hold, from the words of one agent: ``remote`` is its device, ``local`` the server's side."""
    near, far = ("b", "a") if from_server else ("a", "b")
    return {"none": set(), "": set(), "remote": {near}, "local": {far}, "both": {near, far}}.get(held, set())
