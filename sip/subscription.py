"""Subscriptions and their notifications, any event package, the subscriber's half (RFC 6665).

The notifier's half is ``sip.notifier``. Pure machines over values: whoever owns the transactions and the dialog sends
what :meth:`Subscriber.to_do` says, and tells it the answers, the NOTIFYs and the time. One object is one subscription
that is kept up; when it is ended from there and worth trying again, a new SUBSCRIBE (outside the old dialog, its
``uri`` not empty) follows by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from sip.registration import retry_wait
from sip.requests import OutgoingRequest, ResponseSpec
from sip.wire import headers
from sip.wire.errors import Malformed
from sip.wire.grammar import number
from sip.wire.headers import Event, SubscriptionState
from sip.wire.message import Request, Response

IDLE: Final = "idle"
ASKING: Final = "asking"
PENDING: Final = "pending"
ACTIVE: Final = "active"
LEAVING: Final = "leaving"
WAITING: Final = "waiting"

SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"
DUE: Final = "due"
SHOWN: Final = "notified active"
HELD: Final = "notified pending"
ENDED: Final = "ended"
REFUSED: Final = "refused"

TIMER_N: Final = 32.0
"""64*T1: how long a NOTIFY may take to follow a SUBSCRIBE (RFC 6665 section 4.1.2.4)."""
MAX_TRIES: Final = 4
FATAL: Final = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers in a subscription's dialog that end it (RFC 6665 sections 4.1.2.2 and 4.2.2, RFC 5057)."""
NEVER: Final = frozenset({"rejected", "noresource", "invariant"})
"""Reasons after which a new SUBSCRIBE makes no sense (RFC 6665 section 4.1.3)."""
AT_ONCE: Final = frozenset({"deactivated", "timeout"})
LATER: Final = 60.0
"""Seconds to wait after ``probation``, ``giveup`` and unknown reasons that say nothing about it."""
MAX_WAIT: Final = 3600.0
MAX_EXPIRES: Final = 86400


@dataclass(frozen=True, slots=True)
class Interest:
    """What to subscribe to."""

    uri: str
    event: str
    """The Event value, e.g. ``line-dialog`` or ``dialog;id=7``."""
    expires: int = 3600
    """Seconds to ask for; 0 fetches the state once."""
    lines: tuple[str, ...] = ()
    """Further header lines of each SUBSCRIBE, such as Accept and Content-Type."""
    body: bytes = b""
    base_wait: float = 5.0
    """Seconds before trying again after a failure; doubles with each up to five minutes."""
    lasting: bool = True
    """Whether to subscribe again by itself after an end that the other side brought about."""


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    """A subscription became active, pending or ended."""

    state: str
    """``active``, ``pending``, ``waiting`` (ended, to be tried again) or ``idle`` (ended)."""
    because: str
    at: float


@dataclass(frozen=True, slots=True)
class Notified:
    """A NOTIFY brought state."""

    request: Request
    state: SubscriptionState
    at: float


class Subscriber:
    """One subscription. ``random`` spreads refreshes and retries."""

    __slots__ = (
        "_deferred", "_due_at", "_events", "_expires", "_expires_at", "_failures", "_in_flight", "_matched",
        "_notify_by", "_out", "_random", "_refreshed", "_retry", "_tries", "because", "interest", "state",
    )  # fmt: skip

    def __init__(self, interest: Interest, random: Random) -> None:
        self.interest = interest
        self.state = IDLE
        self.because = "not asked yet"
        self._random = random
        self._matched = Event.parse(interest.event)
        self._expires = interest.expires
        self._expires_at: float | None = None
        self._due_at: float | None = None
        self._notify_by: float | None = None
        self._in_flight = False
        self._deferred = False
        self._refreshed = False
        self._failures = 0
        self._retry: float | None = None
        self._tries = 0
        self._out: list[OutgoingRequest] = []
        self._events: deque[SubscriptionChanged | Notified] = deque()

    def subscribe(self, now: float) -> None:
        """Begin; does nothing when it is under way, or still being ended."""
        self._step(SUBSCRIBE, now)

    def unsubscribe(self, now: float) -> None:
        """End it; the last NOTIFY, or its absence, brings the final change."""
        self._step(UNSUBSCRIBE, now)

    def answered(self, response: Response, now: float) -> None:
        """The final answer to the last SUBSCRIBE."""
        if response.status < 200 or not self._in_flight:
            return
        self._in_flight = False
        if response.status < 300:
            if self._refreshed:
                self._failures = 0
            given = number(response.get("expires") or "")
            self._grant(self._expires if given is None else given, now)
            if self._deferred:
                self._deferred = False
                self._send(now)
            return
        least = number(response.get("min-expires") or "") if response.status == 423 else None
        if least is not None and self._expires < least <= MAX_EXPIRES and self._tries < MAX_TRIES:
            self._expires = least
            self._send(now)
            return
        wait = headers.retry_after(response.get("retry-after"))
        self._fault(f"answered {response.status} {response.reason}".rstrip(), response.status, wait, now)

    def failed(self, because: str, now: float) -> None:
        """The last SUBSCRIBE had no answer."""
        if self._in_flight:
            self._in_flight = False
            self._fault(because, 408, None, now)

    def notified(self, request: Request, now: float) -> ResponseSpec:
        """A NOTIFY in this subscription's dialog, or the one that makes it; says what to answer."""
        try:
            event = Event.parse(request.get("event") or "")
            state = SubscriptionState.parse(request.get("subscription-state") or "")
        except Malformed as error:
            return ResponseSpec(400, str(error))
        if event.package != self._matched.package or event.id != self._matched.id:
            return ResponseSpec(489, f"a NOTIFY of {event}, not of {self._matched}")
        if self.state in (IDLE, WAITING):
            return ResponseSpec(481, "a NOTIFY of a subscription that has ended")
        self._notify_by = None
        self._events.append(Notified(request, state, now))
        if state.state == "terminated":
            self._ended(state, now)
        else:
            if state.expires is not None and (
                self._expires_at is None or now + state.expires < self._expires_at - 2.0
            ):
                self._grant(state.expires, now)
            if not self._expires or self.state == LEAVING:
                self._notify_by = now + TIMER_N  # another part is to come, and one that ends it
            self._step(HELD if state.state == "pending" else SHOWN, now)
        return ResponseSpec(200, f"{self._matched} is {state.state}")

    def handle_timer(self, now: float) -> None:
        if self._notify_by is not None and now >= self._notify_by:
            self._notify_by = None
            self._end("no NOTIFY came", self._backed_off(None), now)
        elif self._expires_at is not None and now >= self._expires_at:
            self._end("it ran out", 0.0, now)
        elif self._due_at is not None and now >= self._due_at:
            self._due_at = None
            self._step(DUE, now)

    def get_timer(self) -> float | None:
        deadlines = (self._notify_by, self._expires_at, self._due_at)
        return min((at for at in deadlines if at is not None), default=None)

    def to_do(self) -> list[OutgoingRequest]:
        """The SUBSCRIBEs to send now; handed over."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> SubscriptionChanged | Notified | None:
        return self._events.popleft() if self._events else None

    # -- inside -----------------------------------------------------------------------------------------------

    def _step(self, cause: str, now: float) -> None:
        found = self.TRANSITIONS.get((self.state, cause))
        if found is not None:
            self.state, action = found
            action(self, now)

    def _grant(self, seconds: int, now: float) -> None:
        """Note until when it lasts, never longer than was asked for; a notifier that grants nothing will say so."""
        seconds = min(seconds, self._expires)
        if self.state != LEAVING and seconds > 0:
            self._expires_at = now + seconds
            self._due_at = now + seconds * self._random.uniform(0.75, 0.85)

    def _fault(self, because: str, status: int, wait: int | None, now: float) -> None:
        """RFC 6665 section 4.1.2.2: what fails in an established subscription need not end it."""
        self.because = f"{self._matched} at {self.interest.uri}: {because}"
        if self.state in (ACTIVE, PENDING) and status not in FATAL and self._expires_at is not None:
            left = self._expires_at - now
            self._due_at = now + max(1.0, min(float(wait or 0), left / 2), left / 4)
            return
        retry = None if status in (403, 489, 603) else self._backed_off(wait)
        self._end(because, 0.0 if status == 481 and self.state in (ACTIVE, PENDING) else retry, now)

    def _ended(self, state: SubscriptionState, now: float) -> None:
        """RFC 6665 section 4.1.3: what each reason asks of a subscriber."""
        reason = state.reason
        wait: float | None = LATER
        if reason in NEVER:
            wait = None
        elif reason in AT_ONCE:
            wait = 0.0
        elif state.retry_after is not None:
            wait = min(float(state.retry_after), MAX_WAIT)
        self._end(f"the notifier ended it{': ' if reason else ''}{reason}", wait, now)

    def _backed_off(self, wait: int | None) -> float:
        return max(retry_wait(self._failures, self.interest.base_wait, 300.0, self._random), min(wait or 0, MAX_WAIT))

    def _end(self, because: str, retry: float | None, now: float) -> None:
        wanted = self.interest.lasting and self._expires > 0 and self.state != LEAVING
        if retry == 0.0 and self._failures:  # at once, but not again and again
            retry = self._backed_off(None)
        self.because = f"{self._matched} at {self.interest.uri}: {because}"
        self._retry = retry if wanted else None
        self._step(ENDED if self._retry is not None else REFUSED, now)

    # -- actions ----------------------------------------------------------------------------------------------

    def _open(self, now: float) -> None:
        self._tries = 0
        self._refreshed = False
        self._notify_by = now + TIMER_N
        self._send(now)

    def _refresh(self, now: float) -> None:
        self._tries = 0
        self._refreshed = True
        self._send(now)

    def _leave(self, now: float) -> None:
        """With a SUBSCRIBE that waits for the answer to the one before, if there is one."""
        self._due_at = self._expires_at = None
        self._notify_by = now + TIMER_N
        self._deferred = self._in_flight
        if not self._deferred:
            self._refresh(now)

    def _send(self, now: float) -> None:
        self._tries += 1
        self._in_flight = True
        wanted = self.interest
        lines = (
            f"Event: {wanted.event}",
            f"Expires: {0 if self.state == LEAVING else self._expires}",
            *wanted.lines,
        )
        self._out.append(OutgoingRequest("SUBSCRIBE", wanted.uri if self.state == ASKING else "", lines, wanted.body))

    def _show(self, now: float) -> None:
        self.because = f"{self._matched} at {self.interest.uri} is {self.state}"
        self._events.append(SubscriptionChanged(self.state, self.because, now))

    def _go_on(self, now: float) -> None:
        """Nothing changes."""

    def _wait(self, now: float) -> None:
        self._clear()
        self._failures += 1
        self._due_at = now + (self._retry or 0.0)
        self._events.append(SubscriptionChanged(self.state, self.because, now))

    def _rest(self, now: float) -> None:
        self._clear()
        self._failures = 0
        self._events.append(SubscriptionChanged(self.state, self.because, now))

    def _clear(self) -> None:
        self._notify_by = self._expires_at = self._due_at = None
        self._in_flight = self._deferred = False

    TRANSITIONS: ClassVar[dict[tuple[str, str], tuple[str, Callable[[Subscriber, float], None]]]] = {
        (IDLE, SUBSCRIBE): (ASKING, _open),
        (ASKING, SHOWN): (ACTIVE, _show),
        (ASKING, HELD): (PENDING, _show),
        (ASKING, ENDED): (WAITING, _wait),
        (ASKING, REFUSED): (IDLE, _rest),
        (ASKING, UNSUBSCRIBE): (LEAVING, _leave),
        (PENDING, SHOWN): (ACTIVE, _show),
        (PENDING, HELD): (PENDING, _go_on),
        (PENDING, DUE): (PENDING, _refresh),
        (PENDING, ENDED): (WAITING, _wait),
        (PENDING, REFUSED): (IDLE, _rest),
        (PENDING, UNSUBSCRIBE): (LEAVING, _leave),
        (ACTIVE, SHOWN): (ACTIVE, _go_on),
        (ACTIVE, HELD): (PENDING, _show),
        (ACTIVE, DUE): (ACTIVE, _refresh),
        (ACTIVE, ENDED): (WAITING, _wait),
        (ACTIVE, REFUSED): (IDLE, _rest),
        (ACTIVE, UNSUBSCRIBE): (LEAVING, _leave),
        (WAITING, DUE): (ASKING, _open),
        (WAITING, SUBSCRIBE): (ASKING, _open),
        (WAITING, UNSUBSCRIBE): (IDLE, _rest),
        (LEAVING, REFUSED): (IDLE, _rest),
    }
