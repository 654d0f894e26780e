"""Who leads, as the call server lives by it: beats to and from the wire, what is kept on disk, and whether calls are
taken.
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
from heartbeat.agent_words import AgentWords
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
    """One for the life of a server."""

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
        live_by: Callable[[Decision, str, float], None],
        now: float,
        commitment: str = "",
        deaths: Sequence[str] = (),
    ) -> None:
        """``keys``: what signed statements are believed by, the first one signs. ``beats``: the ways to
        other servers. ``live_by`` is told of each decision, with the name of the server that
        led before, as far as is known. ``commitment`` and ``deaths``: see `Member`.
        """
        self.node = node
        self.member = Member(node, site.membership(node), persistent, chance, now, commitment, deaths)
        self.serving = False
        """New calls are taken: active, or holding by the policy ``hold``."""
        self.since_at = now
        self.resets_cold = False
        """This leadership began by taking over from another server: cold lines are reset."""
        self.site_headers: tuple[str, ...] = ()
        """The lines that every request to an agent carries: who sends it, under which epoch."""
        self.actions: list[Any] = []
        """Beats, what is to be stored, and what is to be taken as provisioned: they go first."""
        self.part_exchange = PartExchange(self.member.participant, self._ask, self._do, site)
        not_connected = partial(_not_connected, self)
        self.console = ConsoleExchange(self.member.participant, self._ask, self._do, stack.deadlines, not_connected)
        """What operators ask this server of other nodes, and the other server of this one."""
        self.agent_flow: Callable[[str], Flow | None] = _no_flow
        """The connection to an agent."""
        self.serves: Callable[[bool, float], None] = _nothing
        """Told after each decision whether calls are taken."""
        self.calls: Callable[[], int] = int
        """How many there are."""
        self.records: Callable[[float], tuple[float | None, float]] = lambda now: (None, 0.0)
        """The wall clock, and the age of the oldest call record that is not on disk."""
        self._stack = stack
        self._site = site
        self.keyring = Keyring(site.name, site.agents, keys)
        """By which keys agents are believed and spoken to."""
        self.words = AgentWords(self.keyring, self.member.participant, self.member.cluster)
        """What agents say and are shown, by the keys that they have."""
        self._beats = beats
        self._live_by = live_by
        self._carrier = Carrier(self.member, self._do, self._ask, self._decided, self.keyring.towards)
        self._former = ""
        """Which server led before us, as far as we know."""
        self._secret = secret
        self._nonces = 0
        self._beat_cseq = 0
        self._call_ids = {name: stack.token() for name in (*site.servers, *site.agents)}

    @property
    def epoch(self) -> int:
        """The present epoch of ours."""
        return self.member.participant.epoch

    @property
    def proof(self) -> Proof | None:
        """That of our epoch."""
        return self.member.participant.proof

    @property
    def quiet(self) -> float:
        """Seconds of silence after which an agent cannot be reached: some beats without an answer."""
        timing = self.member.participant.membership.timing
        return 2 * timing.slow_interval + timing.silence

    def reload(self, site: Site, keys: Sequence[bytes]) -> None:
        """Live by a changed site file."""
        self._site = site
        self.keyring.load(site.agents, keys)
        self.member.reload(site.membership(self.node))
        self.part_exchange.live_by(site)

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """The member's word is on disk, or why not."""
        if self._carrier.stored(value, fault, now):
            self.pump(now)

    def handle_timer(self, now: float) -> None:
        at = self.member.get_timer()
        if at <= now:
            calls = self.calls()
            clock, unwritten = self.records(now)
            self.member.cluster.wall_offset = None if clock is None else clock - now
            load = calls / self._site.servers[self.node].capacity
            self.member.participant.figures(calls, load, clock, unwritten)
            self.member.handle_timer(now)
            self.pump(now)

    def leave(self, now: float) -> None:
        """This process is about to end: let go of the site, so that nobody need wait for our silence."""
        self.member.leave(now)
        self.pump(now)

    def nonce(self) -> str:
        """16 unguessable bytes in hexadecimal, for a handshake."""
        self._nonces += 1
        return blake2s(b"nonce%d" % self._nonces, key=self._secret[:32], digest_size=16).hexdigest()

    def answer(self, request: Request, beat: Beat, flow: Flow, key: bytes) -> None:
        """Answer an OPTIONS of the site, with the key by which it was asked."""
        self._do(Send(flow, carriage.answer(request, beat, key), True))

    def came(self, data: bytes, flow: Flow, now: float) -> None:
        """A message at the address for beats of the other server: only signed ones are looked at, and deaths."""
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
        self._carrier.receive(request, beat, sender or beat.node, flow, now)
        self.pump(now)

    @property
    def stops(self) -> bool:
        """Without a lease, and the site's policy is to answer 503 to all."""
        return self.member.state == HOLDING and self._site.failover.on_lost_quorum == "stop"

    def pinged(self, request: Request, flow: Flow) -> bool:
        """Answer who knows the site key, or an agent's, and asks how this server is. False: it is none."""
        if f"kind={PING}" not in (request.get("heartbeat") or ""):
            return False  # beats are not verified twice
        try:
            beat, key = self.keyring.said_first(request)
        except BeatError:
            return False
        if beat.kind != PING:
            return False
        stamp = self.member.participant.stamp(beat.node, kind=PING, re=(beat.incarnation, beat.seq))
        self.answer(request, stamp, flow, key)
        return True

    def heard(self, response: Response, sender: str, now: float) -> None:
        """The answer to one."""
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

    def heard_refusal(self, response: Response, agent: str, now: float) -> bool:
        """A 403 of an agent's fence: it knows of a higher epoch. False when it is another 403."""
        if "heartbeat" not in response:
            return False
        self.heard(response, agent, now)
        return True

    def _read(self, message: Request | Response, flow: Flow | None, sender: str, now: float) -> Beat | None:
        """What an agent says on its connection; without a ``sender``, what another server does."""
        try:
            if sender:
                beat = self.keyring.said_on(message, sender)
                # a piece of something says nothing of who leads
                return beat if beat.kind in (FETCH, CONSOLE) else self.words.heard(beat, now)
            return carriage.beat_in(message, self.keyring.keys)
        except BeatError as error:
            self._stack.counters["bad beats"] += 1
            logger.debug("a beat%s is ignored: %s", f" from {flow.remote}" if flow else "", error)
            return None

    def _learn_part(self, beat: Beat, now: float) -> None:
        """Of what an agent with a key of its own has as provisioned, only what a server has made is believed."""
        self.part_exchange.learn(beat, now, sealed=self.keyring.has_own(beat.node))

    def agents_changed(self, reached: list[str], now: float) -> None:
        """An agent came or went."""
        self.member.peers_reached(reached, now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Do what the member wants, and live by what it decided."""
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
        self._live_by(decision, self._former, now)
        if began or decision.what in (What.STEPPED_DOWN, What.HOLDING, What.LEASE_BACK):
            self.since_at = now
        holding = self.member.state == HOLDING and self._site.failover.on_lost_quorum == "hold"
        self.serving = self.member.state == ACTIVE or holding
        self.serves(self.serving, now)


def _nothing(serving: bool, now: float) -> None:
    pass


def _no_flow(agent: str) -> Flow | None:
    return None


def _not_connected(leadership: Leadership, node: str) -> str:
    """Why an agent cannot be asked anything."""
    if node in leadership._site.agents and leadership.agent_flow(node) is None:
        return f"{node} is not connected to {leadership.node}: ask on its machine"
    return ""


def answers(leadership: Leadership, name: str, timing: Timing, now: float) -> bool:
    """Whether a voter would answer at this moment; ``timing`` is that of the site. One that does not lead asks agents
    seldom, so it believes what it heard for longer."""
    cluster = leadership.member.cluster
    if name == leadership.node:
        return leadership.member.participant.voter.has_vote
    if name in cluster.non_voting:
        return False
    peer = cluster.peers.get(name)  # the stand-by, where it votes
    at = cluster.answered.get(name) if peer is None else peer.heard_at
    limit = timing.lease if leadership.serving or peer is not None else max(timing.lease, timing.slowly)
    return at is not None and now - at <= limit
