"""The agent's connections to the servers of its site, and the fence on them.

Each connection is opened at the start, authenticated by both ends (``heartbeat.handshake``), kept open, and opened
anew when it is lost. Messages of a server that the agent does not obey are stopped here (docs/wire.md).
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
"""Greatest number of seconds between two tries to connect: so soon a server that is back has its agents."""
CONNECT_LIMIT: Final = 0.5
"""Seconds in which a connection must be established, where the round-trip time is not above a quarter of that. It is
short because the kernel repeats a SYN that was lost in a network cut only after 1, 3 and 7 s."""

WAITING: Final = "waiting"
CONNECTING: Final = "connecting"
HANDSHAKE: Final = "opening"
PROVED: Final = "proved"

TRY: Final = "connect"
SLOW: Final = "opening takes too long"


class ConnectionCallbacks(NamedTuple):
    """The callbacks of these connections."""

    decided: Callable[[str, str, float], None]
    """Called with code and sentence of each decision of the fence."""
    adopted_by: Callable[[], tuple[str, int]]
    """Returns the server that has adopted this agent, and its epoch."""
    adopt: Callable[[str, Flow, float], None]
    """Called when the server that has adopted the agent is connected again, on this flow."""
    detach: Callable[[float], None]
    """Called when another server leads from now on."""
    lost: Callable[[Flow, float], None]
    """Called when a connection is gone."""
    heard: Callable[[float, float], None]
    """Called when the obeyed server was heard to be active, with the age in seconds of its oldest call record that is
    not on disk."""
    obedience_changed: Callable[[float], None]
    """Called when the leader that the agent obeys is stored on disk."""
    knows: Callable[[Request], bool]
    """Returns whether a SUBSCRIBE belongs to an existing subscription."""
    wait: Callable[[str, int, Callable[[float], None]], bool]
    """Postpones a function until that epoch of that server is on disk; returns False where it is not pending."""
    superseded: Callable[[str, float], None]
    """Called when that server is connected to a later start of this agent, and refuses this one."""
    figures: Callable[[float], tuple[int, float, float | None]]
    """Returns the number of calls, the share of a processor in use, and the wall clock: for answers to heartbeats."""


class ConnectionServices(NamedTuple):
    """What a connection needs from the agent."""

    agent: str
    """The agent's name."""
    stack: Stack
    random: Random
    counters: Counter[str]
    keys: Callable[[], tuple[bytes, ...]]
    """The site's keys; the first one signs."""
    site: Callable[[], Site]
    """The present site."""


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
        """When the server's last signed statement came."""
        self.last: Beat | None = None
        """That statement."""
        self.key = b""
        """The site key that signed the server's last statement."""
        self.admitted = ""
        """The Heartbeat header value of the last request of a call that was admitted. Requests with the same one are
        admitted without parsing it again."""
        self._initiator: Initiator | None = None
        self._failures = 0
        self._strange = 0
        self._call_id = ""
        self._cseq = 0

    def connect(self, now: float) -> None:
        """Begin one try to connect."""
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
        """The connection is established: begin the handshake."""
        stack = self.endpoint.stack
        assert self.flow is not None
        self._step(HANDSHAKE)
        self._initiator = Initiator(self.name, f"{self.endpoint.random.getrandbits(128):032x}")
        self._call_id = stack.token() + stack.token()
        self._cseq = 0
        self.say(self._initiator.hello(self.connections.voter.participant.stamp(self.name)))
        stack.deadlines.set(now + HANDSHAKE_LIMIT, self, SLOW)

    def answered(self, response: Response, now: float) -> None:
        """An answer to one of our requests: to a step of the handshake, or later for a piece of the site's
        provisioned part."""
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
                self.connections.callbacks.superseded(self.name, now)
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
        """An answer on an authenticated connection: a piece of the site's provisioned part. An agent asks for nothing
        else."""
        try:
            beat = self.said(response)
        except BeatError:
            self.endpoint.counters["bad beats"] += 1
            return
        if beat.kind == FETCH and beat.node == self.name:
            self.connections.part_exchange.answered(beat, now)

    def said(self, message: Request | Response) -> Beat:
        """Returns the signed statement in a message, and notes the key. Raises `BeatError`."""
        beat, self.key = carriage.signed_in(message, self.endpoint.keys())
        return beat

    def say(self, beat: Beat) -> None:
        """Send the server a statement in an OPTIONS request; the connection must be open."""
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
        """Refuse a request that came before the handshake was complete; too many of them close the connection."""
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
        """The connection is gone, or could not be established: try again later."""
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
    """All connections of an agent to servers, and the fence: which messages on them are admitted."""

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
        """Answers what operators ask this agent by way of a server."""
        self._carrier = Carrier(
            self.voter, endpoint.stack.do, self._ask, self._apply, lambda node: endpoint.keys()[0]
        )
        self._callbacks: ConnectionCallbacks | None = None

    @property
    def callbacks(self) -> ConnectionCallbacks:
        assert self._callbacks is not None, "started"
        return self._callbacks

    def reload(self, site: Site, now: float) -> None:
        """Apply a changed site file. A server that still signs with a key that was removed has not got the new one
        yet: its connection is closed, and it gets the new key in the handshake of the next one."""
        self.voter.reload(site.membership())
        self.part_exchange.apply(site)
        keys = self.endpoint.keys()
        for connection in self.by_name.values():
            if connection.state == PROVED and connection.key not in keys:
                connection.drop("it speaks by a key that was taken away", now)

    def start(self, callbacks: ConnectionCallbacks, now: float) -> None:
        """Connect to all servers."""
        self._callbacks = callbacks
        for connection in self.by_name.values():
            connection.connect(now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> bool:
        """A stream was opened or lost. Returns whether it is one of these connections."""
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
        """Whether a message on a server's connection may be handled further. Heartbeats and handshakes are handled
        here, and messages that are not admitted are refused or postponed here: False for all of them."""
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
        if method == "SUBSCRIBE" and not of_device and (not message.to_tag or self.callbacks.knows(message)):
            return True
        return self._admits_request(connection, message, flow, now)

    def _admits_request(self, connection: ServerConnection, request: Request, flow: Flow, now: float) -> bool:
        method, obeyed = request.method, connection.name == self.voter.leadership.node
        if method == "ACK" or (method == "CANCEL" and obeyed):  # these may come without the Heartbeat header
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
        if node == connection.name and self.callbacks.wait(
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
        """Verify a server's proof of leadership. Returns why it is not accepted, or ``""``: then it is on disk, or is
        being written."""
        fault = self.voter.participant.offer(proof, now)
        self.pump(now)
        return fault

    def refuse(self, request: Request, flow: Flow, to: str, now: float) -> None:
        """Answer 403 with the leader and epoch that the agent knows, so that a stale server learns of them
        (docs/wire.md)."""
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
        self.voter.participant.figures(*self.callbacks.figures(now))
        self._carrier.receive(request, beat, connection.name, flow, now)
        connection.heard(beat, now)
        if self.voter.silent_for(now) == 0.0 and before != 0.0:
            self.callbacks.heard(beat.unwritten or 0.0, now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Carry out what the voter has to do: write, send, and act on its decisions."""
        self._carrier.pump(now)

    def _ask(self, tell: Tell) -> None:
        """Send a statement on the connection that it is for, if that is authenticated."""
        connection = self.by_name.get(tell.to)
        if connection is not None and connection.state == PROVED and connection.flow is not None:
            connection.say(tell.beat)

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """A write to disk is done; ``fault`` says why it failed, if it did."""
        if not self._carrier.stored(value, fault, now):
            return
        self.pump(now)
        self.callbacks.obedience_changed(now)

    def _apply(self, decision: Decision, now: float) -> None:
        self.callbacks.decided(decision.what.value, decision.because, now)
        if decision.what is What.ADOPTED:
            if self.callbacks.adopted_by() != (decision.node, decision.epoch):
                self.callbacks.detach(now)
            for connection in self.by_name.values():
                connection.admitted = ""

    def proved(self, connection: ServerConnection, answer: Beat, now: float) -> None:
        """The handshake is complete. The server that has adopted the agent goes on with its calls, if it is still the
        same run of it; any other server has to subscribe first."""
        leadership = self.voter.leadership
        logger.info("connected to %s", connection.name)
        if (
            self.callbacks.adopted_by() == (connection.name, leadership.epoch)
            and leadership.incarnation == answer.incarnation
            and connection.flow is not None
        ):
            self.callbacks.adopt(connection.name, connection.flow, now)

    def gone(self, connection: ServerConnection, flow: Flow, now: float) -> None:
        connection.admitted = ""
        self.callbacks.lost(flow, now)


def _speaker(line: str) -> tuple[str, int]:
    """Node and epoch in the unsigned Heartbeat header of a request in a call; ``""`` and -1 where it has none."""
    node, epoch = "", -1
    for piece in line.split(";"):
        name, _, value = piece.strip().partition("=")
        if name == "node":
            node = value
        elif name == "epoch" and value.isdecimal() and len(value) < 17:
            epoch = int(value)
    return node, epoch
