"""The NOTIFYs that report the progress of a transfer to its referrer, each with the present status (RFC 3515 section
2.4.4). One is sent after the other was answered, and the status never decreases.
"""

from __future__ import annotations

from sip.references import EVENT
from sip.wire.reasons import REASONS


class ReferNotices:
    """The NOTIFYs of one transfer."""

    __slots__ = ("_under_way", "_waiting", "last", "silent")

    def __init__(self) -> None:
        self.silent = False
        """The referrer asked for no NOTIFYs (RFC 4488, RFC 7614)."""
        self.last = 0
        """The status of the last NOTIFY, or that it would have had if NOTIFYs were sent."""
        self._waiting: tuple[int, ...] = ()
        self._under_way = False

    def add(self, status: int) -> bool:
        """Note a new status of the transfer; False: it changes nothing."""
        if status <= max(self.last, *self._waiting, 0):
            return False
        self._waiting = (*self._waiting, status)
        return True

    def next(self, hears: bool) -> int:
        """The status of the NOTIFY to send now; 0: none. ``hears``: the referrer is reached and has not hung up."""
        if not self._waiting:
            return 0
        if self.silent or not hears:
            self.last, self._waiting = self._waiting[-1], ()
            return 0
        if self._under_way:
            return 0
        self.last, self._waiting, self._under_way = self._waiting[0], self._waiting[1:], True
        return self.last

    def answered(self) -> None:
        """The NOTIFY under way was answered or failed."""
        self._under_way = False

    def is_over(self, hears: bool) -> bool:
        """Whether the referrer was told the final status, or cannot be told."""
        return self.last >= 200 and not self._waiting and not (self._under_way and hears and not self.silent)


def notice_of(status: int, lasts: float) -> tuple[tuple[str, ...], bytes]:
    """The header lines and the body of the NOTIFY of a status; ``lasts``: seconds left of the subscription."""
    state = "terminated;reason=noresource" if status >= 200 else f"active;expires={lasts:g}"
    lines = (f"Event: {EVENT}", f"Subscription-State: {state}", "Content-Type: message/sipfrag;version=2.0")
    return lines, f"SIP/2.0 {status} {REASONS.get(status, 'Unknown')}\r\n".encode()
