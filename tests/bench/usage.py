"""What processes use, read from /proc: CPU time, and memory of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_HERTZ: Final = os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")


def tree(pids: Iterable[int]) -> list[int]:
    """These processes and all their descendants that live."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found and (PROC / str(pid)).exists():
            found.append(pid)
            waiting += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time, user and system, of these processes and their descendants so far, in seconds."""
    ticks = 0
    for pid in tree(pids):
        if fields := _stat(pid):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _HERTZ


def own_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes and their descendants without what is mapped from files: code that others share."""
    total = 0
    for pid in tree(pids):
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total * 1024


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory (``VmRSS``) of these processes and their descendants."""
    total = 0
    for pid in tree(pids):
        try:
            text = (PROC / str(pid) / "status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))
    return total * 1024


def machine_busy_s() -> float:
    """CPU time that the whole machine has used, in seconds."""
    fields = [int(text) for text in (PROC / "stat").read_text().partition("\n")[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / _HERTZ


def settle(pids: list[int], seconds: float = 40.0) -> None:
    """Wait until these processes have gone quiet, as after an overload."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = cpu_s(pids)
        time.sleep(0.5)
        if cpu_s(pids) - before < 0.03:
            return
