"""A cache of DNS answers that are refreshed before they expire. Pure: `sip.io.dns` sends the queries."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sip.location import Answer, Question

SHORTEST_TTL: Final = 5.0
LONGEST_TTL: Final = 86_400.0
LONGEST_NEGATIVE: Final = 300.0
STALE: Final = 86_400.0
"""Seconds for which an expired answer is still used while DNS does not answer (RFC 8767 section 4)."""
IN_USE: Final = 600.0
"""Seconds since its last use for which a name is refreshed."""
GRACE: Final = 10.0
"""Seconds for which an expired answer is used in any case: the query that refreshes it may be under way."""
_AHEAD: Final = 0.8
_FIRST_RETRY: Final = 5.0
_LAST_RETRY: Final = 60.0


@dataclass(slots=True)
class _Entry:
    """A cached answer; times are in seconds of the caller's clock."""

    answer: Answer
    expires_at: float
    good_until: float
    refresh_at: float
    used_at: float
    retry_s: float = _FIRST_RETRY
    because: str = ""
    """Why DNS did not answer when it was last asked; ``""`` when it did."""


class NameCache:
    """Answers by question; the least recently used is dropped first."""

    def __init__(self, size: int = 4096) -> None:
        """``size``: how many answers are kept."""
        self._size = size
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Answer | None:
        """The answer (empty: no such record), also an expired one for a while; None: not cached."""
        entry = self._entries.get(question)
        if entry is None or now >= entry.good_until:
            return None
        entry.used_at = now
        self._entries.move_to_end(question)
        return entry.answer

    def put(self, question: Question, answer: Answer, ttl: float, now: float) -> None:
        """Keep an answer for ``ttl`` seconds, within limits."""
        longest = LONGEST_TTL if answer else LONGEST_NEGATIVE
        ttl = min(max(ttl, SHORTEST_TTL), longest)
        old = self._entries.get(question)
        used_at = old.used_at if old else now
        self._keep(question, _Entry(answer, now + ttl, now + ttl + GRACE, now + ttl * _AHEAD, used_at))

    def why(self, question: Question) -> str:
        """Why DNS did not answer the last query for ``question``; ``""``: it did."""
        entry = self._entries.get(question)
        return entry.because if entry is not None else ""

    def fail(self, question: Question, now: float, because: str = "") -> None:
        """DNS did not answer: an earlier answer is kept, an unknown name counts as empty for a while; it is due again
        later."""
        entry = self._entries.get(question)
        if entry is None:
            entry = _Entry((), now, now, now, now)
            self._keep(question, entry)
        if now >= entry.expires_at + STALE:
            entry.answer = ()
        entry.because = because
        entry.refresh_at = now + entry.retry_s
        entry.retry_s = min(_LAST_RETRY, entry.retry_s * 2)
        # what DNS never answers, such as a record type that a router does not know, delays nobody during the retry
        end = entry.expires_at + (STALE if entry.answer else GRACE)
        entry.good_until = max(end, entry.refresh_at + GRACE)

    def due(self, now: float) -> list[Question]:
        """Questions in use that are to be refreshed now; each is returned once until `put` or `fail`."""
        found = []
        for question, entry in self._entries.items():
            if now >= entry.refresh_at and now - entry.used_at <= IN_USE:
                entry.refresh_at = now + _LAST_RETRY
                found.append(question)
        return found

    def _keep(self, question: Question, entry: _Entry) -> None:
        if question not in self._entries and len(self._entries) >= self._size:
            self._entries.popitem(last=False)
        self._entries[question] = entry
