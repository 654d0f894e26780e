"""Admission of server transactions when they become scarce, so that no sender takes the room of the others.

While less than half of the room is used, nothing is counted. Above that a sender is refused once it has four times as
many as are still free (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998):
one sender alone gets 4/5 of the room, n senders 4/(4n + 1) each, so some is always left for another sender.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from sip.actions import Flow
from sip.transaction import ServerTransaction
from sip.wire.headers import same_address

CENSUS: Final = 5.0
"""Seconds between two counts; in between new transactions are added and none subtracted."""
SAMPLE: Final = 5000
"""Transactions that are sampled: to count 200,000 would block a process for a tenth of a second."""
_STEPS: Final = (1, 2, 5, 11, 23, 41, 83, 167)  # senders that take turns are all met, unless so many take turns
SHARE: Final = 4
"""Factor of what is free that one sender may have. When nothing is free, a sender that has 1/SHARE of all is refused
in dialogs, too, but for requests that end a call."""


def _itself(host: str) -> str:
    return host


class AdmissionControl:
    """Counts server transactions by sender, and decides about further ones."""

    __slots__ = ("_counted_at", "_counts", "name_of")

    def __init__(self) -> None:
        self.name_of: Callable[[str], str] = _itself
        """Returns the sender of a host: all addresses of a network, which its owner could use, are one sender."""
        self._counts: Counter[str] = Counter()
        self._counted_at = float("-inf")

    def is_one(self, host: str, other: str) -> bool:
        """Whether two hosts are one sender, such as a trunk with several addresses."""
        return same_address(host, other) or self.name_of(host) == self.name_of(other)

    def refuses(
        self,
        servers: Mapping[str, ServerTransaction],
        most: int,
        flow: Flow,
        method: str,
        in_dialog: bool,
        now: float,
    ) -> bool:
        """Whether a request of ``flow`` gets no transaction; called when at least half of ``most`` are in use."""
        if now >= self._counted_at + CENSUS:
            self._count(servers, now)
        name = self.name_of(flow.remote[0])
        count, free = self._counts[name], most - len(servers)
        if count >= SHARE * free and (not in_dialog or (free <= 0 and count * SHARE >= most and method != "BYE")):
            return True
        self._counts[name] = count + 1
        return False

    def _count(self, servers: Mapping[str, ServerTransaction], now: float) -> None:
        self._counted_at = now
        self._counts = Counter()
        step = next((prime for prime in _STEPS if prime * SAMPLE >= len(servers)), _STEPS[-1])
        hosts = Counter([one.flow.remote[0] for one in islice(servers.values(), 0, None, step)])
        for host, count in hosts.items():
            self._counts[self.name_of(host)] += count * step
