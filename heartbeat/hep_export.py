"""The export of SIP messages to a HOMER collector: the call of each message, and its HEP3 datagram. Pure.

A message is only queued when it passes; the rest is done later, a few at a time, so that no call is delayed. When the
queue is full, new messages are dropped and counted.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from typing import Final

from heartbeat.site.values import split_host_port
from sip.actions import Address, Flow
from sip.call_ids import LONGEST
from sip.endpoint import is_numeric
from sip.hep import MOST, encode
from sip.message_ring import call_id_in
from sip.redaction import redacted

WAIT: Final = 0.5
"""Seconds for which a message is queued at least, since its call may become known by the next message."""
AT_ONCE: Final = 50
"""Messages that are encoded at a time, some 40 microseconds each."""
BYTES_AT_ONCE: Final = 64 * 1024
"""Bytes of messages that are encoded at a time, so that long messages do not delay calls."""
MOST_WAITING: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of queued messages."""
MOST_NAMES: Final = 20_000
"""Call-IDs whose calls are kept."""

_TOKEN: Final = re.compile(rb"\r\nCall-State: ?1\.[0-9]{1,9}\.([0-9a-z]{1,64})\.")


class HepExport:
    """The queue of a process."""

    def __init__(
        self, name: str, to: Address, lines: Collection[str], lines_of: Callable[[str], Collection[str]]
    ) -> None:
        """``name``: the node's; ``to``: the collector's address. Only messages of calls on ``lines`` are sent; empty:
        all. ``lines_of`` returns the lines of a call, by its name in this process."""
        self.to = to
        self.sent = 0
        self.dropped = 0
        """Messages that were not sent, since the queue or the socket was full."""
        self._name = name
        self._lines = frozenset(lines)
        self._lines_of = lines_of
        self._waiting: deque[tuple[bytes, Flow, float, bool]] = deque()
        self._bytes = 0
        """Bytes of the queued messages."""
        self._names: OrderedDict[str, str] = OrderedDict()

    def note(self, data: bytes, flow: Flow, now: float, sent: bool) -> None:
        """Queue a message."""
        if len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES:
            self.dropped += 1
            return
        if len(data) > MOST:
            data = data[:MOST]
        self._bytes += len(data)
        self._waiting.append((data, flow, now, sent))

    def join(self, call: str, call_id: str) -> None:
        """Note that a call has a dialog with that Call-ID."""
        if call != call_id and len(call_id) <= LONGEST:
            self._names[call_id] = call
            if len(self._names) > MOST_NAMES:
                self._names.popitem(last=False)

    def take(self, wall_offset: float, now: float) -> list[bytes]:
        """The datagrams to send now; ``wall_offset``: epoch time minus ``now``."""
        ready: list[tuple[bytes, Flow, float, bool]] = []
        waiting, least = self._waiting, self._bytes - BYTES_AT_ONCE
        while waiting and len(ready) < AT_ONCE and self._bytes > least and waiting[0][2] <= now - WAIT:
            ready.append(waiting.popleft())
            self._bytes -= len(ready[-1][0])
        for data, *_ in ready:
            if (found := _TOKEN.search(data)) is not None:
                self.join(found[1].decode(), call_id_in(data).decode("latin-1"))
        return [datagram for each in ready if (datagram := self._datagram(wall_offset, *each))]

    def _datagram(self, wall_offset: float, data: bytes, flow: Flow, at: float, sent: bool) -> bytes:
        names = [call_id_in(data).decode("latin-1")]
        while len(names) < 4 and (name := self._names.get(names[-1])) is not None:
            names.append(name)
        if self._lines and not any(self._is_chosen(name) for name in names):
            return b""
        own, other = _own(flow), flow.remote
        source, target = (own, other) if sent else (other, own)
        text = redacted(data.decode("latin-1")).encode("latin-1")
        return encode(at + wall_offset, flow.transport, source, target, text, self._name, names[-1])

    def _is_chosen(self, name: str) -> bool:
        return any(line.partition("/")[0] in self._lines for line in self._lines_of(name))


def _own(flow: Flow) -> tuple[str, int]:
    """Our host and port of a flow; an unknown part is 0."""
    text, mark, rest = flow.local.partition("#")
    unknown = "::" if ":" in flow.remote[0] else "0.0.0.0"
    if mark and ">" in text:
        return (rest.partition("@")[2] or unknown), 0
    try:
        host, port = split_host_port(text)
    except ValueError:
        return unknown, 0
    return (host if is_numeric(host) else unknown), port or 0
