"""How many answers without a transaction one address gets: by UDP it may be forged, and whose it is never asked.

An answer can be some four times as long as its request (a challenge), so whoever forges addresses could have us send
more than he does. Whoever really asks so often asks again: requests by UDP are repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sip.overload.token_bucket import TokenBucket

AT_ONCE: Final = 500
A_SECOND: Final = 100.0
KNOWN: Final = 10
"""Times as many for a peer of ours, or where a device has proved itself: a whole office may be behind it."""
MOST: Final = 4096
"""Addresses remembered; the one that has been answered longest ago is forgotten first."""


class ReplyLimit:
    """Answers by address."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def know(self, host: str, now: float) -> None:
        """Somebody there has proved who he is: what comes from there is not all forged."""
        bucket = self._buckets.get(host)
        if bucket is None or bucket.rate < A_SECOND * KNOWN:
            self._buckets[host] = TokenBucket(A_SECOND * KNOWN, AT_ONCE * KNOWN, now)

    def allows(self, host: str, known: bool, now: float) -> bool:
        """Whether one more answer may go to ``host``; ``known``: it is a peer's address."""
        bucket = self._buckets.get(host)
        if bucket is None:
            times = KNOWN if known else 1
            bucket = self._buckets[host] = TokenBucket(A_SECOND * times, AT_ONCE * times, now)
        else:
            self._buckets.move_to_end(host)
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return bucket.take(now)
