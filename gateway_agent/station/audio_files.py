"""WAV files that a station plays or has recorded."""

from __future__ import annotations

import sys
import wave
from array import array
from pathlib import Path
from typing import NamedTuple

RATES = (8000, 16000)
Broken = wave.Error


class Recording(NamedTuple):
    """16-bit samples of one channel."""

    samples: array[int]
    rate: int

    @property
    def length_ms(self) -> int:
        return len(self.samples) * 1000 // self.rate


def length_of(path: Path) -> float:
    """Duration of a file in seconds. Raises `ValueError` with a sentence if it cannot be played."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
    except (OSError, EOFError, wave.Error) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error) or "it is cut"
        raise ValueError(f"{path} cannot be played: {why}") from None
    if channels != 1 or width != 2 or rate not in RATES or not frames:
        raise ValueError(f"{path} cannot be played: it must have samples of 16 bits, one channel, at 8 or 16 kHz")
    return frames / rate


def is_complete(path: Path) -> bool:
    """Whether a recording was closed, upon which its length is written into its header."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() > 0
    except (OSError, EOFError, wave.Error):
        return False


def read(path: Path) -> Recording:
    """The samples of a recording, as far as they were written. Raises `OSError`, `Broken`, `EOFError`."""
    with wave.open(str(path), "rb") as file:
        data = file.readframes(file.getnframes())
        samples = array("h", data[: len(data) // 2 * 2])
        if sys.byteorder == "big":
            samples.byteswap()
        return Recording(samples, file.getframerate())
