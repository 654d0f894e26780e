"""The clock of all shells: seconds since the machine was booted, time in suspension included."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

boottime: Final[Callable[[], float]] = (
    # CLOCK_MONOTONIC stands still while a machine is suspended, and then a lease would seem valid for too long.
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Read CLOCK_BOOTTIME (monotonic time where there is none): some 100 ns a call, never set back."""
