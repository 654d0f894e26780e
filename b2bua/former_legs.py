"""Legs of lines of the servers' own that a former server had: how they are reached from here, and told of us."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random

from b2bua.device_leg import DeviceLeg
from b2bua.device_leg_state import DeviceLegState
from b2bua.direct_phone import DirectPhone
from b2bua.offer_crossing import Side
from b2bua.target_refresh import TargetRefresh
from sip.actions import Flow
from sip.device.phone_dialogs import Leg
from sip.device.trunk import TrunkDevice
from sip.layer import Stack
from sip.location import Place


class FormerLegs:
    """Those at one server."""

    def __init__(
        self, stack: Stack, random: Random, node: str, devices: Mapping[str, TrunkDevice | DirectPhone]
    ) -> None:
        """``devices``, by the line's name, are those of now."""
        self._stack = stack
        self._random = random
        self._node = node
        self._devices = devices
        self.cold: frozenset[str] = frozenset()
        """Lines whose calls are dropped at a takeover."""

    def way_back(self, line: str, state: DeviceLegState, now: float) -> Flow | str:
        """By which flow a leg is reached from here; or a sentence, why it is not."""
        device = self._devices.get(line)
        if device is None:
            return f"{line} is no line of the servers any more"
        if line in self.cold:
            return f"{line} is cold: its calls are dropped"
        if isinstance(device, DirectPhone):
            return device.way_back(state, now)
        transport, host, port = state.transport, state.host, state.port
        known = next((each.place for each in device.places(now) if each.place[:3] == (transport, host, port)), None)
        if known is None and transport == "udp":
            known = Place("udp", host, port)
        flow = device.flow_to(known) if known is not None else None
        if device.policy.nat and (flow is None or self._stack.address(flow) != state.shown):
            return f"the peer of {line} is behind NAT, which lets nothing through from here"
        if flow is None and transport == "udp":
            return f"no listener of {self._node} leads to the peer of {line}"
        # a stream that it had opened to the former server: the next request opens one to its Contact
        return flow or Flow(transport, "", (host, port))

    def is_hot(self, line: str) -> bool:
        """Whether it is a line of the servers whose calls outlive one."""
        return line in self._devices and line not in self.cold

    def refresh(self, device_leg: DeviceLeg, state: DeviceLegState, now: float, heard: bool = False) -> None:
        """Have the peer of a leg that a former server left in that ``state`` find us, unless it does by what that one
        has shown; a session timer of ours goes on by the same request. A telephone that cannot be reached is told
        once it comes here by itself; ``heard``: it just has, by that flow."""
        leg, session = device_leg.leg, device_leg.session
        ours = session.timer is not None and session.timer.ours
        phone = device_leg.device if isinstance(device_leg.device, DirectPhone) else None
        if phone is not None and not (heard or phone.is_reached(state, leg.path.flow)):
            device_leg.untold = True
        elif ours or leg.path.flow.transport != "udp" or self._stack.address(leg.path.flow) != state.shown:
            self._tell(device_leg, now)

    def moved(self, leg: Leg, now: float) -> None:
        """A leg with a telephone is at home on another flow, by which that came."""
        device_leg = leg.owner
        if isinstance(device_leg, DeviceLeg) and device_leg.untold:
            self._tell(device_leg, now)

    def _tell(self, device_leg: DeviceLeg, now: float) -> None:
        device_leg.untold = False
        deadlines, update = self._stack.deadlines, device_leg.takes_update
        beyond = partial(_beyond, device_leg)
        TargetRefresh(
            deadlines, self._random, device_leg.leg, device_leg.session, update, beyond, device_leg.hang_up, now
        )


def _beyond(device_leg: DeviceLeg) -> Side | None:
    """The other side of its call, where that is a line of the servers, too, and can be reached."""
    other = device_leg.bridge.other(device_leg.leg)
    owner = other.owner if other is not None and other.established and not other.ended else None
    return Side(owner.leg, owner.session) if isinstance(owner, DeviceLeg) and not owner.untold else None
