"""Call records of this server: made from a call's state when it ends, kept for questions, handed out to be stored."""

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
    """A call ended and is to be written down."""

    record: Cdr
    because: str = ""
    """The decision that routed it last."""


class End(NamedTuple):
    """How a call was ended while no server was there, by what its agent still has under way."""

    at: float
    by: EndedBy
    status: int
    """What the caller was told, should nobody have answered."""
    reason: str


class EndedCall(NamedTuple):
    """What is known of a call that ended."""

    record: Cdr
    wall_offset: float
    """What makes the instants of the record of our clock."""
    because: str
    """The decision that routed it last."""


class CallRecords:
    """See the module. ``events`` gets a :class:`CallEnded` for each record; ``wall_offset`` makes the wall clock that
    new calls get: one that steps later does not change theirs.
    """

    def __init__(self, site: str, node: str, wall_offset: float, events: deque[Any]) -> None:
        self.site = site
        self.node = node
        self.wall_offset = wall_offset
        self.unwritten_since: float | None = None
        """When the oldest record was made that is not on disk; None: all are."""
        self.epoch = 0
        """The epoch that calls end in."""
        self.ended: OrderedDict[str, EndedCall] = OrderedDict()
        """The last calls that ended."""
        self.former: OrderedDict[str, EndedCall] = OrderedDict()
        """The same of former starts, for questions only: whether their records are on disk is not known by it."""
        self.ends: dict[str, End] = {}
        """By call id, when a device ended it while no server was there: what its record is to tell of it."""
        self.failed: Callable[[str, float], None] = _nothing
        """Told of each call that failed, and when."""
        self.quality: CallQuality | None = None
        """How the media of calls came; records may wait for that."""
        self._events = events

    def unwritten(self, now: float) -> float:
        """Age of the oldest record that is not on disk; 0: all are."""
        return 0.0 if self.unwritten_since is None else now - self.unwritten_since

    def of(
        self, state: CallState, status: int, ended_by: EndedBy, ended: float, reason: str, seen: Seen = NOTHING_SEEN
    ) -> Cdr:
        """The call record of a call that ended at ``ended``, by the clock of its state."""
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
        """A call ended, at ``ended`` by our clock; ``wall_offset`` makes of it the clock of the state. What a device
        did while no server was there counts before what came of it here.
        """
        end, now = self.ends.pop(state.call_id, None), ended
        if end is not None:
            if not state.answered:
                status = end.status
            # it may have been given up as it was answered
            ended, ended_by = max(end.at, state.answered - wall_offset), end.by
            reason = reason or end.reason
        if status < 300 and not state.answered:  # no call succeeds without an answer, whatever its end came to
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
        """A record that had to wait for how the media came."""
        known = self.ended.get(record.call_id)
        self._events.append(CallEnded(record, known.because if known is not None else ""))
        if known is not None:
            self.ended[record.call_id] = known._replace(record=record)


def measuring(records: CallRecords, stack: Stack) -> CallQuality:
    """Have records tell how the media of their calls came, as the messages of agents in that stack say."""
    records.quality = quality = CallQuality(stack.deadlines, records.measured)
    stack.receiver.measured = quality.heard
    return quality


def _nothing(call_id: str, at: float) -> None:
    pass


def result_of(status: int, answered: bool) -> Result:
    """What a call came to, in one word."""
    if answered:
        return "reset" if status == 503 else "answered"
    if status == 487:
        return "cancelled"
    if status in (486, 600):
        return "busy"
    if status in (408, 480):
        return "no-answer"
    return "failed" if status >= 500 else "rejected"
