"""sip.io.huge_pages: what is asked for, and that asking changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

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


class Kernel:
    """Where memory lies, as the kernel tells it, and what it was asked to move."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[int] = []
        self.answer = 0
        self.clock = 0.0
        self.takes = 0.0
        """Seconds for a page."""
        self.lies_at(0x7F0000000000, 4)

    def lies_at(self, start: int, megabytes: int) -> None:
        self.path.write_text(f"{start:x}-{start + (megabytes << 20):x} rw-p 00000000 00:00 0 \n")

    def madvise(self, start: int, length: int, advice: int) -> int:
        assert length == huge_pages.SIZE and advice == 25
        self.asked.append(start)
        self.clock += self.takes
        return self.answer


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path / "maps")
    monkeypatch.setattr(huge_pages, "_MAPS", kernel.path)

    class Library:
        madvise: Callable[[int, int, int], int]

        def __init__(self, name: None) -> None:
            def madvise(start: int, length: int, advice: int) -> int:
                return kernel.madvise(start, length, advice)

            self.madvise = madvise

    monkeypatch.setattr(huge_pages.ctypes, "CDLL", Library)
    monkeypatch.setattr(huge_pages.time, "monotonic", lambda: kernel.clock)
    return kernel


def test_a_page_is_asked_for_once_and_what_came_since_with_the_next_look(kernel: Kernel) -> None:
    pages = huge_pages.HugePages()
    assert pages.take() == 4 << 20
    assert pages.take() == 0
    kernel.lies_at(0x7F0000000000, 6)
    assert pages.take() == 2 << 20
    assert kernel.asked == [0x7F0000000000, 0x7F0000200000, 0x7F0000400000]


def test_memory_that_was_given_back_is_asked_for_again_when_it_returns(kernel: Kernel) -> None:
    pages = huge_pages.HugePages()
    pages.take()
    kernel.lies_at(0x7F0000000000, 2)
    pages.take()
    kernel.lies_at(0x7F0000000000, 4)
    assert pages.take() == 2 << 20
    assert kernel.asked[2:] == [0x7F0000200000]


def test_where_the_kernel_will_not_it_is_not_asked_for_the_same_again(kernel: Kernel) -> None:
    kernel.answer = -1
    pages = huge_pages.HugePages()
    assert pages.take() == pages.take() == 0
    assert len(kernel.asked) == 2


def test_a_kernel_that_takes_long_for_a_page_is_asked_for_no_more(kernel: Kernel) -> None:
    kernel.takes = 2 * huge_pages.MOST_S
    pages = huge_pages.HugePages()
    pages.take()
    kernel.takes = 0.0
    kernel.lies_at(0x7F0000000000, 8)
    assert pages.take() == 0 and len(kernel.asked) == 1


def test_a_thread_looks_until_it_is_stopped(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_SOON_S", 0.001)
    looked = threading.Event()
    monkeypatch.setattr(kernel, "madvise", lambda *_: looked.set() or 0)
    pages = huge_pages.HugePages()
    pages.start()
    assert looked.wait(10.0)
    pages.stop()
    assert "huge pages" not in {thread.name for thread in threading.enumerate()}
