"""When media came last in the sessions at rtpengine, and how much. The daemon is asked; what counts is whether its
counters have risen since it was asked before, by our own clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol

from gateway_agent.media.ports import Count, Counts, Notice, Pair, Silent, Total
from gateway_agent.rtpengine.commands import Answer
from gateway_agent.rtpengine.engine import Engine
from gateway_agent.rtpengine.words import received

POLL: Final = 8.0
"""Seconds between two looks at the counters of a session; a quarter of its limit where that is less."""
_AT_ONCE: Final = 40
"""Sessions that are looked at in one tick."""


class Counting:
    """What is known of one session. Lists of two are for the device's and the servers' side."""

    __slots__ = ("heard_at", "limit", "looked_at", "octets", "packets", "reported", "since")

    def __init__(self, now: float) -> None:
        self.since = self.looked_at = now
        self.packets = [0, 0]
        self.octets = [0, 0]
        self.heard_at: list[float | None] = [None, None]
        self.limit: float | None = None
        """Seconds without media after which that is reported; None: never."""
        self.reported = False
        """Whether it was, since media came last."""


class Counted(Protocol):
    """A session, as far as it matters here."""

    engine: Engine | None
    id: str
    pairs: tuple[Pair, Pair]
    released: bool
    counting: Counting


class Counters:
    """Of all sessions in use; ``tell`` takes the notices."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self._tell = tell
        self._turns: deque[Counted] = deque()
        self._former = [0, 0]
        """Packets and octets of sessions that are over."""

    def enter(self, session: Counted) -> None:
        """A session is in use from now on."""
        self._turns.append(session)

    def leave(self, session: Counted) -> None:
        """It is over; what came in it counts on."""
        self._former[0] += sum(session.counting.packets)
        self._former[1] += sum(session.counting.octets)

    def total(self, sessions: Iterable[Counted]) -> Total:
        """Sums over ``sessions``, which are in use, and those that are over."""
        packets, octets = self._former
        for session in sessions:
            packets += sum(session.counting.packets)
            octets += sum(session.counting.octets)
        return Total(packets, octets)

    def handle_timer(self, now: float) -> None:
        """Look at the sessions whose turn it is."""
        for _ in range(min(_AT_ONCE, len(self._turns))):
            session = self._turns.popleft()
            if session.released:
                continue
            self._turns.append(session)
            limit = session.counting.limit
            if now >= session.counting.looked_at + (POLL if limit is None else min(POLL, limit / 4)):
                session.counting.looked_at = now
                self.count([session], now)

    def count(self, sessions: list[Counted], now: float) -> None:
        """Ask the daemons for the counters of these sessions, and tell them in one notice. Where a daemon does not
        answer they are what they were."""
        missing, counts = len(sessions), list[Count]()

        def came(session: Counted, answer: Answer, at: float) -> None:
            nonlocal missing
            missing -= 1
            if not session.released:
                counts.extend(self._read(session, answer or {}, at))
            if not missing and counts:
                self._tell(Counts(tuple(counts)))

        for session in sessions:
            engine = session.engine
            if engine is None or not engine.up:
                came(session, None, now)
            else:
                engine.ask({"command": "query", "call-id": session.id}, partial(came, session))

    def _read(self, session: Counted, answer: dict[str, Any], now: float) -> list[Count]:
        """The counters in a daemon's answer. Says when the session has been silent for too long."""
        known, counts = session.counting, []
        for side, pair in enumerate(session.pairs):
            packets, octets, errors = received(answer, side)
            if packets > known.packets[side]:
                known.packets[side], known.octets[side] = packets, octets
                known.heard_at[side], known.reported = now, False
            heard = known.heard_at[side]
            silent = None if heard is None else now - heard
            counts.append(Count(pair, known.packets[side], known.octets[side], errors, silent))
        last = max(filter(None, known.heard_at), default=known.since)
        if known.limit is not None and not known.reported and now >= last + known.limit:
            known.reported = True
            self._tell(Silent(session.pairs, now - last))
        return counts
