"""Call records on disk: files, rows, and a disk that refuses."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest

from b2bua.cdr import Cdr, merge_by_call
from b2bua.cdr_store import BATCH, CdrStore, Database, Entry, LineFile, Queue, encode, read

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def cdr(call: int, **changes) -> Cdr:
    start = NOON + call
    value = Cdr(
        f"c{call}", node="m1", started=start, answered=start + 1, ended=start + 5, result="answered", status=200
    )
    return value._replace(**changes)


def entry(record: Cdr) -> Entry:
    return Entry(record, encode(record))


def rows(directory):
    with sqlite3.connect(directory / "m1.sqlite") as connection:
        found = connection.execute(
            "SELECT id, started, ended, result, duration, record FROM cdr ORDER BY started"
        ).fetchall()
    connection.close()
    return found


def test_a_record_is_a_line_and_a_row(tmp_path):
    store = CdrStore(tmp_path / "cdr", "m1")
    records = [cdr(n) for n in range(3)]
    for record in records:
        store.write(record)
    store.close()
    assert (store.waiting, store.lost) == (0, 0)
    lines = (tmp_path / "cdr" / "m1-2023-11-14.jsonl").read_text().splitlines()
    assert [Cdr.from_json(json.loads(line)) for line in lines] == records
    assert [(row[0], row[1], row[3], row[4]) for row in rows(tmp_path / "cdr")] == [
        (record.id, record.started, "answered", 4.0) for record in records
    ]
    assert merge_by_call(read(tmp_path / "cdr")) == records


def test_who_is_told_of_records_hears_of_each_with_its_line_and_why_it_was_routed_so(tmp_path):
    told = []
    store = CdrStore(tmp_path, "m1", told=told.append)
    store.write(cdr(1), "a route says so")
    store.write(cdr(2, caller="\ud800"), "it cannot be written")
    store.write(cdr(3))
    store.close()
    assert told == [Entry(cdr(1), encode(cdr(1)), "a route says so"), entry(cdr(3))]


def test_a_full_batch_does_not_wait_for_the_interval(tmp_path):
    store = CdrStore(tmp_path, "m1", interval=3600.0)
    for n in range(BATCH + 1):
        store.write(cdr(n))
    store.close()
    assert len(merge_by_call(read(tmp_path))) == BATCH + 1


def test_a_second_record_of_a_call_is_merged_in_the_row(tmp_path):
    database = Database(tmp_path, "m1")
    database.write([entry(cdr(1, answered=None, ended=None, result="failed", status=503, node="m2"))])
    database.write([entry(cdr(1))])
    database.write([entry(cdr(1)), entry(cdr(2))])
    database.close()
    first, second = rows(tmp_path)
    assert first[2:5] == (NOON + 6, "answered", 4.0)
    assert Cdr.from_json(json.loads(first[5])) == cdr(1, node="m1+m2")
    assert second[0] == cdr(2).id


def test_calls_are_filed_by_the_day_on_which_they_ended(tmp_path):
    LineFile(tmp_path, "m1").write([entry(cdr(1)), entry(cdr(86400))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m1-2023-11-14.jsonl", "m1-2023-11-15.jsonl"]


def test_a_torn_line_costs_only_itself(tmp_path):
    lines = LineFile(tmp_path, "m1")
    lines.write([entry(cdr(1))])
    with (tmp_path / "m1-2023-11-14.jsonl").open("a") as file:
        file.write('{"call_id": "to')
    lines.write([entry(cdr(2))])
    assert list(read(tmp_path)) == [cdr(1), cdr(2)]


def test_reading_between_two_instants(tmp_path):
    store = CdrStore(tmp_path, "m1")
    for n in range(5):
        store.write(cdr(n))
    store.write(cdr(-3 * 86400))
    store.close()
    found = merge_by_call(read(tmp_path, NOON + 1, NOON + 3))
    assert [record.call_id for record in found] == ["c1", "c2"]


def test_a_directory_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read(tmp_path / "nowhere"))


class Disk:
    """A target that can be full."""

    name = "/full/disk"

    def __init__(self):
        self.full = True
        self.written = []
        self.tries = 0

    def write(self, entries):
        self.tries += 1
        if self.full:
            raise OSError(28, "No space left on device")
        self.written += [e.record.call_id for e in entries]

    def close(self):
        pass


def test_a_full_disk_is_said_once_and_tried_again_ever_more_slowly(caplog):
    caplog.set_level(logging.WARNING)
    disk = Disk()
    queue = Queue(disk, limit=3)
    queue.put([entry(cdr(1))])
    for tenth in range(100):
        queue.write(tenth / 10)
    assert disk.tries == 5  # at 0, 0.5, 1.5, 3.5, 7.5
    assert caplog.messages == [
        "Call records cannot be written to /full/disk: No space left on device. "
        "Up to 3 are kept in memory and tried again."
    ]
    assert queue.trouble == "/full/disk: No space left on device"
    queue.put([entry(cdr(n)) for n in (2, 3, 4)])
    disk.full = False
    queue.write(20.0)
    assert not queue.trouble
    assert disk.written == ["c2", "c3", "c4"]
    assert caplog.messages[1:] == ["Call records are written to /full/disk again; 1 were lost."]
    assert not queue.waiting


def test_the_age_of_what_is_on_no_disk_is_never_told_too_young(tmp_path):
    store = CdrStore(tmp_path, "m1", interval=3600.0)
    store.close()
    store._queues = [Queue(disk := Disk()), Queue(other := Disk())]
    assert store.unwritten_age(100.0) == 0.0
    store.write(cdr(1))
    store._drain()
    assert store.unwritten_age(101.0) == 1.0, "it came at any time since the last question"
    for second in range(102, 9000):
        if second == 150:
            store.write(cdr(2))
        age = store.unwritten_age(float(second))
    assert age == 8899.0 and len(store._samples) < 5000
    other.full, store._clock = False, lambda: 1e9
    store._drain()
    assert store.unwritten_age(9000.0) == 0.0, "one of the two places is enough"
    disk.full = other.full = True
    store.write(cdr(3))
    store._drain()
    assert store.unwritten_age(9001.0) == 1.0


def test_a_locked_database_delays_rows_and_never_the_file(tmp_path):
    store = CdrStore(tmp_path, "m1", interval=3600.0)
    database = Database(tmp_path, "m1")
    database.write([entry(cdr(0))])
    database.close()
    lock = sqlite3.connect(tmp_path / "m1.sqlite", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    store.write(cdr(1))
    store.close()
    assert store.waiting == 1
    lock.execute("ROLLBACK")
    lock.close()
    assert merge_by_call(read(tmp_path)) == [cdr(0), cdr(1)]


def test_a_disk_full_in_the_middle_of_a_line_leaves_no_half_line(tmp_path, monkeypatch):
    lines = LineFile(tmp_path, "m1")
    lines.write([entry(cdr(1))])
    import os

    real = os.write
    answers = iter([lambda fd, data: real(fd, bytes(data)[:10])])

    def write(fd, data):
        for answer in answers:
            return answer(fd, data)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("b2bua.cdr_store.os.write", write)
        with pytest.raises(OSError, match="No space"):
            lines.write([entry(cdr(2))])
    lines.write([entry(cdr(3))])
    assert (tmp_path / "m1-2023-11-14.jsonl").read_text() == f"{encode(cdr(1))}\n{encode(cdr(3))}\n"


def test_the_inbox_is_bounded(tmp_path):
    store = CdrStore(tmp_path, "m1", interval=3600.0, limit=2)
    for n in range(4):
        store.write(cdr(n))
    store.close()
    assert store.lost == 2
    assert len(merge_by_call(read(tmp_path))) == 2
