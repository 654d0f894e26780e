"""The interface of what lies between the socket of a stream and SIP: TLS, WebSocket, or both. Bytes in, bytes out."""

from __future__ import annotations

from typing import Protocol

from sip.wire.errors import SipError


class CodecError(SipError):
    """The stream cannot be used any longer; the text says why. `Codec.pending` has what is still to be sent."""


class Codec(Protocol):
    """One end of one stream."""

    @property
    def ready(self) -> bool:
        """Whether the handshake is over."""

    @property
    def closed(self) -> bool:
        """Whether the peer has announced that it sends nothing more."""

    @property
    def names(self) -> tuple[str, ...]:
        """The identities in the peer's verified certificate, once `ready`: see `sip.certificate_names.identities`."""

    def begin(self) -> None:
        """The connection is established: start the handshake if this end has to."""

    def receive(self, data: bytes) -> list[bytes]:
        """Decode bytes from the socket: parts of the peer's stream, or whole messages by WebSocket. Raises
        :class:`CodecError`."""

    def send(self, pieces: list[bytes]) -> bytes:
        """The encoded bytes of these messages, to be written to the socket. Raises :class:`CodecError`."""

    def pending(self) -> bytes:
        """Bytes of the codec's own to be written to the socket: handshake, answers to pings."""

    def ping(self) -> None:
        """Prepare a ping for `pending`, if the protocol has one."""

    def close(self) -> bytes:
        """The bytes that announce the end of this side's stream."""

    def end(self) -> None:
        """The stream is closed: release what is accounted for it."""


class Codecs(Protocol):
    """Makes the codecs of a program's streams."""

    def missing(self, transport: str) -> str:
        """Why a listener of that transport cannot accept streams, half a sentence; ``""`` when it can."""

    def accept(self, transport: str) -> Codec:
        """The codec of an accepted stream."""

    def connect(self, transport: str, names: tuple[str, ...], shown: str, authority: str) -> Codec:
        """The codec of an outgoing stream, see :class:`sip.actions.Open`. Raises :class:`CodecError`."""


class Layered:
    """A codec inside another one, as WebSocket over TLS."""

    __slots__ = ("_begun", "_inner", "_outer")

    def __init__(self, outer: Codec, inner: Codec) -> None:
        """``outer`` is the one next to the socket."""
        self._outer = outer
        self._inner = inner
        self._begun = False

    @property
    def ready(self) -> bool:
        return self._outer.ready and self._inner.ready

    @property
    def closed(self) -> bool:
        return self._outer.closed or self._inner.closed

    @property
    def names(self) -> tuple[str, ...]:
        return self._outer.names

    def begin(self) -> None:
        self._outer.begin()

    def receive(self, data: bytes) -> list[bytes]:
        pieces = self._outer.receive(data)
        if self._outer.ready and not self._begun:
            self._begun = True
            self._inner.begin()
        return [message for piece in pieces for message in self._inner.receive(piece)]

    def send(self, pieces: list[bytes]) -> bytes:
        return self._outer.send([self._inner.send(pieces)])

    def pending(self) -> bytes:
        said = self._inner.pending()
        if said:
            return self._outer.send([said])
        return self._outer.pending()

    def ping(self) -> None:
        self._inner.ping()

    def close(self) -> bytes:
        said = self._inner.close()
        return (self._outer.send([said]) if said else b"") + self._outer.close()

    def end(self) -> None:
        self._inner.end()
        self._outer.end()
