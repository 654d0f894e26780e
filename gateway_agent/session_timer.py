"""Session timers (RFC 4028) of one device dialog. No message for them ever leaves the hop."""

from __future__ import annotations

from typing import Final

from sip.wire.errors import Malformed
from sip.wire.headers import SessionExpires, tokens
from sip.wire.message import Message, Request, Response

LEAST: Final = 90
"""RFC 4028 section 5: no Min-SE below this."""


class SessionTimer:
    """Who refreshes until when. ``ours``: the agent refreshes; otherwise the device does."""

    __slots__ = ("expires_at", "interval", "min_se", "ours", "refresh_at")

    def __init__(self, interval: int, min_se: int, now: float) -> None:
        self.min_se = min_se
        self.ours = True
        self.interval = interval
        self.refresh_at = self.expires_at = now
        self._start(interval, now)

    @property
    def next_at(self) -> float:
        return min(self.refresh_at, self.expires_at) if self.ours else self.expires_at

    def asking(self) -> list[str]:
        """The lines of an INVITE of ours (section 7.1, 7.4)."""
        return [
            f"Session-Expires: {self.interval};refresher={'uac' if self.ours else 'uas'}",
            f"Min-SE: {self.min_se}",
            "Supported: timer",
        ]

    def agree(self, request: Request, now: float) -> list[str]:
        """The lines of our 2xx to an INVITE of the device, by which the timer then runs (section 9)."""
        asked = asked_by(request)
        able = supports(request)
        if asked is not None:
            self.interval = max(min(self.interval, asked.seconds), self.min_se)
        refresher = asked.refresher if asked is not None and asked.refresher and able else ""
        refresher = refresher or ("uac" if able else "uas")
        self.ours = refresher == "uas"
        self._start(self.interval, now)
        lines = [f"Session-Expires: {self.interval};refresher={refresher}"]
        return [*lines, "Require: timer", "Supported: timer"] if able else lines

    def learn(self, response: Response, now: float) -> None:
        """A 2xx of the device to an INVITE of ours (section 7.2); without a word of it we refresh alone."""
        agreed = asked_by(response)
        self.ours = agreed is None or agreed.refresher != "uas"
        self._start(max(agreed.seconds, LEAST) if agreed is not None else self.interval, now)

    def _start(self, interval: int, now: float) -> None:
        self.interval = interval
        self.refresh_at = now + interval / 2
        self.expires_at = now + interval - min(32.0, interval / 3)  # section 10


def asked_by(message: Message) -> SessionExpires | None:
    """The Session-Expires of a message; one that cannot be read is none."""
    value = message.get("session-expires")
    if value is None:
        return None
    try:
        return SessionExpires.parse(value)
    except Malformed:
        return None


def supports(message: Message) -> bool:
    """Whether its sender knows session timers."""
    return "timer" in (token.lower() for token in tokens(message.all("supported")))


def least_of(response: Response) -> int:
    """The Min-SE of a 422 (section 7.3), 0 without a usable one."""
    value = response.get("min-se")
    try:
        return SessionExpires.parse(value).seconds if value is not None else 0
    except Malformed:
        return 0
