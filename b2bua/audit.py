"""The audit: compares the calls of the active server with the dialogs of its agents, and ended calls with call
records.

Agents are asked with the purpose ``observe``, which changes nothing. Since calls begin and end between an agent's
list and the comparison, differing dialogs are asked for a second time, and are faults if they still differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from b2bua.agents import Agents
from b2bua.call import Call, CallServices, legs_of
from b2bua.leadership import Leadership
from b2bua.state_token import call_id_of
from b2bua.takeover.observation import Observation
from b2bua.takeover.records import DialogReport
from b2bua.transfer_parts import call_of
from b2bua.unattended import UnattendedCalls
from heartbeat.console.contract import ProgressCheck, Refused
from heartbeat.console.views.takeovers import Audit, Fault
from sip.invite import InviteUsage
from sip.packages.line_dialog import BadRecord

AGAIN: Final = 2.0
"""Seconds until differing dialogs are asked for again."""
MOST_AGAIN: Final = 1000
"""Dialogs that are asked for again; if more differ, the time between list and comparison is not the reason."""
MOST_UNRECORDED: Final = 2000
"""Ids of ended calls without a known record that are returned, to be looked for on disk."""
LOOK: Final = "look again"


class Difference(NamedTuple):
    """A dialog that differs between an agent and us."""

    call: str
    call_id: str
    agent: str
    what: str
    """As in `Fault`."""
    because: str


class Audits:
    """The audits of one server, one at a time; the last result is kept."""

    def __init__(
        self, services: CallServices, agents: Agents, leadership: Leadership, unattended: UnattendedCalls
    ) -> None:
        self.generation = 0
        self._services = services
        self._agents = agents
        self._leadership = leadership
        self._unattended = unattended
        self._look: Observation | None = None
        self._whole: Observation | None = None
        self._begun_at = 0.0
        self._ours: dict[str, tuple[str, str, str]] = {}
        """Dialog key -> call id, Call-ID and agent of each leg that we had when the audit began."""
        self._told: set[str] = set()
        """Keys of the dialogs in the agents' lists."""
        self._differences: dict[str, Difference] = {}
        """Differing dialogs by their keys."""
        self._ended: set[str] = set()
        """Call ids of the ended calls in the agents' lists."""
        self._living = 0
        self._last: Audit | None = None

    def begin(self, params: Mapping[str, str], now: float) -> ProgressCheck:
        """Begin an audit, unless one is under way; returns its progress. Raises :class:`Refused` if another server
        leads, or lists are not complete yet."""
        leadership = self._leadership
        if not leadership.serving:
            leader = leadership.member.cluster.leader or "the active server"
            raise Refused(f"{leadership.node} is not active, so it has no calls to compare; ask {leader}")
        if not self._agents.all_complete:
            raise Refused(f"{leadership.node} has just begun to lead: not all agents have told what they have")
        if self._whole is None:
            self._begun_at = now
            self._told.clear()
            self._differences.clear()
            self._ended.clear()
            self._living = 0
            self._ours = self._legs()
            wanted: dict[str, Sequence[str] | None] = dict.fromkeys(self._services.site.agents)
            self._whole = self._look = self._ask(wanted, self._compared, now)
        run = self._whole
        return run.progress(lambda: self._whole is run, "the audit is done, nothing was changed")

    def result(self, limit: int) -> Audit:
        """The last result, with at most ``limit`` of its faults. Raises :class:`Refused`."""
        if self._last is None:
            raise Refused("no audit was made here yet", 404)
        return replace(self._last, faults=self._last.faults[:limit])

    def _ask(
        self, wanted: Mapping[str, Sequence[str] | None], done: Callable[[float], None], now: float
    ) -> Observation:
        return Observation(self._leadership.node, self._agents, wanted, self._take, done, now)

    def _legs(self) -> dict[str, tuple[str, str, str]]:
        found: dict[str, tuple[str, str, str]] = {}
        for call in self._services.calls.values():
            for leg in legs_of(call):
                agent = call.agent_of(leg)
                if agent and not leg.ended:
                    found[leg.dialog.key] = call.id, leg.dialog.call_id, agent
        return found

    def _call_of(self, key: str) -> Call | None:
        """The call of a dialog that is ours and has not ended."""
        leg = self._services.stack.legs.get(key)
        return call_of(leg) if isinstance(leg, InviteUsage) and not leg.ended else None

    def _take(self, told: DialogReport, now: float) -> None:
        try:
            over, live = told.is_over, told.live
        except BadRecord:
            return  # a takeover reports such records
        call = told.call or call_id_of(told.agent, told.call_id)
        key, ours = told.key, self._call_of(told.key)
        self._told.add(key)
        self._living += live
        if over:
            if ours is not None and key in self._ours:
                because = f"{told.agent} says that it has ended"
                self._differences[key] = Difference(ours.id, told.call_id, told.agent, "ended", because)
            elif call not in self._services.calls:
                self._ended.add(call)
        elif live and ours is None and call not in self._services.calls:
            because = f"{told.agent} has a dialog of it, and {self._leadership.node} no such call"
            self._differences[key] = Difference(call, told.call_id, told.agent, "orphan", because)

    def _compared(self, now: float) -> None:
        """All lists have come: legs of ours that are in none of them differ, too."""
        run = self._whole
        assert run is not None
        for key, (call, call_id, agent) in self._ours.items():
            if agent in run.complete and key not in self._told and self._call_of(key) is not None:
                self._differences[key] = Difference(call, call_id, agent, "missing", f"{agent} has no such dialog")
        if not self._differences or len(self._differences) > MOST_AGAIN:
            self._finish(now)
            return
        self._services.stack.deadlines.set(now + AGAIN, self, LOOK)

    def due(self, cause: str, now: float) -> None:
        wanted: dict[str, list[str]] = {}
        for each in self._differences.values():
            wanted.setdefault(each.agent, []).append(each.call_id)
        former = {key: each for key, each in self._differences.items() if each.what == "missing"}
        self._told.clear()
        self._differences.clear()
        living = self._living

        def done(now: float) -> None:
            look = self._look
            assert look is not None
            self._living = living
            for key, each in former.items():
                if each.agent in look.complete and key not in self._told and self._call_of(key) is not None:
                    self._differences[key] = each
            self._finish(now)

        unique = {agent: tuple(dict.fromkeys(call_ids)) for agent, call_ids in wanted.items()}
        self._look = self._ask(unique, done, now)

    def _finish(self, now: float) -> None:
        run, services = self._whole, self._services
        assert run is not None
        faults = tuple(Fault(each.call, each.agent, each.what, each.because) for each in self._differences.values())
        unknown = sorted(call for call in self._ended if call not in services.records.ended)
        late = [each.agent for each in run.questions if each.complete_at is None]
        self._last = Audit(
            at=self._begun_at,
            node=self._leadership.node,
            calls=len(services.calls),
            dialogs=self._living,
            ended=len(self._ended),
            took=round(now - self._begun_at, 4),
            not_checked=(*run.not_reached, *late),
            faults=faults,
            matched=len(faults),
            unrecorded=tuple(unknown[:MOST_UNRECORDED]),
            without_agents=sum(1 for _ in self._unattended.each()),
        )
        self._ours, self._whole, self._look = {}, None, None
        self._told.clear()
        self._differences.clear()
        self._ended.clear()
