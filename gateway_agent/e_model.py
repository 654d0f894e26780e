"""How a call sounds by ITU-T G.107 (the E-model) with its default values, where delay and loss are what was measured.

It is a planning model for narrow-band speech: an estimate of what people would say, not a measurement of the audio.
"""

from __future__ import annotations

from math import exp, log2, log10, sqrt
from typing import Final, NamedTuple

# Table 2 of G.107. dB and dBm0p where a level is meant.
SLR, RLR, STMR, LSTR = 8.0, 2.0, 15.0, 18.0
DS, TELR, WEPL = 3.0, 65.0, 110.0
QDU, NC, NFOR, PS, PR = 1.0, -70.0, -64.0, 35.0, 35.0
OLR: Final = SLR + RLR


class Codec(NamedTuple):
    """What a codec does to speech (G.113 appendix I)."""

    impairment: float = 0.0
    """Ie, without loss."""
    robustness: float = 25.1
    """Bpl against packet loss; this one is of G.711 with packet loss concealment (G.711 appendix I)."""


G711: Final = Codec()


def rating(one_way_ms: float, loss: float, codec: Codec = G711) -> float:
    """The transmission rating R, at most about 93.3: equation 7-1, with random loss (``loss`` a share, 0 to 1) and
    the delay from mouth to ear in milliseconds, which is that of the talker's echo too."""
    noise = _room_and_circuit_noise()
    basic = 15 - 1.5 * (SLR + noise)
    percent = 100 * loss
    lossy = codec.impairment + (95 - codec.impairment) * percent / (percent + codec.robustness)
    return basic - _simultaneous(basic, noise, one_way_ms) - _delayed(basic, noise, one_way_ms) - lossy


def mean_opinion_score(rated: float) -> float:
    """The mean opinion score (MOS-CQE) of a rating, 1 to 4.5: G.107 annex B."""
    if rated <= 0:
        return 1.0
    if rated >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rated + rated * (rated - 60) * (100 - rated) * 7e-6)


def _room_and_circuit_noise() -> float:
    """No, equations 7-3 to 7-7."""
    sent = PS - SLR - DS - 100 + 0.004 * (PS - OLR - DS - 14) ** 2
    effective = PR + 10 * log10(1 + 10 ** ((10 - LSTR) / 10))
    heard = RLR - 121 + effective + 0.008 * (effective - 35) ** 2
    return 10 * log10(sum(10 ** (level / 10) for level in (NC, sent, heard, NFOR + RLR)))


def _simultaneous(basic: float, noise: float, delay: float) -> float:
    """Is, equations 7-8 to 7-17: too loud, side tone, quantisation."""
    loudness = OLR + 0.2 * (64 + noise - RLR)
    too_loud = 20 * ((1 + (loudness / 8) ** 8) ** (1 / 8) - loudness / 8)
    side = -10 * log10(10 ** (-STMR / 10) + exp(-delay / 4) * 10 ** (-TELR / 10))
    side_tone = (
        12 * (1 + ((side - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((side + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((side - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    quality = 37 - 15 * log10(QDU)
    g = 1.07 + 0.258 * quality + 0.0602 * quality**2
    y, z = (basic - 100) / 15 + 46 / 8.4 - g / 9, 46 / 30 - g / 40
    return float(too_loud + side_tone + 15 * log10(1 + 10**y + 10**z))


def _delayed(basic: float, noise: float, delay: float) -> float:
    """Id, equations 7-18 to 7-28: the talker's echo, the listener's, and the delay itself."""
    echo_loss = TELR - 40 * log10((1 + delay / 10) / (1 + delay / 150)) + 6 * exp(-0.3 * delay**2)
    echo = 80 + 2.5 * (echo_loss - 14)
    free = -1.5 * (noise - RLR)
    talker = ((free - echo) / 2 + sqrt((free - echo) ** 2 / 4 + 100) - 1) * (1 - exp(-delay))
    listening = 10.5 * (WEPL + 7) * (2 * delay + 1) ** -0.25
    listener = (basic - listening) / 2 + sqrt((basic - listening) ** 2 / 4 + 169)
    return float(talker + listener + _too_late(delay))


def _too_late(delay: float) -> float:
    if delay <= 100:
        return 0.0
    x = log2(delay / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))
