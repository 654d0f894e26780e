"""The codecs of a program's streams, from its certificates; a reload replaces what they are made of."""

from __future__ import annotations

from sip.io.codec import Codec, CodecError
from sip.io.tls import Credentials


class StreamCodecs:
    """See :class:`~sip.io.codec.Codecs`."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        """For streams to come: those that are there keep what they began with."""

    def missing(self, transport: str) -> str:
        return "" if self.credentials.certificates else "there is no certificate to show: say where it is in `tls`"

    def accept(self, transport: str) -> Codec:
        return self.credentials.accept()

    def connect(self, transport: str, names: tuple[str, ...], shown: str, authority: str) -> Codec:
        if transport != "tls":
            raise CodecError(f"no stream is opened by {transport} from here")
        return self.credentials.connect(names, shown, authority)
