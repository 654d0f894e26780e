"""Call records asked of one server, and removed when they are old."""

from __future__ import annotations

import time

import pytest

from b2bua.cdr import Cdr
from b2bua.cdr_query import page
from b2bua.cdr_store import CdrStore, Database, LineFile, read
from heartbeat.console.contract import Refused


def stored(directory, *records):
    store = CdrStore(directory, "m1")
    for record in records:
        store.write(record)
    store.close()


def calls(directory, **params):
    found = page(directory, "m1", params)
    return [each["call_id"] for each in found["cdrs"]], found["matched"]


def test_a_page_is_the_newest_that_match(tmp_path):
    stored(
        tmp_path,
        *(
            Cdr(f"c{n}", started=1000.0 + n, ended=1001.0 + n, caller=f"+33{n}", callee="1001", dialled=f"77{n % 2}")
            for n in range(5)
        ),
    )
    assert calls(tmp_path) == (["c4", "c3", "c2", "c1", "c0"], 5)
    assert calls(tmp_path, limit="2", offset="1") == (["c3", "c2"], 5)
    assert calls(tmp_path, since="1001", until="1003") == (["c2", "c1"], 2)
    assert calls(tmp_path, to="771") == (["c3", "c1"], 2)
    assert calls(tmp_path, to="1001", **{"from": "+334"}) == (["c4"], 1)
    assert calls(tmp_path, **{"from": "%"}) == ([], 0)
    assert calls(tmp_path / "none") == ([], 0)


@pytest.mark.parametrize("params", [{"since": "noon"}, {"limit": "-1"}, {"offset": "1e9"}])
def test_what_makes_no_sense_is_refused(tmp_path, params):
    with pytest.raises(Refused):
        page(tmp_path, "m1", params)


def test_old_records_go_and_the_others_stay(tmp_path):
    now, day = time.time(), 86_400.0
    old = [Cdr(f"o{n}", started=now - 40 * day, ended=now - 40 * day) for n in range(2500)]
    stored(tmp_path, *old, Cdr("unknown", ended=now - 40 * day), Cdr("new", started=now, ended=now))
    for place in (LineFile(tmp_path, "m1"), Database(tmp_path, "m1")):
        place.prune(now - 30 * day)
        place.close()
    assert {each.call_id for each in read(tmp_path)} == {"new"}
    assert calls(tmp_path) == (["new"], 1)


def test_the_files_of_another_server_in_the_directory_stay(tmp_path):
    for name in ("m1-2020-01-01.jsonl", "m2-2020-01-01.jsonl", "m1-notes.txt"):
        (tmp_path / name).write_text("")
    LineFile(tmp_path, "m1").prune(time.time())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m1-notes.txt", "m2-2020-01-01.jsonl"]
