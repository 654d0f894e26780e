"""A line of an agent: what can carry calls, and how many at a time. Kinds of lines are in ``gateway_agent.lines``."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from gateway_agent.device_access import DeviceAccess
from gateway_agent.phone_authentication import PhoneAuthentication
from heartbeat.site.lines import Line as Settings
from sip.actions import UNREACHABLE, Flow
from sip.device.trunk import TrunkDevice
from sip.digest import DigestClient
from sip.layer import Stack
from sip.location import Place
from sip.next_hop import Reach
from sip.overload.token_bucket import TokenBucket
from sip.wire.message import Response

IDLE: Final = "idle"
ACTIVE: Final = "active"
OUT_OF_SERVICE: Final = "out of service"
REFUSALS: Final = 20
"""Calls of one line that are refused with a transaction, a second."""


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

    @property
    def flow(self) -> Flow:
        """By which it is reached now."""
        if self.registered is not None:
            return self.registered
        flow = self.trunk.flow_to(self.place) if self.trunk is not None and self.place is not None else None
        return flow or UNREACHABLE


class LineEnvironment(NamedTuple):
    """What all lines of an agent share."""

    stack: Stack
    random: Random
    access: DeviceAccess
    authentication: PhoneAuthentication
    registered: dict[Flow, set[str]]
    """Names of the phones registered by each flow."""
    realm: Callable[[], str]
    now: Callable[[], float]
    """The instant of the last input."""
    changed: Callable[[Line, str, float, bool], None]
    """Tells, with a sentence, that a line went in or out of service or its registration changed; the last argument:
    whether servers are to know."""


class Busy(NamedTuple):
    """Why a line takes no call now."""

    status: int
    because: str
    paced: bool = False
    """Calls come faster than the line's ``cps``."""


class Line:
    """What all kinds share: channels, calls per second, being in service."""

    kind = ""

    def __init__(self, environment: LineEnvironment, settings: Settings, now: float) -> None:
        self.environment = environment
        self.settings = settings
        self.reach: Reach
        """How requests in its dialogs find their way."""
        self.digest: DigestClient | None = None
        """Answers challenges of the device's side."""
        self.behind_nat = settings.nat or self.kind == "phone"
        """Its media is not where its descriptions say."""
        self.busy = 0
        self.closed = ""
        """Why an operator or a cold reset took it out of service, ``""`` when none did."""
        self.calls_taken = 0
        self._free: list[int] = []
        self._next_channel = 1
        self._calls = TokenBucket(settings.cps, max(1.0, settings.cps), now)
        self._refusals = TokenBucket(REFUSALS, 2 * REFUSALS, now)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def why(self) -> str:
        """Why it is out of service, one sentence; ``""`` in service."""
        return self.closed

    @property
    def in_service(self) -> bool:
        return not self.why

    @property
    def state(self) -> str:
        """``idle``, ``active``, ``out of service``."""
        return OUT_OF_SERVICE if not self.in_service else ACTIVE if self.busy else IDLE

    def take(self, now: float) -> int | Busy:
        """A channel for a new call, or why there is none."""
        if self.closed:
            return Busy(480, self.closed)
        if self.busy >= self.settings.channels:
            return Busy(self.full_status, f"all {self.settings.channels} channels of {self.name} are busy")
        if self.settings.cps and not self._within_rate(now):
            return Busy(503, f"more than {self.settings.cps:g} calls a second on {self.name}", True)
        self.busy += 1
        self.calls_taken += 1
        if self._free:
            return heapq.heappop(self._free)
        channel = self._next_channel
        self._next_channel += 1
        return channel

    full_status = 503

    def _within_rate(self, now: float) -> bool:
        """One second's worth of calls at once (as the settings are now)."""
        rate = self.settings.cps
        if rate != self._calls.rate:
            self._calls = TokenBucket(rate, max(1.0, rate), now)
        return self._calls.take(now)

    def remembers(self, busy: Busy, now: float) -> bool:
        """Whether a refusal of the line is worth a transaction: not where calls come faster than they are allowed."""
        return not busy.paced and self._refusals.take(now)

    def give(self, channel: int, now: float) -> None:
        """The call is over."""
        self.busy -= 1
        heapq.heappush(self._free, channel)

    def label(self, channel: int) -> str:
        return f"{self.name}/{channel}"

    def targets(self, now: float) -> list[Target] | Busy:
        """Where a call to the device goes, in order of preference; to be asked when it is :meth:`ready`."""
        raise NotImplementedError  # pragma: no cover

    @property
    def parallel(self) -> bool:
        """Whether all targets ring at once, instead of one after the other."""
        return False

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        """A target did not answer (``None``), or said 503."""

    def start(self, now: float) -> None:
        """Begin whatever keeps the line in service."""

    def stop(self, now: float) -> None:
        """A reload took the line away, or the process ends."""

    def reload(self, settings: Settings, now: float) -> None:
        """The site file says something else of it; its calls go on."""
        self.settings = settings
        self.behind_nat = settings.nat or self.kind == "phone"

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        """Whether :meth:`targets` has its names; False: ``then`` is called when it has."""
        return True

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream to a device broke."""

    @property
    def address(self) -> str:
        """The peer or the first contact, for people."""
        return ""

    @property
    def registered(self) -> bool | None:
        return None

    @property
    def contacts(self) -> int:
        return 0
