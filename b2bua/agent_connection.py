"""One agent of the site, as the server knows it: its connection, the subscriptions on it, the progress of its list,
and the incarnation of the agent that runs (docs/wire.md).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from b2bua.leadership import Leadership
from b2bua.line_states import LineStates
from b2bua.lines import Lines
from b2bua.list_pace import ListPace
from b2bua.subscription import Parties, Subscription
from b2bua.takeover.fenced_retry_queue import FencedRetryQueue
from b2bua.takeover.records import DialogReport, read_part
from heartbeat.proof import Proof
from heartbeat.site.model import Site
from sip.actions import Flow
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
from sip.transaction import ServerTransaction
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

MOST_LIST: Final = 256 * 1024 * 1024
"""Most bytes of one agent's list; further parts are refused."""
MOST_FORMERS: Final = 8
"""Former incarnations of an agent whose last connections are remembered."""
MOST_UNKNOWN: Final = 100
"""Lines of one agent that are kept although the site file does not have them: the agent may have a newer file."""
MOST_FETCHED: Final = 500
"""Dialogs asked for with one SUBSCRIBE: some 20 KB."""
_SILENT: Final = "silent"
_FETCH: Final = "fetch"


class ListReader(Protocol):
    """Reads the agents' lists (``b2bua.takeover.recovery``)."""

    def take(self, connection: AgentConnection, records: list[DialogReport], now: float) -> None:
        """Handle the records in one part of an agent's list."""

    def complete(self, connection: AgentConnection, now: float) -> None:
        """An agent's list is complete."""

    def silent(self, connection: AgentConnection, now: float) -> bool:
        """An agent was away for ``agent_grace``; False when this must be checked again later."""


class AgentServices:
    """What all agents' connections share. A server has one instance; a reload of the site file assigns new values."""

    __slots__ = ("leadership", "lines", "messages", "moved", "pace", "reader", "site", "stack", "started_at")

    reader: ListReader
    """Assigned after construction."""

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
        """``moved`` is called when an agent has reconnected: its name, the former flow, the new flow, now."""
        self.moved = moved
        self.stack = stack
        self.leadership = leadership
        self.lines = lines
        self.site = site
        self.pace = pace
        self.started_at = started_at
        self.messages = 0
        """SIP messages between this server and agents for the last takeover."""


class FormerStarts:
    """The former incarnations of an agent, and what waits until the present one has got their state back."""

    __slots__ = ("_waiting", "connections", "reading", "resend_from")

    def __init__(self) -> None:
        self.connections: deque[Flow] = deque(maxlen=MOST_FORMERS)
        """The last connection of each."""
        self.resend_from: tuple[Flow | None] | None = None
        """The connection (None: it had none any more) whose pending requests wait to be sent again, until the present
        incarnation has got back the state of the former one. None when nothing waits."""
        self.reading: Flow | None = None
        """The previous incarnation's connection, while it is still read."""
        self._waiting: list[Callable[[float], None]] = []

    def followed(self, former: Flow | None) -> None:
        """A new incarnation runs; ``former``: the connection of the previous one."""
        if former is not None:
            self.connections.append(former)
        self.resend_from = self.resend_from or (former,)

    def when_read(self, act: Callable[[float], None], now: float) -> None:
        """Call ``act`` once the previous incarnation's connection has been read to its end."""
        if self.reading is None:
            act(now)
        else:
            self._waiting.append(act)

    def was_read(self, now: float) -> None:
        """The previous connection is closed, or was read for long enough: call what waits."""
        self.reading = None
        acts, self._waiting = self._waiting, []
        for act in acts:
            act(now)


class AgentConnection:
    """One agent: its connection, subscriptions and list."""

    def __init__(self, services: AgentServices, name: str, priority: int) -> None:
        self._services = services
        self.name = name
        self.priority = priority
        self.flow: Flow | None = None
        """The connection on which the agent has authenticated."""
        self.former: Flow | None = None
        """The connection before."""
        self.lost_at: float | None = None
        self.asked_at = 0.0
        self.complete_at: float | None = None
        self.parts = 0
        self.size = 0
        self.dialogs = 0
        self.relisted = False
        """The list under way is not the first in this epoch."""
        self.hung = False
        """The agent is connected but silent, so its list is not waited for."""
        self.seen: set[str] = set()
        self.lines: dict[str, LineRecord] = {}
        self.boot = 0
        self.incarnation = 0
        """The highest incarnation of the agent that has authenticated here."""
        self.former_starts = FormerStarts()
        self.line_states = LineStates(self._living)
        self.broken: Callable[[], None] = _nothing
        """Called when the connection is lost, by what gives the agent its former state back."""
        self.generation = 0
        self.refused = FencedRetryQueue(services.stack.deadlines, lambda: self.obeys)
        """Requests that wait until the agent has adopted this server."""
        self.obeyed = 0
        """The epoch under which the agent adopted this server last."""
        self.refusal = ""
        """Status and reason, as ``403 Forbidden``, if the agent last refused to adopt this server; else empty."""
        self.heard_at = self.heard_since = services.started_at
        """When the agent was heard last, and since when it has never been silent for long."""
        self._wanted: list[str] = []
        self._fetched: set[str] = set()
        self._subscription: Subscription | None = None
        self._open: set[Subscription] = set()
        """Subscriptions that may still bring NOTIFYs."""

    @property
    def complete(self) -> bool:
        """Whether the agent's list in this epoch has arrived completely."""
        return self.complete_at is not None

    def _living(self) -> Iterable[str]:
        return {leg.dialog.call_id for leg in self._services.stack.legs.values() if isinstance(leg, InviteUsage)}

    def proved(self, flow: Flow, former: Flow | None, is_new_start: bool, now: float) -> None:
        """The agent has authenticated on ``flow``, which is its connection from now on; ``former``: the one
        before."""
        if is_new_start:
            self.former_starts.followed(former)
        self.flow, self.lost_at, self.obeyed = flow, None, 0
        self.heard_since = self.heard_at = now
        self.generation += 1

    def lost(self, now: float) -> None:
        """The connection is lost, and with it all subscriptions. The agent's calls are kept for ``agent_grace``."""
        services = self._services
        self.former = self.flow
        self.flow, self.lost_at = None, now
        self.obeyed, self.refusal = 0, ""
        broken, self.broken = self.broken, _nothing
        broken()
        self.drop_all(now)
        self.generation += 1
        if services.leadership.serving:
            services.stack.deadlines.set(now + services.site.timing.agent_grace, self, _SILENT)

    def settle(self, now: float) -> None:
        """This incarnation of the agent has got its state back: send pending requests again on its connection."""
        starts = self.former_starts
        resend_from, starts.resend_from = starts.resend_from, None
        if resend_from is not None and self.flow is not None:
            self._services.moved(self.name, resend_from[0], self.flow, now)

    def heard(self, now: float) -> None:
        """The agent has answered a beat, or authenticated."""
        if self.is_quiet(now):
            self.heard_since = now
        self.heard_at, self.hung = now, False

    def is_quiet(self, now: float) -> bool:
        """Whether the agent has been silent for longer than a living agent would be."""
        return now - self.heard_at > self._services.leadership.quiet

    def reached_for(self, now: float) -> float:
        """Seconds for which the agent has been reachable without a break; 0 when it is not."""
        return 0.0 if self.flow is None or self.is_quiet(now) else now - self.heard_since

    def subscribe(self, proof: Proof, now: float) -> None:
        """Subscribe to the agent's whole list, by which it adopts this server (docs/wire.md); reset cold lines
        first."""
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
            # before the list, so that a new incarnation, which does not know this yet, takes no call meanwhile
            self._ask(RESET, ListRequest(epoch, shown, tuple(busied), state=BUSIED_OUT), now)
        if self._subscription is not None:
            self._subscription.drop(now)
        self._subscription = self._ask(TAKEOVER, ListRequest(epoch, shown), now)

    def due(self, cause: str, now: float) -> None:
        """The agent was away for ``agent_grace``, or dialogs are to be fetched."""
        if cause is _FETCH:
            wanted, self._wanted = self._wanted, []
            for at in range(0, len(wanted), MOST_FETCHED):
                self._ask(OBSERVE, ListRequest(call_ids=tuple(wanted[at : at + MOST_FETCHED])), now)
        else:
            services = self._services
            if not services.reader.silent(self, now):
                services.stack.deadlines.set(now + services.site.timing.agent_grace, self, _SILENT)

    def fetch(self, call_id: str, now: float) -> None:
        """Ask for one dialog ahead of the list; dialogs wanted at the same moment go into one request."""
        if call_id in self._fetched or self.flow is None:
            return
        if not self._wanted:
            self._services.stack.deadlines.set(now, self, _FETCH)
        self._fetched.add(call_id)
        self._wanted.append(call_id)

    def _forget_fetches(self) -> None:
        """Forget fetches, as their connection is lost, or the whole list is asked for anyway."""
        self._wanted.clear()
        self._fetched.clear()

    def drop_all(self, now: float) -> None:
        """End all subscriptions: their NOTIFYs are not wanted any more."""
        self._subscription = None
        self._forget_fetches()
        for subscription in list(self._open):
            subscription.drop(now)

    @property
    def fetching(self) -> bool:
        """Whether single dialogs are asked for that have not arrived yet."""
        return bool(self._wanted) or any(subscription.purpose == OBSERVE for subscription in self._open)

    def reset(self, lines: list[str], state: str, now: float) -> None:
        """By an operator's order, have the agent drop all calls on lines, or busy them out or back (``state``)."""
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

    # What subscriptions call.

    def granted(self, subscription: Subscription, response: Response, now: float) -> None:
        """A SUBSCRIBE was granted. By granting the one for the whole list, which has the proof of the epoch, the
        agent adopts this server. The response says whether it will ask for the state of its former incarnation."""
        if subscription is self._subscription:
            self.obeyed, self.refusal = self._services.leadership.epoch, ""
            if LINE_STATE_TAG not in (response.get("supported") or ""):
                self.settle(now)
            self.refused.adopted(now)

    def was_refused(self, subscription: Subscription, response: Response) -> None:
        """The agent refused a SUBSCRIBE, but not by its fence: keep the reason for the status."""
        if subscription is self._subscription:
            self.refusal = f"{response.status} {response.reason}"

    def shows_higher_epoch(self, response: Response, now: float) -> bool:
        """Whether a 403 comes from the agent's fence (`Leadership.shows_higher_epoch`)."""
        return self._services.leadership.shows_higher_epoch(response, self.name, now)

    @property
    def obeys(self) -> bool:
        """Whether the agent is connected and has adopted this server under the present epoch."""
        return self.flow is not None and self.obeyed == self._services.leadership.epoch

    def renew(self, now: float) -> None:
        """Subscribe to the whole list again, if this server leads."""
        leadership = self._services.leadership
        if leadership.proof is not None and leadership.serving:
            self.subscribe(leadership.proof, now)

    def ended(self, subscription: Subscription, now: float) -> None:
        """A subscription is over: answer parts of lists that have waited for this."""
        self._open.discard(subscription)
        self._services.pace.go_on(now)

    def notified(self, subscription: Subscription, transaction: ServerTransaction, now: float) -> None:
        """Take a NOTIFY with a part of a list, and answer it: 400 if it cannot be read, later while dialogs are
        fetched that are more urgent."""
        stack, request = self._services.stack, transaction.request
        self._services.messages += 2  # with its answer
        if request is None or not self.told(request, subscription.purpose, now):
            stack.reply(transaction, 400, now, "Bad Request - the list cannot be read")
        elif subscription.purpose != TAKEOVER or not self._services.pace.put_off(transaction, now):
            stack.reply(transaction, 200, now)

    def told(self, request: Request, purpose: str, now: float) -> bool:
        """Read a part of a list, or a change of lines. False when it cannot be read."""
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
        _note_lines(self, services, part.lines, now)
        for state in part.states:
            self.line_states.note(state.call_id, state.line_state, now, state.lasts)
        if part.head.covered:
            self.line_states.complete = True
        self.dialogs += len(part.dialogs)
        if part.dialogs:
            services.reader.take(self, part.dialogs, now)
        self.boot = part.head.boot
        if part.head.complete:  # it tells its list after its return, which it gives up where nobody leads for long
            self.settle(now)
        if part.head.complete and purpose == TAKEOVER and not self.complete:
            self.complete_at = now
            services.reader.complete(self, now)
        return True


def _note_lines(
    connection: AgentConnection, services: AgentServices, lines: Sequence[LineRecord], now: float
) -> None:
    """Note the line records in a part of an agent's list."""
    of_site = services.site.lines
    for line in lines:
        known = line.line in of_site
        if known or line.line in connection.lines or len(connection.lines) < len(of_site) + MOST_UNKNOWN:
            connection.lines[line.line] = line
        services.lines.told(connection.name, line)
        if line.line_state and known:
            connection.line_states.note_line(line.line, line.line_state, now)


def _nothing() -> None:
    pass
