"""A trunk: a carrier or PBX at known addresses (``sip.device.trunk``), as a line of the agent."""

from __future__ import annotations

from collections.abc import Callable

from gateway_agent.line import Busy, Line, LineEnvironment, Target
from heartbeat.site.lines import Line as Settings
from sip.device.trunk import TrunkDevice
from sip.wire.message import Response
from sip.wire.uri import Uri


class Trunk(Line):
    """n channels to one far side."""

    kind = "trunk"

    def __init__(self, environment: LineEnvironment, settings: Settings, now: float) -> None:
        super().__init__(environment, settings, now)
        self.device = self._device()

    def _device(self) -> TrunkDevice:
        device = self.environment.access.trunk_of(self.settings, self._changed)
        self.reach = device.reach
        self.digest = device.digest
        return device

    @property
    def why(self) -> str:
        return self.closed or self.device.why

    @property
    def address(self) -> str:
        return self.settings.peer[0].uri if self.settings.peer else ""

    @property
    def registered(self) -> bool | None:
        return self.device.registered

    def start(self, now: float) -> None:
        self.device.start(now)

    def stop(self, now: float) -> None:
        self.device.stop(now)

    def reload(self, settings: Settings, now: float) -> None:
        before = self.device.policy
        super().reload(settings, now)
        if self.environment.access.policy_of(settings) != before:
            self.device.stop(now)
            self.device = self._device()
            self.device.start(now)

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        if not self.device.known:
            self.device.wait(then)
            return False
        return True

    def targets(self, now: float) -> list[Target] | Busy:
        if self.why:
            return Busy(503, self.why)
        found = [
            Target(one.peer.partition(":")[2], Uri.parse(one.peer).host, True, None, one.place, self.device)
            for one in self.device.places(now)
        ]
        return found or Busy(503, f"the peer of {self.name} has no address that can be reached from here")

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        if target.place is not None:
            self.device.failed(target.place, response, now)

    def _changed(self, because: str, now: float) -> None:
        self.environment.changed(self, because, now, True)
