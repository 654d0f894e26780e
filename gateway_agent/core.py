"""The gateway agent: it owns the dialogs with the devices of its lines, obeys one server, and gives the list of its
calls and lines to the server that leads next.

`Core` owns the SIP stack, the connections to the servers, the lines and the calls; its interface towards the shell is
that of ``sip.actions``.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Collection, Mapping
from random import Random
from typing import Any, Final

from gateway_agent import media_timeout
from gateway_agent.call import Call
from gateway_agent.call_environment import NOWHERE, CallEnvironment
from gateway_agent.call_restoration import CallRestoration
from gateway_agent.call_table import CallTable
from gateway_agent.deduplication import Deduplication
from gateway_agent.derivation import Derivation
from gateway_agent.device_access import DeviceAccess
from gateway_agent.devices import AgentFunctions, Devices
from gateway_agent.dialog_list import DialogList
from gateway_agent.draining import Draining
from gateway_agent.far_side import LineEnvironment
from gateway_agent.handover import Handover
from gateway_agent.line import Line
from gateway_agent.line_snapshot import LineStates
from gateway_agent.line_table import LineTable
from gateway_agent.line_tests import LineTester
from gateway_agent.list_subscription import Publication
from gateway_agent.media.ports import Notice
from gateway_agent.media_relay import NO_RELAYS, MediaRelay
from gateway_agent.obedience import Obedience
from gateway_agent.passage import DevicePassage
from gateway_agent.phone_directory import PhoneDirectory
from gateway_agent.qualification import Qualification
from gateway_agent.records import Recorder
from gateway_agent.repeats import Repeats
from gateway_agent.returning import Return, WaitingMessages, may_wait
from gateway_agent.server_connections import ConnectionCallbacks, ConnectionServices, ServerConnections
from gateway_agent.server_requests import ServerRequests
from gateway_agent.server_side import ServerRequest
from gateway_agent.silence import Silence
from gateway_agent.subscriptions import Subscriptions
from gateway_agent.webrtc.legs import WebrtcLegs
from heartbeat.carrier import VOTES
from heartbeat.decision import Decided
from heartbeat.line_tests import LineTests
from heartbeat.persistent_state import PersistentState
from heartbeat.site.model import Site
from sip.actions import Action, Certified, Fetch, Flow, Resolve, Send, Store
from sip.b2b.discarded import Discarded
from sip.device.phone import PhoneServices
from sip.device.phone_authentication import PhoneAuthentication
from sip.dialog import dialog_key
from sip.digest import DigestServer
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.timers import Timers
from sip.transaction import ServerTransaction
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

LEAST_HOLD: Final = 0.5
"""Seconds for which a request waits for a server's first response at least, whatever ``hold_attempt`` is."""
MOST_HISTORY: Final = 1000


def servers_first(out: list[Action], site_flows: Collection[Flow]) -> list[Action]:
    """The same actions, those that send to servers first. If this process ends before all are carried out, servers
    know everything that a device was told (docs/wire.md)."""
    if len(out) > 1:
        first = [one for one in out if type(one) is Send and one.flow in site_flows]
        if first and len(first) < len(out):
            return first + [one for one in out if type(one) is not Send or one.flow not in site_flows]
    return out


def _answered_by_call(invite: ServerTransaction, cancel: ServerTransaction, now: float) -> bool:
    """Whether the call itself answers the CANCEL of its device, later."""
    leg = invite.context
    call = leg.owner if isinstance(leg, InviteUsage) else None
    return isinstance(call, Call) and leg is call.device and call.held_answers.cancelled(cancel, now)


class Core:
    """The whole agent, without I/O. ``persistent`` is the stored state, its incarnation raised already; ``secret`` is
    at least 16 random bytes, new at each start."""

    def __init__(
        self,
        site: Site,
        agent: str,
        persistent: PersistentState,
        secret: bytes,
        random: Random,
        now: float,
        relays: Mapping[str, MediaRelay] = NO_RELAYS,
        webrtc: WebrtcLegs | None = None,
    ) -> None:
        """``relays``: where the media of lines passes, by their ``media``."""
        self.site = site
        self.agent = site.agents[agent]
        self.relays = relays
        self.started_at = self.now = now
        timing = site.timing
        self.stack = Stack(self, secret, agent, Timers(timing.t1, timing.t2, timing.t4, 64 * timing.t1))
        self.counters: Counter[str] = Counter()
        self.load = 0.0
        """The share of a processor in use; set by the shell."""
        self.wall_offset: float | None = None
        """Wall clock minus ``now``, in seconds; set by the shell."""
        self.keys = site.membership().keys
        endpoint = ConnectionServices(agent, self.stack, random, self.counters, lambda: self.keys, lambda: self.site)
        self.connections = ServerConnections(endpoint, site, persistent, now)
        self.access = DeviceAccess(self.stack, random, site, agent)
        self.derivation = Derivation(agent, lambda: self.keys[0] if self.keys else secret)
        self.directory = PhoneDirectory(self.derivation.secret("orders"), lambda: self.keys[0] if self.keys else b"")
        # Nonce counts are forgotten with this start: what was recorded in an earlier one must not be taken again
        # (RFC 7616 section 5.5). Its nonces are stale.
        nonces = self.derivation.secret(f"nonces {persistent.incarnation}")
        self.digest = DigestServer(site.realm, nonces, self.directory.password, self.directory.orders.of)
        self.digest.tokens = self.directory.tokens(site.realm, lambda: self.agent, lambda: self.wall_offset)
        self.authentication = PhoneAuthentication(self.stack, self.digest)
        self.deduplication: Deduplication[ServerRequest] = Deduplication(
            self.stack.timers.lifetime, self.stack.deadlines
        )
        self.recorder = Recorder(self.stack, self.stack.contact(NOWHERE)[len("Contact: <") : -1])
        self.table = CallTable(
            self.recorder,
            self.stack.timers.lifetime,
            seen_under=lambda: self.epoch if self.connected else 0,
            epoch=lambda: self.epoch,
        )
        self.calls = self.table.living
        self.by_call_id = self.table.by_call_id
        self.gone = self.table.gone
        self.line_states = LineStates(site.name, agent, persistent.incarnation, lambda: self.keys[0])
        self.repeats = Repeats(self.stack, self.deduplication, self.counters, self.by_call_id)
        self.environment = CallEnvironment(
            self.stack,
            self.deduplication,
            self.counters,
            random,
            self.stack.limited_logger,
            relays,
            hold_attempt=max(LEAST_HOLD, timing.hold_attempt),
            living=lambda: len(self.calls),
            epoch=lambda: self.epoch,
            settled=self.table.settled,
            is_repeat=self.repeats.is_repeat,
            discarded=Discarded(DevicePassage()),
            derivation=self.derivation,
            line_states=self.line_states,
            webrtc=webrtc,
        )
        self.environment.server = site.main.name
        voter = self.connections.voter
        self.draining = Draining(agent, lambda: len(self.calls), self.decided, voter.participant.drain)
        self.history: deque[Decided] = deque(maxlen=MOST_HISTORY)
        self.silence = Silence(self.stack, agent, self.decided)
        self.obedience = Obedience(self.environment, self.calls, self.decided, lambda: voter.released, now)
        self.qualification = Qualification(self.stack, self.draining, self.obedience)
        self.phones: dict[Flow, set[str]] = {}
        """Names of the phones registered by each flow."""
        self._events: deque[Decided] = deque(maxlen=MOST_HISTORY)
        self._source = NOWHERE
        self.lines: dict[str, Line] = {}
        shared = self.environment, self.table, self.lines
        towards, drains = self.access.host_towards, lambda: self.draining.active
        self.subscriptions = Subscriptions(*shared, self.line_states, towards, self._realm)
        self.server_requests = ServerRequests(*shared, towards, drains, self.subscriptions)
        own = AgentFunctions(self._realm, drains, self.qualification.answer, lambda *call: self.site.is_urgent(*call))
        identified = self.directory, self.authentication
        self.devices = Devices(*shared, self.phones, self.access, *identified, own, self.subscriptions)
        self.obedience.moved = self.devices.servers_moved
        phones = PhoneServices(
            self.stack, random, self.access.flows, self.access.dialogs, self.authentication, self.phones
        )
        line_environment = LineEnvironment(self.stack, random, self.access, phones, self._realm, lambda: self.now)
        self.returning = Return(
            site.name,
            endpoint,
            WaitingMessages(self.stack, lambda: self.environment.hold_attempt, self._requested),
            CallRestoration(self.environment, self.lines, self.table.next_id, self.access.host_towards),
            self.line_states,
            self.table,
            self.decided,
            self.lines,
            self.subscriptions,
            done=(lambda now: self.handover.returned(now), self.devices.absent.look),
        )
        self.stack.receiver.calls_return = lambda: not self.returning.complete
        self.stack.receiver.answers_later = _answered_by_call
        self.handover = Handover(
            Publication(
                site.name,
                agent,
                self.connections.voter,
                self.stack,
                DialogList(self.lines, self.calls, self.by_call_id, self.gone),
                self.recorder,
                ready=lambda: self.returning.complete,
                line_state=self.line_states.text,
                line_record=self.line_states.record,
                heard=self.returning.waiting_messages.release,
                subscriptions=self.subscriptions.records,
            ),
            counters=self.counters,
            offer=self.connections.offer,
            refuse=self.connections.refuse,
            adopt=self.obedience.adopt,
            adopted=self.returning.ask,
            reset=lambda wanted, server, now: self.line_table.reset(wanted, server, now),
        )
        self.line_states.tell = self.handover.call_changed
        self.subscriptions.tell = self.handover.subscriptions_changed
        self.line_table = LineTable(
            line_environment, self.calls, self.decided, self.handover.line_changed, self.lines
        )
        self._load_lines(now)
        self.line_tests = LineTests(LineTester(self.stack, self.access, self.lines, self._realm).begin)
        self.connections.start(
            ConnectionCallbacks(
                decided=self.decided,
                adopted_by=lambda: self.obedience.adopted,
                adopt=self.obedience.adopt,
                detach=self.obedience.detach,
                lost=self._server_lost,
                heard=self.table.heard,
                obedience_changed=self.handover.obedience_changed,
                knows=self.handover.knows,
                wait=self.handover.wait,
                superseded=self.silence.begin,
                figures=lambda now: (
                    len(self.calls),
                    self.load,
                    None if self.wall_offset is None else now + self.wall_offset,
                ),
            ),
            now,
        )

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Bytes of a datagram or a stream."""
        self.now = now
        self._source = flow
        if not self.silence.because or self.silence.hears(flow):
            self.stack.receive(data, flow, now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream was opened or lost."""
        self.now = now
        if not self.connections.flow_changed(flow, state, now):
            self.devices.flow_changed(flow, state, now)

    def done(self, request: Any, result: Any, now: float) -> None:
        """An action of the shell is finished, such as the resolution of a name or a write to disk."""
        self.now = now
        if isinstance(request, Resolve):
            self.access.names.resolved(request.uri, result, now)
        elif isinstance(request, Certified):
            self.stack.certified[request.flow] = result
        elif isinstance(request, Fetch) and self.environment.stir is not None:
            self.environment.stir.fetched(request.url, result, now)
        elif isinstance(request, Store) and request.name == VOTES:
            self.connections.stored(request.value, result, now)

    def handle_timer(self, now: float) -> None:
        self.now = now
        self.stack.handle_timer(now)

    def get_timer(self) -> float | None:
        return self.stack.get_timer()

    def to_do(self) -> list[Action]:
        out = servers_first(self.stack.to_do(), self.stack.site_flows)
        return self.silence.permitted(out) if self.silence.because else out

    def next_event(self) -> Decided | None:
        return self._events.popleft() if self._events else None

    def admits(self, message: Message, flow: Flow, now: float) -> bool:
        return self.connections.admits(message, flow, now)

    def requested(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request that belongs to no known dialog."""
        if not self.returning.complete and may_wait(request):
            self.returning.waiting_messages.keep(transaction, request, self._source, now)
        else:
            self._requested(transaction, request, self._source, now)

    def _requested(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        if not transaction.on_site_flow:
            self.devices.requested(transaction, request, source, now)
        elif request.method == "OPTIONS":
            self.qualification.answer(transaction, now)
        elif request.method == "SUBSCRIBE" and not request.to_tag and "call-origin" not in request:
            connection = self.connections.connection_of(transaction.flow)
            self.handover.subscribe(transaction, request, connection.name if connection is not None else "", now)
        elif self.repeats.is_repeat(transaction, request, now):
            pass
        elif request.to_tag:
            self.stack.reply(transaction, 481, now)
        elif request.method in ("INVITE", "MESSAGE", "SUBSCRIBE", "NOTIFY"):
            self.server_requests.requested(transaction, request, now)
        else:
            self.stack.reply(transaction, 405, now, lines=(ALLOW,), tag=self.stack.token())

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        leg = invite.context
        if isinstance(leg, InviteUsage) and isinstance(leg.owner, (Call, Discarded)):
            leg.owner.cancelled(leg, invite, cancel, now)
        else:
            self.stack.reply(invite, 487, now, tag=self.stack.token())

    def stray_ack(self, ack: Request, flow: Flow, now: float) -> None:
        """Of a dialog that is gone."""

    def stray_response(self, response: Response, flow: Flow, now: float) -> None:
        """Of a transaction that is gone: a 2xx is acknowledged again however late (RFC 3261 section 13.2.2.4)."""
        if not self.returning.complete and flow not in self.stack.site_flows:
            self.returning.waiting_messages.keep_response(response, flow, now)
        elif response.cseq_method == "INVITE" and response.status // 100 == 2:
            leg = self.stack.legs.get(dialog_key(response.call_id, response.from_tag))
            if not isinstance(leg, InviteUsage) or leg.dialog.remote_tag != response.to_tag:
                return
            if flow in (leg.flow, leg.path.out) or self.devices.expected(leg, flow, "ACK"):
                leg.ack.again(response.cseq)

    @property
    def epoch(self) -> int:
        return self.connections.voter.leadership.epoch

    def _realm(self) -> str:
        return self.site.realm

    @property
    def connected(self) -> bool:
        """Whether the server that adopted this agent is connected."""
        return self.environment.connected

    def reload(self, site: Site, now: float) -> None:
        """Apply a changed site file; calls go on."""
        self.site = site
        self.agent = site.agents[self.agent.name]
        self.access.reload(site)
        self.obedience.reload(site.main.name, max(LEAST_HOLD, site.timing.hold_attempt))
        signed_by, self.keys = self.keys[:1], site.membership().keys
        self.connections.reload(site, now)
        self._load_lines(now)
        if self.keys[:1] != signed_by:
            self.handover.key_changed(self.calls.values(), self.lines.values(), now)
        self.decided("reload", f"the site file was read anew, {site.digest}", now)

    def _load_lines(self, now: float) -> None:
        self.line_table.load(self.site.lines_of(self.agent.name), now)
        self.devices.reload(self.site.bans)

    def _server_lost(self, flow: Flow, now: float) -> None:
        """A connection to a server is gone."""
        self.handover.flow_lost(flow)
        self.returning.flow_lost(flow)
        self.obedience.flow_lost(flow, now)

    def test_disk(self, now: float) -> None:
        """Test whether the disk can store what the voter must keep."""
        self.connections.voter.participant.test_disk()
        self.connections.pump(now)

    def leave(self, now: float) -> None:
        """The process is about to end. Registrations at carriers are removed only if it ends for good; otherwise its
        next start uses them."""
        self.line_table.stop(now, self.draining.for_good)

    def relay_said(self, notice: Notice, now: float) -> None:
        """A notice of the relay's process."""
        self.now = now
        media_timeout.notice(self.calls, self.environment, notice, now)

    def decided(self, code: str, because: str, now: float) -> None:
        """Note a decision for the history and the log."""
        decision = Decided(now, code, because)
        self.history.append(decision)
        self._events.append(decision)
