"""Subscriptions of any event package, the notifier's side (RFC 6665 section 4.2).

:func:`judge` decides about a SUBSCRIBE; a :class:`Notifier` is one accepted subscription. :attr:`Notifier.owed` is
true when a NOTIFY is to be sent; its owner, who knows the state, gives the body to :meth:`Notifier.notify`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from sip.requests import OutgoingRequest, ResponseSpec
from sip.wire.errors import Malformed
from sip.wire.grammar import number
from sip.wire.headers import Event
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

ACTIVE: Final = "active"
CLOSING: Final = "closing"
"""Ended, but the last NOTIFY is to be sent yet."""
TERMINATED: Final = "terminated"

REFRESHED: Final = "refreshed"
ENDED: Final = "ended by the subscriber"
RAN_OUT: Final = "not refreshed"
LAST_MADE: Final = "last NOTIFY made"
FAILED: Final = "a NOTIFY failed"

FATAL: Final = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to a NOTIFY that end its subscription (RFC 6665 section 4.2.2, RFC 5057)."""


@dataclass(frozen=True, slots=True)
class Package:
    """The durations of subscriptions to an event package, in seconds."""

    min_expires: int = 60
    max_expires: int = 3600
    default_expires: int = 3600


@dataclass(frozen=True, slots=True)
class Granted:
    """A SUBSCRIBE that may be granted."""

    event: Event
    expires: int
    """Seconds granted; 0: a fetch, or the end of the subscription."""

    def reply(self) -> ResponseSpec:
        """The response, to which the owner adds Contact (RFC 6665 section 4.2.1.1: 200, never 202)."""
        return ResponseSpec(200, f"subscribed to {self.event} for {self.expires} s", (f"Expires: {self.expires}",))


def judge(request: Request, packages: Mapping[str, Package]) -> Granted | ResponseSpec:
    """Whether a SUBSCRIBE can be granted, by its fields; the caller authorizes the sender."""
    allowed = f"Allow-Events: {', '.join(sorted(packages))}"
    value = request.get("event")
    if value is None:
        return ResponseSpec(489, "a SUBSCRIBE without Event", (allowed,))
    try:
        event = Event.parse(value)
    except Malformed as error:
        return ResponseSpec(400, str(error))
    package = packages.get(event.package)
    if package is None:
        return ResponseSpec(489, f"nobody notifies of {event.package} here", (allowed,))
    asked = request.get("expires")
    seconds = package.default_expires if asked is None else number(asked)
    if seconds is None:
        return ResponseSpec(400, "Expires is no number")
    if 0 < seconds < package.min_expires and seconds < 3600:  # RFC 6665 section 4.2.1.1
        return ResponseSpec(423, f"{seconds} s is too brief", (f"Min-Expires: {package.min_expires}",))
    return Granted(event, min(seconds, package.max_expires))


def package_of(message: Message) -> str:
    """The event package of a SUBSCRIBE or NOTIFY, in lower case."""
    return (message.get("event") or "").partition(";")[0].strip().lower()


def is_last(notify: Request) -> bool:
    """Whether a NOTIFY ends its subscription (section 4.1.3)."""
    return (notify.get("subscription-state") or "").strip().lower().startswith("terminated")


def lasts_of(message: Message) -> int:
    """Seconds for which the subscription still lasts by a SUBSCRIBE, NOTIFY or response; 0: not stated."""
    value = message.get("expires") or ""
    if message.cseq_method == "NOTIFY":
        state = (message.get("subscription-state") or "").lower().replace(" ", "")
        value = state.partition(";expires=")[2].partition(";")[0]
    return number(value) or 0


class Notifier:
    """One accepted subscription; :data:`TERMINATED` after its last NOTIFY, or when a NOTIFY failed."""

    __slots__ = ("_out", "event", "expires_at", "owed", "packages", "state")

    TABLE: ClassVar[dict[tuple[str, str], tuple[str, Callable[[Notifier, float], None]]]]

    def __init__(self, granted: Granted, packages: Mapping[str, Package], now: float) -> None:
        self.event = granted.event
        self.packages = packages
        self.state = ACTIVE if granted.expires else CLOSING
        self.expires_at = now + granted.expires
        self.owed = True
        """A NOTIFY with the state is to be sent now (RFC 6665 section 4.2.1.2)."""
        self._out: list[OutgoingRequest] = []

    def refresh(self, request: Request, now: float) -> ResponseSpec:
        """Take a SUBSCRIBE in the dialog: a refresh, or the end by ``Expires: 0``; a NOTIFY follows both."""
        if self.state is not ACTIVE:
            return ResponseSpec(481, "a subscription that has ended")
        found = judge(request, self.packages)
        if isinstance(found, ResponseSpec):
            return found
        if found.event.package != self.event.package or found.event.id != self.event.id:
            return ResponseSpec(481, f"a SUBSCRIBE to {found.event} in the subscription to {self.event}")
        self.expires_at = now + found.expires
        self._step(REFRESHED if found.expires else ENDED, now)
        return found.reply()

    def notify(self, now: float, lines: tuple[str, ...] = (), body: bytes = b"", more: bool = False) -> None:
        """Make a NOTIFY; ``lines``: Content-Type and the like; ``more``: further parts of the state follow."""
        if self.state is TERMINATED:
            return
        self.owed = more
        left = max(0, math.ceil(round(self.expires_at - now, 3)))  # never longer than was granted (RFC 6665 4.1.3)
        if self.state is ACTIVE:
            state = f"active;expires={left}"
        elif more:
            state = f"active;expires={max(left, 1)}"
        else:
            state = "terminated;reason=timeout"
        lines = (f"Event: {self.event}", f"Subscription-State: {state}", *lines)
        self._out.append(OutgoingRequest("NOTIFY", "", lines, body))
        if not more:
            self._step(LAST_MADE, now)

    def answered(self, response: Response, now: float) -> None:
        """Take the final response to a NOTIFY."""
        if response.status in FATAL:
            self._step(FAILED, now)

    def failed(self, now: float) -> None:
        """A NOTIFY had no answer: the subscription ends."""
        self._step(FAILED, now)

    def handle_timer(self, now: float) -> None:
        if now >= self.expires_at:
            self._step(RAN_OUT, now)

    def get_timer(self) -> float | None:
        return self.expires_at if self.state is ACTIVE else None

    def to_do(self) -> list[OutgoingRequest]:
        """The NOTIFYs to send now, in order; each is returned once."""
        out, self._out = self._out, []
        return out

    def _step(self, event: str, now: float) -> None:
        entry = self.TABLE.get((self.state, event))
        if entry is not None:
            following, action = entry
            logger.debug("%s: %s, %s -> %s", self.event, event, self.state, following)
            self.state = following
            action(self, now)

    def _request_notify(self, now: float) -> None:
        self.owed = True

    def _tell_end(self, now: float) -> None:
        self.notify(now)

    def _abandon(self, now: float) -> None:
        self.owed = False
        self._out.clear()

    def _rest(self, now: float) -> None:
        """End the subscription: the subscriber was told so."""


Notifier.TABLE = {
    (ACTIVE, REFRESHED): (ACTIVE, Notifier._request_notify),
    (ACTIVE, ENDED): (CLOSING, Notifier._request_notify),
    (ACTIVE, RAN_OUT): (CLOSING, Notifier._tell_end),
    (ACTIVE, FAILED): (TERMINATED, Notifier._abandon),
    (CLOSING, LAST_MADE): (TERMINATED, Notifier._rest),
    (CLOSING, FAILED): (TERMINATED, Notifier._abandon),
}
