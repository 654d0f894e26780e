"""The registration of a trunk with its carrier (RFC 3261 section 10.2): REGISTER is sent to the registrar's addresses
in turn until one answers (RFC 3263 section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from sip.actions import Flow
from sip.device.flows import LineFlows
from sip.device.keep_alive import NatKeepAlive, behind_nat
from sip.device.places import AvoidedPlaces, PeerPlace, PeerPlaces
from sip.device.sending import send_request
from sip.layer import Stack
from sip.location import Place
from sip.registration import RETURNING, TRYING, Registration
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction
from sip.wire.message import Response

DUE: Final = "registration"
FIRST_ANSWER: Final = 4.0
"""Seconds that new calls wait for the registrar's first answer after a start."""
SILENT: Final = "registrar is silent"


class Registering:
    """Sends the requests of one :class:`~sip.registration.Registration`."""

    def __init__(
        self,
        stack: Stack,
        flows: LineFlows,
        places: PeerPlaces,
        avoided: AvoidedPlaces,
        machine: Registration,
        user: str,
        route: Sequence[str],
        answer_within: float,
        changed: Callable[[str, float], None],
        renewed: Callable[[float], None],
        random: Random,
    ) -> None:
        """``places``: addresses of the registrar, or of the first hop of ``route``; ``user``: user part of Contact;
        ``changed`` is called with the reason when the state changes, ``renewed`` after each 2xx.
        """
        self._renewed = renewed
        self._route = [f"Route: {each}" for each in route]
        self.generation = 0
        self.machine = machine
        self.at: Place | None = None
        """The address that the last 2xx came from."""
        self._stack = stack
        self._flows = flows
        self._places = places
        self._avoided = avoided
        self._user = user
        self._answer_within = answer_within
        self._changed = changed
        self._request: OutgoingRequest | None = None
        self._rest: list[PeerPlace] = []
        self._now_at: PeerPlace | None = None
        self._sent: ClientTransaction | None = None
        self._by: Flow | None = None
        """The stream that our binding at the registrar uses; None over UDP."""
        self._nat = NatKeepAlive(stack, random)
        self._silent_at: float | None = None
        self._decided_at: float | None = None
        """Deadline for the registrar's first answer after a start; None: it is not waited for."""
        self._waiting: list[Callable[[float], None]] = []

    @property
    def undecided(self) -> bool:
        """Whether the registrar's first answer after a start is still to come."""
        return self._decided_at is not None

    @property
    def why(self) -> str:
        """Why we are not registered, a sentence; ``""`` while we are, or are :attr:`undecided`."""
        return "" if self.undecided or self.machine.registered else self.machine.because

    def wait(self, then: Callable[[float], None]) -> None:
        """Call ``then`` as soon as this is no longer :attr:`undecided`."""
        self._waiting.append(then)

    def start(self, now: float) -> None:
        self.machine.start(now)
        if self.machine.state in (TRYING, RETURNING):
            self._decided_at = now + FIRST_ANSWER
        self._go_on(now)

    def stop(self, now: float) -> None:
        """Remove the binding from the registrar."""
        self.machine.stop(now)
        self._go_on(now)

    def due(self, cause: str, now: float) -> None:
        if self._decided_at is not None and now >= self._decided_at:
            self._decided_at = None
            self._changed(self.machine.because, now)
        if self._silent_at is not None and now >= self._silent_at and self._sent is not None:
            self._next("no answer", now)
        else:
            self.machine.handle_timer(now)
        self._go_on(now)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if transaction is not self._sent:
            return
        self._silent_at = None
        if response.status < 200:
            return
        if response.status == 503 and self._rest:
            self._next("it answered 503", now, avoid=False)
        else:
            if response.status // 100 == 2 and self._now_at is not None:
                self.at = self._now_at.place
                self._avoided.forgive(self.at)
            self.machine.answered(response, now)
            if response.status // 100 == 2:
                self._flows.keep(transaction.flow, response, now)
                self._watch(transaction.flow if self.machine.registered else None)
                self._nat.keep(transaction.flow if self._by is None and behind_nat(response) else None, now)
                self._renewed(now)
        self._go_on(now)

    def _watch(self, flow: Flow | None) -> None:
        """The registrar reaches us by ``flow``: register again when that stream breaks."""
        if flow != self._by and self._by is not None:
            self._flows.when_lost(self._by, self, None)
        self._by = flow if flow is not None and flow.transport != "udp" else None
        if self._by is not None:
            self._flows.when_lost(self._by, self, self._broke)

    def _broke(self, now: float) -> None:
        self._by = None
        self.machine.renew(now)
        self._go_on(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self._sent:
            self._next("nobody can be reached there" if transaction.failure == 503 else "no answer", now)
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        for request in self.machine.to_do():
            same = self._now_at if self._sent is not None and self._sent.answered else None
            self._give_up()
            self._request = request
            if same is not None and self.machine.tries > 1:  # the challenge came from this address
                self._send(same, now)
            elif self._places.known:
                self._try_addresses(now)
            else:
                self._places.wait(self._try_addresses_and_go_on)
        if not self.machine.registered:
            self._nat.keep(None, now)
        while (event := self.machine.next_event()) is not None:
            self._decided_at = None
            self._changed(event.because, now)
        self.generation += 1
        times = [at for at in (self.machine.get_timer(), self._silent_at, self._decided_at) if at is not None]
        if times:
            self._stack.deadlines.set(min(times), self, DUE)
        if not self.undecided and self._waiting:
            waiting, self._waiting = self._waiting, []
            for then in waiting:
                then(now)

    def _try_addresses_and_go_on(self, now: float) -> None:
        if self._request is not None and self._sent is None:
            self._try_addresses(now)
            self._go_on(now)

    def _try_addresses(self, now: float) -> None:
        """Send to the addresses in turn, first to the one that the last 2xx came from."""
        places = self._avoided.ordered(self._places.places(), now)
        self._rest = sorted(places, key=lambda one: one.place != self.at)
        self._places.ask(now)  # for the next time
        self._next("", now)

    def _next(self, because: str, now: float, avoid: bool = True) -> None:
        """Send to the next address; when there is none, the attempt has failed."""
        if because and avoid and self._now_at is not None:
            self._avoided.avoid(self._now_at.place, now)
        self._give_up()
        if self._rest:
            self._send(self._rest.pop(0), now)
            return
        self._now_at = None
        self.machine.failed(because or self._places.because or "it has no address that can be reached from here", now)

    def _send(self, where: PeerPlace, now: float) -> None:
        request = self._request
        flow = self._flows.flow_to(where.place)
        self._now_at = where
        if request is None or flow is None:
            self._next("no listener of ours leads there", now, avoid=False)
            return
        contact = f"<{self._stack.contact_uri(flow, self._user)}>"
        self.machine.use_contact(contact)
        lines = tuple(f"Contact: {contact}" if line.startswith("Contact:") else line for line in request.lines)
        self._sent = send_request(self._stack, request._replace(lines=(*self._route, *lines)), flow, self, now)
        self._silent_at = now + self._answer_within if self._rest else None

    def _give_up(self) -> None:
        if self._sent is not None and not self._sent.answered:
            self._sent.terminate()
        self._sent = None
        self._silent_at = None
