"""The room on disks: as of the last answer, and a sentence when it is scarce."""

from __future__ import annotations

from pathlib import Path

from heartbeat.console.disk_space import DiskSpace
from heartbeat.console.views.process import Disk


def test_what_the_disks_say(tmp_path: Path) -> None:
    space = DiskSpace({"state": tmp_path, "gone": tmp_path / "nowhere"})
    assert space.disks == () and space.warnings("m1") == []
    space._measure()
    (disk,) = space.disks
    assert disk.directory == "state" and 0 < disk.free <= disk.size


def test_a_disk_that_is_nearly_full_is_warned_of(tmp_path: Path) -> None:
    space = DiskSpace({})
    space.disks = (Disk("state", 50 * 2**20, 10**12), Disk("cdr", 150 * 2**20, 10**12), Disk("small", 10**6, 10**7))
    assert space.warnings("m1") == ["the disk of m1 for state is nearly full: 50 MB are left"]
    space.disks = (Disk("state", 0, 10**7), Disk("cdr", 0, 10**7))
    assert space.warnings("m1") == ["the disk of m1 for state and cdr is nearly full: 0 MB are left"]
