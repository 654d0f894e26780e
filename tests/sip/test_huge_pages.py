"""sip.io.huge_pages: what is asked for, and that asking changes nothing."""

from __future__ import annotations

from sip.io import huge_pages

_MAPS = """\
55d0c0a00000-55d0c0a01000 rw-p 00005000 fe:00 123 /usr/bin/python3.11
55d0c13f0000-55d0c1900000 rw-p 00000000 00:00 0                          [heap]
7f3900000000-7f3900021000 rw-p 00000000 00:00 0
7f3900021000-7f3904000000 ---p 00000000 00:00 0
7f39ca5ff000-7f39caa01000 rw-p 00000000 00:00 0
7f39cb000000-7f39cb400000 rw-s 00000000 00:01 7 /dev/zero (deleted)
7f39cc000000-7f39cc400000 r-xp 00000000 fe:00 9 /usr/lib/libpython3.11.so
7ffc1b000000-7ffc1b400000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_huge_pages_of_private_memory_are_asked_for() -> None:
    found = [(hex(start), length >> 20) for start, length in huge_pages.ranges(_MAPS)]
    assert found == [("0x55d0c1400000", 4), ("0x7f39ca600000", 4)]


def test_what_is_in_memory_stays() -> None:
    kept = [bytes([index % 251]) * 5000 for index in range(2000)]
    assert huge_pages.collapse() % huge_pages.SIZE == 0
    assert all(each == bytes([index % 251]) * 5000 for index, each in enumerate(kept))
