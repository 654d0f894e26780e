"""The child's side of a supervisor: its messages and keep-alives, and how it notices the supervisor's death."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from heartbeat.supervisor import ENVIRONMENT, TICK, TICKS, shortest

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_DUMPABLE: Final = 4
_ORPHANED: Final = signal.SIGUSR1
"""Signal of the kernel when the supervisor dies; without a handler it ends the process."""


class SupervisorGone(Exception):
    """The supervisor ended before its child began; its text is the sentence for the operator."""


def become_supervisor() -> NoReturn:
    """Replace this process by a supervisor that starts the same command."""
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "heartbeat.supervisor", *command])


def is_supervised() -> bool:
    """Whether a supervisor started this process."""
    return ENVIRONMENT in os.environ


class Supervised:
    """Connects this process to its supervisor."""

    def __init__(self) -> None:
        """Raises `SupervisorGone`."""
        descriptor, parent, self.commitment = os.environ.pop(ENVIRONMENT).split()
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, int(_ORPHANED))
        if os.getppid() != int(parent):
            raise SupervisorGone("the supervisor of this server has ended; start the server anew")
        # writing a core dump of some hundred MB would delay the report of this death, and so the takeover
        prctl(_PR_SET_DUMPABLE, 0)
        self._pipe = socket.socket(fileno=int(descriptor))
        self._pipe.setblocking(False)
        self._pipe.set_inheritable(False)
        self._orphaned: list[Callable[[], None]] = []
        self._watchdogs: dict[str, float] = {}
        self._watchdog = 0.0
        self._alone = False
        self._ticking: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, orphaned: Callable[[], None]) -> None:
        """Call ``orphaned`` once when the supervisor has died; may be called by several sites."""
        self._orphaned.append(orphaned)
        if len(self._orphaned) > 1:
            return
        self._loop = loop

        def gone() -> None:
            loop.remove_reader(self._pipe)
            if not self._alone:
                self._alone = True
                for tell in self._orphaned:
                    tell()

        loop.add_signal_handler(_ORPHANED, gone)
        loop.add_reader(self._pipe, gone)  # it never writes, so the pipe is readable only at its end

    def tell(self, site: str, watchdog: float, **what: Any) -> None:
        """Tell the supervisor which servers to notify of our death for ``site``, and where to store it; with a
        ``watchdog`` (seconds, 0: none) keep-alives are sent from now on."""
        self._say(json.dumps({"site": site, "watchdog": watchdog, **what}).encode())
        self._watchdogs[site] = watchdog
        self._watchdog = shortest(self._watchdogs.values())
        if self._ticking is None:
            self._tick()

    def end(self) -> None:
        """Stop the keep-alives, and watching the supervisor."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._loop.remove_reader(self._pipe)
        self._loop.remove_signal_handler(_ORPHANED)

    def _tick(self) -> None:
        self._ticking = None
        if self._watchdog:
            self._say(TICK)
            self._ticking = self._loop.call_later(2 * self._watchdog / TICKS, self._tick)

    def _say(self, data: bytes) -> None:
        try:
            self._pipe.send(data)
        except OSError:
            pass  # the supervisor is stopped, or dead, and then `orphaned` is called
