"""Tests of an agent's lines (``sip.device.line_test``): what they need of a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway_agent.channels import Busy
from gateway_agent.device_access import DeviceAccess
from gateway_agent.far_side import FarSide, Target
from gateway_agent.line import Line
from gateway_agent.lines.trunk import Trunk
from heartbeat.console.contract import Refused
from sip.device.header_rules import ruled
from sip.device.identity import to_device
from sip.device.line_test import Asked, LineTest, Opening, Tested, invite_of, shown
from sip.dialog import DialogState
from sip.header_policy import DEVICE_HOP, crossing
from sip.layer import Stack
from sip.wire.errors import Malformed


class LineTester:
    """Of one agent."""

    def __init__(
        self, stack: Stack, access: DeviceAccess, lines: Mapping[str, Line], realm: Callable[[], str]
    ) -> None:
        self._stack = stack
        self._access = access
        self._lines = lines
        self._realm = realm

    def begin(self, name: str, number: str, caller: str, ring: float, now: float) -> LineTest:
        """Test that line; call ``number`` by it, unless it is empty, as ``caller`` (empty: its account). Raises
        `Refused`."""
        line = self._lines.get(name)
        if line is None:
            raise Refused(f"{name or '(no line given)'} is no line of this agent", 404)
        stack, far = self._stack, line.far_side
        settings = line.settings

        def places(now: float) -> Sequence[Asked]:
            return [_asked(target, line.identity.scheme) for target in _targets(far, now)]

        def opening(number: str, now: float) -> Opening | str:
            targets = _targets(far, now)
            if settings.is_phone:
                return "only trunks are called for a test: a phone would ring"
            if not targets:
                return "there is nobody to call"
            target = targets[0]
            account = settings.register.user if settings.register is not None else settings.user
            request = invite_of(caller or account or settings.name, number, self._realm())
            try:
                host = self._access.host_towards(settings, target.flow)
                told = to_device(line.identity, request, host, target.host)
            except Malformed as error:
                return str(error)
            self._access.advertise(settings, target.flow)
            lines = ruled(
                line.identity.to_device_headers, [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
            )
            state = DialogState(
                stack.token() + stack.token(), stack.token(), "", told.sender, told.recipient, route_set=target.route
            )
            return Opening(told.uri(target.uri) if target.fill else target.uri, target.flow, state, tuple(lines))

        return LineTest(
            Tested(
                stack,
                tuple(peer.uri for peer in settings.peer),
                far.ready,
                places,
                lambda: (None if settings.is_phone else far.registered, far.why),
                line.digest,
                line.reach,
                opening,
            ),
            number,
            ring,
            now,
        )


def _targets(far: FarSide, now: float) -> list[Target]:
    """Where it is to be reached, in service or not."""
    if isinstance(far, Trunk):
        return far.reachable(now)
    found = far.targets(now)
    return [] if isinstance(found, Busy) else found


def _asked(target: Target, scheme: str) -> Asked:
    flow = target.flow
    host, port = (target.place.host, target.place.port) if target.place is not None else flow.remote
    uri = target.uri if not target.fill else f"{scheme}:{target.uri}"
    return Asked(shown(host, port, flow), uri, flow, target.route)
