"""Call records of this server: made from a call's state when it ends, kept for queries, and passed on to be
stored."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from b2bua.call_quality import CallQuality
from b2bua.cdr import FAILURES, Cdr, EndedBy, Result
from b2bua.media_seen import NOTHING_SEEN, Seen
from b2bua.state_token import CallState
from sip.layer import Stack

MOST_ENDED: Final = 2000


class CallEnded(NamedTuple):
    """Event: a call has ended, and its record is to be stored."""

    record: Cdr
    because: str = ""
    """The reason of the last routing decision."""


class End(NamedTuple):
    """How a device ended a call while no server was there, from the request that its agent has kept."""

    at: float
    by: EndedBy
    status: int
    """Final status towards the caller, if the call was not answered."""
    reason: str


class EndedCall(NamedTuple):
    """A call that has ended."""

    record: Cdr
    wall_offset: float
    """Plus the core's clock, it is the wall clock of the record's instants."""
    because: str
    """The reason of the last routing decision."""


class CallRecords:
    """The records of one server. ``events`` gets a :class:`CallEnded` for each. ``wall_offset`` plus the core's clock
    is the wall clock of new calls; it stays the same if the system's clock steps later.
    """

    def __init__(self, site: str, node: str, wall_offset: float, events: deque[Any]) -> None:
        self.site = site
        self.node = node
        self.wall_offset = wall_offset
        self.unwritten_since: float | None = None
        """When the oldest record was made that is not on disk yet; None: all are."""
        self.epoch = 0
        """The present epoch, for new records."""
        self.ended: OrderedDict[str, EndedCall] = OrderedDict()
        """The calls that ended last, by id."""
        self.former: OrderedDict[str, EndedCall] = OrderedDict()
        """Calls that ended in former starts, for queries only: their records may or may not be on disk."""
        self.ends: dict[str, End] = {}
        """By call id: how a device ended the call while no server was there, for its record."""
        self.failed: Callable[[str, float], None] = _nothing
        """Called for each failed call, with its id and the time."""
        self.quality: CallQuality | None = None
        """Media quality of calls; records may wait for it."""
        self._events = events

    def unwritten(self, now: float) -> float:
        """Seconds since the oldest record was made that is not on disk yet; 0: all are."""
        return 0.0 if self.unwritten_since is None else now - self.unwritten_since

    def of(
        self, state: CallState, status: int, ended_by: EndedBy, ended: float, reason: str, seen: Seen = NOTHING_SEEN
    ) -> Cdr:
        """The record of a call that ended at ``ended``, on the wall clock of its state."""
        return Cdr(
            call_id=state.part or state.call_id,
            session_id=state.session_id,
            site=self.site,
            node=self.node,
            epoch=self.epoch,
            caller=state.caller,
            callee=state.callee,
            dialled=state.dialled,
            caller_line=state.caller_line,
            callee_line=state.callee_line,
            attempts=state.attempt,
            started=state.started or None,
            ringing=state.ringing or None,
            answered=state.answered or None,
            ended=ended,
            result=result_of(status, bool(state.answered)),
            status=status,
            ended_by=ended_by,
            reason=reason,
            transferred_by=state.transferred_by,
            transferred_from=state.call_id if state.part else "",
            far_status=seen.status or (200 if state.answered else 0),
            forwarded_by=state.forwarded_by,
            codec=seen.codec,
            caller_media=seen.caller,
            callee_media=seen.callee,
        )

    def write(
        self,
        state: CallState,
        wall_offset: float,
        status: int,
        ended_by: EndedBy,
        ended: float,
        reason: str,
        because: str = "",
        seen: Seen = NOTHING_SEEN,
    ) -> None:
        """Write the record of a call that ended at ``ended``, on the core's clock; plus ``wall_offset`` this is the
        clock of the state. If a device ended the call while no server was there, that end counts.
        """
        end, now = self.ends.pop(state.call_id, None), ended
        if end is not None:
            if not state.answered:
                status = end.status
            # the caller may have given up just as the call was answered
            ended, ended_by = max(end.at, state.answered - wall_offset), end.by
            reason = reason or end.reason
        if status < 300 and not state.answered:  # without an answer no call has succeeded
            status = 487 if ended_by == "caller" else 480
        if not reason and status >= 300 and status != 487 and not state.answered:
            reason = seen.reason or because
        record = self.of(state, status, ended_by, ended + wall_offset, reason, seen)
        quality = self.quality
        whole: Cdr | None = record
        if quality is not None and quality.relayed:
            whole = quality.complete(record, state, now)
        if whole is not None:
            record = whole
            self._events.append(CallEnded(record, because))
        if record.result in FAILURES:
            self.failed(record.call_id, ended)
        self.ended[record.call_id] = EndedCall(record, wall_offset, because)
        if len(self.ended) > MOST_ENDED:
            self.ended.popitem(last=False)

    def measured(self, record: Cdr) -> None:
        """Pass on a record that had to wait for its media quality."""
        known = self.ended.get(record.call_id)
        self._events.append(CallEnded(record, known.because if known is not None else ""))
        if known is not None:
            self.ended[record.call_id] = known._replace(record=record)


def measuring(records: CallRecords, stack: Stack) -> CallQuality:
    """Have call records include media quality, which agents report in messages that ``stack`` receives."""
    records.quality = quality = CallQuality(stack.deadlines, records.measured)
    stack.receiver.measured = quality.heard
    return quality


def _nothing(call_id: str, at: float) -> None:
    pass


def result_of(status: int, answered: bool) -> Result:
    """The result of a call in one word."""
    if answered:
        return "reset" if status == 503 else "answered"
    if status == 487:
        return "cancelled"
    if status in (486, 600):
        return "busy"
    if status in (408, 480):
        return "no-answer"
    return "failed" if status >= 500 else "rejected"
