"""When a re-INVITE of ours is repeated after a temporary refusal."""

from __future__ import annotations

from random import Random
from typing import Final

from sip.wire.headers import retry_after
from sip.wire.message import Response

TEMPORARY_REFUSALS: Final = frozenset((491, 500, 503))
"""Statuses of temporary refusals, such as of a concurrent request (RFC 3261 sections 14.2, 21.5.1, 21.5.4)."""
OURS: Final[tuple[float, ...]] = (2.1, 4.0)
THEIRS: Final[tuple[float, ...]] = (0.0, 2.0)
"""Range of the wait in seconds where the Call-ID is the peer's (RFC 3261 section 14.1)."""
LONGEST: Final = 32.0
"""Seconds; a longer Retry-After counts as this one."""


def wait_after(response: Response, ours: bool, random: Random) -> float:
    """Seconds to wait: after 491 as in RFC 3261 section 14.1, else by Retry-After (section 20.33), and without one as
    after 491. ``ours``: the Call-ID is ours.
    """
    asked = retry_after(response.get("retry-after")) if response.status != 491 else None
    return random.uniform(*(OURS if ours else THEIRS)) if asked is None else min(float(asked), LONGEST)
