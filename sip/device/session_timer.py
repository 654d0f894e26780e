"""The session timer (RFC 4028) of one dialog with a device. It is negotiated on this hop only; sections named below
are of RFC 4028.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from sip.wire.errors import Malformed
from sip.wire.headers import SessionExpires, retry_after, tokens
from sip.wire.message import Message, Request, Response, value_of

LEAST: Final = 90
"""Least Min-SE in seconds (section 5)."""
LONGEST: Final = 86400
"""Most seconds that a device's 422 may raise the interval to."""
MOST_RAISES: Final = 4
"""Most 422 responses of a device that are honoured in a call."""
_GLARE_OURS: Final[tuple[float, ...]] = (2.1, 4.0)
_GLARE_THEIRS: Final[tuple[float, ...]] = (0.0, 2.0)
"""Range of seconds to wait after 491, if the Call-ID is ours or theirs (RFC 3261 section 14.1)."""
_SOONEST: Final = 2.0
"""Least seconds between a refused refresh and the next one."""


class SessionTimerState(NamedTuple):
    """The state of a timer at an instant, all in seconds, to be restored by :meth:`SessionTimer.restored`."""

    wanted: int
    """Interval that our side asks for."""
    raises: int
    """How many 422 have raised it."""
    min_se: int
    ours: bool
    """We refresh."""
    interval: int
    """Interval in force."""
    refresh_in: float
    """Time from the instant to the refresh."""
    expires_in: float
    """Time from the instant to the end of the session."""
    by_update: bool = False
    """Refreshes are UPDATEs."""


class SessionTimer:
    """Negotiates a session timer and has its deadlines. ``ours``: we refresh; otherwise the device does."""

    __slots__ = ("_raises", "_wanted", "by_update", "expires_at", "interval", "min_se", "ours", "refresh_at")

    def __init__(self, interval: int, min_se: int, now: float) -> None:
        """``interval``: seconds that this side asks for; ``min_se``: least seconds that it accepts."""
        self._wanted = interval
        self._raises = 0
        self.min_se = min_se
        self.ours = True
        self.by_update = False
        """Whether the device supports UPDATE, which can refresh without an offer (section 7.4)."""
        self.interval = interval
        self.refresh_at = self.expires_at = now
        self._start(interval, now)

    def export(self, now: float) -> SessionTimerState:
        """The state as of ``now``, from which :meth:`restored` makes the same timer elsewhere."""
        refresh_in, expires_in = round(self.refresh_at - now, 3), round(self.expires_at - now, 3)
        return SessionTimerState(
            self._wanted, self._raises, self.min_se, self.ours, self.interval, refresh_in, expires_in, self.by_update
        )

    @classmethod
    def restored(cls, state: SessionTimerState, then: float, again_at: float) -> SessionTimer:
        """The timer whose state at the instant ``then`` was ``state``. A refresh of ours that was under way is
        repeated at ``again_at``, as its answer may have been lost."""
        timer = cls(state.interval, state.min_se, then)
        timer._wanted, timer._raises, timer.ours = state.wanted, state.raises, state.ours
        timer.by_update = state.by_update
        timer.refresh_at, timer.expires_at = then + state.refresh_in, then + state.expires_in
        if timer.ours and timer.refresh_at >= timer.expires_at:
            timer.refresh_at = min(again_at, timer.expires_at)
        return timer

    @property
    def next_at(self) -> float:
        return min(self.refresh_at, self.expires_at) if self.ours else self.expires_at

    def asking(self) -> list[str]:
        """Header lines for our INVITE or UPDATE (sections 7.1 and 7.4)."""
        return [
            f"Session-Expires: {self.interval};refresher={'uac' if self.ours else 'uas'}",
            f"Min-SE: {self.min_se}",
            "Supported: timer",
        ]

    def agree(self, request: Request, now: float) -> list[str]:
        """Header lines for our 2xx to an INVITE or UPDATE of the device; starts the timer by them (section 9)."""
        asked = asked_by(request)
        able = supports(request)
        self.by_update = allows_update(request, self.by_update)
        interval = self._wanted if asked is None else min(self._wanted, asked.seconds)
        self.interval = max(interval, self.min_se, least_of(request))
        refresher = asked.refresher if asked is not None and asked.refresher and able else ""
        refresher = refresher or ("uac" if able else "uas")
        self.ours = refresher == "uas"
        self._start(self.interval, now)
        lines = [f"Session-Expires: {self.interval};refresher={refresher}"]
        return [*lines, "Require: timer", "Supported: timer"] if able else lines

    def learn(self, response: Response, now: float) -> None:
        """Start the timer by a 2xx of the device (section 7.2); without Session-Expires in it we refresh."""
        agreed = asked_by(response)
        self.by_update = allows_update(response, self.by_update)
        self.ours = agreed is None or agreed.refresher != "uas"
        self._start(max(agreed.seconds, LEAST) if agreed is not None else self.interval, now)

    def asks_too_little(self, request: Request) -> list[str]:
        """Header lines of a 422 for an INVITE of the device whose interval is too small (section 9); else none."""
        return asks_too_little(request, self.min_se)

    def raised(self, response: Response) -> bool:
        """Raise the interval to the Min-SE of the device's 422 (section 7.3); False if that does not raise it."""
        least = min(least_of(response), LONGEST)
        if least <= self.min_se or self._raises >= MOST_RAISES:
            return False
        self._raises += 1
        self.min_se = least
        self._wanted = self.interval = max(self.interval, least)
        return True

    def refused(self, response: Response, own_dialog: bool, random: Random, now: float) -> bool:
        """The device has refused our refresh. False if that ends the call (408, 481); else another refresh is set
        before the session expires (section 10, RFC 3261 section 14.1). ``own_dialog``: the Call-ID is ours.
        """
        status = response.status
        if status in (408, 481):
            return False
        left = max(0.0, self.expires_at - now)
        if status == 422 and self.raised(response):
            wait = 0.0
        elif status == 491:
            wait = random.uniform(*(_GLARE_OURS if own_dialog else _GLARE_THEIRS))
        else:
            asked = retry_after(response.get("retry-after")) if status in (500, 503) else None
            wait = min(float(asked), left / 2) if asked is not None else left / 4
            wait = max(wait, _SOONEST)
        self.refresh_at = min(now + wait, self.expires_at)
        return True

    def _start(self, interval: int, now: float) -> None:
        self.interval = interval
        self.refresh_at = now + interval / 2
        self.expires_at = now + interval - min(32.0, interval / 3)  # section 10


def asked_by(message: Message) -> SessionExpires | None:
    """The Session-Expires of a message; None without one that can be read."""
    line = message.first.get("session-expires")
    if line is None:
        return None
    try:
        return SessionExpires.parse(value_of(line))
    except Malformed:
        return None


def asks_too_little(request: Request, least: int) -> list[str]:
    """Header lines of a 422 (section 9) if the INVITE asks for an interval below ``least`` seconds, else none."""
    asked = asked_by(request)
    too_little = asked is not None and asked.seconds < least and supports(request)
    return [f"Min-SE: {least}"] if too_little else []


def supports(message: Message) -> bool:
    """Whether Supported has ``timer``."""
    return "timer" in (token.lower() for token in tokens(message.all("supported")))


def allows_update(message: Message, known: bool) -> bool:
    """Whether Allow has UPDATE; ``known`` if there is no Allow."""
    if "allow" not in message.names:
        return known
    return "UPDATE" in (token.upper() for token in tokens(message.all("allow")))


def least_of(message: Message) -> int:
    """The Min-SE of a message in seconds; 0 without one that can be read."""
    value = message.get("min-se")
    try:
        return SessionExpires.parse(value).seconds if value is not None else 0
    except Malformed:
        return 0
