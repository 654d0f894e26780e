"""The calls of an agent: those that live, and those that ended of which a server may not know yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gateway_agent.call import Call
from gateway_agent.records import Recorder
from gateway_agent.terminated_call import TerminatedCall

MOST_GONE: Final = 200_000
"""Ended calls that are remembered for servers; the oldest go first."""


class CallTable:
    """One for each agent."""

    def __init__(
        self, recorder: Recorder, lifetime: float, seen_under: Callable[[], int], epoch: Callable[[], int]
    ) -> None:
        """``lifetime``: 64*T1 in seconds. ``seen_under``: the epoch of the server that sees the end of a call now, 0
        when none does; ``epoch``: the one that is obeyed.
        """
        self.living: dict[int, Call] = {}
        self.by_call_id: dict[str, Call] = {}
        """By the Call-ID of the server dialog."""
        self.gone: deque[TerminatedCall] = deque(maxlen=MOST_GONE)
        """Ended calls that a server may not know of yet."""
        self._recorder = recorder
        self._lifetime = lifetime
        self._seen_under = seen_under
        self._epoch = epoch
        self._serial = 0

    def next_id(self) -> int:
        self._serial += 1
        return self._serial

    def enter(self, call: Call) -> None:
        """A call has begun."""
        assert call.server is not None
        if call.gone is None:
            self.living[call.id] = call
            self.by_call_id[call.server.dialog.call_id] = call

    def settled(self, call: Call, now: float) -> None:
        """Nothing of the call is under way towards the servers any more."""
        if call.gone is not None or call.server is None:
            return
        assert call.end is not None
        call.gone = self._recorder.terminated(call, self._seen_under())
        self.gone.append(call.gone)
        self.living.pop(call.id, None)
        if self.by_call_id.get(call.server.dialog.call_id) is call:
            del self.by_call_id[call.server.dialog.call_id]
        call.server.end()
        self.forget_gone(now, False)

    def forget_gone(self, now: float, heard: bool) -> None:
        """Ended calls that are known by now (docs/wire.md, ``ended``): told long ago, or the server that saw the end
        was heard long after it (``heard``), so it has written its call record."""
        gone, until = self.gone, now - self._lifetime
        while gone:
            first = gone[0]
            told = first.told_at is not None and first.told_at <= until
            if not told and not (heard and first.seen_under == self._epoch() and first.ended_at <= until):
                return
            gone.popleft()
