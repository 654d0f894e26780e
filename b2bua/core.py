"""The core of a call server: it admits calls, connects lines of agents and its own, and takes over (docs/wire.md).

One object owns the SIP stack, the member of the site (elections) and the calls; its interface is that of
``sip.actions``.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from b2bua.admin_commands import AdminCommands
from b2bua.admission import Admission
from b2bua.agents import Agents
from b2bua.audit import Audits
from b2bua.beat_paths import BeatPaths
from b2bua.call import Call, CallServices
from b2bua.call_quality import relayed
from b2bua.call_records import CallEnded, CallRecords, measuring
from b2bua.cookies import Cookies, MakeCipher
from b2bua.device_leg import DeviceLeg
from b2bua.leadership import Leadership
from b2bua.leadership_changes import LeadershipChanges
from b2bua.line_return import give_back
from b2bua.line_tests import OwnLineTester
from b2bua.lines import Lines
from b2bua.messages import PASSED, Messages, is_passed
from b2bua.own_lines import OwnLines
from b2bua.passage import ServerPassage
from b2bua.rates import RateMeter
from b2bua.routing import Router
from b2bua.takeover.dialog_fetch import DialogFetch
from b2bua.takeover.recovery import Recovery
from b2bua.takeover.rehearsal import Rehearsals
from b2bua.takeover.report import Takeovers
from b2bua.transfer import Transfers
from b2bua.unattended import UnattendedCalls
from heartbeat.decision import Decided
from heartbeat.line_tests import LineTests
from heartbeat.member import Member
from heartbeat.persistent_state import PersistentState
from heartbeat.site.ban_rules import ban_by
from heartbeat.site.model import Site
from sip.actions import Action, Certified, Fetch, Flow, Resolve, Store
from sip.b2b.bridge import Bridge
from sip.b2b.discarded import Discarded
from sip.header_policy import ALLOW, refused_outside_dialogs
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.references import is_of_transfer
from sip.timers import Timers
from sip.transaction import ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

MOST_DECISIONS: Final = 2000


Event = CallEnded | Decided


class Core:
    """The core of one server.

    ``persistent``: the stored state, its incarnation already raised; ``secret``: at least 16 random bytes, new at
    each start; ``wall_offset``: seconds to add to ``now`` for the wall clock; ``commitment`` of this start's
    supervisor and secrets of former starts, ``deaths`` (`heartbeat.death`); ``cipher`` makes the cipher of cookies
    (`b2bua.cookies`).
    """

    def __init__(
        self,
        site: Site,
        node: str,
        persistent: PersistentState,
        secret: bytes,
        chance: random.Random,
        now: float,
        wall_offset: float = 0.0,
        commitment: str = "",
        deaths: Sequence[str] = (),
        cipher: MakeCipher | None = None,
    ) -> None:
        self.site = site
        self.node = node
        self.server = site.servers[node]
        self.started_at = now
        self.history: deque[Decided] = deque(maxlen=MOST_DECISIONS)
        self.lines = Lines(site)
        self.chance = chance
        self._secret = secret
        self.rates = RateMeter(now)
        self._events: deque[Event] = deque()
        self.records = CallRecords(site.name, node, wall_offset, self._events)
        timing = site.timing
        at = self.server.listen[0] if self.server.listen else self.server.sip[0]
        advertised = self.server.advertise or at.host
        self.stack = Stack(
            self, secret, f"{bracketed(advertised)}:{at.port}", Timers(timing.t1, timing.t2, timing.t4)
        )
        self.records.failed = self.stack.call_ids.failed
        self.quality = measuring(self.records, self.stack)
        self._listens = {_local(endpoint) for endpoint in self.server.listen}
        self.beats = BeatPaths(self.stack, site, node, chance, lambda *came: self.leadership.came(*came), now)
        self.cookies = Cookies(self.stack, cipher)
        self.router, self.keys, self.key = _read_site(self)
        passage = ServerPassage(node)
        self.discarded = Discarded(passage)
        self.leadership = Leadership(
            self.stack,
            site,
            node,
            persistent,
            secret,
            self.keys or [self.key],
            self.beats,
            chance,
            apply=lambda *decided: self.leadership_changes.apply(*decided),
            now=now,
            commitment=commitment,
            deaths=deaths,
        )
        self.agents = Agents(
            self.stack,
            self.leadership,
            self.lines,
            site,
            moved=lambda agent, former, flow, now: self.services.legs_moved(agent, former, flow, now),
            now=now,
        )
        self.leadership.agent_flow = self.agents.flow_of
        self.stack.receiver.line_state_came = self.agents.note_line_state
        self.own_lines = OwnLines(
            self.stack, site, node, chance, secret, self.lines, self.agents.agent_of, self.decided, now
        )
        self.leadership.serves = self.own_lines.lead
        self.line_tests = LineTests(OwnLineTester(self.stack, self.own_lines, site.realm).begin)
        self.stack.receiver.expected = self.own_lines.senders.expected
        self.stack.admission.name_of = self.own_lines.senders.owner
        ban_by(self.stack, site.bans, self.own_lines.senders.is_peer)
        shared = (self.stack, self.discarded, self.lines, self.records, self.agents, self.own_lines)
        self.services = passage.services = CallServices(*shared, site, self.router, self.key, chance, now)
        passage.authority = self.leadership
        self.services.cookies = self.cookies
        self.calls = self.services.calls
        self.leadership.calls = self.calls.__len__
        self.leadership.records = lambda now: (now + self.records.wall_offset, self.records.unwritten(now))
        may_act, cancelled = self.member.may_act, self.cancelled
        self.recovery = self.agents.services.reader = Recovery(
            self.services,
            self.agents,
            self.keys,
            may_act=may_act,
            cancelled=cancelled,
            served=lambda now: self.leadership_changes.served(now),
        )
        self.services.transfers = Transfers(self.services, node, self.recovery.restorations)
        self.admission = Admission(self.services, node, self.recovery.restorations, chance)
        self.dialog_fetch = DialogFetch(self.stack, self.own_lines, self.recovery.cookies, chance, node)
        self.messages = Messages(self.services, self.leadership, node)
        self.takeovers = Takeovers(node, self.services, self.agents, self.recovery.verdicts)
        parts = (self.services, self.agents, self.leadership, self.recovery, self.messages, self.admission)
        self.leadership_changes = LeadershipChanges(
            node, site.main.name, *parts, self.takeovers, self.dialog_fetch, self.decided
        )
        unattended = UnattendedCalls(self.services)
        self.leadership.unattended = unattended.numbers
        self.rehearsals = Rehearsals(
            self.services, self.agents, self.leadership, lambda: self.keys, lambda: self.server.capacity, unattended
        )
        self.audits = Audits(self.services, self.agents, self.leadership, unattended)
        looks = {"rehearse": self.rehearsals.begin, "audit": self.audits.begin}
        self.admin_commands = AdminCommands(
            self.services, self.leadership, self.agents, self.history, looks, self.decided, self.own_lines.busy_out
        )
        self.leadership.pump(now)

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        if flow.local in self.beats.locals:
            self.beats.receive(data, flow, now)
        else:
            self.stack.receive(data, flow, now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream is ``open`` or ``lost``, a UDP peer ``unreachable``."""
        from_agent = flow.local.partition("#")[0] in self._listens
        if state == "lost":
            self.stack.flow_lost(flow)
        if self.beats.flow_changed(flow, state, now):
            return
        if not from_agent:
            self.own_lines.flow_changed(flow, state, now)
        elif state == "open":
            self.agents.opened(flow, now)
        else:
            self.agents.lost(flow, now)

    def done(self, request: Action | Certified, result: Any, now: float) -> None:
        """The result of an action: places of a URI, names in a certificate, a fetched file, or for `Store` None if it
        was written, else why not."""
        if isinstance(request, Resolve):
            self.own_lines.resolved(request.uri, result, now)
        elif isinstance(request, Certified):
            self.stack.certified[request.flow] = result
        elif isinstance(request, Fetch) and self.own_lines.caller_identity.stir is not None:
            self.own_lines.caller_identity.stir.fetched(request.url, result, now)
        elif isinstance(request, Store):
            self.leadership.stored(request.value, None if result is None else str(result), now)

    def handle_timer(self, now: float) -> None:
        self.stack.handle_timer(now)
        self.leadership.handle_timer(now)

    def get_timer(self) -> float | None:
        first, second = self.stack.deadlines.next(), self.leadership.member.get_timer()
        if first is None or (second is not None and second < first):
            return second
        return first

    def to_do(self) -> list[Action]:
        out, leadership = self.stack.to_do(), self.leadership
        if leadership.actions:
            out, leadership.actions = [*leadership.actions, *out], []
        return out

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def reload(self, site: Site, now: float) -> None:
        """Use a changed site file, which ``heartbeat.site.reload`` has checked; calls stay."""
        self.site, self.server = site, site.servers[self.node]
        self.router, self.keys, self.key = _read_site(self)
        services = self.services
        services.site = self.lines.site = site
        services.router = self.router
        services.sign_with(self.key)
        self.recovery.restorations.keys = self.keys
        self.leadership.reload(site, self.keys or [self.key])
        self.agents.reload(site)
        self.agents.keys_changed(now)
        self.own_lines.load(site, now)
        ban_by(self.stack, site.bans, self.own_lines.senders.is_peer)
        self.decided("reload", f"{self.node} lives by the site file {site.digest} from now on", now)

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        """On an unauthenticated connection only the handshake is processed, and no message is passed on."""
        if isinstance(message, Request):
            if message.method == "OPTIONS" and "heartbeat" in message:
                self.agents.handshake(flow, message, now)
            else:
                self.agents.refuse_unproved(message, flow)
        else:
            self.agents.refuse_unproved(None, flow)
        return False

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        agent = self.agents.agent_of(transaction.flow)
        method = request.method
        if method == "OPTIONS":
            if "heartbeat" in request and agent:
                self.stack.transactions.remove(transaction)
                self.leadership.asked_by(request, transaction.flow, agent, now)
            elif "heartbeat" in request and self.leadership.pinged(request, transaction.flow):
                self.stack.transactions.remove(transaction)
            else:
                # no calls come to the address for heartbeats, so its answer need not depend on the lead
                takes_calls = self.serving or transaction.flow.local in self.beats.locals
                self.stack.respond_stateless(transaction, *_qualified(takes_calls))
        elif method == "REGISTER" and self.own_lines.senders.register(transaction, request, now):
            pass
        elif method == "SUBSCRIBE" and agent and self.serving and "line" not in request:
            connection = self.agents.connections[agent]
            give_back(self.services, connection, self.member.may_act, transaction, request, now)
        elif method == "NOTIFY" and agent and "line" not in request and not is_of_transfer(request):
            self.stack.respond_stateless(transaction, 481)  # its subscription has ended (RFC 6665 section 4.1.3)
        elif method == "NOTIFY" and not agent and self.dialog_fetch.notified(transaction, request, now):
            pass
        elif not self.serving and agent and not self.leadership.stops:
            transaction.terminate()  # not answered, so that the agent has it in its list for the next leader
        elif not self.serving:
            self.stack.respond_stateless(transaction, 503, ("Retry-After: 2",))
        elif (method in PASSED and "line" in request) if agent else is_passed(request, self.site.lines):
            self.messages.requested(transaction, request, agent, now)
        elif request.to_tag:
            if not self.recovery.replay.unknown_dialog(agent, transaction, request, now):
                self.stack.respond_stateless(transaction, 481)
        elif method == "INVITE":
            self.admission.invited(transaction, request, agent, now)
        else:
            self.stack.respond_stateless(transaction, *refused_outside_dialogs(method))

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg = invite.context
        if self.admission.cancelled(invite, now):
            return
        if not isinstance(leg, InviteUsage):
            self.recovery.replay.cancelled(invite, cancel)
            return
        owner = leg.owner
        call = owner.policy if isinstance(owner, Bridge) else None
        if isinstance(call, Call) and call.id in self.recovery.restorations.waiting:
            self.recovery.restorations.cancel(call.id, cancel, now)
        elif isinstance(owner, (Bridge, DeviceLeg, Discarded)):
            owner.cancelled(leg, invite, cancel, now)

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        if self.serving and self.agents.agent_of(flow):
            self.recovery.replay.stray_ack(ack, now)

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        connection = self.agents.by_flow.get(flow)
        if connection is not None and response.cseq_method == "OPTIONS" and "heartbeat" in response:
            connection.heard(now)
            self.leadership.heard(response, connection.name, now)

    @property
    def member(self) -> Member:
        return self.leadership.member

    @property
    def serving(self) -> bool:
        """Whether this server leads and takes calls."""
        return self.leadership.serving

    @property
    def epoch(self) -> int:
        return self.leadership.epoch

    def decided(self, code: str, because: str, now: float) -> None:
        """Add a decision to history and log."""
        decision = Decided(now, code, because)
        self.history.append(decision)
        self._events.append(decision)

    def test_disk(self, now: float) -> None:
        """Write the epoch file as a test."""
        self.member.participant.test_disk()
        self.leadership.pump(now)

    def leave(self, now: float) -> None:
        """This process is about to end."""
        self.recovery.leave(now)
        self.own_lines.stop(now)
        self.leadership.leave(now)


def _read_site(core: Core) -> tuple[Router, list[bytes], bytes]:
    """The router for the site file, the site's keys, and the one that signs tokens."""
    site = core.site
    core.quality.relayed = relayed(site)
    keys = [key.value for key in site.identity.keys if key.value]
    core.cookies.load(keys, site.standby is not None)
    router = Router(site, core.chance, core.server.capacity, core.server.reserve)
    return router, keys, keys[0] if keys else core._secret


def _qualified(serving: bool) -> tuple[int, list[str]]:
    """Status and header lines of an answer to OPTIONS: those that an INVITE would get (RFC 3261 section 11.2)."""
    lines = [ALLOW, "Accept: application/sdp", "Accept-Encoding: identity", "Accept-Language: en", "Supported: "]
    return (200, lines) if serving else (503, [*lines, "Retry-After: 2"])


def _local(endpoint: Any) -> str:
    """The ``local`` of a listener's flows."""
    return f"{bracketed(endpoint.host)}:{endpoint.port}"
