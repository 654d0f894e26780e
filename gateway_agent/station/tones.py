"""The tone in a recording: how loud it is, where it begins, how much later one recording has it than another."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log10, pi
from statistics import median
from typing import Final, NamedTuple

TONE_HZ: Final = 1004
"""The test tone of telephony (ITU-T O.6 keeps it off the submultiples of 8 kHz)."""
BURST_MS: Final = 200
PERIOD_MS: Final = 1000
"""Of the bursts of a probe; a delay above it cannot be told from a shorter one."""
WINDOW_MS: Final = 5
"""About five periods of the tone: as exact as an onset is found."""
QUIET: Final = 1e-5
"""Share of the power of full scale under which there is no tone: -50 dBov."""


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
    """Where bursts of the tone begin, in milliseconds."""
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
    """What came back of the bursts that were sent."""

    sent: int
    heard: int
    """Of these."""
    delay_ms: float | None
    """Median time from mouth to ear and back; None where nothing came back."""


def echo_of(sent: Sequence[int], heard: Sequence[int], length_ms: int) -> Echo:
    """``sent`` and ``heard`` are onsets by one clock, in recordings that long: bursts whose echo might have come
    after their end do not count."""
    due = [at for at in sent if at + PERIOD_MS <= length_ms]
    first = [next((one - at for one in heard if at <= one < at + PERIOD_MS), None) for at in due]
    delays = [delay for delay in first if delay is not None]
    return Echo(len(due), len(delays), float(median(delays)) if delays else None)


def dbov(level: int) -> float | None:
    """A signal level of pjsua2 (100/255 of the mu-law code of the mean amplitude, inverted) in dB of overload (RFC
    6465), to 1.5 dB; None for silence."""
    if level <= 0:
        return None
    code = min(round((level + 0.5) * 2.55), 127)
    amplitude = (((code & 15) << 3) + 132 << (code >> 4)) - 132
    return round(20 * log10(amplitude / 32768), 1)
