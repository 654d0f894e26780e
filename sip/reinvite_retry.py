"""When a re-INVITE of ours that was refused for the moment is made once more."""

from __future__ import annotations

from random import Random
from typing import Final

from sip.wire.headers import retry_after
from sip.wire.message import Response

FOR_THE_MOMENT: Final = frozenset((491, 500, 503))
"""Statuses that say no more than that something else is under way (RFC 3261 sections 14.2, 21.5.1, 21.5.4)."""
OURS: Final[tuple[float, ...]] = (2.1, 4.0)
THEIRS: Final[tuple[float, ...]] = (0.0, 2.0)
"""Seconds between which the wait is drawn, by whose Call-ID it is (RFC 3261 section 14.1)."""
LONGEST: Final = 32.0
"""Seconds of a Retry-After that are waited at most."""


def wait_after(response: Response, ours: bool, random: Random) -> float:
    """Seconds until then: after 491 those of RFC 3261 section 14.1, else what Retry-After says (section 20.33); who
    does not say is asked again as after 491. ``ours``: the dialog has our Call-ID.
    """
    asked = retry_after(response.get("retry-after")) if response.status != 491 else None
    return random.uniform(*(OURS if ours else THEIRS)) if asked is None else min(float(asked), LONGEST)
