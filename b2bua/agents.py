"""The server's side of its agents: their connections, their subscriptions, their lists (docs/wire.md)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from b2bua.subscription import Parties, Subscription
from b2bua.takeover.fenced_retry_queue import FencedRetryQueue
from b2bua.takeover.records import read_part
from heartbeat.handshake import HANDSHAKE_LIMIT, MOST_UNPROVED, Responder
from heartbeat.header import BeatError
from sip.actions import Flow
from sip.packages.line_dialog import OBSERVE, RESET, TAKEOVER, BadRecord, LineRecord, ListRequest
from sip.transaction import ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from b2bua.core import Core
    from heartbeat.proof import Proof

logger = logging.getLogger(__name__)

SILENT: Final = "silent"
UNPROVED: Final = "unproved"
MOST_LIST: Final = 256 * 1024 * 1024
"""Bytes of one agent's list; what comes beyond is refused."""
URGENT: Final = 1.0
"""Seconds from the beginning of a rule in which what somebody waits for goes before the rest of the lists."""
FETCH: Final = "fetch"
MOST_FETCHED: Final = 500
"""Dialogs asked for with one SUBSCRIBE: some 20 KB."""
LONG_ENOUGH: Final = "put off long enough"


class AgentLink:
    """One agent: where it is, what it was asked, how far its list is."""

    def __init__(self, agents: Agents, name: str, priority: int) -> None:
        self.agents = agents
        self.name = name
        self.priority = priority
        self.flow: Flow | None = None
        """The connection on which it proved itself."""
        self.former: Flow | None = None
        """The one before."""
        self.lost_at: float | None = None
        self.asked_at = 0.0
        self.complete_at: float | None = None
        self.parts = 0
        self.size = 0
        self.dialogs = 0
        self.relisted = False
        """The list under way is not the first in this epoch."""
        self.seen: set[str] = set()
        self.lines: dict[str, LineRecord] = {}
        self.boot = 0
        self.generation = 0
        self.refused = FencedRetryQueue(agents.core.stack.deadlines, lambda: self.obeys)
        """Requests that wait until it has adopted us."""
        self.obeyed = 0
        """The epoch of ours under which it adopted us last."""
        self.heard_at = self.heard_since = agents.core.started_at
        """When it said something last, and since when it was never silent for long."""
        self._wanted: list[str] = []
        self._fetched: set[str] = set()
        self._subscription: Subscription | None = None
        self._open: set[Subscription] = set()
        """All that may still bring NOTIFYs."""

    @property
    def complete(self) -> bool:
        """Its list in this epoch came whole."""
        return self.complete_at is not None

    @property
    def obeys(self) -> bool:
        """Whether it is there and has adopted us under the present epoch."""
        return self.flow is not None and self.obeyed == self.agents.core.epoch

    def heard(self, now: float) -> None:
        """It answered a beat, or proved itself."""
        if now - self.heard_at > self.agents.quiet:
            self.heard_since = now
        self.heard_at = now

    def reached_for(self, now: float) -> float:
        """For how many seconds without a break it has been there to answer us; 0 when it is not."""
        away = self.flow is None or now - self.heard_at > self.agents.quiet
        return 0.0 if away else now - self.heard_since

    def subscribe(self, proof: Proof, now: float) -> None:
        """Ask for the whole list, and be adopted (docs/wire.md); cold lines are reset first."""
        core = self.agents.core
        if self.flow is None:
            return
        self.relisted = self.complete
        self.asked_at, self.complete_at = now, None
        self.parts = self.size = self.dialogs = 0
        self.seen = set()
        self._forget_fetches()
        if not self.relisted and core.reign.resets_cold:
            for state, lines in core.lines.cold(self.name).items():
                self._ask(RESET, ListRequest(core.epoch, proof.text, tuple(lines), state=state), now)
        if self._subscription is not None:
            self._subscription.drop(now)
        self._subscription = self._ask(TAKEOVER, ListRequest(core.epoch, proof.text), now)

    def due(self, cause: str, now: float) -> None:
        """It was away for ``agent_grace``, or dialogs are to be fetched."""
        if cause is FETCH:
            wanted, self._wanted = self._wanted, []
            for at in range(0, len(wanted), MOST_FETCHED):
                self._ask(OBSERVE, ListRequest(call_ids=tuple(wanted[at : at + MOST_FETCHED])), now)
        else:
            core = self.agents.core
            if not core.recovery.silent(self, now):
                core.stack.deadlines.set(now + core.site.timing.agent_grace, self, SILENT)

    def fetch(self, call_id: str, now: float) -> None:
        """Ask for one dialog ahead of the rest, together with others that are wanted at this moment."""
        if call_id in self._fetched or self.flow is None:
            return
        if not self._wanted:
            self.agents.core.stack.deadlines.set(now, self, FETCH)
        self._fetched.add(call_id)
        self._wanted.append(call_id)

    def _forget_fetches(self) -> None:
        """The connection on which they were asked for is no more, or the whole list is asked for."""
        self._wanted.clear()
        self._fetched.clear()

    def drop_all(self, now: float) -> None:
        """What it still has to say to anything that we asked is not for us any more."""
        self._subscription = None
        self._forget_fetches()
        for subscription in list(self._open):
            subscription.drop(now)

    @property
    def fetching(self) -> bool:
        """Whether single dialogs are wanted that are not here yet."""
        return bool(self._wanted) or any(subscription.purpose == OBSERVE for subscription in self._open)

    def reset(self, lines: list[str], state: str, now: float) -> None:
        """An operator's order: drop what is on these lines."""
        core = self.agents.core
        proof = core.member.participant.proof
        if proof is not None:
            self._ask(RESET, ListRequest(core.epoch, proof.text, tuple(lines), state=state), now)

    def _ask(self, purpose: str, asked: ListRequest, now: float) -> Subscription | None:
        core = self.agents.core
        if self.flow is None:
            return None
        parties = Parties(core.node, self.name, core.site.name)
        subscription = Subscription(core.stack, self, parties, purpose, self.flow)
        self._open.add(subscription)
        subscription.ask(asked, core.reign.site_lines, now)
        self.agents.messages += 2  # with its answer
        return subscription

    # What subscriptions say.

    def granted(self, subscription: Subscription, now: float) -> None:
        """It said yes; to our proof, where that was shown last."""
        if subscription is self._subscription:
            self.obeyed = self.agents.core.epoch
            self.refused.adopted(now)

    def heard_refusal(self, response: Response, now: float) -> bool:
        return self.agents.core.reign.heard_refusal(response, self.name, now)

    def renew(self, now: float) -> None:
        core = self.agents.core
        proof = core.member.participant.proof
        if proof is not None and core.serving:
            self.subscribe(proof, now)

    def ended(self, subscription: Subscription, now: float) -> None:
        self._open.discard(subscription)
        self.agents.go_on(now)

    def notified(self, subscription: Subscription, transaction: ServerTransaction, now: float) -> None:
        stack, request = self.agents.core.stack, transaction.request
        self.agents.messages += 2  # with its answer
        if request is None or not self.told(request, subscription.purpose, now):
            stack.reply(transaction, 400, now, "Bad Request - the list cannot be read")
        elif subscription.purpose != TAKEOVER or not self.agents.put_off(transaction, now):
            stack.reply(transaction, 200, now)

    def told(self, request: Request, purpose: str, now: float) -> bool:
        """A part of a list, or a change of lines. False when it cannot be read."""
        if self.size > MOST_LIST:
            return False
        core = self.agents.core
        try:
            part = read_part(self.name, request.body, now)
        except BadRecord:
            return False
        if part is None:
            return True
        self.parts += 1
        self.size += len(request.body)
        if part.faults:
            core.stack.counters["bad records"] += part.faults
            core.stack.seldom.warning(logger, now, "%s told %d records that cannot be read", self.name, part.faults)
        for line in part.lines:
            if line.line in core.site.lines:
                self.lines[line.line] = line
                core.lines.told(self.name, line)
        self.dialogs += len(part.dialogs)
        if part.dialogs:
            core.recovery.take(self, part.dialogs, now)
        self.boot = part.head.boot
        if part.head.complete and purpose == TAKEOVER and not self.complete:
            self.complete_at = now
            core.recovery.complete(self, now)
            core.reign.agent_complete(self, now)
        return True


class _Unproved:
    """A connection that is given up when it has not proved itself in time."""

    __slots__ = ("_agents", "_flow", "generation")

    def __init__(self, agents: Agents, flow: Flow) -> None:
        self._agents = agents
        self._flow = flow
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        stack = self._agents.core.stack
        if self._flow in stack.unauthenticated_flows:
            stack.counters["unproved"] += 1
            stack.close(self._flow)


class Agents:
    """All agents of the site, and the connections that have not said yet whose they are."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.links: dict[str, AgentLink] = {}
        self.by_flow: dict[Flow, AgentLink] = {}
        self.begun_at = 0.0
        """When this server's rule began."""
        self.messages = 0
        """SIP messages between this server and agents for the last takeover."""
        self._responders: dict[Flow, Responder] = {}
        self._strange: dict[Flow, int] = {}
        self.generation = 0
        self._put_off: list[ServerTransaction] = []
        self.reload()

    def reload(self) -> None:
        site = self.core.site
        for name in site.agents:
            if name not in self.links:
                self.links[name] = AgentLink(self, name, site.agent_priority(name))

    @property
    def quiet(self) -> float:
        """Seconds of silence after which an agent cannot be reached: some beats without an answer."""
        timing = self.core.member.participant.membership.timing
        return 2 * timing.slow_interval + timing.silence

    @property
    def all_complete(self) -> bool:
        """Whether every agent that is connected has told all it has in this epoch."""
        return all(link.complete for link in self.links.values() if link.flow is not None)

    @property
    def reached(self) -> list[str]:
        return [name for name, link in self.links.items() if link.flow is not None]

    def agent_of(self, flow: Flow) -> str:
        link = self.by_flow.get(flow)
        return link.name if link is not None else ""

    def opened(self, flow: Flow, now: float) -> None:
        """An agent's connection came in: nothing but the opening is heard on it, and for a short time."""
        self.core.stack.unauthenticated_flows.add(flow)
        self.core.stack.deadlines.set(now + HANDSHAKE_LIMIT, _Unproved(self, flow), UNPROVED)

    def lost(self, flow: Flow, now: float) -> None:
        self._responders.pop(flow, None)
        self._strange.pop(flow, None)
        link = self.by_flow.pop(flow, None)
        if link is not None and link.flow == flow:
            link.flow, link.former, link.obeyed = None, flow, 0
            link.lost_at = now
            link.drop_all(now)
            link.generation += 1
            if self.core.serving:
                self.core.stack.deadlines.set(now + self.core.site.timing.agent_grace, link, SILENT)
            self.core.reign.agents_changed(now)

    def opening(self, transaction_flow: Flow, request: Request, now: float) -> None:
        """OPTIONS kind=open on a connection that has not proved itself."""
        core = self.core
        flow = transaction_flow
        try:
            beat = core.reign.beat_in(request)
            responder = self._responders.setdefault(flow, Responder(core.reign.nonce()))
            answer = responder.asked(beat, core.member.participant.stamp(beat.node))
        except BeatError as error:
            core.stack.counters["refused openings"] += 1
            core.stack.seldom.warning(logger, now, "a connection from %s is closed: %s", flow.remote, error)
            core.stack.refuse(request, flow, 403)
            core.stack.close(flow)
            return
        core.reign.answer(request, answer, flow)
        if responder.peer:
            del self._responders[flow]
            if responder.peer in self.links:
                core.member.participant.opened(beat)
                self._proved(responder.peer, flow, now)
            else:
                logger.warning("%s is no agent of this site; its connection is closed", responder.peer)
                core.stack.close(flow)

    def _proved(self, name: str, flow: Flow, now: float) -> None:
        core = self.core
        link = self.links[name]
        old = link.flow
        if old is not None and old != flow:
            self.by_flow.pop(old, None)
            core.stack.close(old)
        former = old or link.former
        link.flow = flow
        link.lost_at = None
        link.generation += 1
        link.obeyed = 0
        link.heard_since = link.heard_at = now
        self.by_flow[flow] = link
        core.stack.unauthenticated_flows.discard(flow)
        core.stack.kept.add(flow)
        self._strange.pop(flow, None)
        core.legs_moved(name, former, flow)
        if core.serving and core.member.participant.proof is not None:
            link.subscribe(core.member.participant.proof, now)
        core.reign.agents_changed(now)

    def strange(self, request: Request | None, flow: Flow) -> None:
        """Something else on a connection that has not proved itself."""
        self._strange[flow] = self._strange.get(flow, 0) + 1
        if request is not None:
            self.core.stack.refuse(request, flow, 403)
        if self._strange[flow] >= MOST_UNPROVED:
            self.core.stack.close(flow)

    def begin(self, proof: Proof, now: float, again: bool) -> None:
        """A new epoch of ours: ask all agents at once, those with the most important lines first.

        ``again``: nobody else ruled in between, so what is known of them holds.
        """
        self.begun_at = now
        self.messages = 0
        if not again:
            for link in self.links.values():
                link.complete_at = None
        for link in sorted(self.links.values(), key=lambda each: -each.priority):
            link.subscribe(proof, now)

    def put_off(self, transaction: ServerTransaction, now: float) -> bool:
        """Whether the answer to a part of a list is to wait, and with it the next part.

        As long as single dialogs are being fetched, because somebody waits in a call, what is not waited for shall
        not stand in front of them; at the beginning of a rule only, and for a bounded time.
        """
        until = self.begun_at + URGENT
        if now >= until or not self._fetching:
            return False
        if not self._put_off:
            self.core.stack.deadlines.set(until, self, LONG_ENOUGH)
        self._put_off.append(transaction)
        return True

    def go_on(self, now: float) -> None:
        """A single dialog came: answer the parts when it was the last."""
        if self._put_off and not self._fetching:
            self.due(LONG_ENOUGH, now)

    def due(self, cause: str, now: float) -> None:
        self.generation += 1
        put_off, self._put_off = self._put_off, []
        for transaction in put_off:
            self.core.stack.reply(transaction, 200, now)

    @property
    def _fetching(self) -> bool:
        return any(link.fetching for link in self.links.values())

    def stand_down(self, now: float) -> None:
        """Another server leads."""
        self.generation += 1
        self._put_off.clear()
        for link in self.links.values():
            link.drop_all(now)
            link.refused.clear()
            link.obeyed = 0
            link.complete_at = None
