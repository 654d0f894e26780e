"""Running a program on uvloop if it is installed, else on asyncio's own loop."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from sip.io.huge_pages import HugePages

T = TypeVar("T")

_TURN_S: Final = 0.0005
"""Seconds that another thread may keep the interpreter's lock when the loop wants it. Python's default of 5 ms is
longer than two calls take."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """A factory for the fastest event loop that is installed."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


def loop_class() -> type[asyncio.AbstractEventLoop]:
    """The class of that event loop, for subclasses."""
    try:
        from uvloop import Loop
    except ImportError:
        return asyncio.SelectorEventLoop
    return Loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on such a loop, with the hard limit of file descriptors, with memory in huge
    pages where the kernel supports it, and with a short switch interval for other threads.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(_TURN_S)
    pages = HugePages()
    pages.start()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(main)
    finally:
        pages.stop()
