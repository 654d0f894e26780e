"""Header field Media-Quality of the site (docs/wire.md): a relay's measurements of a call's media, both directions.

``device;packets=1500;lost=3;jitter=2.1;mos=4.36, far;packets=1498;lost=0;jitter=0.4;mos=4.41``: what came from the
agent's device, and what came from the far side. Agents write it, servers read it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

FIELD: Final = "Media-Quality"
NAME: Final = "media-quality"
LONGEST: Final = 256
_WAY: Final = re.compile(
    r"\s*(device|far);packets=([0-9]{1,12});lost=([0-9]{1,12});jitter=([0-9]{1,9}(?:\.[0-9]{1,6})?)"
    r"(?:;mos=([1-5](?:\.[0-9]{1,6})?))?\s*\Z"
)


class StreamQuality(NamedTuple):
    """The measurements of one direction."""

    packets: int
    """RTP packets received."""
    lost: int
    """RTP packets lost (RFC 3550 appendix A.3)."""
    jitter_ms: float
    """The mean of the interarrival jitter (RFC 3550 section 6.4.1)."""
    mos: float | None
    """The mean opinion score estimated by the E-model (ITU-T G.107); None where no packet came."""

    def encode(self, way: str) -> str:
        score = "" if self.mos is None else f";mos={self.mos:.2f}"
        return f"{way};packets={self.packets};lost={self.lost};jitter={self.jitter_ms:.1f}{score}"


class MediaQuality(NamedTuple):
    """The measurements of a call at one agent."""

    device: StreamQuality | None = None
    far: StreamQuality | None = None

    def encode(self) -> str:
        ways = (("device", self.device), ("far", self.far))
        return ", ".join(one.encode(way) for way, one in ways if one is not None)


NOT_MEASURED: Final = MediaQuality()


def decode(text: str) -> MediaQuality:
    """The inverse of :meth:`MediaQuality.encode`; malformed parts count as not measured."""
    if not text or len(text) > LONGEST:
        return NOT_MEASURED
    ways: dict[str, StreamQuality] = {}
    for part in text.split(","):
        if found := _WAY.match(part):
            way, packets, lost, jitter, mos = found.groups()
            ways[way] = StreamQuality(int(packets), int(lost), float(jitter), float(mos) if mos else None)
    return MediaQuality(ways.get("device"), ways.get("far"))
