"""Tests of the servers' own lines (``sip.device.line_test``): the information about a line that a test needs."""

from __future__ import annotations

from collections.abc import Sequence

from b2bua.destination import Destination
from b2bua.own_lines import OwnLines
from heartbeat.console.contract import Refused
from heartbeat.site.devices import identity_of
from sip.device.line_test import Asked, LineTest, Opening, Tested, invite_of, shown
from sip.dialog import DialogState
from sip.layer import Stack
from sip.wire.errors import SipError


class OwnLineTester:
    """Begins tests of own lines at one server."""

    def __init__(self, stack: Stack, own_lines: OwnLines, realm: str) -> None:
        self._stack = stack
        self._own_lines = own_lines
        self._realm = realm

    def begin(self, name: str, number: str, caller: str, ring: float, now: float) -> LineTest:
        """Test that line; call ``number`` by it, unless it is empty, as ``caller`` (empty: its account). Raises
        `Refused`."""
        stack, own_lines, realm = self._stack, self._own_lines, self._realm
        settings, device = own_lines.lines.get(name), own_lines.device(name)
        if settings is None or device is None:
            raise Refused(f"{name or '(no line given)'} is no line of this server's own: its agent tests it", 404)
        account = settings.register.user if settings.register is not None else settings.user
        scheme = identity_of(settings).scheme

        def places(now: float) -> Sequence[Asked]:
            return [_asked(one, scheme) for one in own_lines.reachable(name, now)]

        def opening(number: str, now: float) -> Opening | str:
            found = own_lines.reachable(name, now)
            if settings.is_phone:
                return "only trunks are called for a test: a phone would ring"
            if not found:
                return "there is nobody to call"
            request = invite_of(caller or account or name, number, realm)
            try:
                told = own_lines.caller_identity.told(name, found[0], found[0].flow, request)
            except SipError as error:
                return str(error)
            lines = own_lines.caller_identity.headers(name, request, told)
            call_id, tag = stack.token() + stack.token(), stack.token()
            state = DialogState(call_id, tag, "", told.sender, told.recipient, route_set=found[0].route)
            return Opening(told.uri(found[0].uri.partition(":")[2]), found[0].flow, state, tuple(lines))

        tested = Tested(
            stack,
            tuple(peer.uri for peer in settings.peer),
            lambda then, now: own_lines.ready(name, then),
            places,
            lambda: (None if settings.is_phone else device.registered, device.why),
            device.digest,
            device.reach,
            opening,
        )
        return LineTest(tested, number, ring, now)


def _asked(to: Destination, scheme: str) -> Asked:
    flow = to.flow
    host, port = (to.place.host, to.place.port) if to.place is not None else flow.remote
    uri = f"{scheme}:{to.uri.partition(':')[2]}" if to.place is not None else to.uri
    return Asked(shown(host, port, flow), uri, flow, to.route)
