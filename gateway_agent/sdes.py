"""SRTP of one call towards a device that is told keys in descriptions (``srtp = "sdes"``, RFC 4568): it ends at the
agent's relay, and the servers' side, or the WebRTC gateway beside the relay, knows nothing of it.

The keys by which we send are made from the site key and a name that the call's record has: so they are the same ones
after the death of this agent, and stand in no record but as the descriptions that the device knows.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence

from gateway_agent.media.ports import Keys
from sip.wire import sdes, sdp
from sip.wire.sdes import KEY_OCTETS, SUITES, Crypto


class DeviceKeys:
    """``secret`` makes 32 bytes for a use, the same ones at each start; ``name`` is the call's own, and nobody
    else's."""

    __slots__ = ("_secret", "name")

    def __init__(self, secret: Callable[[str], bytes], name: str) -> None:
        self._secret = secret
        self.name = name

    def opened(self, description: bytes) -> tuple[bytes, list[Keys | None]]:
        """A device's description as if it secured nothing, and what the relay needs for each section. Raises
        `SdpError` for media that is not secured so."""
        theirs = sdes.keys(description)
        found = [self._keys(index, one) for index, one in enumerate(theirs)]
        return sdes.plain(description), found

    def closed(self, description: bytes, answered: bytes) -> bytes:
        """What a device is told: ``description`` with our keys; the one that it chose where it answers the offer
        ``answered``, else one for each suite that we know."""
        chosen = sdes.keys(answered) if answered else []
        count = len(sdp.endpoints(description))
        lines = [self._lines(index, chosen[index : index + 1] if answered else None) for index in range(count)]
        return sdes.secured(description, lines)

    def _lines(self, index: int, chosen: Sequence[Crypto | None] | None) -> list[Crypto]:
        if chosen is None:
            return [Crypto(str(tag), suite, self._key(index, suite)) for tag, suite in enumerate(SUITES, 1)]
        return [Crypto(one.tag, one.suite, self._key(index, one.suite)) for one in chosen if one is not None]

    def _keys(self, index: int, theirs: Crypto | None) -> Keys | None:
        if theirs is None:
            return None
        ours = self._key(index, theirs.suite)
        return Keys(theirs.suite, b64encode(ours).decode(), b64encode(theirs.key).decode())

    def _key(self, index: int, suite: str) -> bytes:
        return self._secret(f"sdes {self.name} {index} {suite}")[:KEY_OCTETS]


def check_plain(description: bytes) -> None:
    """Raises `SdpError` where the other side has secured its media: it would meet SRTP of another key here."""
    for place in sdp.endpoints(description):
        if place.is_rtp and not place.rejected and not sdes.is_plain(place):
            raise sdp.SdpError(f"SRTP ends at this line, and the other side wants {place.proto} to pass")
