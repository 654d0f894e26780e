"""A trunk: a carrier or PBX at known addresses, perhaps registered with, perhaps probed by OPTIONS."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.places import SHUNNED, PeerPlace, PeerPlaces, Shunning
from sip.device.policy import LinePolicy
from sip.device.probing import Probing
from sip.device.reach import TrunkReach
from sip.device.registering import Registering
from sip.digest import DigestClient
from sip.layer import Stack
from sip.location import Place
from sip.registration import Account, Registration
from sip.wire.headers import retry_after
from sip.wire.message import Response


class TrunkDevice:
    """The far side of one trunk: where its calls go, and whether it can take any."""

    def __init__(
        self,
        stack: Stack,
        flows: DeviceFlows,
        names: NameLookups,
        policy: LinePolicy,
        random: Random,
        changed: Callable[[str, float], None],
    ) -> None:
        """``changed`` is told, with a sentence, when it goes in or out of service or its registration changes."""
        self.policy = policy
        self.digest: DigestClient | None = None
        """Answers the carrier's challenges."""
        self.reach = TrunkReach(policy, flows, names)
        """How requests in its dialogs find their way."""
        self._stack = stack
        self._flows = flows
        self._shunning = Shunning()
        self._places = PeerPlaces(policy.peers, names, stack.deadlines)
        self._registrar: PeerPlaces | None = None
        self._registering: Registering | None = None
        self._probing: Probing | None = None
        local = policy.local
        if policy.account is not None:
            account = policy.account
            self.digest = DigestClient(account.user, account.password, random)
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
            self._registrar = PeerPlaces((account.registrar,), names, stack.deadlines)
            self._registering = Registering(
                stack, flows, self._registrar, self._shunning, machine, account.user, policy.answer_within, changed
            )
        if policy.probe is not None and policy.peers:
            self._probing = Probing(stack, flows, self._shunning, policy.probe, f"sip:{local}", changed)
        self._places.changed = self._watch

    @property
    def why(self) -> str:
        """Why it is out of service, a sentence; ``""`` in service."""
        if self._probing is not None and not self._probing.in_service:
            return self._probing.because
        if self._registering is not None and not self._registering.machine.registered:
            return self._registering.machine.because
        return ""

    @property
    def registered(self) -> bool | None:
        """None for a trunk that does not register."""
        return self._registering.machine.registered if self._registering is not None else None

    @property
    def known(self) -> bool:
        """Whether the names of its peers were answered for, so that :meth:`places` says all that there is to say."""
        return self._places.known

    def start(self, now: float, register: bool = True) -> None:
        """Begin whatever keeps it in service."""
        self._places.ask(now)
        if self._registrar is not None:
            self._registrar.ask(now)
        if register:
            self.register(True, now)
        self._watch(now)

    def register(self, wanted: bool, now: float) -> None:
        """Register with the carrier, or take the registration back; nothing where the line does not register."""
        if self._registering is not None:
            if wanted:
                self._registering.start(now)
            else:
                self._registering.stop(now)

    def stop(self, now: float) -> None:
        """A reload took it away, or the process ends: a registration is taken back."""
        self.register(False, now)
        if self._probing is not None:
            self._probing.stop()
        self._places.stop()

    def wait(self, then: Callable[[float], None]) -> None:
        """Call ``then`` as soon as its places are :attr:`known`."""
        self._places.wait(then)

    def places(self, now: float) -> list[PeerPlace]:
        """Where a new call goes, in the order to try: first where we are registered, last what is shunned."""
        found = self._places.places()
        at = self._registering.at if self._registering is not None else None
        if at is not None:
            found.sort(key=lambda one: one.place != at)
        self._places.ask(now)  # SRV weights are drawn anew for the next call
        return self._shunning.ordered(found, now)

    def flow_to(self, place: Place) -> Flow | None:
        """The flow to a place of it; None where no listener of ours leads there."""
        flow = self._flows.flow_to(place)
        if flow is not None and self.policy.advertise:
            self._flows.advertise(flow, self.policy.advertise)
        return flow

    def failed(self, place: Place, response: Response | None, now: float) -> None:
        """A request got no answer there (``None``), or a 503, which shuns by its Retry-After only."""
        seconds = SHUNNED
        if response is not None:
            seconds = min(SHUNNED, float(retry_after(response.get("retry-after")) or 0))
        if seconds:
            self._shunning.shun(place, now, seconds)

    def _watch(self, now: float) -> None:
        places = self._places.places()
        for one in places:
            if one.place.transport != "udp":
                self.flow_to(one.place)  # the first call need not wait for the connection
        self._shunning.keep([one.place for one in places] + [one.place for one in self._registrar_places()])
        if self._probing is not None and places:
            self._probing.watch(places, now)

    def _registrar_places(self) -> list[PeerPlace]:
        return self._registrar.places() if self._registrar is not None else []
