"""What may stand between the socket of a stream and SIP: TLS, WebSocket, or one over the other. Pure bytes."""

from __future__ import annotations

from typing import Protocol

from sip.wire.errors import SipError


class CodecError(SipError):
    """The stream is of no use any more; why. What is still to be said to the peer is `Codec.pending`."""


class Codec(Protocol):
    """One end of one stream."""

    @property
    def ready(self) -> bool:
        """Whether the handshake is over."""

    @property
    def closed(self) -> bool:
        """Whether the peer has said that it says nothing more."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the peer has proved to be, once it is ready: see `sip.certificate_names.identities`."""

    def begin(self) -> None:
        """The connection is there: say the first word, where it is ours."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take what the socket brought: pieces of what the peer says; whole messages where it marks them. Raises
        :class:`CodecError`."""

    def send(self, pieces: list[bytes]) -> bytes:
        """What is to be written so that the peer reads these messages."""

    def pending(self) -> bytes:
        """What is to be written besides: of handshakes, answers to pings."""

    def ping(self) -> None:
        """Ask whether the peer is there, where that can be asked."""

    def close(self) -> bytes:
        """The last word."""

    def end(self) -> None:
        """The stream is gone."""


class Codecs(Protocol):
    """Makes the codecs of a program's streams."""

    def missing(self, transport: str) -> str:
        """Why a listener of that transport can take no streams, half a sentence; ``""`` when it can."""

    def accept(self, transport: str) -> Codec:
        """For a stream that was accepted by such a listener."""

    def connect(self, transport: str, names: tuple[str, ...], shown: str, authority: str) -> Codec:
        """For a stream of ours, see :class:`sip.actions.Open`. Raises :class:`CodecError`."""


class Layered:
    """A codec over another one, as WebSocket over TLS."""

    __slots__ = ("_begun", "_inner", "_outer")

    def __init__(self, outer: Codec, inner: Codec) -> None:
        """``outer`` is that at the socket."""
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
