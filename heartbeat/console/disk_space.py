"""Free space of the disks that a process writes to, measured in a thread, as a hanging disk must not stop the
loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from heartbeat.console.views.process import Disk

SCARCE_BYTES: Final = 100 * 2**20
SCARCE_SHARE: Final = 0.02
"""A warning is given for a disk with less free than both."""


class DiskSpace:
    """The free space in some directories as last measured."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self.disks: tuple[Disk, ...] = ()
        self._directories = dict(directories)
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Start a measurement, unless one is under way; it updates ``disks`` when it ends."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._measure, name="disk space", daemon=True)
            self._thread.start()

    def warnings(self, node: str) -> list[str]:
        """A sentence for each disk that is nearly full."""
        scarce: dict[tuple[int, int], list[str]] = {}
        for disk in self.disks:
            if disk.free < min(SCARCE_BYTES, SCARCE_SHARE * disk.size):
                scarce.setdefault((disk.free, disk.size), []).append(disk.directory)  # equal figures: it is one disk
        return [
            f"the disk of {node} for {' and '.join(names)} is nearly full: {free / 2**20:.0f} MB are left"
            for (free, _), names in scarce.items()
        ]

    def _measure(self) -> None:
        found = []
        for name, directory in self._directories.items():
            try:
                stat = os.statvfs(directory)
            except OSError:
                continue
            found.append(Disk(name, stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
        self.disks = tuple(found)
