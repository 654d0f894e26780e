"""A trunk: a carrier or PBX at known addresses, perhaps registered with, perhaps probed by OPTIONS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway_agent.line import Busy, Line, Target
from heartbeat.site.lines import Line as Settings
from sip.actions import Address
from sip.digest import DigestClient
from sip.endpoint import is_numeric
from sip.peers import Probe, ProbePlan
from sip.registration import Account, Registration
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction
from sip.wire.headers import bracketed, retry_after
from sip.wire.message import Response

if TYPE_CHECKING:
    from gateway_agent.core import Core

SHUNNED: Final = 30.0
"""Seconds for which a peer that did not answer is tried only when no other is left."""
LOOK_AGAIN: Final = 60.0
"""Seconds after which the addresses of a named peer are asked for again; the resolver has them at hand."""
DUE: Final = "trunk"


class Trunk(Line):
    """n channels to one far side."""

    kind = "trunk"

    def __init__(self, core: Core, settings: Settings, now: float) -> None:
        super().__init__(core, settings, now)
        self.generation = 0
        self._places: dict[str, list[tuple[str, Address]]] = {}
        """Transport and address of each peer, by its URI."""
        self._shunned: dict[tuple[str, Address], float] = {}
        self._probe: Probe | None = None
        self._registration: Registration | None = None
        self._look_at: float | None = None
        self._take_account()

    def _take_account(self) -> None:
        register = self.settings.register
        self.digest = None
        if register is not None:
            password = register.password.reveal().decode("utf-8", "replace")
            self.digest = DigestClient(register.user, password, self.core.random)

    @property
    def why(self) -> str:
        if self.closed:
            return self.closed
        if self._probe is not None and not self._probe.in_service:
            return self._probe.because
        if self._registration is not None and not self._registration.registered:
            return self._registration.because
        return ""

    @property
    def address(self) -> str:
        return self.settings.peer[0].uri if self.settings.peer else ""

    @property
    def registered(self) -> bool | None:
        return self._registration.registered if self._registration is not None else None

    def start(self, now: float) -> None:
        settings, core = self.settings, self.core
        for peer in (*settings.peer, *((settings.register.registrar,) if settings.register else ())):
            if is_numeric(peer.host):
                self._places[peer.uri] = [(peer.transport or "udp", (peer.host, peer.port or 5060))]
            else:
                core.look_up(self, peer.uri)
                self._look_at = now + LOOK_AGAIN
        tag, call_id = core.stack.token(), core.stack.token() + core.stack.token()
        if settings.register is not None:
            register = settings.register
            host = register.domain or bracketed(register.registrar.host)
            account = Account(
                (register.registrar.uri,),
                f"sip:{register.user}@{host}",
                f"<sip:{register.user}@{core.address_towards(settings)}>",
                register.expires,
                register.retry_least,
                register.retry_most,
            )
            self._registration = Registration(account, self.digest, core.random, call_id, tag)
            self._registration.start(now)
        if settings.options is not None and settings.peer:
            plan = ProbePlan(settings.options.interval, min(5.0, settings.options.interval), settings.options.misses)
            local = f"sip:{core.address_towards(settings)}"
            self._probe = Probe(settings.peer[0].uri, local, call_id + "o", tag, plan)
            self._probe.start(now)
        self._go_on(now)

    def stop(self, now: float) -> None:
        if self._registration is not None:
            self._registration.stop(now)
        if self._probe is not None:
            self._probe.stop()
        self._go_on(now)
        self.generation += 1

    def reload(self, settings: Settings, now: float) -> None:
        old = self.settings
        super().reload(settings, now)
        if (old.peer, old.register, old.options) != (settings.peer, settings.register, settings.options):
            self.stop(now)
            self._probe = self._registration = self._look_at = None
            self._places = {}
            self._take_account()
            self.start(now)

    def targets(self, now: float) -> list[Target] | Busy:
        if self.why:
            return Busy(503, self.why)
        good: list[Target] = []
        shunned: list[Target] = []
        for peer in self.settings.peer:
            for place in self._places.get(peer.uri, ()):
                flow = self.core.device_flow(*place)
                if flow is not None:
                    self.core.devices.advertise(self, flow)
                    into = shunned if self._shunned.get(place, 0.0) > now else good
                    into.append(Target(peer.uri[4:], flow, peer.host, True))
        return good + shunned or Busy(503, f"the peer of {self.name} has no address that can be reached from here")

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        seconds = SHUNNED
        if response is not None:
            seconds = float(min(retry_after(response.get("retry-after")) or 1, 300))
        place = (target.flow.transport, target.flow.remote)
        self._shunned[place] = now + seconds
        if self._look_at is not None:
            self._look_at = now

    def resolved(self, uri: str, found: list[tuple[str, Address]], now: float) -> None:
        if found:
            self._places[uri] = found
        self._go_on(now)

    # -- what runs by time ----------------------------------------------------------------------------------------

    def due(self, cause: str, now: float) -> None:
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + LOOK_AGAIN
            for peer in self.settings.peer:
                if not is_numeric(peer.host):
                    self.core.look_up(self, peer.uri)
        for machine in (self._registration, self._probe):
            if machine is not None:
                machine.handle_timer(now)
        self._go_on(now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        machine: Registration | Probe = transaction.context
        machine.answered(response, now)
        self._go_on(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        transaction.context.failed("no answer", now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Send what the machines want sent, tell what they found, and wake them in time."""
        due = [self._look_at] if self._look_at is not None else []
        for machine in (self._registration, self._probe):
            if machine is None:
                continue
            for ask in machine.to_do():
                self._send(machine, ask, now)
            while (event := machine.next_event()) is not None:
                self.core.line_changed(self, event.because, now)
            at = machine.get_timer()
            if at is not None:
                due.append(at)
        self.generation += 1
        if due:
            self.core.stack.deadlines.set(min(due), self, DUE)

    def _send(self, machine: Registration | Probe, ask: OutgoingRequest, now: float) -> None:
        places = self._places.get(ask.uri, ())
        flow = self.core.device_flow(*places[0]) if places else None
        if flow is None:
            machine.failed("its address is not known yet", now)
        else:
            self.core.ask(ask, flow, self, machine, now)
