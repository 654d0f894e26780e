"""The call server's part in elections: passes beats between the wire and the `Member`, keeps the member's state on
disk, and knows whether this server takes calls.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2s
from typing import Any

from b2bua.beat_paths import BeatPaths
from heartbeat import carriage
from heartbeat.agent_statements import AgentStatements
from heartbeat.carrier import Carrier
from heartbeat.console_exchange import ConsoleExchange
from heartbeat.death import DEATH, Death
from heartbeat.decision import Decision, Tell, What
from heartbeat.header import ACTIVE, CONSOLE, FETCH, HOLDING, OPEN, PING, Beat, BeatError
from heartbeat.keyring import Keyring
from heartbeat.member import Member
from heartbeat.part_exchange import PartExchange
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof
from heartbeat.site.model import Site
from heartbeat.timing import Timing
from sip.actions import Flow, Send
from sip.layer import Stack
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, parse

logger = logging.getLogger(__name__)


class Leadership:
    """Leadership of the site, as this server sees it. A server has one instance for its whole life."""

    def __init__(
        self,
        stack: Stack,
        site: Site,
        node: str,
        persistent: PersistentState,
        secret: bytes,
        keys: Sequence[bytes],
        beats: BeatPaths,
        chance: random.Random,
        apply: Callable[[Decision, str, float], None],
        now: float,
        commitment: str = "",
        deaths: Sequence[str] = (),
    ) -> None:
        """``keys`` verify signed statements; the first one signs. ``beats``: the paths to other servers. ``apply``
        is called with each decision and the name of the former leader, as far as known. ``commitment`` and
        ``deaths``: see `Member`.
        """
        self.node = node
        self.member = Member(node, site.membership(node), persistent, chance, now, commitment, deaths)
        self.serving = False
        """Whether new calls are taken: the server is active, or holding under the policy ``hold``."""
        self.since_at = now
        self.resets_cold = False
        """This leadership began by taking over from another server: cold lines are reset."""
        self.site_headers: tuple[str, ...] = ()
        """Header lines of every request to an agent: this server's name and epoch."""
        self.actions: list[Any] = []
        """Actions for the shell, which go before others: beats, state to store, provisioned parts to adopt."""
        self.part_exchange = PartExchange(self.member.participant, self._ask, self._do, site)
        not_connected = partial(_not_connected, self)
        self.console = ConsoleExchange(self.member.participant, self._ask, self._do, stack.deadlines, not_connected)
        """Console requests of operators to other nodes, and of the other server to this one."""
        self.agent_flow: Callable[[str], Flow | None] = _no_flow
        """Returns the connection to an agent, or None."""
        self.serves: Callable[[bool, float], None] = _nothing
        """Called after each decision: whether calls are taken."""
        self.calls: Callable[[], int] = int
        """Returns the number of calls."""
        self.unattended: Callable[[float], tuple[int, int]] = lambda now: (0, 0)
        """Returns the numbers of calls without agents that could be restored after a failure of this server, and that
        could not."""
        self.records: Callable[[float], tuple[float | None, float]] = lambda now: (None, 0.0)
        """Returns the wall clock, and the age in seconds of the oldest call record that is not on disk."""
        self._stack = stack
        self._site = site
        self.keyring = Keyring(site.name, site.agents, keys)
        """The keys with which messages of agents are verified, and those to them signed."""
        self.words = AgentStatements(self.keyring, self.member.participant, self.member.cluster)
        """Converts beats from and to agents according to the keys that they have."""
        self._beats = beats
        self._apply = apply
        self._carrier = Carrier(self.member, self._do, self._ask, self._decided, self.keyring.towards)
        self._former = ""
        """The server that led before this one, as far as known."""
        self._secret = secret
        self._nonces = 0
        self._beat_cseq = 0
        self._call_ids = {name: stack.token() for name in (*site.servers, *site.agents)}

    @property
    def epoch(self) -> int:
        """The present epoch, as this server knows it."""
        return self.member.participant.epoch

    @property
    def proof(self) -> Proof | None:
        """The proof of this server's epoch; None without one."""
        return self.member.participant.proof

    @property
    def quiet(self) -> float:
        """Seconds of silence after which an agent counts as unreachable: several unanswered beats."""
        timing = self.member.participant.membership.timing
        return 2 * timing.slow_interval + timing.silence

    def reload(self, site: Site, keys: Sequence[bytes]) -> None:
        """Take over a changed site file."""
        self._site = site
        self.keyring.load(site.agents, keys)
        self.member.reload(site.membership(self.node))
        self.part_exchange.apply(site)

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """The member's state is on disk, or could not be stored because of ``fault``."""
        if self._carrier.stored(value, fault, now):
            self.pump(now)

    def handle_timer(self, now: float) -> None:
        at = self.member.get_timer()
        if at <= now:
            _set_figures(self, now)
            self.member.handle_timer(now)
            self.pump(now)

    def leave(self, now: float) -> None:
        """The process is about to end: release the leadership, so that no other server has to wait for silence."""
        self.member.leave(now)
        self.pump(now)

    def nonce(self) -> str:
        """16 unguessable bytes in hexadecimal, for a handshake."""
        self._nonces += 1
        return blake2s(b"nonce%d" % self._nonces, key=self._secret[:32], digest_size=16).hexdigest()

    def answer(self, request: Request, beat: Beat, flow: Flow, key: bytes) -> None:
        """Answer a signed OPTIONS, with the key that it was signed with."""
        self._do(Send(flow, carriage.answer(request, beat, key), True))

    def came(self, data: bytes, flow: Flow, now: float) -> None:
        """Handle a message at the address for beats: only signed messages and death notices are accepted."""
        try:
            message = parse(data)
        except SipError:
            self._stack.counters["garbage"] += 1
            return
        if DEATH in message:
            self._died(message.get(DEATH) or "", now)
        elif "heartbeat" not in message:
            if isinstance(message, Request) and message.method == "OPTIONS":
                self._stack.receive_message(data, flow, now)
        elif isinstance(message, Request):
            if not self.pinged(message, flow):
                self.asked_by(message, flow, "", now)
        else:
            self.heard(message, "", now)

    def _died(self, text: str, now: float) -> None:
        try:
            death = Death.parse(text)
        except ValueError:
            self._stack.counters["garbage"] += 1
            return
        self.member.revealed(death, now)
        self.pump(now)

    def asked_by(self, request: Request, flow: Flow, sender: str, now: float) -> None:
        """A signed OPTIONS; ``sender`` is whose connection it came on, ``""`` where beats come by datagram."""
        beat = self._read(request, flow, sender, now)
        if beat is None or beat.kind == OPEN:
            return
        if beat.kind == FETCH:
            self._carrier.answer(request, self.part_exchange.answer(beat), flow)
            return
        if beat.kind == CONSOLE:
            if not sender and beat.node in self._site.servers:  # an agent asks nothing
                self._carrier.answer(request, self.console.answer(beat, now), flow)
            return
        self._learn_part(beat, now)
        _set_figures(self, now)
        self._carrier.receive(request, beat, sender or beat.node, flow, now)
        self.pump(now)

    @property
    def stops(self) -> bool:
        """Whether the server has no lease and answers 503 to all requests, by the site's policy ``stop``."""
        return self.member.state == HOLDING and self._site.failover.on_lost_quorum == "stop"

    def pinged(self, request: Request, flow: Flow) -> bool:
        """Answer a ping by a sender that knows the site key, or an agent's key. False: the request is no valid
        ping."""
        if f"kind={PING}" not in (request.get("heartbeat") or ""):
            return False  # beats are not verified twice
        try:
            beat, key = self.keyring.first_statement(request)
        except BeatError:
            return False
        if beat.kind != PING:
            return False
        stamp = self.member.participant.stamp(beat.node, kind=PING, re=(beat.incarnation, beat.seq))
        self.answer(request, stamp, flow, key)
        return True

    def heard(self, response: Response, sender: str, now: float) -> None:
        """Handle the response to a signed OPTIONS."""
        beat = self._read(response, None, sender, now)
        if beat is not None and beat.kind == FETCH:
            self.part_exchange.answered(beat, now)
        elif beat is not None and beat.kind == CONSOLE:
            if sender or beat.node in self._site.servers:
                self.console.answered(beat, now)
        elif beat is not None:
            self._learn_part(beat, now)
            self.member.receive(beat, sender or beat.node, now)
            self.pump(now)

    def shows_higher_epoch(self, response: Response, agent: str, now: float) -> bool:
        """Handle a 403 of an agent's fence, which knows of a higher epoch. False when it is another 403."""
        if "heartbeat" not in response:
            return False
        self.heard(response, agent, now)
        return True

    def _read(self, message: Request | Response, flow: Flow | None, sender: str, now: float) -> Beat | None:
        """The verified beat in a message of an agent (``sender``) or, without a ``sender``, of another server; None
        if it is not valid."""
        try:
            if sender:
                beat = self.keyring.statement_on(message, sender)
                # pieces of files or console pages have nothing to do with leadership
                return beat if beat.kind in (FETCH, CONSOLE) else self.words.heard(beat, now)
            return carriage.beat_in(message, self.keyring.keys)
        except BeatError as error:
            self._stack.counters["bad beats"] += 1
            logger.debug("a beat%s is ignored: %s", f" from {flow.remote}" if flow else "", error)
            return None

    def _learn_part(self, beat: Beat, now: float) -> None:
        """Learn provisioned parts from a beat. From an agent with a key of its own, only parts sealed by a server
        count."""
        self.part_exchange.learn(beat, now, sealed=self.keyring.has_own(beat.node))

    def agents_changed(self, reached: list[str], now: float) -> None:
        """An agent has connected or disconnected; ``reached``: all connected agents."""
        self.member.peers_reached(reached, now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Carry out the member's actions and decisions."""
        leader = self.member.cluster.leader
        if not self.serving and leader not in ("", self.node):
            self._former = leader
        self._carrier.pump(now)

    def _do(self, action: Any) -> None:
        self.actions.append(action)

    def _ask(self, tell: Tell) -> None:
        flow = self._flow_to(tell.to)
        if flow is None:
            return
        self._beat_cseq += 1
        via = self._stack.via(flow, self._stack.branch())
        call_id = self._call_ids[tell.to]
        beat = self.words.told(tell.to, tell.beat) if tell.to in self._site.agents else tell.beat
        data = carriage.request(beat, self.keyring.towards(tell.to), via, flow.remote, call_id, self._beat_cseq)
        self.actions.append(Send(flow, data, True))

    def _flow_to(self, node: str) -> Flow | None:
        if node in self._site.agents:
            return self.agent_flow(node)
        return self._beats.flow_to(node)

    def _decided(self, decision: Decision, now: float) -> None:
        began = decision.what is What.BECAME_ACTIVE and decision.proof is not None
        if began:
            self.serving = True
            participant = self.member.participant
            self.site_headers = (
                f"Heartbeat: site={self._site.name}; node={self.node};"
                f" boot={participant.on_disk.incarnation}; epoch={participant.epoch}",
            )
            if not decision.again:
                self.resets_cold = decision.epoch > 1
        self._apply(decision, self._former, now)
        if began or decision.what in (What.STEPPED_DOWN, What.HOLDING, What.LEASE_BACK):
            self.since_at = now
        holding = self.member.state == HOLDING and self._site.failover.on_lost_quorum == "hold"
        self.serving = self.member.state == ACTIVE or holding
        self.serves(self.serving, now)


def _set_figures(leadership: Leadership, now: float) -> None:
    """What this server says of itself. The clock in an answer must have been read since the request came, because by
    that others find out how much it differs from theirs."""
    member, calls = leadership.member, leadership.calls()
    clock, unwritten = leadership.records(now)
    member.cluster.clocks.offset = None if clock is None else clock - now
    load = calls / member.participant.membership.capacity
    carried, unkept = leadership.unattended(now)
    member.participant.figures(calls, load, clock, unwritten, carried, unkept)


def _nothing(serving: bool, now: float) -> None:
    pass


def _no_flow(agent: str) -> Flow | None:
    return None


def _not_connected(leadership: Leadership, node: str) -> str:
    """A sentence that says why a console request cannot reach a node; ``""`` if it can."""
    if node in leadership._site.agents and leadership.agent_flow(node) is None:
        return f"{node} is not connected to {leadership.node}: ask on its machine"
    return ""


def answers(leadership: Leadership, name: str, timing: Timing, now: float) -> bool:
    """Whether a voter is likely to answer at this moment; ``timing``: the site's. A server that does not lead asks
    agents only rarely, so an older answer counts as well."""
    cluster = leadership.member.cluster
    if name == leadership.node:
        return leadership.member.participant.voter.has_vote
    if name in cluster.non_voting:
        return False
    peer = cluster.peers.get(name)  # the stand-by, where it votes
    at = cluster.answered.get(name) if peer is None else peer.heard_at
    limit = timing.lease if leadership.serving or peer is not None else max(timing.lease, timing.slow_silence)
    return at is not None and now - at <= limit
