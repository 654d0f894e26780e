"""The next hop of the requests of a dialog.

RFC 3261 names a URI (sections 8.1.2, 12.2.1.1, 16.12: the first route, else the remote target). The policy of the
line and RFC 3263 turn that into a flow. :class:`NextHop` is the destination as a value. A :class:`Reach`
(``sip.device.reach``: one for each line) finds its flow, at once or after a DNS lookup. A :class:`DialogPath` keeps
that flow until the next hop changes, and keeps the requests of its dialog in order during a lookup.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from sip.actions import UNREACHABLE, Flow
from sip.dialog import Dialog, bare_uri
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request
from sip.wire.uri import host_port

MOST_WAITING: Final = 16
"""Requests of one dialog that may wait for a DNS lookup; further ones fail."""

WithFlow = Callable[[Flow, float], None]
"""Called with the flow of a request that has waited for it, or `UNREACHABLE` when there is none."""


class NextHop(NamedTuple):
    """The destination of a request in a dialog, before DNS and the line's policy are applied."""

    uri: str
    """The first route's URI, or the remote target."""
    reuse: Flow
    """The flow by which the dialog was opened or answered."""


def hop_uri(target: str, route_set: Sequence[str]) -> str:
    """The URI to which RFC 3263 is applied: the first route, loose or strict, else the remote target.

    A strict route (RFC 3261 section 12.2.1.1) stands in the Request-URI, so it is the next hop as well.
    """
    return bare_uri(route_set[0]) if route_set else target


def named_hosts(dialog: Dialog) -> list[str]:
    """The hosts from which requests of a dialog's peer may be expected: that of its Contact, that of the first
    route."""
    hosts = []
    for value in (dialog.target, *dialog.route_set[:1]):
        try:
            hosts.append(host_port(bare_uri(value))[0])
        except SipError:
            continue
    return hosts


class Reach(Protocol):
    """Finds the flows to the devices of one line."""

    @property
    def contact_user(self) -> str:
        """The user part of our Contact on this line, by which peers that we registered with find the account."""

    def find(self, path: DialogPath, hop: NextHop, now: float) -> Flow | None:
        """The flow to that next hop, `UNREACHABLE` where there is none; None: ``path.found`` is called later."""

    def after(self, path: DialogPath, failed: Flow, now: float) -> Flow | None:
        """The flow on which to repeat a request after a transport error on ``failed``; None: there is none."""

    def stream(self, uri: str, flow: Flow, now: float) -> Flow | None:
        """A stream to the address of a UDP flow, for a request to ``uri`` that is too large for UDP; None: the line
        uses UDP only, or no stream can be opened there.
        """

    def streamless(self, flow: Flow, now: float) -> None:
        """No stream could be opened to the address of this UDP flow."""

    def is_open(self, flow: Flow) -> bool:
        """Whether a stream is open or being opened; always true for UDP."""

    def admits(self, path: DialogPath, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether to accept a request in the dialog that came by another flow than the dialog's; may move the dialog
        there (``path.flow``). False: the request was answered.
        """


class DialogPath:
    """The flow of one dialog's requests.

    Without a :class:`Reach` the flow is fixed: between agents and servers the owner moves the dialog (docs/wire.md).
    """

    __slots__ = ("_hop", "_waiting", "flow", "out", "places", "reach", "user")

    def __init__(self, flow: Flow, reach: Reach | None = None) -> None:
        self.flow = flow
        """The dialog's own flow: `NextHop.reuse`."""
        self.reach = reach
        self.user = reach.contact_user if reach is not None else ""
        """The user part of our Contact."""
        self.places: Sequence[Flow] = ()
        """Further flows to the same hop, to be tried after a transport error."""
        self.out = flow
        """The flow of the last request, ACK included."""
        self._hop = ""
        self._waiting: deque[WithFlow] | None = None

    def move(self, flow: Flow) -> None:
        """Move the dialog to another flow; the next hop is determined anew."""
        self.flow = self.out = flow
        self._hop = ""

    def admits(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether to accept a request in the dialog, by the flow on which it came; False: it was answered."""
        if self.reach is None or transaction.flow == self.flow:
            return True
        return self.reach.admits(self, transaction, request, now)

    @property
    def waits(self) -> bool:
        """Whether requests wait for a DNS lookup."""
        return self._waiting is not None

    def flow_for(self, target: str, route_set: tuple[str, ...], now: float) -> Flow | None:
        """The flow of the dialog's next request; None: it has to :meth:`wait`."""
        reach = self.reach
        if reach is None:
            return self.flow
        if self._waiting is not None:
            return None
        hop = route_set[0] if route_set else target
        out = self.out
        if hop == self._hop and hop and (out.transport == "udp" or reach.is_open(out)):
            return out
        self._hop = hop
        self.places = ()
        found = reach.find(self, NextHop(hop_uri(target, route_set), self.flow), now)
        if found is None:
            self._waiting = deque()
            return None
        return self._use(found)

    def wait(self, go: WithFlow, now: float) -> None:
        """Call ``go`` when the flow is known, after the requests that wait already; at once with `UNREACHABLE` when
        too many wait."""
        waiting = self._waiting
        if waiting is None or len(waiting) >= MOST_WAITING:
            go(UNREACHABLE, now)
        else:
            waiting.append(go)

    def found(self, flow: Flow, now: float) -> None:
        """The lookup of the next hop has ended, with `UNREACHABLE` when it failed: the requests that wait go on in
        order."""
        self._use(flow)
        waiting = self._waiting
        while waiting:  # requests made meanwhile are appended, so that none overtakes another
            waiting.popleft()(flow, now)
        self._waiting = None

    def again(self, failed: Flow, now: float) -> Flow | None:
        """The next flow to try after a transport error on ``failed`` (RFC 3263 section 4.3); None: there is none."""
        if self.reach is None or self._waiting is not None:
            return None
        while self.places:
            place, *self.places = self.places
            if place != failed:
                return self._use(place)
        flow = self.reach.after(self, failed, now)
        return None if flow is None else self._use(flow)

    def _use(self, flow: Flow) -> Flow:
        self.out = flow
        if flow is UNREACHABLE:
            self._hop = ""  # look it up again for the next request
        return flow
