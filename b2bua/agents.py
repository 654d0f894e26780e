"""The server's side of its agents: their connections, their subscriptions, their lists (docs/wire.md)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from b2bua.leadership import Leadership
from b2bua.line_states import LineStates
from b2bua.lines import Lines
from b2bua.subscription import Parties, Subscription
from b2bua.takeover.fenced_retry_queue import FencedRetryQueue
from b2bua.takeover.records import ToldDialog, read_part
from heartbeat.handshake import HANDSHAKE_LIMIT, MOST_UNPROVED, Responder
from heartbeat.header import SUPERSEDED, Beat, BeatError
from heartbeat.proof import Proof
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.dialog import dialog_key
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.packages.line_dialog import (
    BUSIED_BY,
    BUSIED_OUT,
    LINE_STATE_TAG,
    OBSERVE,
    RESET,
    TAKEOVER,
    BadRecord,
    LineRecord,
    ListRequest,
)
from sip.subscription import lasts_of
from sip.transaction import ServerTransaction
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

SILENT: Final = "silent"
UNPROVED: Final = "unproved"
MOST_LIST: Final = 256 * 1024 * 1024
"""Bytes of one agent's list; what comes beyond is refused."""
URGENT: Final = 1.0
"""Seconds after this server began to lead in which what somebody waits for goes before the rest of the lists."""
FETCH: Final = "fetch"
MOST_FORMERS: Final = 8
"""Starts of an agent in which devices may not have heard the end of their calls."""
MOST_UNKNOWN: Final = 100
"""Lines of one agent that are kept though the site file has none of the name: the agent may have read it first."""
MOST_FETCHED: Final = 500
"""Dialogs asked for with one SUBSCRIBE: some 20 KB."""
LONG_ENOUGH: Final = "put off long enough"
READ_OUT: Final = 0.3
"""Seconds for which the connection of a former start of an agent is read before what it had is given back."""
READ: Final = "read to its end"


class ListReader(Protocol):
    """Who makes calls of the lists."""

    def take(self, connection: AgentConnection, records: list[ToldDialog], now: float) -> None:
        """Records of a part of an agent's list."""

    def complete(self, connection: AgentConnection, now: float) -> None:
        """An agent's list is whole."""

    def silent(self, connection: AgentConnection, now: float) -> bool:
        """An agent was away for ``agent_grace``; False when that is to be looked at again."""


class ListPace:
    """Puts the answers to parts of lists off, and with them the next parts: as long as single dialogs are being
    fetched, because somebody waits in a call, what is not waited for shall not stand in front of them; only when this
    server has just begun to lead, and for a bounded time.
    """

    __slots__ = ("_fetching", "_put_off", "_stack", "_until", "generation")

    def __init__(self, stack: Stack, fetching: Callable[[], bool]) -> None:
        self._stack = stack
        self._fetching = fetching
        self._put_off: list[ServerTransaction] = []
        self._until = 0.0
        self.generation = 0

    def begin(self, now: float) -> None:
        """This server leads."""
        self._until = now + URGENT

    def put_off(self, transaction: ServerTransaction, now: float) -> bool:
        """Whether the answer to a part of a list is to wait."""
        if now >= self._until or not self._fetching():
            return False
        if not self._put_off:
            self._stack.deadlines.set(self._until, self, LONG_ENOUGH)
        self._put_off.append(transaction)
        return True

    def go_on(self, now: float) -> None:
        """A subscription is over: answer the parts when it was the last fetch."""
        if self._put_off and not self._fetching():
            self.due(LONG_ENOUGH, now)

    def due(self, cause: str, now: float) -> None:
        self.generation += 1
        put_off, self._put_off = self._put_off, []
        for transaction in put_off:
            self._stack.reply(transaction, 200, now)

    def clear(self) -> None:
        """Another server leads."""
        self.generation += 1
        self._put_off.clear()


class AgentServices:
    """What all connections of agents need; one for the life of a server. What a reload changes is assigned anew."""

    __slots__ = ("leadership", "lines", "messages", "moved", "pace", "reader", "site", "stack", "started_at")

    reader: ListReader
    """Given once it is made."""

    def __init__(
        self,
        stack: Stack,
        leadership: Leadership,
        lines: Lines,
        site: Site,
        pace: ListPace,
        moved: Callable[[str, Flow | None, Flow, float], None],
        started_at: float,
    ) -> None:
        """``moved`` is told when an agent's connection was made anew: the agent, the former one, this one."""
        self.moved = moved
        self.stack = stack
        self.leadership = leadership
        self.lines = lines
        self.site = site
        self.pace = pace
        self.started_at = started_at
        self.messages = 0
        """SIP messages between this server and agents for the last takeover."""


class AgentConnection:
    """One agent: where it is, what it was asked, how far its list is."""

    def __init__(self, services: AgentServices, name: str, priority: int) -> None:
        self._services = services
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
        self.hung = False
        """It is connected and says nothing: nobody waits for its list."""
        self.seen: set[str] = set()
        self.lines: dict[str, LineRecord] = {}
        self.boot = 0
        self.incarnation = 0
        """The highest start of it that has proved itself here."""
        self.formers: deque[Flow] = deque(maxlen=MOST_FORMERS)
        """The connections of its former starts."""
        self.unmoved: tuple[Flow | None] | None = None
        """The connection of the start before this one, until this one has back what that one had: what is under way
        there waits."""
        self.reading: Flow | None = None
        """The same, as long as it is read still."""
        self.line_states = LineStates(self._living)
        self.broken: Callable[[], None] = _nothing
        """Told when the connection is lost: what was being given back."""
        self._read: list[Callable[[float], None]] = []
        self.generation = 0
        self.refused = FencedRetryQueue(services.stack.deadlines, lambda: self.obeys)
        """Requests that wait until it has adopted us."""
        self.obeyed = 0
        """The epoch of ours under which it adopted us last."""
        self.refusal = ""
        """How it refused to adopt us, as ``403 Forbidden``; empty: it did not, or not last."""
        self.heard_at = self.heard_since = services.started_at
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

    def _living(self) -> Iterable[str]:
        return {leg.dialog.call_id for leg in self._services.stack.legs.values() if isinstance(leg, InviteUsage)}

    def when_read(self, act: Callable[[float], None], now: float) -> None:
        """Go on when the connection of the start before this one has said all it had to say."""
        if self.reading is None:
            act(now)
        else:
            self._read.append(act)

    def was_read(self, now: float) -> None:
        """It has."""
        self.reading = None
        acts, self._read = self._read, []
        for act in acts:
            act(now)

    def settle(self, now: float) -> None:
        """This start of the agent has all that it gets back: what waits for it goes on."""
        unmoved, self.unmoved = self.unmoved, None
        if unmoved is not None and self.flow is not None:
            self._services.moved(self.name, unmoved[0], self.flow, now)

    def heard(self, now: float) -> None:
        """It answered a beat, or proved itself."""
        if self.is_quiet(now):
            self.heard_since = now
        self.heard_at, self.hung = now, False

    def is_quiet(self, now: float) -> bool:
        """Whether it was silent for longer than an agent that lives."""
        return now - self.heard_at > self._services.leadership.quiet

    def reached_for(self, now: float) -> float:
        """For how many seconds without a break it has been there to answer us; 0 when it is not."""
        return 0.0 if self.flow is None or self.is_quiet(now) else now - self.heard_since

    def subscribe(self, proof: Proof, now: float) -> None:
        """Ask for the whole list, and be adopted (docs/wire.md); cold lines are reset first."""
        services, epoch = self._services, self._services.leadership.epoch
        if self.flow is None:
            return
        shown = services.leadership.words.shown(proof.text, self.name)
        self.relisted = self.complete
        self.asked_at, self.complete_at = now, None
        self.parts = self.size = self.dialogs = 0
        self.seen = set()
        self._forget_fetches()
        if not self.relisted and services.leadership.resets_cold:
            for state, lines in services.lines.cold(self.name).items():
                self._ask(RESET, ListRequest(epoch, shown, tuple(lines), state=state), now)
        if busied := [name for name, line in self.lines.items() if line.why.startswith(BUSIED_BY)]:
            # before the list: a start of it that has not known it yet takes no call meanwhile
            self._ask(RESET, ListRequest(epoch, shown, tuple(busied), state=BUSIED_OUT), now)
        if self._subscription is not None:
            self._subscription.drop(now)
        self._subscription = self._ask(TAKEOVER, ListRequest(epoch, shown), now)

    def due(self, cause: str, now: float) -> None:
        """It was away for ``agent_grace``, or dialogs are to be fetched."""
        if cause is FETCH:
            wanted, self._wanted = self._wanted, []
            for at in range(0, len(wanted), MOST_FETCHED):
                self._ask(OBSERVE, ListRequest(call_ids=tuple(wanted[at : at + MOST_FETCHED])), now)
        else:
            services = self._services
            if not services.reader.silent(self, now):
                services.stack.deadlines.set(now + services.site.timing.agent_grace, self, SILENT)

    def fetch(self, call_id: str, now: float) -> None:
        """Ask for one dialog ahead of the rest, together with others that are wanted at this moment."""
        if call_id in self._fetched or self.flow is None:
            return
        if not self._wanted:
            self._services.stack.deadlines.set(now, self, FETCH)
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
        """An operator's order: drop what is on these lines; or no new calls there (``BUSIED_OUT``, and ``BACK``)."""
        leadership, proof = self._services.leadership, self._services.leadership.proof
        if proof is not None:
            shown = leadership.words.shown(proof.text, self.name)
            self._ask(RESET, ListRequest(leadership.epoch, shown, tuple(lines), state=state), now)

    def _ask(self, purpose: str, asked: ListRequest, now: float) -> Subscription | None:
        services, leadership = self._services, self._services.leadership
        if self.flow is None:
            return None
        parties = Parties(leadership.node, self.name, services.site.name)
        subscription = Subscription(services.stack, self, parties, purpose, self.flow)
        self._open.add(subscription)
        subscription.ask(asked, leadership.site_headers, now)
        services.messages += 2  # with its answer
        return subscription

    # What subscriptions say.

    def granted(self, subscription: Subscription, response: Response, now: float) -> None:
        """It said yes; to our proof, where that was shown last. It says so, too, when it will ask for what it had."""
        if subscription is self._subscription:
            self.obeyed, self.refusal = self._services.leadership.epoch, ""
            if LINE_STATE_TAG not in (response.get("supported") or ""):
                self.settle(now)
            self.refused.adopted(now)

    def was_refused(self, subscription: Subscription, response: Response) -> None:
        if subscription is self._subscription:
            self.refusal = f"{response.status} {response.reason}"

    def heard_refusal(self, response: Response, now: float) -> bool:
        return self._services.leadership.heard_refusal(response, self.name, now)

    @property
    def obeys(self) -> bool:
        """Whether it is there and has adopted us under the present epoch."""
        return self.flow is not None and self.obeyed == self._services.leadership.epoch

    def renew(self, now: float) -> None:
        leadership = self._services.leadership
        if leadership.proof is not None and leadership.serving:
            self.subscribe(leadership.proof, now)

    def ended(self, subscription: Subscription, now: float) -> None:
        self._open.discard(subscription)
        self._services.pace.go_on(now)

    def notified(self, subscription: Subscription, transaction: ServerTransaction, now: float) -> None:
        stack, request = self._services.stack, transaction.request
        self._services.messages += 2  # with its answer
        if request is None or not self.told(request, subscription.purpose, now):
            stack.reply(transaction, 400, now, "Bad Request - the list cannot be read")
        elif subscription.purpose != TAKEOVER or not self._services.pace.put_off(transaction, now):
            stack.reply(transaction, 200, now)

    def told(self, request: Request, purpose: str, now: float) -> bool:
        """A part of a list, or a change of lines. False when it cannot be read."""
        if self.size > MOST_LIST:
            return False
        services = self._services
        try:
            part = read_part(self.name, request.body, now)
        except BadRecord:
            return False
        if part is None:
            return True
        self.parts += 1
        self.size += len(request.body)
        if part.faults:
            services.stack.counters["bad records"] += part.faults
            services.stack.limited_logger.warning(
                logger, now, "%s told %d records that cannot be read", self.name, part.faults
            )
        for line in part.lines:
            known = line.line in services.site.lines
            if known or line.line in self.lines or len(self.lines) < len(services.site.lines) + MOST_UNKNOWN:
                self.lines[line.line] = line
            services.lines.told(self.name, line)
            if line.line_state and known:
                self.line_states.note_line(line.line, line.line_state, now)
        for state in part.states:
            self.line_states.note(state.call_id, state.line_state, now, state.lasts)
        if part.head.covered:
            self.line_states.complete = True
        self.dialogs += len(part.dialogs)
        if part.dialogs:
            services.reader.take(self, part.dialogs, now)
        self.boot = part.head.boot
        if part.head.complete and purpose == TAKEOVER and not self.complete:
            self.complete_at = now
            services.reader.complete(self, now)
        return True


class _Unproved:
    """A connection that is given up when it has not proved itself in time."""

    __slots__ = ("_flow", "_stack", "generation")

    def __init__(self, stack: Stack, flow: Flow) -> None:
        self._stack = stack
        self._flow = flow
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        stack = self._stack
        if self._flow in stack.unauthenticated_flows:
            stack.counters["unproved"] += 1
            stack.close(self._flow)


class _ReadOut:
    """The connection of a former start of an agent, until it is closed or was read for long enough."""

    __slots__ = ("_agents", "_connection", "_old", "generation")

    def __init__(self, agents: Agents, connection: AgentConnection, old: Flow) -> None:
        self._agents = agents
        self._connection = connection
        self._old = old
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        if self._connection.reading == self._old:
            self._agents.close(self._old)
            self._connection.was_read(now)


class Agents:
    """All agents of the site, and the connections that have not said yet whose they are."""

    def __init__(
        self,
        stack: Stack,
        leadership: Leadership,
        lines: Lines,
        site: Site,
        moved: Callable[[str, Flow | None, Flow, float], None],
        now: float,
    ) -> None:
        """``moved`` is told when an agent's connection was made anew: the agent, the former one, this one."""
        self._stack = stack
        self._leadership = leadership
        self._pace = ListPace(stack, self._fetching)
        self.services = AgentServices(stack, leadership, lines, site, self._pace, moved, now)
        self.connections: dict[str, AgentConnection] = {}
        self.by_flow: dict[Flow, AgentConnection] = {}
        self.begun_at = 0.0
        """When this server began to lead."""
        self._responders: dict[Flow, tuple[Responder, bytes]] = {}
        """With the key by which the opening was begun."""
        self._strange: dict[Flow, int] = {}
        self.reload(site)

    def reload(self, site: Site) -> None:
        """Live by a changed site file."""
        self.services.site = site
        for connection in self.connections.values():
            for line in connection.lines.values():
                self.services.lines.told(connection.name, line)
        for name in site.agents:
            if name not in self.connections:
                self.connections[name] = AgentConnection(self.services, name, site.agent_priority(name))

    def keys_changed(self, now: float) -> None:
        """Connections are worth as much as the keys that proved them: close those whose key is none any more."""
        for name in self._leadership.keyring.void():
            for flow in [flow for flow, connection in self.by_flow.items() if connection.name == name]:
                logger.warning("the connection of %s is closed: its key is no key of this site any more", name)
                self._stack.close(flow)
                self.lost(flow, now)

    @property
    def all_complete(self) -> bool:
        """Whether every agent that is there has told all it has in this epoch."""
        return all(connection.hung for connection in self.untold)

    @property
    def untold(self) -> list[AgentConnection]:
        """The agents that are connected and have not told all they have in this epoch."""
        return [each for each in self.connections.values() if each.flow is not None and not each.complete]

    @property
    def uncovered(self) -> list[AgentConnection]:
        """The agents that would lose calls if they died now: this server has just begun to lead, or they have just
        begun to run, and what only they know of their calls is not here yet."""
        return [
            each
            for each in self.connections.values()
            if each.flow is not None and (each.line_states.missing or each.unmoved is not None)
        ]

    @property
    def reached(self) -> list[str]:
        return [name for name, connection in self.connections.items() if connection.flow is not None]

    def flow_of(self, agent: str) -> Flow | None:
        """The connection to an agent."""
        connection = self.connections.get(agent)
        return connection.flow if connection is not None else None

    def close(self, flow: Flow) -> None:
        """Give a connection up."""
        self.by_flow.pop(flow, None)
        self._stack.close(flow)

    def agent_of(self, flow: Flow) -> str:
        connection = self.by_flow.get(flow)
        return connection.name if connection is not None else ""

    def opened(self, flow: Flow, now: float) -> None:
        """An agent's connection came in: nothing but the opening is heard on it, and for a short time."""
        self._stack.unauthenticated_flows.add(flow)
        self._stack.deadlines.set(now + HANDSHAKE_LIMIT, _Unproved(self._stack, flow), UNPROVED)

    def lost(self, flow: Flow, now: float) -> None:
        self._responders.pop(flow, None)
        self._strange.pop(flow, None)
        connection = self.by_flow.pop(flow, None)
        if connection is not None and connection.reading == flow:
            connection.was_read(now)
        if connection is not None and connection.flow == flow:
            connection.flow, connection.former, connection.obeyed = None, flow, 0
            connection.refusal = ""
            connection.lost_at = now
            broken, connection.broken = connection.broken, _nothing
            broken()
            connection.drop_all(now)
            connection.generation += 1
            if self._leadership.serving:
                grace = self.services.site.timing.agent_grace
                self._stack.deadlines.set(now + grace, connection, SILENT)
            self._leadership.agents_changed(self.reached, now)

    def opening(self, flow: Flow, request: Request, now: float) -> None:
        """OPTIONS kind=open on a connection that has not proved itself."""
        stack, leadership = self._stack, self._leadership
        participant = leadership.member.participant
        try:
            beat, key = leadership.keyring.said_first(request)
            responder, begun_with = self._responders.setdefault(flow, (Responder(leadership.nonce()), key))
            if key != begun_with:
                raise BeatError(f"{beat.node} changes its key within an opening")
            answer = responder.asked(beat, participant.stamp(beat.node))
            known = self.connections.get(responder.peer)
            if known is not None and beat.incarnation < known.incarnation:
                answer = replace(answer, no=SUPERSEDED)
        except BeatError as error:
            stack.counters["refused openings"] += 1
            stack.limited_logger.warning(logger, now, "a connection from %s is closed: %s", flow.remote, error)
            stack.refuse(request, flow, 403)
            stack.close(flow)
            return
        leadership.answer(request, answer, flow, key)
        if responder.peer:
            del self._responders[flow]
            if responder.peer in self.connections:
                participant.opened(beat)
                self._proved(beat, flow, key, now)
            else:
                logger.warning("%s is no agent of this site; its connection is closed", responder.peer)
                stack.close(flow)

    def _proved(self, beat: Beat, flow: Flow, key: bytes, now: float) -> None:
        stack, leadership = self._stack, self._leadership
        name, incarnation = beat.node, beat.incarnation
        connection = self.connections[name]
        if incarnation < connection.incarnation:
            stack.counters["superseded"] += 1
            logger.warning("start %d of %s is not heard any more: %d runs", incarnation, name, connection.incarnation)
            stack.close(flow)
            return
        leadership.keyring.proved(name, key)
        anew = 0 < connection.incarnation < incarnation
        connection.incarnation = incarnation
        old = connection.flow
        if old is not None and old != flow:
            if anew:
                self._read_out(connection, old, now)
            else:
                self.by_flow.pop(old, None)
                stack.close(old)
        former = old or connection.former
        if anew and former is not None:
            connection.formers.append(former)
        if anew or connection.unmoved is not None:
            connection.unmoved = connection.unmoved or (former,)
        connection.flow = flow
        connection.lost_at = None
        connection.generation += 1
        connection.obeyed = 0
        connection.heard_since = connection.heard_at = now
        self.by_flow[flow] = connection
        stack.unauthenticated_flows.discard(flow)
        stack.site_flows.add(flow)
        self._strange.pop(flow, None)
        if connection.unmoved is None:
            self.services.moved(name, former, flow, now)
        if leadership.serving and leadership.proof is not None:
            connection.subscribe(leadership.proof, now)
        leadership.agents_changed(self.reached, now)

    def _read_out(self, connection: AgentConnection, old: Flow, now: float) -> None:
        """The connection of a former start is not closed yet: what it said before its end is heard."""
        connection.reading = old
        self._stack.deadlines.set(now + READ_OUT, _ReadOut(self, connection, old), READ)

    def overheard(self, message: Message, flow: Flow, now: float) -> None:
        """A message of an agent has the line state of its dialog: keep it."""
        connection = self.by_flow.get(flow)
        if connection is None:
            return
        text = message.get("line-state") or ""
        if message.cseq_method in ("SUBSCRIBE", "NOTIFY"):
            tag = message.from_tag if isinstance(message, Request) else message.to_tag
            connection.line_states.note(dialog_key(message.call_id, tag), text, now, lasts_of(message))
        else:
            connection.line_states.note(message.call_id, text, now)

    def subscription_ended(self, call_id: str) -> None:
        """A subscription of a device is over: nothing of it is kept."""
        for connection in self.connections.values():
            connection.line_states.subscription_ended(call_id)

    def strange(self, request: Request | None, flow: Flow) -> None:
        """Something else on a connection that has not proved itself."""
        self._strange[flow] = self._strange.get(flow, 0) + 1
        if request is not None:
            self._stack.refuse(request, flow, 403)
        if self._strange[flow] >= MOST_UNPROVED:
            self._stack.close(flow)

    def begin(self, proof: Proof, now: float, again: bool) -> None:
        """A new epoch of ours: ask all agents at once, those with the most important lines first.

        ``again``: nobody else ruled in between, so what is known of them holds.
        """
        self.begun_at = now
        self._pace.begin(now)
        self.services.messages = 0
        if not again:
            for connection in self.connections.values():
                connection.complete_at = None
                connection.lines.clear()
                connection.line_states.clear()
        for connection in sorted(self.connections.values(), key=lambda each: -each.priority):
            connection.subscribe(proof, now)

    def _fetching(self) -> bool:
        return any(connection.fetching for connection in self.connections.values())

    def step_down(self, now: float) -> None:
        """Another server leads."""
        self._pace.clear()
        for connection in self.connections.values():
            connection.drop_all(now)
            connection.refused.clear()
            connection.obeyed = 0
            connection.complete_at = None
            connection.lines.clear()
            connection.line_states.clear()


def _nothing() -> None:
    pass
