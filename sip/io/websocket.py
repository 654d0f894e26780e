"""The server's end of SIP over WebSocket (RFC 7118), by the sans-I/O part of ``websockets``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from sip.io.codec import CodecError
from sip.overload.token_bucket import TokenBucket

SIP: Final = Subprotocol("sip")  # RFC 7118 section 4.1
LARGEST: Final = 64 * 1024
"""Bytes of a message, as many as fit into a datagram."""
LONGEST: Final = 30.0
"""Seconds in which a message has to be complete (RFC 4475 section 3.1.2.2)."""
RATE: Final = 200.0
"""Frames a second that a peer may send, pings included, beyond :data:`BURST`."""
BURST: Final = 1000.0
"""Frames that a peer may send at once."""
MOST_HALF_READ: Final = 32 * 1024 * 1024
"""Bytes of incomplete messages of all peers together; beyond, a peer with more than :data:`SMALL` is disconnected."""
SMALL: Final = 4096
"""Bytes of an incomplete message that are tolerated then, so that ordinary peers are not disconnected for others."""
_QUIET: Final = logging.getLogger("websockets")
_QUIET.setLevel(logging.WARNING)  # below, it logs each connection


class Page(NamedTuple):
    """A web page, as served to browsers."""

    kind: str
    """Content-Type."""
    body: bytes


Pages = Callable[[str], Page | None]
"""The page at a path like ``/phone.js``; None where there is none."""


class WebSocketPolicy:
    """What all WebSocket streams of a program share."""

    __slots__ = ("clock", "half_read", "origins", "pages")

    def __init__(self, origins: Sequence[str], clock: Callable[[], float], pages: Pages | None = None) -> None:
        """``origins`` of web pages that may connect, like ``https://phone.example``; ``*``: all. Clients that send no
        Origin are accepted, as they are no browsers: the check keeps foreign pages from using a visitor's browser
        (RFC 6455 section 10.2).
        """
        self.origins = None if "*" in origins else [*map(Origin, origins), None]
        self.clock = clock
        self.pages = pages
        """Served to requests without Upgrade; None: these are refused."""
        self.half_read = 0
        """Bytes of incomplete messages of all streams."""


class WebSocketCodec:
    """See :class:`~sip.io.codec.Codec`."""

    __slots__ = ("_fragments", "_frames", "_policy", "_protocol", "_since", "_waiting", "closed", "names", "ready")

    def __init__(self, policy: WebSocketPolicy) -> None:
        self._policy = policy
        self._protocol = ServerProtocol(origins=policy.origins, subprotocols=[SIP], max_size=LARGEST, logger=_QUIET)
        now = policy.clock()
        self._frames = TokenBucket(RATE, BURST, now)
        self._fragments = bytearray()
        self._waiting = 0
        self._since = now
        self.ready = False
        self.closed = False
        self.names: tuple[str, ...] = ()

    def begin(self) -> None:
        """The client begins the handshake."""

    def receive(self, data: bytes) -> list[bytes]:
        now, protocol = self._policy.clock(), self._protocol
        protocol.receive_data(data)
        messages: list[bytes] = []
        events = protocol.events_received()
        for event in events:
            if isinstance(event, Frame):
                if not self._frames.take(now):
                    protocol.fail(1008, "too many frames")
                    raise CodecError("it sends too many frames")
                self._take(event, messages)
            elif isinstance(event, Request):
                if event is not events[-1] or protocol.parser_exc is not None:  # RFC 6455 section 4.1
                    raise CodecError("it speaks before its handshake is over")
                self._answer(event)
        if protocol.parser_exc is not None:
            raise CodecError(f"it breaks the protocol: {protocol.parser_exc}")
        if not self.ready and protocol.handshake_exc is not None:
            raise CodecError(f"its handshake is refused: {protocol.handshake_exc}")
        self.closed = protocol.state in (State.CLOSING, State.CLOSED)
        self._count(len(data), bool(events), now)
        return messages

    def _answer(self, request: Request) -> None:
        if self._policy.pages is not None and "Upgrade" not in request.headers:
            self._protocol.send_response(_page(self._policy.pages, request.path))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self.ready = response.status_code == 101

    def _take(self, frame: Frame, messages: list[bytes]) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if not frame.fin or self._fragments:
            self._fragments += frame.data
            if frame.fin:
                messages.append(bytes(self._fragments))
                self._fragments.clear()
        else:
            messages.append(bytes(frame.data))

    def _count(self, size: int, moved: bool, now: float) -> None:
        """Account for incomplete messages, of this peer and of all. Raises :class:`CodecError` beyond the limits."""
        before = self._waiting
        self._waiting = len(self._fragments) + (0 if moved else max(0, before - len(self._fragments)) + size)
        self._policy.half_read += self._waiting - before
        if not self._waiting or (moved and not self._fragments):
            self._since = now
        elif now - self._since > LONGEST:
            self._protocol.fail(1008, "a message takes too long")
            raise CodecError("a message takes too long")
        elif self._policy.half_read > MOST_HALF_READ and self._waiting > SMALL:
            self._protocol.fail(1013, "try again later")
            raise CodecError("too much is half-read of all peers")

    def send(self, pieces: list[bytes]) -> bytes:
        """A frame for each message: a text frame if it is UTF-8, else a binary one (RFC 7118 section 4.2)."""
        protocol = self._protocol
        try:
            for piece in pieces:
                if _is_text(piece):
                    protocol.send_text(piece)
                else:
                    protocol.send_binary(piece)
        except InvalidState as error:
            raise CodecError(str(error)) from None
        return self.pending()

    def pending(self) -> bytes:
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")

    def close(self) -> bytes:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
        return self.pending()

    def end(self) -> None:
        self._policy.half_read -= self._waiting
        self._waiting = 0


def _page(pages: Pages, path: str) -> Response:
    """The response with a page, or 404. Its policy allows scripts of this origin only, connections to it and to
    WebSockets, and no embedding into other pages."""
    found = pages(path.partition("?")[0])
    kind, body = found or Page("text/plain; charset=utf-8", b"There is no such page.\n")
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-cache",
            "Connection": "close",
            "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
    )
    return Response(200, "OK", headers, body) if found is not None else Response(404, "Not Found", headers, body)


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
