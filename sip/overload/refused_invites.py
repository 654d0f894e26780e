"""INVITEs that were refused for overload, without a transaction, and their answers.

Refusing a call must cost much less than serving one. If it costs the share r of a served call, and twice as many
calls come as can be served, at most (1 - 2r) / (1 - r) of the highest rate is served. Therefore there are no timers
here and no copy of the request: a lost answer is sent again when the request is retransmitted (RFC 3261 section
8.2.7). The answer is remembered only so that a retransmission, which comes when the first INVITE has waited longer
than T1, is not taken for a new call that may be admitted, and so that the ACK is absorbed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from sip.actions import Flow

MOST: Final = 10_000
"""Remembered at once; the oldest is forgotten first."""
LIFETIME: Final = 32.0
"""Seconds: 64*T1, for which a client retransmits its INVITE (RFC 3261 section 17.1.1.2)."""
_AT_ONCE: Final = 32
"""Old ones that are removed in one call."""


class Refused(NamedTuple):
    """One refused INVITE."""

    flow: Flow
    """By which it was answered."""
    answer: bytes
    """Empty once it was acknowledged."""
    at: float


class RefusedInvites:
    """Refused INVITEs by the key that their transaction would have."""

    __slots__ = ("_refused",)

    def __init__(self) -> None:
        self._refused: OrderedDict[str, Refused] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refused)

    def add(self, key: str, flow: Flow, answer: bytes, now: float) -> None:
        """Remember an INVITE that was answered now."""
        self._refused[key] = Refused(flow, answer, now)
        if len(self._refused) > MOST:
            self._refused.popitem(last=False)

    def again(self, key: str, flow: Flow, acknowledged: bool, now: float) -> Refused | None:
        """The refused INVITE of which a retransmission, or the ACK (``acknowledged``), came by ``flow``; None if it
        was not refused here."""
        for _ in range(_AT_ONCE):
            oldest = next(iter(self._refused.values()), None)
            if oldest is None or now - oldest.at < LIFETIME:
                break
            self._refused.popitem(last=False)
        refused = self._refused.get(key)
        if refused is None or refused.flow.remote[0] != flow.remote[0]:
            return None
        if acknowledged and refused.answer:
            refused = self._refused[key] = refused._replace(answer=b"")
        return refused
