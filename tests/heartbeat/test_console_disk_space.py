"""The room on disks: as of the last answer, and a sentence when it is scarce."""

from __future__ import annotations

from pathlib import Path

from heartbeat.console.disk_space import DiskSpace
from heartbeat.console.view import Disk


def test_what_the_disks_say(tmp_path: Path) -> None:
    space = DiskSpace({"state": tmp_path, "gone": tmp_path / "nowhere"})
    assert space.disks == () and space.warnings("m1") == []
    space._measure()
    (disk,) = space.disks
    assert disk.directory == "state" and 0 < disk.free <= disk.size


def test_a_disk_that_is_nearly_full_is_warned_of(tmp_path: Path) -> None:
    space = DiskSpace({})
    space.disks = (Disk("state", 50 * 2**20, 10**12), Disk("cdr", 150 * 2**20, 10**12), Disk("small", 10**6, 10**7))
    assert space.warnings("m1") == ["m1 has only 50 MB left in its state directory"]
