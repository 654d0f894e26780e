"""The agent's connections to the servers of its site, and the fence on them.

Each is opened at the start, proved by both ends (``heartbeat.handshake``), kept, and made anew when it is lost. What
comes from a server that is not obeyed goes no further than here (docs/wire.md).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from heartbeat import carriage
from heartbeat.agent_voter import AgentVoter
from heartbeat.carrier import Carrier
from heartbeat.decision import Decision, Tell, What
from heartbeat.handshake import HANDSHAKE_LIMIT, MOST_UNPROVED, Initiator
from heartbeat.header import Beat, BeatError
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof
from heartbeat.site.model import Server
from sip.actions import Close, Flow, Open, Send
from sip.wire.message import Message, Request, Response

if TYPE_CHECKING:
    from gateway_agent.core import Core

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0

WAITING: Final = "waiting"
CONNECTING: Final = "connecting"
HANDSHAKE: Final = "opening"
PROVED: Final = "proved"

TRY: Final = "connect"
SLOW: Final = "opening takes too long"


class Link:
    """The connection to one server."""

    def __init__(self, links: Links, server: Server) -> None:
        self.links = links
        self.server = server
        self.name = server.name
        self.flow: Flow | None = None
        self.state = WAITING
        self.generation = 0
        self.heard_at: float | None = None
        """When the server last said anything with its signature."""
        self.last: Beat | None = None
        """What it said then."""
        self.admitted = ""
        """The Heartbeat line of the last request of a call that was let in: the next ones are the same."""
        self._initiator: Initiator | None = None
        self._failures = 0
        self._strange = 0
        self._call_id = ""
        self._cseq = 0

    def connect(self, now: float) -> None:
        """Try to connect, once."""
        core = self.links.core
        self._step(CONNECTING)
        self.links.opened += 1
        reach = self.server.reach
        self.flow = Flow("tcp", f"{core.agent.name}>{self.name}#{self.links.opened}", reach.address)
        self._strange = 0
        core.stack.unauthenticated_flows.add(self.flow)
        core.stack.do(Open(self.flow))

    def opened(self, now: float) -> None:
        """It is connected: each end is to prove itself."""
        core = self.links.core
        assert self.flow is not None
        self._step(HANDSHAKE)
        self._initiator = Initiator(self.name, f"{core.random.getrandbits(128):032x}")
        self._call_id = core.stack.token() + core.stack.token()
        self._cseq = 0
        self._say(self._initiator.hello(self.links.fence.participant.stamp(self.name)))
        core.stack.deadlines.set(now + HANDSHAKE_LIMIT, self, SLOW)

    def answered(self, response: Response, now: float) -> None:
        """An answer to a word of the opening."""
        core, fence = self.links.core, self.links.fence
        if self._initiator is None or self.state != HANDSHAKE:
            return
        try:
            answer = carriage.beat_in(response, core.keys)
            more = self._initiator.answered(answer, fence.participant.stamp(self.name))
        except BeatError as error:
            core.counters["failed openings"] += 1
            self.drop(str(error), now)
            return
        if more is not None:
            fence.participant.opened(answer)
            self._say(more)
            return
        self._step(PROVED)
        self._failures = 0
        self._initiator = None
        self.heard(answer, now)
        assert self.flow is not None
        core.stack.kept.add(self.flow)
        self.links.proved(self, answer, now)

    def _say(self, beat: Beat) -> None:
        core, flow = self.links.core, self.flow
        assert flow is not None
        self._cseq += 1
        via = core.stack.via(flow, core.stack.branch())
        data = carriage.request(beat, core.keys[0], via, flow.remote, self._call_id, self._cseq)
        core.stack.do(Send(flow, data, True))

    def heard(self, beat: Beat, now: float) -> None:
        self.heard_at = now
        self.last = beat

    def strange(self, request: Request, now: float) -> None:
        """Something else came before the connection was proved."""
        assert self.flow is not None
        self._strange += 1
        self.links.core.stack.refuse(request, self.flow, 403)
        if self._strange >= MOST_UNPROVED:
            self.drop("it said other things before it proved itself", now)

    def drop(self, because: str, now: float) -> None:
        """Close the connection, and try again later."""
        logger.info("the connection to %s is closed: %s", self.name, because)
        flow = self.flow
        if flow is not None:
            self.links.core.stack.do(Close(flow))
        self.lost(now)

    def lost(self, now: float) -> None:
        """The connection is gone, or did not come about."""
        core, flow = self.links.core, self.flow
        if flow is not None:
            core.stack.flow_lost(flow)
            self.flow = None
            self.links.gone(self, flow, now)
        self._step(WAITING)
        self._initiator = None
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 16)) * core.random.uniform(0.5, 1.0)
        self._failures += 1
        core.stack.deadlines.set(now + wait, self, TRY)

    def due(self, cause: str, now: float) -> None:
        if cause is TRY:
            self.connect(now)
        elif self.state == HANDSHAKE:
            self.drop("the opening took too long", now)

    def _step(self, state: str) -> None:
        self.state = state
        self.generation += 1


class Links:
    """All connections to servers, and what passes the fence."""

    def __init__(self, core: Core, kept: PersistentState, now: float) -> None:
        self.core = core
        self.fence = AgentVoter(core.agent.name, core.site.membership(), kept, now)
        self.opened = 0
        self.by_name = {server.name: Link(self, server) for server in core.site.servers.values()}
        self._carrier = Carrier(self.fence, core.stack.do, self._ask, self._live_by)

    def start(self, now: float) -> None:
        for link in self.by_name.values():
            link.connect(now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> bool:
        """Whether the flow is one of ours."""
        for link in self.by_name.values():
            if link.flow == flow:
                if state == "open":
                    link.opened(now)
                else:
                    link.lost(now)
                return True
        return False

    def link_of(self, flow: Flow) -> Link | None:
        for link in self.by_name.values():
            if link.flow == flow:
                return link
        return None

    # -- the fence ------------------------------------------------------------------------------------------------

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """Whether a message on a server's connection may be looked at; beats are dealt with here."""
        link = self.link_of(flow)
        if link is None:
            return False
        if isinstance(message, Response):
            return self._admits_response(link, message, now)
        assert isinstance(message, Request)
        if link.state != PROVED:
            link.strange(message, now)
            return False
        method = message.method
        if method == "OPTIONS":
            if "heartbeat" in message.names:
                self._asked_by(link, message, flow, now)
                return False
            return True
        if method == "SUBSCRIBE" and not (message.to_tag and not self.core.handover.knows(message)):
            return True
        return self._admits_request(link, message, flow, now)

    def _admits_request(self, link: Link, request: Request, flow: Flow, now: float) -> bool:
        method, obeyed = request.method, link.name == self.fence.leadership.node
        if method == "ACK" or (method == "CANCEL" and obeyed):  # they may come without the header
            return obeyed
        line = request.get("heartbeat") or ""
        if line and line == link.admitted:
            return True
        node, epoch = _speaker(line)
        if node == link.name and self.fence.obeys(node, epoch):
            link.admitted = line
            return True
        data = request.to_bytes()
        if node == link.name and self.core.handover.wait(
            node, epoch, lambda then: self.core.stack.receive_message(data, flow, then)
        ):
            return False
        self.core.counters["fenced"] += 1
        logger.info("a %s is refused: %s", method, self.fence.refusal(node or link.name, epoch))
        self.refuse(request, flow, link.name, now)
        return False

    def _admits_response(self, link: Link, response: Response, now: float) -> bool:
        method = response.cseq_method
        if method == "OPTIONS":
            link.answered(response, now)
            return False
        return method == "NOTIFY" or link.name == self.fence.leadership.node

    def offer(self, proof: Proof, now: float) -> str:
        """Show a server's proof to the fence: why it does not hold, ``""`` when it does, on disk or soon."""
        fault = self.fence.participant.offer(proof, now)
        self.pump(now)
        return fault

    def refuse(self, request: Request, flow: Flow, to: str, now: float) -> None:
        """403 with what the agent knows, by which a stale server learns (docs/wire.md)."""
        beat = self.fence.participant.stamp(
            to, leader=self.fence.leadership.node, promised_epoch=self.fence.participant.on_disk.promised_epoch
        )
        line = carriage.header(beat, self.core.keys[0], request.cseq_method, request.call_id, request.cseq)
        self.core.stack.refuse(request, flow, 403, lines=(line,))

    # -- beats ----------------------------------------------------------------------------------------------------

    def _asked_by(self, link: Link, request: Request, flow: Flow, now: float) -> None:
        try:
            beat = carriage.beat_in(request, self.core.keys)
        except BeatError as error:
            self.core.counters["bad beats"] += 1
            logger.debug("a beat of %s is ignored: %s", link.name, error)
            return
        before = self.fence.silent_for(now)
        self.fence.participant.figures(len(self.core.calls), self.core.load)
        self._carrier.receive(request, beat, link.name, flow, now)
        link.heard(beat, now)
        if self.fence.silent_for(now) == 0.0 and before != 0.0:
            self.core.heard_obeyed(now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Do what the fence wants, and live by what it decided."""
        self._carrier.pump(now)

    def _ask(self, tell: Tell) -> None:
        """An agent asks nobody."""

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """The disk answered."""
        if not self._carrier.stored(value, fault, now):
            return
        self.pump(now)
        self.core.handover.obedience_changed(now)

    def _live_by(self, decision: Decision, now: float) -> None:
        self.core.decided(decision.what.value, decision.because, now)
        if decision.what is What.ADOPTED:
            if self.core.adopted != (decision.node, decision.epoch):
                self.core.detach()
            for link in self.by_name.values():
                link.admitted = ""

    # -- connections ----------------------------------------------------------------------------------------------

    def proved(self, link: Link, answer: Beat, now: float) -> None:
        """Both ends are known. The server that is obeyed gets on with its calls; another one has to subscribe."""
        leadership = self.fence.leadership
        logger.info("connected to %s", link.name)
        if (
            self.core.adopted == (link.name, leadership.epoch)
            and leadership.incarnation == answer.incarnation
            and link.flow is not None
        ):
            self.core.adopt(link.name, link.flow, now)

    def gone(self, link: Link, flow: Flow, now: float) -> None:
        link.admitted = ""
        self.core.handover.flow_lost(flow)
        self.core.upstream_lost(flow, now)


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
