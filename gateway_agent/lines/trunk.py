"""A trunk: a carrier or PBX at known addresses (``sip.device.trunk``), as the far side of a line of the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway_agent.channels import Busy
from gateway_agent.far_side import Changed, LineEnvironment, Target
from gateway_agent.registration_state import Registered
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow
from sip.device.trunk import TrunkDevice
from sip.digest import DigestClient
from sip.next_hop import Reach
from sip.wire.message import Response
from sip.wire.uri import Uri


class Trunk:
    """The far side of a trunk's line."""

    full_status = 503
    out_status = 503
    parallel = False
    contacts = 0

    def __init__(self, environment: LineEnvironment, settings: Settings, changed: Changed) -> None:
        self.settings = settings
        self._access = environment.access
        self._tell = changed
        self._device = self._make_device()
        self.reach: Reach = self._device.reach
        self.digest: DigestClient | None = self._device.digest

    def _make_device(self) -> TrunkDevice:
        return self._access.trunk_of(self.settings, self._changed)

    @property
    def why(self) -> str:
        return self._device.why

    @property
    def address(self) -> str:
        return self.settings.peer[0].uri if self.settings.peer else ""

    @property
    def registered(self) -> bool | None:
        return self._device.registered

    def label(self, channel: int) -> str:
        return f"{self.settings.name}/{channel}"

    def start(self, now: float) -> None:
        self._device.start(now)

    def stop(self, now: float) -> None:
        self._device.stop(now)

    def reload(self, settings: Settings, now: float) -> None:
        self.settings = settings
        if self._access.policy_of(settings) != self._device.policy:
            self._device.stop(now)
            self._device = self._make_device()
            self.reach, self.digest = self._device.reach, self._device.digest
            self._device.start(now)

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        if not self._device.ready:
            self._device.wait(then)
            return False
        return True

    def targets(self, now: float) -> list[Target] | Busy:
        if self.why:
            return Busy(self.out_status, self.why)
        because = f"the peer of {self.settings.name} has no address that can be reached from here"
        return self.reachable(now) or Busy(self.out_status, because)

    def reachable(self, now: float) -> list[Target]:
        """The targets that have an address, whether the line is in service or not."""
        domain = self._device.policy.domain
        return [
            Target(
                domain or one.peer.partition(":")[2],
                domain or Uri.parse(one.peer).host,
                True,
                None,
                one.place,
                self._device,
            )
            for one in self._device.places(now)
        ]

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        if target.place is not None:
            self._device.failed(target.place, response, now)

    def line_state(self, now: float) -> tuple[Registered, ...]:
        """Nothing to keep: after a restart the trunk registers again by itself, under the same contact."""
        return ()

    def resume(self, devices: Sequence[Registered], age: float, now: float) -> None:
        """Nothing to restore, since nothing was kept."""

    def flow_lost(self, flow: Flow, now: float) -> None:
        """Nothing to do: the next request opens a stream anew."""

    def _changed(self, because: str, now: float) -> None:
        self._tell(because, now, True)
