"""What a server does when it begins to lead the site, and when it steps down."""

from __future__ import annotations

from collections.abc import Callable

from b2bua.admission import Admission
from b2bua.agents import Agents
from b2bua.call import CallServices
from b2bua.leadership import Leadership
from b2bua.messages import Messages
from b2bua.takeover.dialog_fetch import DialogFetch
from b2bua.takeover.recovery import Recovery
from b2bua.takeover.report import Takeovers, kind_of
from heartbeat.decision import Decision, What


class LeadershipChanges:
    """Carries out decisions on who leads. A server has one instance for its whole life."""

    def __init__(
        self,
        node: str,
        main: str,
        services: CallServices,
        agents: Agents,
        leadership: Leadership,
        recovery: Recovery,
        messages: Messages,
        admission: Admission,
        takeovers: Takeovers,
        dialog_fetch: DialogFetch,
        decided: Callable[[str, str, float], None],
    ) -> None:
        """``main`` is the site's main server. ``decided`` logs a decision, by code and sentence."""
        self._node = node
        self._main = main
        self._services = services
        self._agents = agents
        self._leadership = leadership
        self._recovery = recovery
        self._messages = messages
        self._admission = admission
        self._takeovers = takeovers
        self._dialog_fetch = dialog_fetch
        self._decided = decided

    def apply(self, decision: Decision, former: str, now: float) -> None:
        """Carry out a decision on who leads; ``former`` led before, as far as is known."""
        self._decided(decision.what.value, decision.because, now)
        self._takeovers.seen(decision)
        if decision.what is What.BECAME_ACTIVE and decision.proof is not None:
            self._lead(decision, former, now)
        elif decision.what is What.STEPPED_DOWN:
            self.step_down(now)

    def _lead(self, decision: Decision, former: str, now: float) -> None:
        """Begin to lead: subscribe to every agent's list."""
        assert decision.proof is not None
        services, epoch = self._services, self._leadership.epoch
        services.site_headers = self._leadership.site_headers
        services.records.epoch = epoch
        if not decision.again:
            if decision.epoch > 1:
                self._takeovers.began(decision, former, kind_of(decision.because, former, self._node, self._main))
            services.stack.congestion.pause(now)
            services.drop_calls()  # left over from an earlier leadership of this server, if any
            self._recovery.begin(now)
            if decision.epoch > 1:
                self._dialog_fetch.begin(now)
        self._agents.begin(decision.proof, now, decision.again)
        if not self._agents.reached:
            self._takeovers.served(now)

    def served(self, now: float) -> None:
        """The lists of all connected agents are complete."""
        self._takeovers.served(now)
        took = now - self._agents.begun_at
        self._decided("served", f"the lists of all agents reached are complete, after {took:.3f} s", now)

    def step_down(self, now: float) -> None:
        """Another server leads: drop all calls, requests and lists without a message."""
        self._services.drop_calls()
        self._messages.drop()
        self._admission.drop(now)
        self._recovery.reset()
        self._dialog_fetch.end()
        self._agents.step_down(now)
        for flow in self._agents.by_flow:
            self._services.stack.transactions.remove_flow(flow)
