"""The dialogs of phones, which are moved when their devices authenticate from another flow (RFC 5626 section 5.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.reach import PhoneReach
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.next_hop import DialogPath, Reach
from sip.subscription_usage import SubscriptionUsage
from sip.transaction import ServerTransaction
from sip.wire.message import Request

Leg = InviteUsage | SubscriptionUsage
Proves = Callable[[ServerTransaction, Request, float], bool]
_LEGS: Final = (InviteUsage, SubscriptionUsage)


class PhoneDialogs:
    """Moves dialogs between flows; one for each agent or server."""

    def __init__(self, stack: Stack, flows: DeviceFlows) -> None:
        self._stack = stack
        self._flows = flows
        self.moved: Callable[[Leg, float], None] = _nobody
        """Called with each leg that was moved to another flow."""

    def reach(self, proves: Proves) -> PhoneReach:
        """Routes requests in the dialogs of a phone; ``proves``: whether a request may move its dialog to the flow
        that it came by."""
        return PhoneReach(self._flows, proves, self._tell_moved)

    def move(self, reach: Reach, old: Flow, new: Flow, now: float) -> None:
        """A device has registered from another flow: move its dialogs there."""
        for leg in list(self._stack.legs.values()):
            if isinstance(leg, _LEGS) and leg.path.reach is reach and leg.path.flow == old:
                leg.path.move(new)
                self.moved(leg, now)

    def _tell_moved(self, path: DialogPath, now: float) -> None:
        for leg in list(self._stack.legs.values()):  # a search through all is cheap enough, since phones seldom move
            if isinstance(leg, _LEGS) and leg.path is path:
                self.moved(leg, now)


def _nobody(leg: Leg, now: float) -> None:
    pass
