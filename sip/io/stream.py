"""One stream connection on a raw non-blocking socket, in clear or by a codec. Urgent messages overtake others."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from sip.actions import Flow
from sip.io.codec import Codec, CodecError

logger = logging.getLogger(__name__)

HANDED: Final = 256 * 1024
"""Bytes handed to the socket at a time; an urgent message waits for no more than these and the kernel's."""
_UNSENT: Final = 128 * 1024
_CODEC_LIMIT: Final = 128 * 1024  # bytes of handshakes and pongs; more wait only for a peer that reads nothing
_READ: Final = 64 * 1024  # from 128 KiB on, malloc maps new pages for each read

CONNECTING: Final = "connecting"
HANDSHAKE: Final = "handshake"
"""Connected, but the codec is not ready."""
OPEN: Final = "open"
CLOSING: Final = "closing"
CLOSED: Final = "closed"


class StreamOwner(Protocol):
    """What a stream needs of its transport."""

    clock: Callable[[], float]
    ticks: int
    waiting: int

    def stream_opened(self, stream: Stream) -> None:
        """It is connected, and its handshake has ended."""

    def stream_received(self, stream: Stream, data: bytes) -> None:
        """Bytes of the peer, decoded."""

    def stream_lost(self, stream: Stream, reason: str) -> None:
        """It is closed, also after `Stream.close`. Never called from within `send`, `flush` or `close`."""


class Stream:
    """An outgoing or accepted connection. Raises for no fault of a peer or of the network."""

    __slots__ = (
        "_codec",
        "_codec_closed",
        "_fd",
        "_loop",
        "_owner",
        "_raw",
        "_sock",
        "_under_way",
        "_urgent",
        "_waits",
        "_writing",
        "accepted",
        "asked_tick",
        "flow",
        "heard",
        "opened",
        "since_tick",
        "spoke_tick",
        "state",
        "taken_tick",
        "waiting",
    )

    def __init__(
        self,
        sock: socket.socket,
        flow: Flow,
        owner: StreamOwner,
        loop: asyncio.AbstractEventLoop,
        accepted: bool,
        codec: Codec | None = None,
    ) -> None:
        """``sock`` is non-blocking, and accepted or connecting."""
        self._codec = codec
        self._codec_closed = False
        self._raw = b""  # of the codec itself; written before the next message
        self._sock = sock
        self._fd = sock.fileno()
        self._owner = owner
        self._loop = loop
        self._urgent: deque[bytes] = deque()
        self._waits: deque[bytes] = deque()
        self._under_way: bytes | memoryview = b""
        self._writing = False
        self.flow = flow
        self.waiting = 0
        """Bytes not yet taken by the kernel."""
        self.heard = False
        """Whether the peer ever sent a byte."""
        self.since_tick = self.taken_tick = self.spoke_tick = self.asked_tick = owner.ticks
        """The owner's tick at which this state began; the peer last took bytes (or none waited); it last sent some;
        it was last sent a ping."""
        self.opened = False
        """Whether the owner was notified that it is open."""
        self.accepted = accepted
        """Whether the peer connected to us."""
        if accepted:
            self.state = OPEN if codec is None else HANDSHAKE
            self._watch()
        else:
            self.state = CONNECTING
            self._want_write()

    def send(self, data: bytes, urgent: bool) -> None:
        """Queue ``data``; `flush` writes it."""
        (self._urgent if urgent else self._waits).append(data)
        self._awaits(len(data))

    def flush(self) -> None:
        """Write what the kernel takes now; the rest is written when the socket is writable."""
        if not self._writing and self.state in (OPEN, CLOSING):
            self._write()

    def close(self) -> None:
        """Close once all queued data is written."""
        if self.state in (CONNECTING, HANDSHAKE):
            self._end_soon("closed before it was connected")
        elif self.state == OPEN:
            self.state = CLOSING
            self.since_tick = self._owner.ticks
            self.flush()
            if not self.waiting:
                self._finish()

    def abort(self, reason: str) -> None:
        """Close at once; queued data is lost."""
        if self.state != CLOSED:
            self._release()
            self._owner.stream_lost(self, reason)

    def _watch(self) -> None:
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        """Read once and pass on what came, which may be several messages; the loop calls again if there is more."""
        if self.state == CLOSED:
            return
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.abort(str(error))
            return
        if not data:
            self.abort("closed by the peer")
            return
        self.heard = True
        self.spoke_tick = self._owner.ticks
        if self._codec is not None:
            self._decode(self._codec, data)
        elif self.state == OPEN:
            self._owner.stream_received(self, data)

    def _decode(self, codec: Codec, data: bytes) -> None:
        """Decode bytes of the peer, and send what the codec itself answers."""
        if self.state == CLOSING:
            return
        try:
            messages = codec.receive(data)
        except CodecError as error:
            self._say(codec.pending())
            if self.state != CLOSED:
                self.abort(str(error))
            return
        self._say(codec.pending())
        if self.state == HANDSHAKE and codec.ready:
            self._open()
        for message in messages:
            if self.state != OPEN:
                return
            self._owner.stream_received(self, message)
        if codec.closed and self.state != CLOSED:
            self.abort("closed by the peer")
        elif not self._writing and self.state in (OPEN, CLOSING):
            self._write()  # messages that waited for the end of the handshake

    def ping(self) -> None:
        """Send a ping, if the codec has one."""
        self.asked_tick = self._owner.ticks
        if self._codec is not None and self.state == OPEN:
            self._codec.ping()
            self._say(self._codec.pending())

    @property
    def names(self) -> tuple[str, ...]:
        """The identities in the peer's verified certificate."""
        return self._codec.names if self._codec is not None else ()

    def _say(self, data: bytes) -> None:
        """Write bytes of the codec itself, after the piece that is being written."""
        if data and self.state != CLOSED:
            self._raw += data
            self._awaits(len(data))
            if not self._writing:
                self._write()
            elif len(self._raw) > _CODEC_LIMIT:
                self._end_soon("it asks, and does not read what it is answered")

    def _awaits(self, size: int) -> None:
        """Account for ``size`` more waiting bytes."""
        if not self.waiting:
            self.taken_tick = self._owner.ticks
        self.waiting += size
        self._owner.waiting += size

    def _open(self) -> None:
        self.state = OPEN
        self.since_tick = self.taken_tick = self._owner.ticks
        self._owner.stream_opened(self)

    def _writable(self) -> None:
        if self.state == CONNECTING:
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self.abort(OSError(error, "not connected").strerror or "not connected")
                return
            self._want_no_write()
            self._watch()
            if self._codec is None:
                self._open()
            else:
                self.state = HANDSHAKE
                self._codec.begin()
                self._say(self._codec.pending())
                return
        if self.state != CLOSED:
            self._write()

    def _write(self) -> None:
        while self.waiting:
            piece = self._under_way or self._gather()
            if not piece:
                break  # messages wait for the end of the handshake
            try:
                sent = self._sock.send(piece)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end_soon(str(error))
                return
            if sent:
                self.waiting -= sent
                self._owner.waiting -= sent
                self.taken_tick = self._owner.ticks
            if sent < len(piece):
                self._under_way = memoryview(piece)[sent:]
                self._want_write()
                return
            self._under_way = b""
        self._want_no_write()
        if self.state == CLOSING and not self.waiting:
            self._finish()

    def _gather(self) -> bytes:
        """The next messages for one system call, urgent ones first."""
        if self._raw:
            raw, self._raw = self._raw, b""
            return raw
        if self.state == HANDSHAKE:
            return b""
        pieces: list[bytes] = []
        size = 0
        for line in (self._urgent, self._waits):
            while line and size < HANDED:
                piece = line.popleft()
                pieces.append(piece)
                size += len(piece)
        if self._codec is not None:
            try:
                data = self._codec.send(pieces)
            except CodecError as error:
                self._end_soon(str(error))
                return b""
            self.waiting += len(data) - size
            self._owner.waiting += len(data) - size
            return data
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _finish(self) -> None:
        """All is written: shut down our side and wait for the peer's end, lest a reset discards what we sent last."""
        if self._codec is not None and not self._codec_closed:
            self._codec_closed = True
            if last := self._codec.close():
                self._say(last)  # which comes here again
                return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end_soon(str(error))

    def _end_soon(self, reason: str) -> None:
        # Not within a call of the owner, which is carrying out actions of a core at that time.
        self._want_no_write()
        self._loop.call_soon(self.abort, reason)

    def _want_write(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _want_no_write(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _release(self) -> None:
        self.state = CLOSED
        if self._codec is not None:
            self._codec.end()
        self._loop.remove_reader(self._fd)
        self._want_no_write()
        self._sock.close()
        self._owner.waiting -= self.waiting
        self.waiting = 0
        self._urgent.clear()
        self._waits.clear()
        self._under_way = self._raw = b""


def tune(sock: socket.socket) -> None:
    """Set the socket options of a SIP connection: no delay, keep-alive, little unsent data in the kernel."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        # Without it the kernel repeats data to a vanished peer for a quarter of an hour before it reports the loss.
        ("TCP_USER_TIMEOUT", 30_000),
        # Without it megabytes of responses may be queued in the kernel before a heartbeat.
        ("TCP_NOTSENT_LOWAT", _UNSENT),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError as error:
                logger.debug("%s: %s", name, error)
