"""Legs on own lines that a former server had: the flow by which this server reaches them, and their target
refresh."""

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
    """Reaches the former legs from one server."""

    def __init__(
        self, stack: Stack, random: Random, node: str, devices: Mapping[str, TrunkDevice | DirectPhone]
    ) -> None:
        """``devices``: the present devices, by the name of their line."""
        self._stack = stack
        self._random = random
        self._node = node
        self._devices = devices
        self.cold: frozenset[str] = frozenset()
        """Lines whose calls are dropped at a takeover."""

    def way_back(self, line: str, state: DeviceLegState, now: float) -> Flow | str:
        """The flow by which this server reaches the device of a leg, or a sentence that says why it cannot."""
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
        # the peer had opened a stream to the former server: the next request opens one to its Contact
        return flow or Flow(transport, "", (host, port))

    def is_hot(self, line: str) -> bool:
        """Whether a line is an own line whose calls survive a takeover."""
        return line in self._devices and line not in self.cold

    def refresh(self, device_leg: DeviceLeg, state: DeviceLegState, now: float, heard: bool = False) -> None:
        """Send a target refresh on a restored leg, unless the former server's Contact in ``state`` leads here too. If
        the server refreshes the session, the same request does that. A telephone that is not reachable gets it once
        it registers here; ``heard``: it has just been heard on the leg's flow."""
        leg, session = device_leg.leg, device_leg.session
        ours = session.timer is not None and session.timer.ours
        phone = device_leg.device if isinstance(device_leg.device, DirectPhone) else None
        if phone is not None and not (heard or phone.is_reached(state, leg.path.flow)):
            device_leg.refresh_pending = True
        elif ours or leg.path.flow.transport != "udp" or self._stack.address(leg.path.flow) != state.shown:
            self._tell(device_leg, now)

    def moved(self, leg: Leg, now: float) -> None:
        """A telephone has come back on another flow, and its leg was moved there."""
        device_leg = leg.owner
        if isinstance(device_leg, DeviceLeg) and device_leg.refresh_pending:
            self._tell(device_leg, now)

    def _tell(self, device_leg: DeviceLeg, now: float) -> None:
        device_leg.refresh_pending = False
        deadlines, update = self._stack.deadlines, device_leg.takes_update
        beyond = partial(_beyond, device_leg)
        TargetRefresh(
            deadlines, self._random, device_leg.leg, device_leg.session, update, beyond, device_leg.hang_up, now
        )


def _beyond(device_leg: DeviceLeg) -> Side | None:
    """The other side of a device leg's call, if that is an own line, too, and reachable; else None."""
    other = device_leg.bridge.other(device_leg.leg)
    owner = other.owner if other is not None and other.established and not other.ended else None
    return Side(owner.leg, owner.session) if isinstance(owner, DeviceLeg) and not owner.refresh_pending else None
