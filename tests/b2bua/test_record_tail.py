"""What of a server's files is still to be told: counted, read in order, remembered over starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2bua.record_tail import MOST_BYTES, RecordTail

FIRST, SECOND = "m1-2026-01-30.jsonl", "m1-2026-01-31.jsonl"


def tail(directory: Path) -> RecordTail:
    return RecordTail(directory, "m1", directory / "records-x.json")


def add(directory: Path, name: str, *lines: str) -> None:
    with (directory / name).open("a") as file:
        file.write("".join(lines))


def read(one: RecordTail, most: int = 100) -> list[str]:
    one.look()
    batch = one.batch(most)
    if batch is None:
        return []
    one.told(batch)
    return [text.strip() for text in batch.texts]


def test_files_are_read_in_order_of_their_days_and_only_ones_own(tmp_path: Path) -> None:
    add(tmp_path, SECOND, "3\n")
    add(tmp_path, FIRST, "1\n", "2\n")
    add(tmp_path, "m2-2026-01-30.jsonl", "other\n")
    add(tmp_path, "m1.sqlite", "other\n")
    one = tail(tmp_path)
    one.look()
    assert one.waiting == 3
    assert [read(one), read(one), read(one)] == [["1", "2"], ["3"], []]
    add(tmp_path, FIRST, "4\n")  # a call that ended before midnight, written after
    assert read(one) == ["4"] and one.waiting == 0


def test_the_next_start_goes_on_where_it_was(tmp_path: Path) -> None:
    add(tmp_path, FIRST, *(f"{number}\n" for number in range(5)))
    assert read(tail(tmp_path), 2) == ["0", "1"]
    one = tail(tmp_path)
    assert read(one, 2) == ["2", "3"] and one.waiting == 1
    one.look()
    assert one.batch(2) is not None  # it was not told
    assert read(tail(tmp_path)) == ["4"]
    assert read(tail(tmp_path)) == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    add(tmp_path, FIRST, "whole\n", "ha")
    one = tail(tmp_path)
    assert read(one) == ["whole"] and read(one) == []
    add(tmp_path, FIRST, "lf\n")
    assert read(one) == ["half"]


def test_a_line_that_is_none_of_ours_does_not_stand_in_the_way(tmp_path: Path) -> None:
    add(tmp_path, FIRST, "x" * (MOST_BYTES + 5), "\n", "next\n")
    one = tail(tmp_path)
    assert read(one) == []
    assert read(one)[-1] == "next"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"m1-2026-01-30.jsonl": -1}', '{"m1-2026-01-30.jsonl": "x"}'])
def test_without_a_position_that_can_be_read_all_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "records-x.json").write_text(text)
    add(tmp_path, FIRST, "1\n")
    assert read(tail(tmp_path)) == ["1"]


def test_what_is_removed_before_it_was_told_is_lost_and_counted(tmp_path: Path) -> None:
    add(tmp_path, FIRST, "1\n", "2\n", "3\n")
    add(tmp_path, SECOND, "4\n")
    one = tail(tmp_path)
    assert read(one, 1) == ["1"]
    (tmp_path / FIRST).unlink()
    assert read(one) == ["4"]
    assert (one.lost, one.waiting) == (2, 0)
    add(tmp_path, FIRST, "5\n")
    assert read(one) == ["5"]


def test_another_file_of_that_name_is_told_from_its_beginning(tmp_path: Path) -> None:
    add(tmp_path, FIRST, "a long line\n")
    one = tail(tmp_path)
    assert read(one) == ["a long line"]
    (tmp_path / FIRST).write_text("new\n")
    assert read(one) == ["new"]
