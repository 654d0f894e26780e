"""Notifications to systemd by a service with ``Type=notify`` (sd_notify(3)); without systemd they do nothing."""

from __future__ import annotations

import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_ALIVE: Final = "WATCHDOG=1"


def tell(words: str) -> None:
    """Send a notification. Never blocks and never raises."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(words.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)
    except OSError:
        pass


def alive() -> None:
    """Notify the watchdog of the unit (``WatchdogSec=``), if it has one, that the loop runs."""
    if os.environ.get("WATCHDOG_PID") == str(os.getpid()):
        tell(_ALIVE)
