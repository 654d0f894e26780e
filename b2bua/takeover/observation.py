"""Reads the dialog lists of agents without any effect on the agents: ``purpose=observe`` (docs/line-dialog.md).

Any server of the site may ask, a stand-by too, on the connection that each agent keeps to it. The lists are handed on
part by part and not kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from b2bua.agent_connection import MOST_FETCHED, MOST_LIST
from b2bua.agents import Agents
from b2bua.subscription import Parties, Subscription
from b2bua.takeover.records import DialogReport, read_part
from heartbeat.console.contract import ProgressCheck
from heartbeat.console.views.takeovers import AgentReport
from sip.actions import Flow
from sip.packages.line_dialog import OBSERVE, BadRecord, ListRequest
from sip.transaction import ServerTransaction
from sip.wire.message import Response

LONGEST: Final = 10.0
"""Seconds after which an agent whose list is not complete counts as not heard."""
LATE: Final = "heard long enough"

Wanted = Mapping[str, Sequence[str] | None]
"""By agent: the Call-IDs of the server dialogs to ask for, ``None`` for all."""


class Question:
    """The request to one agent for its dialogs, and how much of the answer has arrived."""

    def __init__(
        self,
        agents: Agents,
        agent: str,
        take: Callable[[DialogReport, float], None],
        ended: Callable[[float], None],
        now: float,
    ) -> None:
        self.agent = agent
        self.asked_at = now
        self.complete_at: float | None = None
        self.parts = self.size = self.dialogs = 0
        self._agents = agents
        self._take = take
        self._ended = ended
        self._open: set[Subscription] = set()
        self._missing = 0

    def ask(self, node: str, flow: Flow, call_ids: Sequence[str] | None, now: float) -> None:
        services = self._agents.services
        chunks: list[tuple[str, ...] | None] = [None]
        if call_ids is not None:
            chunks = [tuple(call_ids[at : at + MOST_FETCHED]) for at in range(0, len(call_ids), MOST_FETCHED)]
        self._missing = len(chunks)
        for chunk in chunks:
            subscription = Subscription(
                services.stack, self, Parties(node, self.agent, services.site.name), OBSERVE, flow
            )
            self._open.add(subscription)
            subscription.ask(ListRequest(call_ids=chunk), (), now)

    def report(self) -> AgentReport:
        """When the list was asked for and complete, and its size."""
        return AgentReport(self.agent, self.asked_at, self.complete_at, self.parts, self.size, self.dialogs)

    def drop(self, now: float) -> None:
        """End the subscriptions: the rest of the list is not wanted."""
        for subscription in list(self._open):
            subscription.drop(now)

    # What subscriptions say.

    def granted(self, subscription: Subscription, response: Response, now: float) -> None:
        """Nothing to do: the NOTIFYs bring the list."""

    def was_refused(self, subscription: Subscription, response: Response) -> None:
        """Nothing to do: ``ended`` follows, and the agent counts as not complete."""

    def shows_higher_epoch(self, response: Response, now: float) -> bool:
        return self._agents.services.leadership.shows_higher_epoch(response, self.agent, now)

    def renew(self, now: float) -> None:
        """A fetch is not renewed."""

    def notified(self, subscription: Subscription, transaction: ServerTransaction, now: float) -> None:
        stack, request = self._agents.services.stack, transaction.request
        try:
            part = read_part(self.agent, request.body, now) if request is not None else None
        except BadRecord:
            part = None
        if request is None or part is None or self.size > MOST_LIST:
            stack.reply(transaction, 400, now, "Bad Request - the list cannot be read")
            return
        self.parts += 1
        self.size += len(request.body)
        self.dialogs += len(part.dialogs)
        for told in part.dialogs:
            self._take(told, now)
        if part.head.complete:
            self._missing -= 1
            if not self._missing:
                self.complete_at = now
        stack.reply(transaction, 200, now)

    def ended(self, subscription: Subscription, now: float) -> None:
        self._open.discard(subscription)
        if not self._open:
            self._ended(now)


class Observation:
    """One read of the lists of all wanted agents that are connected. ``take`` gets each dialog; ``done`` is called
    once, at the end."""

    def __init__(
        self,
        node: str,
        agents: Agents,
        wanted: Wanted,
        take: Callable[[DialogReport, float], None],
        done: Callable[[float], None],
        now: float,
    ) -> None:
        self.generation = 0
        self.begun_at = now
        self.not_reached: list[str] = []
        """Wanted agents that are not connected to this server."""
        self.questions: list[Question] = []
        self._done = done
        self._over = False
        for agent, call_ids in wanted.items():
            flow = agents.flow_of(agent)
            if flow is None:
                self.not_reached.append(agent)
                continue
            question = Question(agents, agent, take, self._heard, now)
            self.questions.append(question)
            question.ask(node, flow, call_ids, now)
        agents.services.stack.deadlines.set(now + (LONGEST if self.questions else 0.0), self, LATE)

    @property
    def complete(self) -> frozenset[str]:
        """The agents that have reported everything they were asked for."""
        return frozenset(each.agent for each in self.questions if each.complete_at is not None)

    def progress(self, is_current: Callable[[], bool], done: str) -> ProgressCheck:
        """A function that reports progress: state, sentence, agents complete, agents asked. ``is_current``: whether
        the observation still runs; afterwards the sentence is ``done``."""

        def check_progress(now: float) -> tuple[str, str, int, int]:
            complete, total = len(self.complete), len(self.questions)
            if is_current():
                return "running", f"{complete} of {total} agents have told what they have", complete, total
            return "done", done, complete, total

        return check_progress

    @property
    def took(self) -> float:
        """Seconds from the start until the last complete list was complete."""
        return (
            max((each.complete_at or self.begun_at for each in self.questions), default=self.begun_at) - self.begun_at
        )

    def due(self, cause: str, now: float) -> None:
        """Time is up: finish without the agents that are not complete."""
        if not self._over:
            self._finish(now)

    def _heard(self, now: float) -> None:
        if not self._over and not any(each._open for each in self.questions):
            self._finish(now)

    def _finish(self, now: float) -> None:
        self._over = True
        self.generation += 1
        for each in self.questions:
            each.drop(now)
        self._done(now)
