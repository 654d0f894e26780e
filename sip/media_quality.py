"""Header field Media-Quality of the site (docs/wire.md): what a relay has measured of a call's media, both ways.

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
    """Of one direction."""

    packets: int
    """RTP packets that came."""
    lost: int
    """Those that should have come besides (RFC 3550 appendix A.3)."""
    jitter_ms: float
    """The mean of the interarrival jitter (RFC 3550 section 6.4.1)."""
    mos: float | None
    """The mean opinion score that the E-model (ITU-T G.107) estimates of them; None where nothing came."""

    def encode(self, way: str) -> str:
        score = "" if self.mos is None else f";mos={self.mos:.2f}"
        return f"{way};packets={self.packets};lost={self.lost};jitter={self.jitter_ms:.1f}{score}"


class MediaQuality(NamedTuple):
    """Of a call at one agent."""

    device: StreamQuality | None = None
    far: StreamQuality | None = None

    def encode(self) -> str:
        ways = (("device", self.device), ("far", self.far))
        return ", ".join(one.encode(way) for way, one in ways if one is not None)


NOT_MEASURED: Final = MediaQuality()


def decode(text: str) -> MediaQuality:
    """Read :meth:`MediaQuality.encode` again; what cannot be read is as if it was not measured."""
    if not text or len(text) > LONGEST:
        return NOT_MEASURED
    ways: dict[str, StreamQuality] = {}
    for part in text.split(","):
        if found := _WAY.match(part):
            way, packets, lost, jitter, mos = found.groups()
            ways[way] = StreamQuality(int(packets), int(lost), float(jitter), float(mos) if mos else None)
    return MediaQuality(ways.get("device"), ways.get("far"))
