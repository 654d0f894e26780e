"""A phone or a browser: devices that register with the agent (``sip.device.phone``); all of them ring at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from gateway_agent.channels import Busy
from gateway_agent.far_side import Changed, LineEnvironment, Target
from gateway_agent.registration_state import Registered
from heartbeat.site.devices import host_of, phone_of
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow, Flush
from sip.bearer import WEB
from sip.device.phone import PhoneDevice
from sip.digest import DigestClient
from sip.next_hop import Reach
from sip.registrar import REFRESHED, Binding, BindingChange
from sip.transaction import ServerTransaction
from sip.wire.message import Request, Response

FLUSH: Final = Flush()


class Phone:
    """The far side of a phone's line: the devices of one user in the site's realm."""

    full_status = 486
    out_status = 480
    parallel = True

    def __init__(self, environment: LineEnvironment, settings: Settings, changed: Changed) -> None:
        self.settings = settings
        self.name = settings.name
        self._environment = environment
        self._tell = changed
        self.digest: DigestClient | None = None
        self._device = PhoneDevice(environment.phones, phone_of(settings), self.meets, self._changed)
        self.reach: Reach = self._device.reach
        self._told: dict[str, float] = {}
        """The expiry of each binding as servers were told it last, by contact URI."""
        self._present = False
        """Whether any device was registered at the last change."""

    @property
    def user(self) -> str:
        return self.settings.aor_user

    @property
    def why(self) -> str:
        return "" if self.contacts else "no device is registered"

    @property
    def contacts(self) -> int:
        return len(self._device.bindings(self._environment.now()))

    @property
    def registered(self) -> bool | None:
        return bool(self.contacts)

    @property
    def address(self) -> str:
        bindings = self._device.bindings(self._environment.now())
        return bindings[0].contact.uri if bindings else ""

    def label(self, channel: int) -> str:
        return self.name

    def meets(self, source: Flow) -> bool:
        """Whether its devices may register from that flow. A station must be on this machine, since its password may
        be derived from the site key; a browser must use WebSocket, from a page that ``origins`` names."""
        if self.settings.kind == "web":
            return source.transport in WEB
        host = source.remote[0]
        return self.settings.kind != "station" or ip_address(host).is_loopback or host == host_of(source.local)

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for this phone."""
        self._device.register(transaction, request, source, now)

    def targets(self, now: float) -> list[Target] | Busy:
        bindings = self._device.bindings(now)
        if not bindings:
            return Busy(self.out_status, f"no device is registered as {self.name}")
        realm = self._environment.realm()
        way_to = self._device.way_to
        return [Target(one.contact.uri, realm, False, way_to(one), path=one.path) for one in bindings]

    def flow_lost(self, flow: Flow, now: float) -> None:
        self._device.flow_lost(flow, now)

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        return True

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        """A device that does not answer stays registered."""

    def start(self, now: float) -> None:
        """Nothing to begin: it is in service as soon as a device registers."""

    def stop(self, now: float) -> None:
        self._device.stop(now)

    def reload(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self._device.reload(phone_of(settings), now)

    def line_state(self, now: float) -> tuple[Registered, ...]:
        """The registered devices, for servers to keep; notes the expiries told."""
        found = self._device.bindings(now)
        self._told = {one.contact.uri: one.expires_at for one in found}
        return tuple(Registered.of(one, now) for one in found)

    def resume(self, devices: Sequence[Registered], age: float, now: float) -> None:
        """Restore devices that were registered ``age`` seconds ago."""
        self._device.resume([device.binding(self.name, now - age) for device in devices], now)

    def _changed(self, changes: Sequence[BindingChange], now: float) -> None:
        if any(change.kind != REFRESHED for change in changes):
            self._tell(changes[-1].because, now, True)
            if self._present != bool(self._device.bindings(now)):
                self._present = not self._present
                # a phone that has its 200 may be called at once: servers must be told before
                self._environment.stack.do(FLUSH)
        elif any(self._lags(change.binding, now) for change in changes):
            self._tell("", now, True)

    def _lags(self, binding: Binding, now: float) -> bool:
        """Whether the expiry that servers know of a binding is over before half of its remaining time is."""
        told = self._told.get(binding.contact.uri, 0.0)
        return told - now < (binding.expires_at - now) / 2
