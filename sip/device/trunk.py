"""The far side of a trunk: a carrier or PBX at known addresses, with registration and OPTIONS probes if
configured."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Final

from sip.device.flows import DeviceFlows, LineFlows
from sip.device.names import NameLookups
from sip.device.places import AVOIDED_S, AvoidedPlaces, PeerPlace, PeerPlaces
from sip.device.policy import LinePolicy
from sip.device.probing import Probing
from sip.device.reach import TrunkReach
from sip.device.registering import Registering
from sip.dialog import bare_uri
from sip.digest import DigestClient
from sip.layer import Stack
from sip.location import Place
from sip.registration import Account, Registration
from sip.wire.errors import SipError
from sip.wire.headers import retry_after
from sip.wire.message import Response
from sip.wire.uri import Uri

MOST_ROUTES: Final = 8
"""Values of a Service-Route; a longer one is ignored."""


class TrunkDevice:
    """The far side of one trunk: where its calls are sent, and whether it takes any."""

    def __init__(
        self,
        stack: Stack,
        flows: DeviceFlows,
        names: NameLookups,
        policy: LinePolicy,
        random: Random,
        changed: Callable[[str, float], None],
    ) -> None:
        """``changed`` is called with a sentence when it goes in or out of service or its registration changes."""
        self.policy = policy
        self.digest: DigestClient | None = None
        """Answers the carrier's challenges."""
        self.reach = TrunkReach(policy, flows, names)
        """How requests in its dialogs are routed."""
        self._stack = stack
        self._flows = flows
        line_flows = LineFlows(flows, policy)
        self.flow_to = line_flows.flow_to
        """The flow to one of its addresses; None if no listener of ours reaches it, or it is that of a program of the
        site."""
        self._avoided = AvoidedPlaces()
        self._names = names
        self._places = PeerPlaces((policy.proxy,) if policy.proxy else policy.peers, names, stack.deadlines)
        self._service: PeerPlaces | None = None
        """The addresses of the first hop of the Service-Route."""
        self._registrar: PeerPlaces | None = None
        self._registering: Registering | None = None
        self._probing: Probing | None = None
        local = policy.local
        proxy_route = (f"<{policy.proxy};lr>",) if policy.proxy else ()
        self._proxy_route = proxy_route
        if policy.account is None and policy.password:
            self.digest = DigestClient(policy.auth_user or policy.user, policy.password, random)
        if policy.account is not None:
            account = policy.account
            self.digest = DigestClient(policy.auth_user or account.user, account.password, random)
            machine = Registration(
                Account(
                    (account.registrar,),
                    account.aor,
                    f"<sip:{account.user}@{local}>",
                    account.expires,
                    account.retry_least,
                    account.retry_most,
                ),
                self.digest,
                random,
                stack.token() + stack.token(),
                stack.token(),
            )
            self._registrar = PeerPlaces((policy.proxy or account.registrar,), names, stack.deadlines)
            self._registering = Registering(
                stack,
                line_flows,
                self._registrar,
                self._avoided,
                machine,
                account.user,
                proxy_route,
                policy.answer_within,
                changed,
                self._follow_service_route,
                random,
            )
        if policy.probe is not None and policy.peers:
            self._probing = Probing(
                stack, line_flows, self._avoided, policy.probe, f"sip:{local}", proxy_route, changed
            )
        self._places.changed = self._watch

    @property
    def why(self) -> str:
        """Why it is out of service, a sentence; ``""`` in service. It is in service while its first registration is
        under way: calls wait then (:attr:`ready`)."""
        if self._probing is not None and not self._probing.in_service:
            return self._probing.because
        return self._registering.why if self._registering is not None else ""

    @property
    def registered(self) -> bool | None:
        """None for a trunk that does not register."""
        return self._registering.machine.registered if self._registering is not None else None

    @property
    def ready(self) -> bool:
        """Whether the names of its peers have been resolved and its registrar has answered the first REGISTER after a
        start, so that :attr:`why` and :meth:`places` are final."""
        undecided = self._registering is not None and self._registering.undecided
        return not undecided and self._places.known and (self._service is None or self._service.known)

    def start(self, now: float, register: bool = True) -> None:
        """Start lookups, probes and, if ``register``, the registration."""
        self._places.ask(now)
        if self._registrar is not None:
            self._registrar.ask(now)
        if register:
            self.register(True, now)
        self._watch(now)

    def register(self, wanted: bool, now: float) -> None:
        """Register with the carrier, or remove the registration; does nothing without an account."""
        if self._registering is not None:
            if wanted:
                self._registering.start(now)
            else:
                self._registering.stop(now)

    def stop(self, now: float) -> None:
        """The line was removed by a reload, or the process ends: remove the registration and stop the rest."""
        self.register(False, now)
        if self._probing is not None:
            self._probing.stop()
        self._places.stop()
        if self._service is not None:
            self._service.stop()

    def wait(self, then: Callable[[float], None]) -> None:
        """Call ``then`` as soon as it is :attr:`ready`, some seconds later at most."""

        def look(now: float) -> None:
            if self.ready:
                then(now)
            else:
                self.wait(then)

        if self._registering is not None and self._registering.undecided:
            self._registering.wait(look)
        elif not self._places.known or self._service is None:
            self._places.wait(look)
        else:
            self._service.wait(look)

    @property
    def route(self) -> tuple[str, ...]:
        """The Route values of a new call: the registrar's Service-Route (RFC 3608), else the outbound proxy."""
        return self._service_route or self._proxy_route

    @property
    def _service_route(self) -> tuple[str, ...]:
        """The registrar's Service-Route; empty if there is none, or it cannot be followed."""
        route = self._registering.machine.service_route if self._registering is not None else ()
        if not route:
            return ()
        secure = self._flows.has_tls
        well = len(route) <= MOST_ROUTES and all(_is_route(each, secure) for each in route)
        return route if well else ()

    def places(self, now: float) -> list[PeerPlace]:
        """The addresses for a new call in the order to try them: first the one we registered at, avoided ones last.

        With a :attr:`route` they are those of its first hop, once for each peer.
        """
        hop = self._service if self._service is not None and self._service_route else self._places
        found = hop.places()
        at = self._registering.at if self._registering is not None else None
        if at is not None:
            found.sort(key=lambda one: one.place != at)
        hop.ask(now)  # SRV weights are drawn anew for the next call
        if self.route:
            found = [PeerPlace(peer, one.place) for peer in self.policy.peers for one in found]
        return self._avoided.ordered(found, now)

    def _follow_service_route(self, now: float) -> None:
        """A 2xx to REGISTER had a Service-Route, or none: resolve its first hop before a call needs it."""
        hops = tuple(bare_uri(each) for each in self._service_route[:1])
        if self._service is not None and self._service.peers != hops:
            self._service.stop()
            self._service = None
        if self._service is None and hops:
            self._service = PeerPlaces(hops, self._names, self._stack.deadlines)
            self._service.ask(now)

    def failed(self, place: Place, response: Response | None, now: float) -> None:
        """A request got no answer at ``place`` (None), or a 503, which shuns it for its Retry-After only."""
        seconds = AVOIDED_S
        if response is not None:
            seconds = min(AVOIDED_S, float(retry_after(response.get("retry-after")) or 0))
        if seconds:
            self._avoided.avoid(place, now, seconds)

    def _watch(self, now: float) -> None:
        places = self._places.places()
        for one in places:
            if one.place.transport != "udp":
                self.flow_to(one.place)  # so that the first call need not wait for a connection
        self._avoided.keep([one.place for one in places] + [one.place for one in self._registrar_places()])
        if self._probing is not None and places:
            self._probing.watch(places, now)

    def _registrar_places(self) -> list[PeerPlace]:
        return self._registrar.places() if self._registrar is not None else []


@lru_cache(maxsize=256)
def _is_route(value: str, secure: bool) -> bool:
    """Whether a Route can be followed: it is a loose router, and ``sips`` only if we have TLS (``secure``)."""
    try:
        uri = Uri.parse(bare_uri(value))
    except SipError:
        return False
    return (uri.scheme == "sip" or (uri.scheme == "sips" and secure)) and uri.loose and bool(uri.host)
