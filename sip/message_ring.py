"""The last SIP messages of a process as they were on the wire; those of failed calls are kept longer.

To note a message takes less than a microsecond: its bytes are copied, not parsed. Which call they belong to is found
out by a search, when somebody asks. The memory is bounded in bytes, whatever the network sends, and is allocated
once: separate objects that live for some minutes would fragment the heap and cost about twice as much.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from sip.actions import Flow

LONGEST: Final = 16 * 1024
"""Bytes that are noted of one message, of which a list of dialogs may have sixty times as many."""
OVERHEAD: Final = 100
"""Bytes of an entry without its message."""
_ENTRIES: Final = 4
"""The divisor that gives the part of a segment for entries; the rest is for messages."""
MOST_FAILED: Final = 1000
"""Failed calls whose messages are kept longer."""
SHARE: Final = 4
"""The divisor that gives the part of the memory for messages of failed calls that have left the ring."""
SEGMENTS: Final = 64
"""Parts of the ring; the oldest is dropped whole."""

_BEAT: Final = b" OPTIONS\r\nHeartbeat: "
"""In each heartbeat and its answer; these are not noted: they are many and belong to no call."""
_BEGINS_LIKE_BEATS: Final = frozenset({b"OPTIONS sip:", b"SIP/2.0 200 ", b"SIP/2.0 403 "})
_CALL_ID: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n \t]*)", re.IGNORECASE)

Note = Callable[[bytes, Flow, float, bool], None]
"""Called with each message: ``(data, flow, now, sent)``."""


class Recorded(NamedTuple):
    """One message."""

    at: float
    """CLOCK_BOOTTIME in seconds."""
    flow: Flow
    data: bytes
    sent: bool
    """Whether it was sent; else it was received."""

    @property
    def size(self) -> int:
        """Bytes of memory in use."""
        return len(self.data) + OVERHEAD


class _Failed:
    """The messages of one failed call."""

    __slots__ = ("call_ids", "messages", "size")

    def __init__(self, call_ids: tuple[bytes, ...]) -> None:
        self.call_ids = call_ids
        self.messages: list[Recorded] = []
        """Those that have left the ring."""
        self.size = 0


class _Segment:
    """A part of the ring: messages in the order in which they were noted."""

    __slots__ = ("entries", "used", "view")

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))
        """The messages, one behind the other."""
        self.entries: list[Any] = []
        """Four items for each message: its time, flow, end in ``view``, and whether it was sent. A flat list, since
        the garbage collector would visit as many tuples."""
        self.used = 0

    def __iter__(self) -> Iterator[Recorded]:
        begins_at = 0
        items = iter(self.entries[:])
        for now, flow, ends_at, sent in zip(items, items, items, items, strict=True):
            yield Recorded(now, flow, bytes(self.view[begins_at:ends_at]), sent)
            begins_at = ends_at

    @property
    def size(self) -> int:
        """Bytes of memory that its messages take."""
        return self.used + len(self.entries) // 4 * OVERHEAD

    def clear(self) -> None:
        self.entries.clear()
        self.used = 0


class MessageRing:
    """See the module."""

    __slots__ = (
        "_failed", "_failed_at", "_former", "_kept", "_kept_size", "_most_entries", "_most_kept", "_room", "_segment",
        "told",
    )  # fmt: skip

    def __init__(self, most_bytes: int = 0) -> None:
        """``most_bytes``: memory in all, a quarter of it for failed calls; 0: nothing is kept."""
        self._former: deque[_Segment] = deque()
        """The segments before the present one, the oldest first."""
        self._kept: deque[_Failed] = deque()
        self._kept_size = 0
        self._failed: dict[bytes, _Failed] = {}
        self._failed_at = 0.0
        self.told: Note | None = None
        """Called with each message that is noted."""
        self.resize(most_bytes)

    def resize(self, most_bytes: int) -> None:
        """Use that much memory from now on; the messages so far are dropped."""
        self._most_kept = most_bytes // SHARE
        of_a_segment = (most_bytes - self._most_kept) // SEGMENTS
        self._most_entries = of_a_segment // _ENTRIES // OVERHEAD * 4
        self._room = of_a_segment - of_a_segment // _ENTRIES
        """Bytes of messages in a segment."""
        self._segment = _Segment(self._room)
        self._former.clear()
        self._kept.clear()
        self._kept_size = 0
        self._failed.clear()

    @property
    def size(self) -> int:
        """Bytes of memory in use."""
        return self._kept_size + self._segment.size + sum(segment.size for segment in self._former)

    @property
    def oldest_at(self) -> float | None:
        """The time since which all messages are kept; None while there is none."""
        oldest = self._former[0] if self._former else self._segment
        return oldest.entries[0] if oldest.entries else None

    def note(self, data: bytes, flow: Flow, now: float, sent: bool) -> None:
        """Note a message that was received or is sent; a received heartbeat is ignored."""
        if not sent and data[:12] in _BEGINS_LIKE_BEATS and _BEAT in data:
            return
        if self.told is not None:
            self.told(data, flow, now, sent)
        room, segment = self._room, self._segment
        if (size := len(data)) > LONGEST or size > room:
            if not room:
                return
            data = data[: min(LONGEST, room)]
            size = len(data)
        end = segment.used + size
        if end > room or len(segment.entries) >= self._most_entries:
            self._turn()
            segment, end = self._segment, size
        segment.view[segment.used : end] = data
        segment.entries += (now, flow, end, sent)
        segment.used = end

    def keep(self, call_ids: Iterable[str], now: float) -> None:
        """A call with these Call-IDs, those of all its legs, has failed: keep its messages longer."""
        failed = _Failed(tuple(call_id.encode("latin-1", "replace") for call_id in call_ids))
        self._kept.append(failed)
        self._failed.update(dict.fromkeys(failed.call_ids, failed))
        self._failed_at = now
        if len(self._kept) > MOST_FAILED:
            self._make_room()

    def __iter__(self) -> Iterator[Recorded]:
        """All messages: those of failed calls that have left the ring, then the others by time."""
        for failed in list(self._kept):
            yield from failed.messages
        for segment in [*self._former, self._segment]:
            yield from segment

    def of(self, ids: Collection[str], names: re.Pattern[bytes] | None = None) -> list[Recorded]:
        """The messages with one of these Call-IDs, or in which ``names`` finds one of the ids, in the order of time.

        Each is searched once, for however many ids.
        """
        wanted = {one.encode("latin-1", "replace") for one in ids}

        def is_wanted(data: bytes) -> bool:
            return call_id_in(data) in wanted or (names is not None and not wanted.isdisjoint(names.findall(data)))

        found = [message for failed in self._kept for message in failed.messages if is_wanted(message.data)]
        for segment in [*self._former, self._segment]:
            found += [message for message in segment if is_wanted(message.data)]
        found.sort(key=lambda message: message.at)
        return found

    def _turn(self) -> None:
        """The segment is full: drop the oldest one, but for the messages of failed calls, and use its memory
        again."""
        former = self._former
        former.append(self._segment)
        if len(former) < SEGMENTS:
            self._segment = _Segment(self._room)
        else:
            oldest = self._segment = former.popleft()
            self._keep_of(oldest)
            oldest.clear()

    def _keep_of(self, gone: _Segment) -> None:
        if self._failed and gone.entries and gone.entries[0] <= self._failed_at:
            for message in gone:
                if (failed := self._failed.get(call_id_in(message.data))) is not None:
                    failed.messages.append(message)
                    failed.size += message.size
                    self._kept_size += message.size
            self._make_room()

    def _make_room(self) -> None:
        """Drop the oldest failed calls."""
        kept = self._kept
        while kept and (self._kept_size > self._most_kept or len(kept) > MOST_FAILED):
            failed = kept.popleft()
            self._kept_size -= failed.size
            for call_id in failed.call_ids:
                if self._failed.get(call_id) is failed:
                    del self._failed[call_id]


def call_id_in(data: bytes) -> bytes:
    """The Call-ID of a message; ``b""`` without one."""
    at = data.find(b"\r\nCall-ID: ")
    if at >= 0 and (end := data.find(b"\r", at + 11)) >= 0:
        return data[at + 11 : end]
    found = _CALL_ID.search(data)
    return found[1] if found is not None else b""
