"""Where the requests of a dialog go. A destination is a value, not a ready flow.

RFC 3261 names a URI (sections 8.1.2, 12.2.1.1, 16.12: the first route, else the remote target); what a line allows
and RFC 3263 make a flow of it. :class:`NextHop` is the value, a :class:`Reach` (``sip.device.reach``: one a line)
turns it into a flow, now or when a name is looked up, and a :class:`DialogPath` keeps the flow until the hop changes,
and the requests of its dialog in their order.
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
"""Requests of one dialog that may wait for a name; further ones fail."""

Go = Callable[[Flow, float], None]
"""Goes on with a request, now that its flow is known; `UNREACHABLE`: there is none."""


class NextHop(NamedTuple):
    """Where a request in a dialog goes, before DNS and the line's policy."""

    uri: str
    """The first route's URI, or the remote target."""
    reuse: Flow
    """The flow that the dialog came by, or on which it was answered."""


def hop_uri(target: str, route_set: Sequence[str]) -> str:
    """The URI to which RFC 3263 is applied: the first route, loose or strict, else the remote target.

    A strict route (RFC 3261 section 12.2.1.1) stands in the Request-URI, so it is the next hop as well.
    """
    return bare_uri(route_set[0]) if route_set else target


def named_hosts(dialog: Dialog) -> list[str]:
    """The hosts from which the peer of a dialog said that its requests would come: its Contact, the next route."""
    hosts = []
    for value in (dialog.target, *dialog.route_set[:1]):
        try:
            hosts.append(host_port(bare_uri(value))[0])
        except SipError:
            continue
    return hosts


class Reach(Protocol):
    """How the devices of one line are reached."""

    @property
    def contact_user(self) -> str:
        """The user part of our Contact there: peers that we registered with find the account by it."""

    def find(self, path: DialogPath, hop: NextHop, now: float) -> Flow | None:
        """The flow to use, `UNREACHABLE` where there is none; None: ``path.found`` is called later."""

    def after(self, path: DialogPath, failed: Flow, now: float) -> Flow | None:
        """Where a request goes on after a transport error on ``failed``; None: it has failed."""

    def stream(self, uri: str, flow: Flow, now: float) -> Flow | None:
        """A stream to the place of a UDP flow, for a request to ``uri`` that is too large; None: UDP is fixed, or no
        stream is to be had there.
        """

    def streamless(self, flow: Flow, now: float) -> None:
        """No stream could be had to the place of a UDP flow."""

    def is_open(self, flow: Flow) -> bool:
        """Whether a stream is there, or about to be; always for UDP."""

    def admits(self, path: DialogPath, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether a request in the dialog that came by another flow than its own may be looked at; it may move the
        dialog (``path.flow``). False: it was answered.
        """


class DialogPath:
    """The way of one dialog's requests.

    Without a :class:`Reach` it is a fixed flow: between agents and servers the owner moves it (docs/wire.md).
    """

    __slots__ = ("_hop", "_waiting", "flow", "out", "places", "reach", "user")

    def __init__(self, flow: Flow, reach: Reach | None = None) -> None:
        self.flow = flow
        """The dialog's own flow: `NextHop.reuse`."""
        self.reach = reach
        self.user = reach.contact_user if reach is not None else ""
        """The user part of our Contact."""
        self.places: Sequence[Flow] = ()
        """Further flows to the same hop, for who is told of a transport error."""
        self.out = flow
        """By which the last request went, ACK included."""
        self._hop = ""
        self._waiting: deque[Go] | None = None

    def move(self, flow: Flow) -> None:
        """The dialog is at home on another flow from now on; the next hop is worked out anew."""
        self.flow = self.out = flow
        self._hop = ""

    def admits(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether a request in the dialog may be looked at, by the flow that it came by; False: it was answered."""
        if self.reach is None or transaction.flow == self.flow:
            return True
        return self.reach.admits(self, transaction, request, now)

    @property
    def waits(self) -> bool:
        """Whether requests wait for a name."""
        return self._waiting is not None

    def flow_for(self, target: str, route_set: tuple[str, ...], now: float) -> Flow | None:
        """By which flow the dialog's next request goes; None: it has to :meth:`wait`."""
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

    def wait(self, go: Go, now: float) -> None:
        """Go on behind the requests that wait already, as soon as the flow is known."""
        waiting = self._waiting
        if waiting is None or len(waiting) >= MOST_WAITING:
            go(UNREACHABLE, now)
        else:
            waiting.append(go)

    def found(self, flow: Flow, now: float) -> None:
        """The name of the hop is known, or cannot be (`UNREACHABLE`): what waits goes on, in its order."""
        self._use(flow)
        waiting = self._waiting
        while waiting:  # also what is asked meanwhile: nothing overtakes
            waiting.popleft()(flow, now)
        self._waiting = None

    def again(self, failed: Flow, now: float) -> Flow | None:
        """Where a request goes after a transport error on ``failed`` (RFC 3263 section 4.3); None: nowhere."""
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
            self._hop = ""  # asked anew for the next request
        return flow
