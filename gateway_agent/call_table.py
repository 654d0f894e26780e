"""The calls of an agent: those that live, and those that ended of which a server may not know yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gateway_agent.call import Call
from gateway_agent.call_end import is_failure
from gateway_agent.records import Recorder
from gateway_agent.terminated_call import TerminatedCall

MOST_TERMINATED: Final = 200_000
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
        self.gone: deque[TerminatedCall] = deque(maxlen=MOST_TERMINATED)
        """Ended calls that a server may not know of yet."""
        self._recorder = recorder
        self._lifetime = lifetime
        self._seen_under = seen_under
        self._epoch = epoch
        self._serial = 0
        self._written = (0, 0.0)
        """(epoch, instant): the active server of this epoch has written the records of all calls whose end it knew at
        that instant of our clock."""

    def next_id(self) -> int:
        self._serial += 1
        return self._serial

    def enter(self, call: Call) -> None:
        """Enter a call that has begun."""
        assert call.server is not None
        if call.gone is None:
            self.living[call.id] = call
            self.by_call_id[call.server.dialog.call_id] = call

    def settled(self, call: Call, now: float) -> None:
        """The call has ended, and no transaction towards the servers is under way any more: keep only what servers
        must still be told."""
        if call.gone is not None or call.server is None:
            return
        assert call.end is not None
        if call.answered_at is None and is_failure(call.end.status):
            call.environment.stack.call_ids.failed(call.server.dialog.call_id, now)
        call.gone = self._recorder.terminated(call, self._seen_under())
        self.gone.append(call.gone)
        self.living.pop(call.id, None)
        if self.by_call_id.get(call.server.dialog.call_id) is call:
            del self.by_call_id[call.server.dialog.call_id]
        call.server.end()
        self._remove_written()

    def heard(self, unwritten: float, now: float) -> None:
        """The obeyed server is active; ``unwritten`` is the age in seconds of its oldest call record not on its disk.

        A record is made within 64*T1 after the server knows of the end (docs/wire.md, ``ended``).
        """
        self._written = self._epoch(), now - self._lifetime - unwritten
        self._remove_written()

    def _remove_written(self) -> None:
        """Drop the ended calls whose records are on the disk of the server that knows of them."""
        gone, (epoch, until) = self.gone, self._written
        while gone and gone[0].seen_under == epoch and gone[0].seen_at <= until:
            gone.popleft()
