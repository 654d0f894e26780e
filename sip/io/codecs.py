"""The codecs of a program's streams, from its certificates; a reload replaces what they are made of."""

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
        """``origins`` of the pages whose browsers may connect by WebSocket; none: nobody may."""
        self.credentials = credentials
        """For streams to come: those that are there keep what they began with."""
        self._clock = clock
        self._web_sockets: WebSocketPolicy | None = None
        self.pages: Pages | None = None
        """What browsers get that ask for a page where WebSockets are listened for, from the next `allow` on."""
        self.allow(origins)

    def allow(self, origins: Sequence[str]) -> None:
        """Let browsers with pages of these origins connect from now on; none: nothing changes."""
        if not origins:
            return
        from sip.io.websocket import WebSocketPolicy  # some megabytes that most programs need not have

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
