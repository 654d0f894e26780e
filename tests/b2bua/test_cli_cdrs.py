"""``b2bua cdrs``: the records of both servers, one a call."""

from __future__ import annotations

import time
from dataclasses import replace

from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore


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
    cdr = replace(cdr, result="answered", status=200, ended_by="caller", caller_line="carrier/7")
    busy = Cdr(
        "m1-7-2", node="m1", caller="22", callee="1001", started=now - 3600 * 3, ended=now, result="busy", status=486
    )
    write_cdrs(fake_servers, "m1", cdr, busy)
    assert "m2 has no call records here" in fake_servers.cli("cdrs", code=1)
    write_cdrs(fake_servers, "m2", replace(cdr, node="m2", epoch=8, ended=now - 19, ended_by="server"))
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


def test_no_call_records_at_all(fake_servers):
    assert fake_servers.cli("cdrs", code=3).count("has no call records here") == 2
