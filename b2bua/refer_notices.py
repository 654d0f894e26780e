"""What a referrer is told of its transfer: one NOTIFY after the other, each with the status of that moment (RFC 3515
section 2.4.4). A NOTIFY follows when the one before it is answered; no status is told that is below another.
"""

from __future__ import annotations

from sip.references import EVENT
from sip.wire.reasons import REASONS


class ReferNotices:
    """Those of one transfer."""

    __slots__ = ("_under_way", "_waiting", "last", "silent")

    def __init__(self) -> None:
        self.silent = False
        """The referrer wants to hear nothing (RFC 4488, RFC 7614)."""
        self.last = 0
        """The status of the last NOTIFY; where the referrer hears nothing, the one that it would have been told."""
        self._waiting: tuple[int, ...] = ()
        self._under_way = False

    def add(self, status: int) -> bool:
        """The transfer has come to that status; False where that is nothing new."""
        if status <= max(self.last, *self._waiting, 0):
            return False
        self._waiting = (*self._waiting, status)
        return True

    def next(self, hears: bool) -> int:
        """The status of the NOTIFY that is to be sent now, 0 for none; ``hears``: the referrer is there, and has not
        hung up."""
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
        """The NOTIFY under way has its answer, or will have none."""
        self._under_way = False

    def is_over(self, hears: bool) -> bool:
        """Whether the referrer has been told the end of it, or will not be."""
        return self.last >= 200 and not self._waiting and not (self._under_way and hears and not self.silent)


def notice_of(status: int, lasts: float) -> tuple[tuple[str, ...], bytes]:
    """The header lines and the body of the NOTIFY that tells a status; ``lasts``: seconds that others may follow."""
    state = "terminated;reason=noresource" if status >= 200 else f"active;expires={lasts:g}"
    lines = (f"Event: {EVENT}", f"Subscription-State: {state}", "Content-Type: message/sipfrag;version=2.0")
    return lines, f"SIP/2.0 {status} {REASONS.get(status, 'Unknown')}\r\n".encode()
