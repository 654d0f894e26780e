"""The relay's measurements of a call, fetched when it ends: the end is postponed until they are here, so that servers
can be told them with it.

The relay is another process, which answers within a millisecond or so; it is waited for at most 50 ms. The postponed
end is a BYE of either side, or the agent's own decision. If the agent dies meanwhile, the BYE is sent again by its
sender.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway_agent.e_model import Codec, mean_opinion_score, rating
from gateway_agent.media.ports import Figures, Pair
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.session_description import SessionDescription
from sip.media_quality import FIELD, MediaQuality, StreamQuality
from sip.timers import Deadlines

WITHIN: Final = 0.05
DELAY_MS: Final = 100.0
"""Mouth-to-ear delay assumed, since a relay cannot measure it: the most that terrestrial calls have (ITU-T G.114)."""
_LATE: Final = "no word of the relay"
_G711: Final = Codec()
_BY_NAME: Final[Mapping[bytes, Codec]] = MappingProxyType(
    {b"G729": Codec(11, 19.0), b"G723": Codec(15, 16.1), b"GSM": Codec(20, 10.0), b"GSM-EFR": Codec(5, 10.0)}
)
"""G.113 appendix I; of GSM full rate it has no robustness, so that of the enhanced one stands for it."""
_BY_TYPE: Final[Mapping[int, bytes]] = MappingProxyType({3: b"GSM", 4: b"G723", 18: b"G729"})
"""RFC 3551 section 6."""


class LastFigures:
    """The measurements of one relayed call."""

    __slots__ = ("_anchor", "_asked", "_deadlines", "_described", "_pairs", "_waiting", "generation", "text")

    def __init__(self, anchor: MediaAnchor, described: Callable[[], bytes], deadlines: Deadlines) -> None:
        """``described`` gives the session description with the call's payload types."""
        self._anchor = anchor
        self._described = described
        self._deadlines = deadlines
        self._waiting: list[Callable[[float], None]] = []
        self._asked = False
        self._pairs: tuple[Pair, Pair] | None = None
        self.generation = 0
        self.text = ""
        """The value of Media-Quality; ``""`` where nothing was measured."""

    def first(self, end: Callable[[float], None], now: float) -> bool:
        """Whether the end of the call is postponed: ``end`` is called when the relay has answered, or is late."""
        if not self._asked:
            self._asked = True
            self._pairs = self._anchor.measure()
            if self._pairs is not None:
                self._waiting.append(end)
                self._deadlines.set(now + WITHIN, self, _LATE)
                return True
        elif self._waiting:
            self._waiting.append(end)
            return True
        return False

    def said(self, figures: Mapping[Pair, Figures], now: float) -> None:
        """The relay's measurements of these pairs are here."""
        if self._pairs is not None:
            described = self._described()
            ways = (
                _stream(one, described) if (one := figures.get(pair)) is not None else None for pair in self._pairs
            )
            self.text = MediaQuality(*ways).encode()
            self._go_on(now)

    def due(self, cause: str, now: float) -> None:
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        self.generation += 1
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            end(now)


def measured(description: SessionDescription, deadlines: Deadlines) -> LastFigures | None:
    """The measurements of a call with that session description; None where its media is not relayed."""
    if not description.anchor.is_relayed:
        return None
    return LastFigures(description.anchor, lambda: description.server.local, deadlines)


def told(figures: LastFigures | None) -> tuple[str, ...]:
    """The Media-Quality header line for the message that ends the call; ``()`` without measurements."""
    return (f"{FIELD}: {figures.text}",) if figures is not None and figures.text else ()


def _stream(figures: Figures, described: bytes) -> StreamQuality:
    score = None
    if figures.packets:
        share = figures.lost / (figures.packets + figures.lost)
        # a jitter buffer delays by about twice the jitter
        delay = DELAY_MS + 2 * figures.jitter_ms
        score = mean_opinion_score(rating(delay, share, codec_of(figures.type, described)))
    return StreamQuality(figures.packets, figures.lost, figures.jitter_ms, score)


def codec_of(payload_type: int, described: bytes) -> Codec:
    """The codec's parameters for the E-model; an unknown codec is taken for G.711."""
    found = re.search(rb"(?m)^a=rtpmap:%d ([^/\s]{1,32})/" % payload_type, described) if payload_type >= 0 else None
    name = found[1].upper() if found is not None else _BY_TYPE.get(payload_type, b"")
    return _BY_NAME.get(name, _G711)
