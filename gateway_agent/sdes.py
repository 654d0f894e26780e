"""SRTP of one call towards a device that exchanges keys in session descriptions (``srtp = "sdes"``, RFC 4568). It
ends at the agent's relay: media towards the servers, or the WebRTC gateway, is plain RTP.

The keys for sending are derived from the site key and a name that the call's line state has. So they are the same
after a restart of this agent, and are kept nowhere but in the descriptions that the device was given.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence

from gateway_agent.media.ports import Keys
from sip.wire import sdes, sdp
from sip.wire.sdes import KEY_OCTETS, SUITES, Crypto


class DeviceKeys:
    """The SRTP keys of one call. ``secret`` derives 32 bytes for a use, the same after each restart; ``name`` is
    unique to the call."""

    __slots__ = ("_secret", "name")

    def __init__(self, secret: Callable[[str], bytes], name: str) -> None:
        self._secret = secret
        self.name = name

    def opened(self, description: bytes) -> tuple[bytes, list[Keys | None]]:
        """A device's description without its keys, as plain RTP, and the relay's keys for each section. Raises
        `SdpError` for media that is not secured by SDES."""
        theirs = sdes.keys(description)
        found = [self._keys(index, one) for index, one in enumerate(theirs)]
        return sdes.plain(description), found

    def closed(self, description: bytes, answered: bytes) -> bytes:
        """``description`` with our keys, for a device. Where it answers the device's offer ``answered``, it has the
        suite chosen from that; as an offer it has a key for each suite that we know."""
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
    """Raises `SdpError` where the other side has secured its media: SRTP ends at this line, with other keys."""
    for place in sdp.endpoints(description):
        if place.is_rtp and not place.rejected and not sdes.is_plain(place):
            raise sdp.SdpError(f"SRTP ends at this line, and the other side wants {place.proto} to pass")
