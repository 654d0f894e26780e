"""The clock of a call. The instants in its state are wall-clock times of its first server. A server that takes
the call over works with ages in seconds, which agents report, and never compares the wall clocks of two servers."""

from __future__ import annotations

from collections.abc import Iterable

from b2bua.state_token import CallState
from b2bua.takeover.records import DialogReport


def wall_offset_of(state: CallState, dialogs: Iterable[DialogReport], default: float) -> float:
    """Seconds to add to this server's clock to get the wall clock of a call, from the ages that agents report for its
    dialogs.

    The answer is the best instant: a server sees it within a round trip of the caller's agent, whereas an INVITE may
    have waited at its agent for a server. Returns ``default`` when no instant is both in the state and reported.
    """
    found: list[tuple[int, float]] = []
    # after a transfer the instants are those of the target's leg, which no agent reports if it had talked before
    if state.part:
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
