"""A rate limit for each address, for what is done for senders whose address may be forged.

It limits above all stateless responses over UDP. A challenge can be some four times as long as its request, so an
attacker who forges addresses could use us as an amplifier. A genuine client whose response is suppressed repeats its
request, since UDP requests are retransmitted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sip.overload.token_bucket import TokenBucket

AT_ONCE: Final = 500
"""Responses to one address at once, ..."""
A_SECOND: Final = 100.0
"""... and each second after these."""
KNOWN: Final = 10
"""Factor of the limits for a line's peer, or where a device was authenticated: a whole office may be behind it."""
MOST: Final = 4096
"""Addresses kept; the one answered longest ago is dropped first."""


class AddressLimit:
    """A token bucket for each address."""

    __slots__ = ("_a_second", "_at_once", "_buckets")

    def __init__(self, a_second: float = A_SECOND, at_once: float = AT_ONCE) -> None:
        self._a_second = a_second
        self._at_once = at_once
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def know(self, host: str, now: float) -> None:
        """A device at ``host`` was authenticated: not all that comes from there is forged."""
        bucket = self._buckets.get(host)
        if bucket is None or bucket.rate < self._a_second * KNOWN:
            self._buckets[host] = TokenBucket(self._a_second * KNOWN, self._at_once * KNOWN, now)

    def allows(self, host: str, known: bool, now: float) -> bool:
        """Whether it may be done once more for ``host``; ``known``: whether that is a peer's address."""
        bucket = self._buckets.get(host)
        if bucket is None:
            times = KNOWN if known else 1
            bucket = self._buckets[host] = TokenBucket(self._a_second * times, self._at_once * times, now)
        else:
            self._buckets.move_to_end(host)
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return bucket.take(now)
