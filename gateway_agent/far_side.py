"""What a line leads to: what every kind of it does (``gateway_agent.lines`` has them), and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, Protocol

from gateway_agent.channels import Busy
from gateway_agent.device_access import DeviceAccess
from gateway_agent.registration_state import Registered
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import UNREACHABLE, Flow
from sip.device.phone import PhoneServices
from sip.device.trunk import TrunkDevice
from sip.digest import DigestClient
from sip.layer import Stack
from sip.location import Place
from sip.next_hop import Reach
from sip.wire.message import Response


class Target(NamedTuple):
    """Where an INVITE for a line goes."""

    uri: str
    """The Request-URI without its user part when ``fill``, else whole."""
    host: str
    """The peer's host, for To."""
    fill: bool
    """The number called is put in as the user part."""
    registered: Flow | None = None
    """The flow of a phone's registration."""
    place: Place | None = None
    """A place of a trunk, to which a stream is opened when it is tried."""
    trunk: TrunkDevice | None = None
    path: tuple[str, ...] = ()
    """The proxies by which a phone has registered (RFC 3327)."""

    @property
    def route(self) -> tuple[str, ...]:
        """The Routes of its INVITE."""
        return self.trunk.route if self.trunk is not None else self.path

    @property
    def flow(self) -> Flow:
        """By which it is reached now."""
        if self.registered is not None:
            return self.registered
        flow = self.trunk.flow_to(self.place) if self.trunk is not None and self.place is not None else None
        return flow or UNREACHABLE


class LineEnvironment(NamedTuple):
    """What the far sides of all lines of an agent share."""

    stack: Stack
    random: Random
    access: DeviceAccess
    phones: PhoneServices
    realm: Callable[[], str]
    now: Callable[[], float]
    """The instant of the last input."""


Changed = Callable[[str, float, bool], None]
"""Tells, with a sentence, that a far side came, went or registered (``""``: that is not worth one); last: whether
servers are to know."""


class FarSide(Protocol):
    """A phone or a trunk."""

    full_status: int
    """Refuses a call when all channels are busy."""
    out_status: int
    """Refuses a call when the line is out of service."""
    parallel: bool
    """Whether all targets ring at once, instead of one after the other."""
    reach: Reach
    """How requests in its dialogs find their way."""
    digest: DigestClient | None
    """Answers challenges of the device's side."""

    @property
    def why(self) -> str:
        """Why it can take no call, one sentence; ``""`` when it can."""

    @property
    def address(self) -> str:
        """The peer or the first contact, for people."""

    @property
    def registered(self) -> bool | None:
        """None for what does not register."""

    @property
    def contacts(self) -> int:
        """Devices that are registered here."""

    def label(self, channel: int) -> str:
        """A channel of the line, for people."""

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        """Whether :meth:`targets` has its names, and its registrar's first answer; False: ``then`` is called when it
        has."""

    def targets(self, now: float) -> list[Target] | Busy:
        """Where a call to the device goes, in order of preference; to be asked when it is :meth:`ready`."""

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        """A target did not answer (``None``), or said 503."""

    def start(self, now: float) -> None:
        """Begin whatever keeps it in service."""

    def stop(self, now: float) -> None:
        """A reload took the line away, or the process ends."""

    def reload(self, settings: Settings, now: float) -> None:
        """The site file says something else of it; its calls go on."""

    def line_state(self, now: float) -> tuple[Registered, ...]:
        """The devices that registered here, for servers to keep."""

    def resume(self, devices: Sequence[Registered], age: float, now: float) -> None:
        """Devices that registered before this process began, as servers knew them ``age`` seconds ago."""

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream to a device broke."""
