"""How often something is done for one address: where that may be forged, and its peer is never asked.

Above all answers without a transaction, by UDP. An answer can be some four times as long as its request (a
challenge), so whoever forges addresses could have us send more than he does. Whoever really asks so often asks again:
requests by UDP are repeated.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sip.overload.token_bucket import TokenBucket

AT_ONCE: Final = 500
"""Answers to one address, ..."""
A_SECOND: Final = 100.0
"""... and after so many."""
KNOWN: Final = 10
"""Times as many for a peer of ours, or where a device has proved itself: a whole office may be behind it."""
MOST: Final = 4096
"""Addresses remembered; the one that has been answered longest ago is forgotten first."""


class AddressLimit:
    """A token bucket for each address."""

    __slots__ = ("_a_second", "_at_once", "_buckets")

    def __init__(self, a_second: float = A_SECOND, at_once: float = AT_ONCE) -> None:
        self._a_second = a_second
        self._at_once = at_once
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def know(self, host: str, now: float) -> None:
        """Somebody there has proved who he is: what comes from there is not all forged."""
        bucket = self._buckets.get(host)
        if bucket is None or bucket.rate < self._a_second * KNOWN:
            self._buckets[host] = TokenBucket(self._a_second * KNOWN, self._at_once * KNOWN, now)

    def allows(self, host: str, known: bool, now: float) -> bool:
        """Whether it may be done once more for ``host``; ``known``: it is a peer's address."""
        bucket = self._buckets.get(host)
        if bucket is None:
            times = KNOWN if known else 1
            bucket = self._buckets[host] = TokenBucket(self._a_second * times, self._at_once * times, now)
        else:
            self._buckets.move_to_end(host)
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return bucket.take(now)
