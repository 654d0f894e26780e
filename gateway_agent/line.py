"""A line of an agent: its channels, which carry calls, and its far side, to which the calls lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway_agent.channels import Busy, Channels
from gateway_agent.far_side import Changed, FarSide, LineEnvironment, Target
from heartbeat.site.devices import identity_of
from heartbeat.site.lines import LineSettings as Settings
from sip.digest import DigestClient
from sip.next_hop import Reach
from sip.packages.line_dialog import BUSIED_BY

IDLE: Final = "idle"
ACTIVE: Final = "active"
OUT_OF_SERVICE: Final = "out of service"


class Line:
    """Settings, channels and state of one line, and its far side.

    ``make`` makes the far side. ``changed`` is called with a sentence when the line went in or out of service, or its
    registration changed; its last argument says whether servers are to be told.
    """

    def __init__(
        self,
        environment: LineEnvironment,
        settings: Settings,
        make: Callable[[LineEnvironment, Settings, Changed], FarSide],
        changed: Callable[[Line, str, float, bool], None],
        now: float,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.kind = settings.kind
        self.closed = ""
        """Why an operator or a cold reset took it out of service, as a sentence; ``""`` when none did."""
        self.identity = identity_of(settings)
        """Which identities are believed of its devices, and which they are told."""
        self._tell = changed
        self.far_side = make(environment, settings, self._changed)
        self.channels = Channels(settings, self.far_side.full_status, now)

    @property
    def reach(self) -> Reach:
        """Routes requests in dialogs with its far side."""
        return self.far_side.reach

    @property
    def digest(self) -> DigestClient | None:
        """Answers challenges of the far side; None without credentials for it."""
        return self.far_side.digest

    @property
    def web(self) -> bool:
        """Whether its devices are browsers."""
        return self.kind == "web"

    @property
    def secured(self) -> bool:
        """Whether its devices use media as browsers do (ICE, DTLS-SRTP)."""
        return self.web or self.settings.webrtc

    @property
    def behind_nat(self) -> bool:
        """Whether its media may not come from the addresses in its descriptions."""
        return self.settings.nat or self.settings.is_phone

    @property
    def busy(self) -> int:
        """The number of channels that carry a call."""
        return self.channels.busy

    @property
    def why(self) -> str:
        """Why it is out of service, as a sentence; ``""`` in service."""
        return self.closed or self.far_side.why

    @property
    def busied_out(self) -> bool:
        """Whether an operator has ordered that it takes no new calls; a reset does not change that."""
        return self.closed.startswith(BUSIED_BY)

    @property
    def in_service(self) -> bool:
        return not self.why

    @property
    def state(self) -> str:
        """``idle``, ``active``, ``out of service``."""
        return OUT_OF_SERVICE if not self.in_service else ACTIVE if self.busy else IDLE

    def take(self, now: float) -> int | Busy:
        """A channel for a new call, or why there is none."""
        return Busy(self.far_side.out_status, self.closed) if self.closed else self.channels.take(now)

    def targets(self, now: float) -> list[Target] | Busy:
        """Where a call to the device is sent, in order of preference, or why it cannot be. Only when the far side is
        ready."""
        if self.closed:
            return Busy(self.far_side.out_status, self.closed)
        return self.far_side.targets(now)

    def reload(self, settings: Settings, now: float) -> None:
        """Take changed settings from the site file; calls go on."""
        self.settings = self.channels.settings = settings
        self.identity = identity_of(settings)
        self.far_side.reload(settings, now)

    def _changed(self, because: str, now: float, tell: bool) -> None:
        """The far side has changed. Servers are not told while the line is closed: for them it stays out of
        service."""
        self._tell(self, because, now, tell and not self.closed)
