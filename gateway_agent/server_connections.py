"""The agent's connections to the servers of its site, and the fence on them.

Each is opened at the start, proved by both ends (``heartbeat.handshake``), kept, and made anew when it is lost. What
comes from a server that is not obeyed goes no further than here (docs/wire.md).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from heartbeat import carriage
from heartbeat.agent_voter import AgentVoter
from heartbeat.carrier import Carrier
from heartbeat.console_exchange import ConsoleExchange
from heartbeat.decision import Decision, Tell, What
from heartbeat.handshake import HANDSHAKE_LIMIT, MOST_UNPROVED, Initiator, Superseded
from heartbeat.header import CONSOLE, FETCH, Beat, BeatError
from heartbeat.part_exchange import PartExchange
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof
from heartbeat.site.model import Server, Site
from sip.actions import Close, Flow, Open, Send
from sip.layer import Stack
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 0.5
"""Seconds between two tries: a server that is back has its agents within that."""
CONNECT_LIMIT: Final = 0.5
"""Seconds for a connection to come about, on a way that is not slower than a quarter of that: the kernel would send a
SYN that was lost in a cut again only after 1, 3 and 7 s."""

WAITING: Final = "waiting"
CONNECTING: Final = "connecting"
HANDSHAKE: Final = "opening"
PROVED: Final = "proved"

TRY: Final = "connect"
SLOW: Final = "opening takes too long"


class Ear(NamedTuple):
    """Who lives by what is heard on these connections."""

    decided: Callable[[str, str, float], None]
    """Code and sentence of a decision of the fence."""
    adopted_by: Callable[[], tuple[str, int]]
    """The server that has adopted this agent, and under which epoch."""
    adopt: Callable[[str, Flow, float], None]
    """The server that has adopted it is there again, on this flow."""
    detach: Callable[[float], None]
    """Another server leads from now on."""
    lost: Callable[[Flow, float], None]
    """A connection is gone."""
    heard: Callable[[float, float], None]
    """The server that is obeyed was heard, and is active; with the age of its oldest call record not on disk."""
    obedience_changed: Callable[[float], None]
    """Whom the agent obeys is on disk."""
    knows: Callable[[Request], bool]
    """Whether a SUBSCRIBE refreshes a subscription."""
    wait: Callable[[str, int, Callable[[float], None]], bool]
    """Whether what a server says under an epoch may wait until that is on disk; it then goes on by itself."""
    superseded: Callable[[str, float], None]
    """That server hears a later start of this agent, and not this one any more."""
    figures: Callable[[float], tuple[int, float, float | None]]
    """How many calls there are, the share of a processor in use, and the wall clock: for answers to heartbeats."""


class ConnectionServices(NamedTuple):
    """What a connection is made with."""

    agent: str
    """The agent's name."""
    stack: Stack
    random: Random
    counters: Counter[str]
    keys: Callable[[], tuple[bytes, ...]]
    """The site's keys, that to sign with first."""
    site: Callable[[], Site]
    """As it is at present."""


class ServerConnection:
    """The connection to one server."""

    def __init__(self, endpoint: ConnectionServices, connections: ServerConnections, server: Server) -> None:
        self.endpoint = endpoint
        self.connections = connections
        self.server = server
        self.name = server.name
        self.flow: Flow | None = None
        self.state = WAITING
        self.generation = 0
        self.heard_at: float | None = None
        """When the server last said anything with its signature."""
        self.last: Beat | None = None
        """What it said then."""
        self.key = b""
        """That which signed it."""
        self.admitted = ""
        """The Heartbeat line of the last request of a call that was let in: the next ones are the same."""
        self._initiator: Initiator | None = None
        self._failures = 0
        self._strange = 0
        self._call_id = ""
        self._cseq = 0

    def connect(self, now: float) -> None:
        """Try to connect, once."""
        endpoint = self.endpoint
        self._step(CONNECTING)
        self.connections.opened += 1
        reach = self.server.reach
        self.flow = Flow(reach.transport, f"{endpoint.agent}>{self.name}#{self.connections.opened}", reach.address)
        self._strange = 0
        endpoint.stack.unauthenticated_flows.add(self.flow)
        names = (reach.host, self.name)
        secure = reach.transport == "tls"
        endpoint.stack.do(
            Open(self.flow, names, "", endpoint.site().identity.authority) if secure else Open(self.flow)
        )
        limit = max(CONNECT_LIMIT, 4 * self.connections.voter.participant.membership.timing.round_trip)
        endpoint.stack.deadlines.set(now + (2 * limit if secure else limit), self, SLOW)

    def opened(self, now: float) -> None:
        """It is connected: each end is to prove itself."""
        stack = self.endpoint.stack
        assert self.flow is not None
        self._step(HANDSHAKE)
        self._initiator = Initiator(self.name, f"{self.endpoint.random.getrandbits(128):032x}")
        self._call_id = stack.token() + stack.token()
        self._cseq = 0
        self.say(self._initiator.hello(self.connections.voter.participant.stamp(self.name)))
        stack.deadlines.set(now + HANDSHAKE_LIMIT, self, SLOW)

    def answered(self, response: Response, now: float) -> None:
        """An answer to a word of the opening."""
        endpoint, voter = self.endpoint, self.connections.voter
        if self.state == PROVED:
            self._told(response, now)
            return
        if self._initiator is None or self.state != HANDSHAKE:
            return
        try:
            answer = self.said(response)
            more = self._initiator.answered(answer, voter.participant.stamp(self.name))
        except BeatError as error:
            if isinstance(error, Superseded):
                self.connections.ear.superseded(self.name, now)
            endpoint.counters["failed openings"] += 1
            self.drop(str(error), now)
            return
        if more is not None:
            voter.participant.opened(answer)
            self.say(more)
            return
        self._step(PROVED)
        self._failures = 0
        self._initiator = None
        self.heard(answer, now)
        assert self.flow is not None
        endpoint.stack.site_flows.add(self.flow)
        self.connections.proved(self, answer, now)

    def _told(self, response: Response, now: float) -> None:
        """A piece of what is provisioned came; an agent asks for nothing else."""
        try:
            beat = self.said(response)
        except BeatError:
            self.endpoint.counters["bad beats"] += 1
            return
        if beat.kind == FETCH and beat.node == self.name:
            self.connections.part_exchange.answered(beat, now)

    def said(self, message: Request | Response) -> Beat:
        """The signed statement in a message. Raises `BeatError`."""
        beat, self.key = carriage.signed_in(message, self.endpoint.keys())
        return beat

    def say(self, beat: Beat) -> None:
        """Ask the server something, on a connection that is open."""
        stack, flow = self.endpoint.stack, self.flow
        assert flow is not None
        self._cseq += 1
        via = stack.via(flow, stack.branch())
        data = carriage.request(beat, self.endpoint.keys()[0], via, flow.remote, self._call_id, self._cseq)
        stack.do(Send(flow, data, True))

    def heard(self, beat: Beat, now: float) -> None:
        self.heard_at = now
        self.last = beat

    def strange(self, request: Request, now: float) -> None:
        """Something else came before the connection was proved."""
        assert self.flow is not None
        self._strange += 1
        self.endpoint.stack.refuse(request, self.flow, 403)
        if self._strange >= MOST_UNPROVED:
            self.drop("it said other things before it proved itself", now)

    def drop(self, because: str, now: float) -> None:
        """Close the connection, and try again later."""
        logger.info("the connection to %s is closed: %s", self.name, because)
        flow = self.flow
        if flow is not None:
            self.endpoint.stack.do(Close(flow))
        self.lost(now)

    def lost(self, now: float) -> None:
        """The connection is gone, or did not come about."""
        endpoint, flow = self.endpoint, self.flow
        if flow is not None:
            endpoint.stack.flow_lost(flow)
            self.flow = None
            self.connections.gone(self, flow, now)
        self._step(WAITING)
        self._initiator = None
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 16)) * endpoint.random.uniform(0.5, 1.0)
        self._failures += 1
        endpoint.stack.deadlines.set(now + wait, self, TRY)

    def due(self, cause: str, now: float) -> None:
        if cause is TRY:
            self.connect(now)
        elif self.state in (CONNECTING, HANDSHAKE):
            self.drop("the opening took too long", now)

    def _step(self, state: str) -> None:
        self.state = state
        self.generation += 1


class ServerConnections:
    """All connections to servers, and what passes the fence."""

    def __init__(
        self,
        endpoint: ConnectionServices,
        site: Site,
        persistent: PersistentState,
        now: float,
    ) -> None:
        self.endpoint = endpoint
        self.voter = AgentVoter(endpoint.agent, site.membership(), persistent, now)
        self.opened = 0
        self.by_name = {server.name: ServerConnection(endpoint, self, server) for server in site.servers.values()}
        self.part_exchange = PartExchange(self.voter.participant, self._ask, endpoint.stack.do, site)
        self.console = ConsoleExchange(self.voter.participant, self._ask, endpoint.stack.do, endpoint.stack.deadlines)
        """What operators ask of this agent by a server; it asks nothing."""
        self._carrier = Carrier(
            self.voter, endpoint.stack.do, self._ask, self._live_by, lambda node: endpoint.keys()[0]
        )
        self._ear: Ear | None = None

    @property
    def ear(self) -> Ear:
        assert self._ear is not None, "started"
        return self._ear

    def reload(self, site: Site, now: float) -> None:
        """Live by a changed site file. A server that speaks by a key that is none any more has not heard the new one
        yet: it hears it in the opening of a new connection."""
        self.voter.reload(site.membership())
        self.part_exchange.live_by(site)
        keys = self.endpoint.keys()
        for connection in self.by_name.values():
            if connection.state == PROVED and connection.key not in keys:
                connection.drop("it speaks by a key that was taken away", now)

    def start(self, ear: Ear, now: float) -> None:
        """Connect to all servers; ``ear`` is told of what they say."""
        self._ear = ear
        for connection in self.by_name.values():
            connection.connect(now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> bool:
        """Whether the flow is one of ours."""
        for connection in self.by_name.values():
            if connection.flow == flow:
                if state == "open":
                    connection.opened(now)
                else:
                    connection.lost(now)
                return True
        return False

    def connection_of(self, flow: Flow) -> ServerConnection | None:
        for connection in self.by_name.values():
            if connection.flow == flow:
                return connection
        return None

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Whether a message on a server's connection may be looked at; beats are dealt with here."""
        connection = self.connection_of(flow)
        if connection is None:
            return False
        if isinstance(message, Response):
            return self._admits_response(connection, message, now)
        assert isinstance(message, Request)
        if connection.state != PROVED:
            connection.strange(message, now)
            return False
        method = message.method
        if method == "OPTIONS":
            if "heartbeat" in message.names:
                self._asked_by(connection, message, flow, now)
                return False
            return True
        of_device = "call-origin" in message.names
        if method == "SUBSCRIBE" and not of_device and (not message.to_tag or self.ear.knows(message)):
            return True
        return self._admits_request(connection, message, flow, now)

    def _admits_request(self, connection: ServerConnection, request: Request, flow: Flow, now: float) -> bool:
        method, obeyed = request.method, connection.name == self.voter.leadership.node
        if method == "ACK" or (method == "CANCEL" and obeyed):  # they may come without the header
            return obeyed
        line = request.get("heartbeat") or ""
        if line and line == connection.admitted:
            return True
        node, epoch = _speaker(line)
        if node == connection.name and self.voter.obeys(node, epoch):
            connection.admitted = line
            return True
        data = request.to_bytes()
        stack = self.endpoint.stack
        if node == connection.name and self.ear.wait(
            node, epoch, lambda then: stack.receive_message(data, flow, then)
        ):
            return False
        self.endpoint.counters["fenced"] += 1
        logger.info("%s is refused: %s", method, self.voter.refusal(node or connection.name, epoch))
        self.refuse(request, flow, connection.name, now)
        return False

    def _admits_response(self, connection: ServerConnection, response: Response, now: float) -> bool:
        method = response.cseq_method
        if method == "OPTIONS":
            connection.answered(response, now)
            return False
        return method == "NOTIFY" or connection.name == self.voter.leadership.node

    def offer(self, proof: Proof, now: float) -> str:
        """Show a server's proof to the fence: why it does not hold, ``""`` when it does, on disk or soon."""
        fault = self.voter.participant.offer(proof, now)
        self.pump(now)
        return fault

    def refuse(self, request: Request, flow: Flow, to: str, now: float) -> None:
        """403 with what the agent knows, by which a stale server learns (docs/wire.md)."""
        beat = self.voter.participant.stamp(
            to, leader=self.voter.leadership.node, promised_epoch=self.voter.participant.on_disk.promised_epoch
        )
        key = self.endpoint.keys()[0]
        line = carriage.header(beat, key, request.cseq_method, request.call_id, request.cseq)
        self.endpoint.stack.refuse(request, flow, 403, lines=(line,))

    def _asked_by(self, connection: ServerConnection, request: Request, flow: Flow, now: float) -> None:
        try:
            beat = connection.said(request)
        except BeatError as error:
            self.endpoint.counters["bad beats"] += 1
            logger.debug("a beat of %s is ignored: %s", connection.name, error)
            return
        if beat.kind == FETCH:
            self._carrier.answer(request, self.part_exchange.answer(beat), flow)
            return
        if beat.kind == CONSOLE:
            if self.voter.participant.is_meant(beat, connection.name) and beat.re is None:
                self._carrier.answer(request, self.console.answer(beat, now), flow)
            return
        self.part_exchange.learn(beat, now)
        before = self.voter.silent_for(now)
        self.voter.participant.figures(*self.ear.figures(now))
        self._carrier.receive(request, beat, connection.name, flow, now)
        connection.heard(beat, now)
        if self.voter.silent_for(now) == 0.0 and before != 0.0:
            self.ear.heard(beat.unwritten or 0.0, now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Do what the fence wants, and live by what it decided."""
        self._carrier.pump(now)

    def _ask(self, tell: Tell) -> None:
        """An agent asks for what is provisioned, and nothing else."""
        connection = self.by_name.get(tell.to)
        if connection is not None and connection.state == PROVED and connection.flow is not None:
            connection.say(tell.beat)

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """The disk answered."""
        if not self._carrier.stored(value, fault, now):
            return
        self.pump(now)
        self.ear.obedience_changed(now)

    def _live_by(self, decision: Decision, now: float) -> None:
        self.ear.decided(decision.what.value, decision.because, now)
        if decision.what is What.ADOPTED:
            if self.ear.adopted_by() != (decision.node, decision.epoch):
                self.ear.detach(now)
            for connection in self.by_name.values():
                connection.admitted = ""

    def proved(self, connection: ServerConnection, answer: Beat, now: float) -> None:
        """Both ends are known. The server that is obeyed gets on with its calls; another one has to subscribe."""
        leadership = self.voter.leadership
        logger.info("connected to %s", connection.name)
        if (
            self.ear.adopted_by() == (connection.name, leadership.epoch)
            and leadership.incarnation == answer.incarnation
            and connection.flow is not None
        ):
            self.ear.adopt(connection.name, connection.flow, now)

    def gone(self, connection: ServerConnection, flow: Flow, now: float) -> None:
        connection.admitted = ""
        self.ear.lost(flow, now)


def _speaker(line: str) -> tuple[str, int]:
    """Node and epoch in the unsigned Heartbeat header of a request of a call."""
    node, epoch = "", -1
    for piece in line.split(";"):
        name, _, value = piece.strip().partition("=")
        if name == "node":
            node = value
        elif name == "epoch" and value.isdecimal() and len(value) < 17:
            epoch = int(value)
    return node, epoch
