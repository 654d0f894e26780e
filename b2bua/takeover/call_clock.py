"""The clock of a call. Its instants are wall-clock times that its first server attached once; whoever goes on with it
reckons by ages, which agents tell in seconds, and compares no two servers' wall clocks."""

from __future__ import annotations

from collections.abc import Iterable

from b2bua.state_token import CallState
from b2bua.takeover.records import ToldDialog


def wall_offset_of(state: CallState, dialogs: Iterable[ToldDialog], default: float) -> float:
    """What makes the wall clock of a call of our own clock, by the dialogs that agents tell of it.

    The answer tells it best: a server sees it within a round trip of the caller's agent. An INVITE may have waited at
    its agent for a server. ``default`` is for a call of which no age is told that its state has, too.
    """
    found: list[tuple[int, float]] = []
    if state.part:  # its instants are of the target's leg; of one that had talked before nobody tells them
        dialogs = [told for told in dialogs if told.call_id == state.callee_dialog and state.started < state.answered]
    for told in dialogs:
        ages, callee = told.record.ages, told.opened_by_server
        if state.answered and ages.answer is not None:
            found.append((1 if callee else 0, state.answered - told.told_at + ages.answer))
        if state.ringing and ages.ringing is not None:
            found.append((3 if callee else 4, state.ringing - told.told_at + ages.ringing))
        if state.started and ages.invite is not None:
            found.append((5 if callee else 2, state.started - told.told_at + ages.invite))
    return min(found, default=(0, default))[1]
