"""The clock of every shell: seconds since the machine started, suspended time included."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

boottime: Final[Callable[[], float]] = (
    # Monotonic time stands still while a machine sleeps, but its peers do not: leases must run on.
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Read CLOCK_BOOTTIME (monotonic time where there is none): some 100 ns a call, never set back."""
