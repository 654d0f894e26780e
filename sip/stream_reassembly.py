"""Incomplete messages on streams, limited in size and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from typing import Final

from sip.actions import Action, Close, Flow
from sip.timers import Deadlines
from sip.wire.framing import MAX_BODY, Framer

MOST_BODY: Final = 64 * 1024
"""Bytes of a body on a stream from a device: no more than fits into a datagram."""
MOST_HALF_READ: Final = 64 * 1024 * 1024
"""Bytes of incomplete messages; beyond that, the streams whose messages have been incomplete longest are closed."""
LONGEST: Final = 30.0
"""Seconds in which a message has to be complete (RFC 4475 section 3.1.2.2); else its stream is closed."""
LATE: Final = "half-read"


class StreamReassembly:
    """One framer for each stream. Streams between agents and servers have no time limit."""

    __slots__ = ("_awaited", "_counters", "_deadlines", "_out", "_read", "_site_flows", "framers", "generation")

    def __init__(
        self, deadlines: Deadlines, counters: Counter[str], site_flows: AbstractSet[Flow], out: list[Action]
    ) -> None:
        """``site_flows``: the flows between agents and servers; actions are appended to ``out``."""
        self._deadlines = deadlines
        self._counters = counters
        self._site_flows = site_flows
        self._out = out
        self._read = 0
        self._awaited = False
        self.framers: dict[Flow, Framer] = {}
        self.generation = 0

    @property
    def size(self) -> int:
        """Bytes of all incomplete messages."""
        return self._read

    def feed(self, data: bytes, flow: Flow, now: float) -> tuple[Framer, list[bytes]]:
        """Feed bytes of a stream to its framer; returns the framer and the messages that are complete now."""
        framer = self.framers.get(flow)
        if framer is None:
            framer = self.framers[flow] = Framer(max_body=MOST_BODY)
        if framer.max_body < MAX_BODY and flow in self._site_flows:
            framer.max_body = MAX_BODY
        before = framer.waiting
        messages = framer.feed(data)
        waiting = framer.waiting
        if messages or not before:
            framer.since = now
        if waiting != before:
            self._read += waiting - before
            if not self._awaited:
                self._awaited = True
                self._deadlines.set_about(now + LONGEST, self, LATE)
            if self._read > MOST_HALF_READ:
                self._make_room()
        return framer, messages

    def remove(self, flow: Flow) -> None:
        """A stream is closed or lost."""
        framer = self.framers.pop(flow, None)
        if framer is not None:
            self._read -= framer.waiting

    def close(self, flow: Flow) -> None:
        """Close a stream."""
        self.remove(flow)
        self._out.append(Close(flow, True))

    def due(self, cause: str, now: float) -> None:
        """Close the streams whose messages were not completed in time."""
        self._awaited = False
        for since, flow in self._waiting():
            if since > now - LONGEST:
                self._awaited = True
                self._deadlines.set_about(since + LONGEST, self, cause)
                break
            self._give_up(flow)

    def _waiting(self) -> list[tuple[float, Flow]]:
        waiting = [(one.since, flow) for flow, one in self.framers.items() if one.waiting]
        return sorted(each for each in waiting if each[1] not in self._site_flows)

    def _make_room(self) -> None:
        for _, flow in self._waiting():
            if self._read <= MOST_HALF_READ // 2:
                break
            self._give_up(flow)

    def _give_up(self, flow: Flow) -> None:
        self._counters[LATE] += 1
        self.close(flow)
