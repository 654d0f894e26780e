"""The test tone in recordings: its power, its onsets, and the delay between two recordings."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log10, pi
from statistics import median
from typing import Final, NamedTuple

TONE_HZ: Final = 1004
"""Frequency of the test tone (ITU-T O.6: no submultiple of 8 kHz)."""
BURST_MS: Final = 200
PERIOD_MS: Final = 1000
"""Period of a probe's bursts; a longer delay would be taken for a shorter one."""
WINDOW_MS: Final = 5
"""Accuracy of onsets: about five periods of the tone."""
QUIET: Final = 1e-5
"""Share of full-scale power below which there is no tone: -50 dBov."""


def power(samples: Sequence[int], rate: int, hertz: float = TONE_HZ) -> float:
    """The power of one frequency in 16-bit samples, as a share of that of a full-scale sine (Goertzel)."""
    if not samples:
        return 0.0
    turn = 2 * cos(2 * pi * hertz / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    energy = last * last + before * before - turn * last * before
    return energy * 4 / (len(samples) * 32768.0) ** 2


def onsets(samples: Sequence[int], rate: int) -> list[int]:
    """The onsets of bursts of the tone, in milliseconds."""
    width = rate * WINDOW_MS // 1000
    powers = [power(samples[at : at + width], rate) for at in range(0, len(samples) - width + 1, width)]
    enough = max(QUIET, max(powers, default=0.0) / 4)
    found: list[int] = []
    sounding = False
    for index, one in enumerate(powers):
        if one >= enough and not sounding and index * WINDOW_MS - (found[-1] if found else -PERIOD_MS) > BURST_MS * 2:
            found.append(index * WINDOW_MS)
        sounding = one >= enough
    return found


class Echo(NamedTuple):
    """The echo of a probe's bursts."""

    sent: int
    heard: int
    """Bursts that came back."""
    delay_ms: float | None
    """Median round-trip delay; None if nothing came back."""


def echo_of(sent: Sequence[int], heard: Sequence[int], length_ms: int) -> Echo:
    """The echo, from onsets in milliseconds of two recordings of ``length_ms`` with one clock. Bursts whose echo may
    have come after the end do not count."""
    due = [at for at in sent if at + PERIOD_MS <= length_ms]
    first = [next((one - at for one in heard if at <= one < at + PERIOD_MS), None) for at in due]
    delays = [delay for delay in first if delay is not None]
    return Echo(len(due), len(delays), float(median(delays)) if delays else None)


def dbov(level: int) -> float | None:
    """A signal level of pjsua2 (100/255 of the inverted mu-law code of the mean amplitude) in dBov (RFC 6465),
    accurate to 1.5 dB; None for silence."""
    if level <= 0:
        return None
    code = min(round((level + 0.5) * 2.55), 127)
    amplitude = (((code & 15) << 3) + 132 << (code >> 4)) - 132
    return round(20 * log10(amplitude / 32768), 1)
