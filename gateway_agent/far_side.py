"""The far side of a line, a phone or a trunk: the interface that every kind has (``gateway_agent.lines`` has the
kinds), and what they are given."""

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
    """One place where an INVITE for a line may be sent."""

    uri: str
    """The Request-URI without its user part when ``fill``, else whole."""
    host: str
    """The peer's host, for To."""
    fill: bool
    """Whether the called number is put into ``uri`` as the user part."""
    registered: Flow | None = None
    """The flow of a phone's registration."""
    place: Place | None = None
    """An address of a trunk; a stream to it is opened when it is tried."""
    trunk: TrunkDevice | None = None
    path: tuple[str, ...] = ()
    """The Path of a phone's registration: the proxies through which it registered (RFC 3327)."""

    @property
    def route(self) -> tuple[str, ...]:
        """The Route header values of its INVITE."""
        return self.trunk.route if self.trunk is not None else self.path

    @property
    def flow(self) -> Flow:
        """The flow by which it is reached now; UNREACHABLE when there is none."""
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
    """Returns the instant of the last input."""


Changed = Callable[[str, float, bool], None]
"""Called when a far side came into service, left it, or registered: with a sentence (``""`` where it is not worth
one), the instant, and whether servers are to be told."""


class FarSide(Protocol):
    """A phone or a trunk."""

    full_status: int
    """The status with which a call is refused when all channels are busy."""
    out_status: int
    """The status with which a call is refused when the line is out of service."""
    parallel: bool
    """Whether all targets ring at once, instead of one after the other."""
    reach: Reach
    """Routes requests in dialogs with it."""
    digest: DigestClient | None
    """Answers challenges of the far side; None without credentials for it."""

    @property
    def why(self) -> str:
        """Why it can take no call, as a sentence; ``""`` when it can."""

    @property
    def address(self) -> str:
        """The first peer or contact, for display."""

    @property
    def registered(self) -> bool | None:
        """Whether there is a registration; None for a far side that does not register."""

    @property
    def contacts(self) -> int:
        """The number of devices that are registered here."""

    def label(self, channel: int) -> str:
        """The name of a channel of the line, for display."""

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        """Whether :meth:`targets` can be asked: host names are resolved, and the registrar has answered once. If not,
        ``then`` is called when it can."""

    def targets(self, now: float) -> list[Target] | Busy:
        """Where a call to the device is sent, in order of preference, or why it cannot be. Only if :meth:`ready`."""

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        """A target did not answer (``None``), or answered 503."""

    def start(self, now: float) -> None:
        """Begin whatever keeps it in service, such as probing and registration."""

    def stop(self, now: float) -> None:
        """A reload removed the line, or the process ends."""

    def reload(self, settings: Settings, now: float) -> None:
        """Take changed settings from the site file; calls go on."""

    def line_state(self, now: float) -> tuple[Registered, ...]:
        """The devices that are registered here, for servers to keep."""

    def resume(self, devices: Sequence[Registered], age: float, now: float) -> None:
        """Restore devices that registered before a restart, as servers knew them ``age`` seconds ago."""

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream to a device broke."""
