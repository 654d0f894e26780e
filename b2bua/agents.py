"""All agents of the site: authenticates their connections by the opening handshake, and subscribes to their lists
when this server begins to lead (docs/wire.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from b2bua.agent_connection import AgentConnection, AgentServices
from b2bua.leadership import Leadership
from b2bua.lines import Lines
from b2bua.list_pace import ListPace
from heartbeat.handshake import HANDSHAKE_LIMIT, MOST_UNPROVED, Responder
from heartbeat.header import SUPERSEDED, Beat, BeatError
from heartbeat.proof import Proof
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.dialog import dialog_key
from sip.layer import Stack
from sip.subscription import lasts_of
from sip.wire.message import Message, Request

logger = logging.getLogger(__name__)

READ_OUT: Final = 0.3
"""Seconds for which the connection of an agent's former incarnation is still read before its state is given back."""
_UNPROVED: Final = "unproved"
_READ: Final = "read to its end"


class _Unproved:
    """Deadline of a connection: closed when it has not authenticated in time."""

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
    """Deadline for reading the connection of an agent's former incarnation."""

    __slots__ = ("_agents", "_connection", "_old", "generation")

    def __init__(self, agents: Agents, connection: AgentConnection, old: Flow) -> None:
        self._agents = agents
        self._connection = connection
        self._old = old
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        starts = self._connection.former_starts
        if starts.reading == self._old:
            self._agents.close(self._old)
            starts.was_read(now)


class Agents:
    """All agents of the site, and connections that have not authenticated yet."""

    def __init__(
        self,
        stack: Stack,
        leadership: Leadership,
        lines: Lines,
        site: Site,
        moved: Callable[[str, Flow | None, Flow, float], None],
        now: float,
    ) -> None:
        """``moved`` is called when an agent has reconnected: its name, the former flow, the new flow, now."""
        self._stack = stack
        self._leadership = leadership
        self._pace = ListPace(stack, self._fetching)
        self.services = AgentServices(stack, leadership, lines, site, self._pace, moved, now)
        self.connections: dict[str, AgentConnection] = {}
        self.by_flow: dict[Flow, AgentConnection] = {}
        self.begun_at = 0.0
        """When this server began to lead."""
        self._responders: dict[Flow, tuple[Responder, bytes]] = {}
        """Handshakes under way, each with the key that it was begun with."""
        self._refused: dict[Flow, int] = {}
        """Number of messages refused on each unauthenticated connection."""
        self.reload(site)

    def reload(self, site: Site) -> None:
        """Take over a changed site file."""
        self.services.site = site
        for connection in self.connections.values():
            for line in connection.lines.values():
                self.services.lines.told(connection.name, line)
        for name in site.agents:
            if name not in self.connections:
                self.connections[name] = AgentConnection(self.services, name, site.agent_priority(name))

    def keys_changed(self, now: float) -> None:
        """Keys of agents have changed: close connections that were authenticated with a key that is void now. What
        was said with it does not count: a thief may have named so high a start that the agent's new machine would
        never be heard."""
        for name in self._leadership.keyring.void():
            self.connections[name].incarnation = 0
            for flow in [flow for flow, connection in self.by_flow.items() if connection.name == name]:
                logger.warning("the connection of %s is closed: its key is no key of this site any more", name)
                self._stack.close(flow)
                self.lost(flow, now)

    @property
    def all_complete(self) -> bool:
        """Whether the list of every connected agent in this epoch is complete, silent agents not counted."""
        return all(connection.hung for connection in self.incomplete)

    @property
    def incomplete(self) -> list[AgentConnection]:
        """The connected agents whose lists in this epoch are not complete."""
        return [each for each in self.connections.values() if each.flow is not None and not each.complete]

    @property
    def uncovered(self) -> list[AgentConnection]:
        """The agents that would lose calls if they died now, since this server does not have the states of their
        calls yet: it has just begun to lead, or they have just started."""
        return [
            each
            for each in self.connections.values()
            if each.flow is not None and (each.line_states.missing or each.former_starts.resend_from is not None)
        ]

    @property
    def reached(self) -> list[str]:
        """The agents that are connected."""
        return [name for name, connection in self.connections.items() if connection.flow is not None]

    def flow_of(self, agent: str) -> Flow | None:
        """The connection to an agent."""
        connection = self.connections.get(agent)
        return connection.flow if connection is not None else None

    def close(self, flow: Flow) -> None:
        """Close an agent's connection."""
        self.by_flow.pop(flow, None)
        self._stack.close(flow)

    def agent_of(self, flow: Flow) -> str:
        """Name of the agent at the other end of a connection, ``""`` if none has authenticated there."""
        connection = self.by_flow.get(flow)
        return connection.name if connection is not None else ""

    def opened(self, flow: Flow, now: float) -> None:
        """A connection to the agents' address was opened: only the handshake is accepted there, for a short time."""
        self._stack.unauthenticated_flows.add(flow)
        self._stack.deadlines.set(now + HANDSHAKE_LIMIT, _Unproved(self._stack, flow), _UNPROVED)

    def lost(self, flow: Flow, now: float) -> None:
        """A connection is closed, be it authenticated or not."""
        self._responders.pop(flow, None)
        self._refused.pop(flow, None)
        connection = self.by_flow.pop(flow, None)
        if connection is not None and connection.former_starts.reading == flow:
            connection.former_starts.was_read(now)
        if connection is not None and connection.flow == flow:
            connection.lost(now)
            self._leadership.agents_changed(self.reached, now)

    def handshake(self, flow: Flow, request: Request, now: float) -> None:
        """Handle a step of the handshake on an unauthenticated connection: OPTIONS with ``kind=open``."""
        stack, leadership = self._stack, self._leadership
        participant = leadership.member.participant
        try:
            beat, key = leadership.keyring.first_statement(request)
            responder, begun_with = self._responders.setdefault(flow, (Responder(leadership.nonce()), key))
            if key != begun_with:
                raise BeatError(f"{beat.node} changes its key within a handshake")
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
        """An incarnation of an agent has authenticated: it replaces the previous one. If this server leads, subscribe
        to its list."""
        stack, leadership = self._stack, self._leadership
        name, incarnation = beat.node, beat.incarnation
        connection = self.connections[name]
        if incarnation < connection.incarnation:
            stack.counters["superseded"] += 1
            logger.warning("start %d of %s is not heard any more: %d runs", incarnation, name, connection.incarnation)
            stack.close(flow)
            return
        leadership.keyring.proved(name, key)
        is_new_start = 0 < connection.incarnation < incarnation
        connection.incarnation = incarnation
        old = connection.flow
        if old is not None and old != flow:
            if is_new_start:
                self._read_out(connection, old, now)
            else:
                self.close(old)
        former = old or connection.former
        connection.proved(flow, former, is_new_start, now)
        self.by_flow[flow] = connection
        stack.unauthenticated_flows.discard(flow)
        stack.site_flows.add(flow)
        self._refused.pop(flow, None)
        if connection.former_starts.resend_from is None:
            self.services.moved(name, former, flow, now)
        connection.renew(now)
        leadership.agents_changed(self.reached, now)

    def _read_out(self, connection: AgentConnection, old: Flow, now: float) -> None:
        """Read on the connection of a former incarnation, which is still open, for what it sent before its end."""
        connection.former_starts.reading = old
        self._stack.deadlines.set(now + READ_OUT, _ReadOut(self, connection, old), _READ)

    def note_line_state(self, message: Message, flow: Flow, now: float) -> None:
        """Keep the line state that an agent's message carries for its dialog."""
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
        """A device's subscription is over: forget its line state."""
        for connection in self.connections.values():
            connection.line_states.subscription_ended(call_id)

    def refuse_unproved(self, request: Request | None, flow: Flow) -> None:
        """Refuse any other message (None: not a request) on an unauthenticated connection, and close the connection
        after ``MOST_UNPROVED`` of them."""
        self._refused[flow] = self._refused.get(flow, 0) + 1
        if request is not None:
            self._stack.refuse(request, flow, 403)
        if self._refused[flow] >= MOST_UNPROVED:
            self._stack.close(flow)

    def begin(self, proof: Proof, now: float, again: bool) -> None:
        """This server leads under a new epoch: subscribe to all agents at once, those with the most important lines
        first. ``again``: no other server led in between, so what is known of the agents still holds.
        """
        self.begun_at = now
        self._pace.begin(now)
        self.services.messages = 0
        if not again:
            for connection in self.connections.values():
                _forget_list(connection)
        for connection in sorted(self.connections.values(), key=lambda each: -each.priority):
            connection.subscribe(proof, now)

    def _fetching(self) -> bool:
        return any(connection.fetching for connection in self.connections.values())

    def step_down(self, now: float) -> None:
        """Another server leads: drop all subscriptions and lists."""
        self._pace.clear()
        for connection in self.connections.values():
            connection.drop_all(now)
            connection.refused.clear()
            connection.obeyed = 0
            _forget_list(connection)


def _forget_list(connection: AgentConnection) -> None:
    """Forget an agent's list, which belongs to another epoch."""
    connection.complete_at = None
    connection.lines.clear()
    connection.line_states.clear()
