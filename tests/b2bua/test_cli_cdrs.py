"""``b2bua cdrs``: the records of both servers, one a call."""

from __future__ import annotations

import csv
import io
import time

import pytest

from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore
from b2bua.cli_cdrs import _scores
from heartbeat.console.render import NOTHING


def write_cdrs(fake_servers, node, *records):
    store = CdrStore(fake_servers.directory / "state" / node / "cdr", node)
    for record in records:
        store.write(record)
    store.close()


def test_call_records_of_both_servers_are_one_a_call(fake_servers):
    now = time.time()
    cdr = Cdr(
        "m1-7-1", node="m1", caller="+33612345678", callee="1001", started=now - 90, answered=now - 80, ended=now - 20
    )
    cdr = cdr._replace(result="answered", status=200, ended_by="caller", caller_line="carrier/7")
    busy = Cdr(
        "m1-7-2", node="m1", caller="22", callee="1001", started=now - 3600 * 3, ended=now, result="busy", status=486
    )
    write_cdrs(fake_servers, "m1", cdr, busy)
    assert "m2 has no call records here" in fake_servers.cli("cdrs", code=1)
    write_cdrs(fake_servers, "m2", cdr._replace(node="m2", epoch=8, ended=now - 19, ended_by="server"))
    output = fake_servers.cli("cdrs")
    assert "m1 and m2" in output
    assert "1:00" in output
    assert "busy 486" in output
    assert "2 calls, 1 answered, 1 written by both servers." in output
    page = fake_servers.json("cdrs", "--since", "2h")
    assert [record["writers"] for record in page["cdrs"]] == [["m1", "m2"]]
    assert page["cdrs"][0]["ended_by"] == "caller"
    there = [str(fake_servers.directory / "state" / node / "cdr") for node in ("m1", "m2")]
    assert fake_servers.json("cdrs", "--dir", there[0], "--dir", there[1])["matched"] == 2
    assert fake_servers.json("cdrs", "--dir", there[1])["matched"] == 1
    assert fake_servers.json("cdrs", "--from", "22", "--result", "busy")["matched"] == 1
    assert fake_servers.json("cdrs", "--until", "2020-01-31")["matched"] == 0
    assert "the last 1 are shown" in fake_servers.cli("cdrs", "--limit", "1")
    assert "is no time" in fake_servers.cli("cdrs", "--since", "yesterday", code=3)


def test_records_on_another_machine_are_asked_for(fake_servers):
    now = time.time()
    write_cdrs(fake_servers, "m1", Cdr("c1", node="m1", started=now - 5, ended=now, caller="1", result="failed"))
    there = Cdr("c1", node="m2", started=now - 5, answered=now - 3, ended=now, caller="1", result="answered")
    fake_servers.m2.pages["cdrs"] = {"cdrs": [there.to_json(), Cdr("c2", started=now).to_json()], "matched": 2}
    found = fake_servers.json("cdrs", "--since", "1h", "--from", "1")
    assert [(each["call_id"], each["result"], each["writers"]) for each in found["cdrs"]] == [
        ("c1", "answered", ["m1", "m2"])
    ]
    name, params = fake_servers.m2.asked[-1]
    assert name == "cdrs" and params["from"] == "1" and abs(float(params["since"]) - now + 3600) < 60
    fake_servers.m2.refuses["cdrs"] = ("they cannot be read", 409)
    assert "m2: they cannot be read" in fake_servers.cli("cdrs", code=1)


def test_csv_has_a_head_and_no_formulas(fake_servers):
    write_cdrs(fake_servers, "m1", Cdr("c1", caller='=cmd|"x"', callee="+33145", reason="a,\nb", started=1.5))
    write_cdrs(fake_servers, "m2", Cdr("c1", node="m2"))
    rows = list(csv.DictReader(io.StringIO(fake_servers.cli("cdrs", "--format", "csv"), newline="")))
    assert [(row["caller"], row["callee"], row["reason"], row["started"]) for row in rows] == [
        ('\'=cmd|"x"', "+33145", "a,\N{REPLACEMENT CHARACTER}b", "1.5")
    ]


def test_no_call_records_at_all(fake_servers):
    assert fake_servers.cli("cdrs", code=3).count("has no call records here") == 2


@pytest.mark.parametrize(
    ("measured", "shown", "is_bad"),
    [
        ({}, "–", False),
        ({"caller_packets": 9, "caller_mos": 4.41, "callee_packets": 9, "callee_mos": 4.02}, "4.4 4.0", False),
        ({"caller_packets": 9, "caller_mos": 3.2}, "3.2 ?", True),
        ({"caller_packets": 9, "caller_mos": 4.2, "callee_packets": 0}, "4.2 0", True),
    ],
)
def test_both_scores_are_shown_and_bad_ones_stand_out(measured, shown, is_bad):
    found = _scores(Cdr("c")._replace(**measured))
    text = found if isinstance(found, str) else found.plain
    assert text == (NOTHING if not measured else shown)
    assert bool(getattr(found, "style", "")) is is_bad
