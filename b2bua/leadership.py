"""Who rules, as the call server lives by it: beats to and from the wire, what is kept on disk, and what a decision
of the site's member means for calls.
"""

from __future__ import annotations

import logging
import random
from hashlib import blake2s
from typing import TYPE_CHECKING

from b2bua.takeover.report import kind_of
from heartbeat import carriage
from heartbeat.carrier import Carrier
from heartbeat.decision import Decision, Tell, What
from heartbeat.header import ACTIVE, HOLDING, OPEN, PING, Beat, BeatError
from heartbeat.member import Member
from heartbeat.persistent_state import PersistentState
from sip.actions import Action, Flow, Send
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, parse

if TYPE_CHECKING:
    from b2bua.agents import AgentLink
    from b2bua.core import Core

logger = logging.getLogger(__name__)


class Reign:
    """One for the life of a server."""

    def __init__(self, core: Core, kept: PersistentState, secret: bytes, chance: random.Random, now: float) -> None:
        site = core.site
        self.core = core
        self.member = Member(core.node, site.membership(core.node), kept, chance, now)
        self.serving = False
        """New calls are taken: active, or holding by the policy ``hold``."""
        self.since_at = now
        self.resets_cold = False
        """This rule began by taking over from another server: cold lines are reset."""
        self.site_lines: tuple[str, ...] = ()
        """The lines that every request to an agent carries: who sends it, under which epoch."""
        self.actions: list[Action] = []
        """Beats and what is to be stored: they go first."""
        self._carrier = Carrier(self.member, self._do, self._ask, self._live_by)
        self.last_now = now
        """The time of the last input that concerned who rules."""
        self._former = ""
        """Which server ruled before us, as far as we know."""
        self._secret = secret
        self._nonces = 0
        self._beat_cseq = 0
        self._call_ids = {name: core.stack.token() for name in (*site.servers, *site.agents)}

    # -- the shell and the operator -------------------------------------------------------------------------------

    def stored(self, value: str, fault: str | None, now: float) -> None:
        """The member's word is on disk, or why not."""
        if self._carrier.stored(value, fault, now):
            self.pump(now)

    def handle_timer(self, now: float) -> None:
        at = self.member.get_timer()
        if at <= now:
            calls = len(self.core.calls)
            self.member.participant.figures(calls, calls / self.core.server.capacity)
            self.member.handle_timer(now)
            self.pump(now)

    def leave(self, now: float) -> None:
        """This process is about to end: let go of the site, so that nobody need wait for our silence."""
        self.member.leave(now)
        self.pump(now)

    # -- beats ------------------------------------------------------------------------------------------------------

    def nonce(self) -> str:
        """16 unguessable bytes in hexadecimal, for an opening."""
        self._nonces += 1
        return blake2s(b"nonce%d" % self._nonces, key=self._secret[:32], digest_size=16).hexdigest()

    def beat_in(self, message: Request | Response) -> Beat:
        """The signed statement in a message; raises :class:`~heartbeat.header.BeatError`."""
        return carriage.beat_in(message, self.core.keys)

    def answer(self, request: Request, beat: Beat, flow: Flow) -> None:
        """Answer an OPTIONS of the site."""
        self._carrier.answer(request, beat, flow)

    def came(self, data: bytes, flow: Flow, now: float) -> None:
        """A datagram at the address for beats of the other server: only signed ones are looked at."""
        core = self.core
        try:
            message = parse(data)
        except SipError:
            core.stack.counters["garbage"] += 1
            return
        if "heartbeat" not in message:
            if isinstance(message, Request) and message.method == "OPTIONS":
                core.stack.receive(data, flow, now)
        elif isinstance(message, Request):
            self.asked_by(message, flow, "", now)
        else:
            self.heard(message, "", now)

    def asked_by(self, request: Request, flow: Flow, sender: str, now: float) -> None:
        """A signed OPTIONS; ``sender`` is whose connection it came on, ``""`` where beats come by datagram."""
        beat = self._read(request, flow)
        if beat is None or beat.kind == OPEN:
            return
        if beat.kind == PING:
            self.answer(
                request, self.member.participant.stamp(beat.node, kind=PING, re=(beat.incarnation, beat.seq)), flow
            )
            return
        self._carrier.receive(request, beat, sender or beat.node, flow, now)
        self.pump(now)

    @property
    def stops(self) -> bool:
        """Without a lease, and the site's policy is to answer 503 to all."""
        return self.member.state == HOLDING and self.core.site.failover.on_lost_quorum == "stop"

    def is_ping(self, request: Request) -> bool:
        """Whether an operator who knows the site key asks how the site is."""
        try:
            return self.beat_in(request).kind == PING
        except BeatError:
            return False

    def heard(self, response: Response, sender: str, now: float) -> None:
        """The answer to one."""
        beat = self._read(response, None)
        if beat is not None:
            self.member.receive(beat, sender or beat.node, now)
            self.pump(now)

    def heard_refusal(self, response: Response, agent: str, now: float) -> bool:
        """A 403 of an agent's fence: it knows of a higher epoch. False when it is another 403."""
        if "heartbeat" not in response:
            return False
        self.heard(response, agent, now)
        return True

    def _read(self, message: Request | Response, flow: Flow | None) -> Beat | None:
        try:
            return self.beat_in(message)
        except BeatError as error:
            self.core.stack.counters["bad beats"] += 1
            logger.debug("a beat%s is ignored: %s", f" from {flow.remote}" if flow else "", error)
            return None

    # -- agents -----------------------------------------------------------------------------------------------------

    def agents_changed(self, now: float) -> None:
        """An agent came or went."""
        self.member.peers_reached(self.core.agents.reached, now)
        self.pump(now)

    def agent_complete(self, link: AgentLink, now: float) -> None:
        """An agent's list is whole."""
        core = self.core
        if core.agents.all_complete:
            took = now - core.agents.begun_at
            core.takeovers.served(now)
            core.decided("served", f"the lists of all agents reached are complete, after {took:.3f} s", now)

    # -- the member -------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Do what the member wants, and live by what it decided."""
        self.last_now = now
        member = self.member
        if not self.serving and member.cluster.leader not in ("", self.core.node):
            self._former = member.cluster.leader
        self._carrier.pump(now)

    def _do(self, action: Action) -> None:
        self.actions.append(action)

    def _ask(self, tell: Tell) -> None:
        flow = self._flow_to(tell.to)
        if flow is None:
            return
        self._beat_cseq += 1
        core = self.core
        via = core.stack.via(flow, core.stack.branch())
        data = carriage.request(tell.beat, core.key, via, flow.remote, self._call_ids[tell.to], self._beat_cseq)
        self.actions.append(Send(flow, data, True))

    def _flow_to(self, node: str) -> Flow | None:
        core = self.core
        link = core.agents.links.get(node)
        if link is not None:
            return link.flow
        server = core.site.servers.get(node)
        if server is None or server.beat_reach is None or not core.beat_local:
            return None
        return Flow("udp", core.beat_local, server.beat_reach.address)

    def _live_by(self, decision: Decision, now: float) -> None:
        core = self.core
        core.decided(decision.what.value, decision.because, now)
        core.takeovers.seen(decision)
        if decision.what is What.BECAME_ACTIVE and decision.proof is not None:
            self._begin(decision, now)
        elif decision.what is What.STEPPED_DOWN:
            core.stand_down(now)
        if decision.what in (What.BECAME_ACTIVE, What.STEPPED_DOWN, What.HOLDING, What.LEASE_BACK):
            self.since_at = now
        holding = self.member.state == HOLDING and core.site.failover.on_lost_quorum == "hold"
        self.serving = self.member.state == ACTIVE or holding
        core.trunks.lead(self.serving, now)

    def _begin(self, decision: Decision, now: float) -> None:
        """The site is ours: ask every agent what it has."""
        assert decision.proof is not None
        core, member = self.core, self.member
        self.serving = True
        self.site_lines = (
            f"Heartbeat: site={core.site.name}; node={core.node};"
            f" boot={member.participant.on_disk.incarnation}; epoch={member.participant.epoch}",
        )
        core.lead(self.site_lines, member.participant.epoch)
        if not decision.again:
            old = self._former
            if decision.epoch > 1:
                core.takeovers.began(decision, old, kind_of(decision.because, old, core.node, core.site.main.name))
            core.forget_calls()  # of a rule before that of another server, if any are left
            core.recovery.begin(now)
            self.resets_cold = decision.epoch > 1
        core.agents.begin(decision.proof, now, decision.again)
        if not core.agents.reached:
            core.takeovers.served(now)
