"""Running a program: on uvloop when it is installed, else on asyncio's own loop."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from sip.io.huge_pages import HugePages

T = TypeVar("T")

_TURN_S: Final = 0.0005
"""How long a thread beside the loop may keep the interpreter when a message has come: Python's own 5 ms are more than
two calls take."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the fastest loop that there is here."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


def loop_class() -> type[asyncio.AbstractEventLoop]:
    """What it makes, for who needs a loop with a difference."""
    try:
        from uvloop import Loop
    except ImportError:
        return asyncio.SelectorEventLoop
    return Loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on such a loop, with as many descriptors as the system allows, in huge pages
    where it allows them, and with other threads in the way of the loop for less than a millisecond.
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
