"""OPTIONS to all addresses of a line: it is in service while one of them answers (RFC 3263 section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sip.actions import Flow
from sip.device.flows import LineFlows
from sip.device.places import AvoidedPlaces, PeerPlace
from sip.device.sending import send_request
from sip.layer import Stack
from sip.location import Place
from sip.peers import Probe, ProbePlan
from sip.transaction import ClientTransaction
from sip.wire.message import Response

DUE: Final = "probe"
DOWN_FOR: Final = 1e9
"""Seconds, practically for ever: an address that is down is avoided until it answers."""


class PlaceProbe:
    """The probe of one address."""

    __slots__ = ("_probing", "_sent", "generation", "place", "probe")

    def __init__(self, probing: Probing, place: Place, probe: Probe) -> None:
        self._probing = probing
        self._sent: ClientTransaction | None = None
        self.generation = 0
        self.place = place
        self.probe = probe

    def start(self, now: float) -> None:
        self.probe.start(now)
        self._go_on(now)

    def stop(self) -> None:
        self.generation += 1
        self.probe.stop()
        self._give_up()

    def due(self, cause: str, now: float) -> None:
        self.probe.handle_timer(now)
        self._go_on(now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.probe.answered(response, now)
            if response.status != 503:
                self._probing.avoided.forgive(self.place)
            self._go_on(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.probe.failed("nobody can be reached there" if transaction.failure == 503 else "no answer", now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        for request in self.probe.to_do():
            flow = self._probing.flows.flow_to(self.place)
            if flow is None:
                self.probe.failed("no listener of ours leads there", now)
            else:
                routed = request._replace(lines=(*self._probing.route, *self._shown(flow), *request.lines))
                self._sent = send_request(self._probing.stack, routed, flow, self, now)
        if not self.probe.waiting:
            self._give_up()
        if not self.probe.in_service:
            self._probing.avoided.avoid(self.place, now, DOWN_FOR)
        while self.probe.next_event() is not None:
            self._probing.judge(now)
        self.generation += 1
        at = self.probe.get_timer()
        if at is not None:
            self._probing.stack.deadlines.set(at, self, DUE)

    def _shown(self, flow: Flow) -> tuple[str, ...]:
        """Over TLS a Contact line: some carriers look there for the name that is in our certificate."""
        return (self._probing.stack.contact(flow),) if flow.transport == "tls" else ()

    def _give_up(self) -> None:
        """Terminate an OPTIONS that the probe no longer waits for, lest it is retransmitted for 32 s."""
        if self._sent is not None and not self._sent.answered:
            self._sent.terminate()
        self._sent = None


class Probing:
    """The probes of one line."""

    def __init__(
        self,
        stack: Stack,
        flows: LineFlows,
        avoided: AvoidedPlaces,
        plan: ProbePlan,
        local: str,
        route: Sequence[str],
        changed: Callable[[str, float], None],
    ) -> None:
        """``local``: our own URI for From; ``route``: Route values to the peer; ``changed`` is called with the reason
        when the line goes in or out of service.
        """
        self.route = tuple(f"Route: {each}" for each in route)
        self.stack = stack
        self.flows = flows
        self.avoided = avoided
        self._plan = plan
        self._local = local
        self._changed = changed
        self._probes: dict[Place, PlaceProbe] = {}
        self._in_service = True

    @property
    def in_service(self) -> bool:
        return self._in_service

    @property
    def because(self) -> str:
        """Reason of the state, a sentence."""
        return "; ".join(one.probe.because for one in self._probes.values()) or "no place of it is known"

    def watch(self, places: list[PeerPlace], now: float) -> None:
        """Probe these addresses and no others from now on."""
        wanted = {one.place: one.peer for one in places}
        for place in [place for place in self._probes if place not in wanted]:
            self._probes.pop(place).stop()
        for place, peer in wanted.items():
            if place not in self._probes:
                stack = self.stack
                probe = Probe(peer, self._local, stack.token() + stack.token(), stack.token(), self._plan)
                one = self._probes[place] = PlaceProbe(self, place, probe)
                one.start(now)
        self.judge(now)

    def stop(self) -> None:
        for one in self._probes.values():
            one.stop()
        self._probes = {}

    def judge(self, now: float) -> None:
        """Update the state: out of service when all addresses are. Calls ``changed`` when it changes."""
        before = self._in_service
        self._in_service = not self._probes or any(one.probe.in_service for one in self._probes.values())
        if before != self._in_service:
            self._changed(self.because, now)
