"""The last SIP messages of a process, whole and as they were on the wire, and longer those of calls that failed.

To note a message costs less than a microsecond: its bytes are copied and not read. What belongs to which call is
found out when somebody asks. Memory is bounded in bytes, whatever the network sends, and is taken once: messages that
were kept as they are, each for some minutes among what comes and goes, would leave gaps in the heap that cost as much
again.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from sip.actions import Flow

LONGEST: Final = 16 * 1024
"""Bytes that are noted of one message; a list of dialogs may be sixty times as long."""
OVERHEAD: Final = 100
"""Bytes that an entry takes besides those of its message."""
_ENTRIES: Final = 4
"""One part in so many of a segment is for the entries, the rest for the messages themselves."""
MOST_FAILED: Final = 1000
"""Failed calls whose messages are kept longer."""
SHARE: Final = 4
"""One part in so many of the memory is for the messages of failed calls that have left the ring."""
SEGMENTS: Final = 64
"""The ring forgets one part in so many at a time."""

_BEAT: Final = b" OPTIONS\r\nHeartbeat: "
"""What each heartbeat and its answer has: they are no part of a call, and many."""
_BEGINS_LIKE_BEATS: Final = frozenset({b"OPTIONS sip:", b"SIP/2.0 200 ", b"SIP/2.0 403 "})
_CALL_ID: Final = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n \t]*)", re.IGNORECASE)

Note = Callable[[bytes, Flow, float, bool], None]
"""Told of each message: ``(data, flow, now, sent)``."""


class Recorded(NamedTuple):
    """One message."""

    at: float
    """CLOCK_BOOTTIME in seconds."""
    flow: Flow
    data: bytes
    sent: bool
    """By us; else it came."""

    @property
    def size(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.data) + OVERHEAD


class _Failed:
    """What is kept of one failed call."""

    __slots__ = ("call_ids", "messages", "size")

    def __init__(self, call_ids: tuple[bytes, ...]) -> None:
        self.call_ids = call_ids
        self.messages: list[Recorded] = []
        """Those that have left the ring."""
        self.size = 0


class _Segment:
    """Some messages, in the order in which they were noted."""

    __slots__ = ("entries", "used", "view")

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))
        """Room for the messages, one behind the other."""
        self.entries: list[Any] = []
        """Of each message four items: when it was noted, its flow, where it ends, and whether it was sent. In a flat
        list, since the garbage collector would look at each of as many tuples."""
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
        """``most_bytes`` of memory in all, a quarter of it for failed calls; 0: nothing is kept."""
        self._former: deque[_Segment] = deque()
        """Those before the present one."""
        self._kept: deque[_Failed] = deque()
        self._kept_size = 0
        self._failed: dict[bytes, _Failed] = {}
        self._failed_at = 0.0
        self.told: Note | None = None
        """Told of each message that is noted."""
        self.resize(most_bytes)

    def resize(self, most_bytes: int) -> None:
        """Take as much memory from now on. What is there is forgotten."""
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
        """Bytes of memory that all of it takes."""
        return self._kept_size + self._segment.size + sum(segment.size for segment in self._former)

    @property
    def oldest_at(self) -> float | None:
        """Since when all messages are there; None while there is none."""
        oldest = self._former[0] if self._former else self._segment
        return oldest.entries[0] if oldest.entries else None

    def note(self, data: bytes, flow: Flow, now: float, sent: bool) -> None:
        """A message came, or leaves; one that came may be a heartbeat, which is not noted."""
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
        """A call with these Call-IDs, of all its legs, has failed: its messages stay when others go."""
        failed = _Failed(tuple(call_id.encode("latin-1", "replace") for call_id in call_ids))
        self._kept.append(failed)
        self._failed.update(dict.fromkeys(failed.call_ids, failed))
        self._failed_at = now
        if len(self._kept) > MOST_FAILED:
            self._make_room()

    def __iter__(self) -> Iterator[Recorded]:
        """All messages, those of failed calls that have left the ring first, else in the order of time."""
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
        """The segment is full: the oldest one goes, but for the messages of failed calls, and its memory is used
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
        """The oldest failed calls go."""
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
