"""What of the SIP messages goes to a HOMER collector: what call each is of, and its HEP3 datagram. Pure.

A message is only put aside when it passes; all else is done later, some at a time, so that no call waits for it. When
more come than go, the newest are dropped and counted.
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
"""Seconds for which a message waits: what call it is of may be said by the next one."""
AT_ONCE: Final = 50
"""Messages that are made ready at a time, some 40 microseconds each."""
BYTES_AT_ONCE: Final = 64 * 1024
"""As many, where messages are long: who sends such shall not hold up calls by it."""
MOST_WAITING: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of messages that wait."""
MOST_NAMES: Final = 20_000
"""Call-IDs of which the call is remembered."""

_TOKEN: Final = re.compile(rb"\r\nCall-State: ?1\.[0-9]{1,9}\.([0-9a-z]{1,64})\.")


class HepExport:
    """One for each process."""

    def __init__(
        self, name: str, to: Address, lines: Collection[str], lines_of: Callable[[str], Collection[str]]
    ) -> None:
        """``name`` is that of the node, ``to`` where the collector is. Only messages of calls on ``lines`` are sent;
        empty: all. ``lines_of`` says on which lines a call is, by the name that it has here."""
        self.to = to
        self.sent = 0
        self.dropped = 0
        """Messages that were not sent: for want of room here, or in the socket."""
        self._name = name
        self._lines = frozenset(lines)
        self._lines_of = lines_of
        self._waiting: deque[tuple[bytes, Flow, float, bool]] = deque()
        self._bytes = 0
        """Of those that wait."""
        self._names: OrderedDict[str, str] = OrderedDict()

    def note(self, data: bytes, flow: Flow, now: float, sent: bool) -> None:
        """A message passes."""
        if len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES:
            self.dropped += 1
            return
        if len(data) > MOST:
            data = data[:MOST]
        self._bytes += len(data)
        self._waiting.append((data, flow, now, sent))

    def join(self, call: str, call_id: str) -> None:
        """A call has the dialog with that Call-ID, too."""
        if call != call_id and len(call_id) <= LONGEST:
            self._names[call_id] = call
            if len(self._names) > MOST_NAMES:
                self._names.popitem(last=False)

    def take(self, wall_offset: float, now: float) -> list[bytes]:
        """The datagrams that are due; ``wall_offset`` makes the wall clock of ``now``."""
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
    """Our end; what is not known of it is 0."""
    text, mark, rest = flow.local.partition("#")
    unknown = "::" if ":" in flow.remote[0] else "0.0.0.0"
    if mark and ">" in text:
        return (rest.partition("@")[2] or unknown), 0
    try:
        host, port = split_host_port(text)
    except ValueError:
        return unknown, 0
    return (host if is_numeric(host) else unknown), port or 0
