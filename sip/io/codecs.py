"""Makes the codecs of a program's streams from its certificates; a reload replaces the certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sip.endpoint import SECURE
from sip.io.clock import boottime
from sip.io.codec import Codec, CodecError, Layered
from sip.io.tls import Credentials

if TYPE_CHECKING:
    from sip.io.websocket import Pages, WebSocketPolicy


class StreamCodecs:
    """See :class:`~sip.io.codec.Codecs`."""

    def __init__(
        self, credentials: Credentials, origins: Sequence[str] = (), clock: Callable[[], float] = boottime
    ) -> None:
        """``origins``: those of web pages that may connect by WebSocket (RFC 6455 section 10.2); none: no one may."""
        self.credentials = credentials
        """Used for new streams; existing ones keep those they began with."""
        self._clock = clock
        self._web_sockets: WebSocketPolicy | None = None
        self.pages: Pages | None = None
        """Pages served to browsers on the WebSocket listeners; takes effect with the next `allow`."""
        self.allow(origins)

    def allow(self, origins: Sequence[str]) -> None:
        """Allow WebSocket connections from pages of these origins from now on; none: nothing changes."""
        if not origins:
            return
        from sip.io.websocket import WebSocketPolicy  # takes some megabytes, which most programs can save

        self._web_sockets = WebSocketPolicy(origins, self._clock, self.pages)

    def missing(self, transport: str) -> str:
        if transport in SECURE and not self.credentials.certificates:
            return "there is no certificate to show: say where it is in `tls`"
        if transport in ("ws", "wss") and self._web_sockets is None:
            return "nobody may use it: say in `origins` whose pages"
        return ""

    def accept(self, transport: str) -> Codec:
        if transport == "tls":
            return self.credentials.accept()
        from sip.io.websocket import WebSocketCodec

        assert self._web_sockets is not None, "there is no listener for it then"
        inner = WebSocketCodec(self._web_sockets)
        return Layered(self.credentials.accept(), inner) if transport == "wss" else inner

    def connect(self, transport: str, names: tuple[str, ...], shown: str, authority: str) -> Codec:
        if transport != "tls":
            raise CodecError(f"no stream is opened by {transport} from here")
        return self.credentials.connect(names, shown, authority)
