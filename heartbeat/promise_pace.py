"""How often a leader asks for a newer epoch because of what one voter promised.

A voter that promised a higher epoch to another server supports the leader again only under a newer one. So the leader
holds an election, which costs its agents their lists once more. An honest voter gives such a promise once in a while,
a stolen one (docs/security.md) may claim a new one in each of its answers.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 1.0
"""Seconds until the same voter's next promise counts; doubled each time."""
LONGEST: Final = 600.0
FORGIVEN: Final = 4.0
"""After so many times its pause without a promise that counts, a voter begins anew."""


class PromisePace:
    """Of one leader. ``silence``: seconds of lease and margin, after which the promise of a voter counts in any case
    when there is no quorum without it."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._last: dict[str, tuple[float, float]] = {}
        """Voter -> when a promise of it counted last, and the pause after it."""

    def counts(self, voter: str, is_needed: bool, now: float) -> bool:
        """Whether the leader is to ask for a newer epoch now, because of the promise of ``voter``; then it is noted.

        ``is_needed``: without that voter no quorum supports the leader.
        """
        at, pause = self._last.get(voter, (now, 0.0))
        if now < at + (min(pause, self._silence) if is_needed else pause):
            return False
        grown = FIRST if not pause or now >= at + FORGIVEN * pause else min(2 * pause, LONGEST)
        self._last[voter] = now, grown
        return True
