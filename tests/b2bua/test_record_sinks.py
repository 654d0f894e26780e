"""Sinks of call records: what is tried again, what is given up, what is shown; a database is in tests/interop."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from b2bua import record_sinks
from b2bua.cdr import Cdr
from b2bua.cdr_store import encode
from b2bua.record_sinks import LATE, RecordSinks, SinkWriter, WebhookSink, alerts_of
from b2bua.record_tail import RecordTail
from b2bua.sink_error import Refused, SinkError
from heartbeat.console.hooks import signature
from heartbeat.console.screens import process_stats
from heartbeat.console.views.process import ProcessStats, Sink
from heartbeat.site.load import SiteError, parse
from heartbeat.site.model import PostgresSettings, Records, WebhookSettings
from heartbeat.site.pitfalls import warnings
from heartbeat.site.values import Secret
from tests.consoles import SITE
from tests.heartbeat.test_console_hooks import Receiver

KEY = Secret("env KEY", b"a key of records")


class Taker:
    """A sink that is played by hand."""

    def __init__(self, *faults: Exception | None) -> None:
        self.faults = list(faults)
        self.got: list[str] = []
        self.full, self.closed = threading.Event(), False

    def open(self) -> None:
        pass

    def deliver(self, records: list[Cdr]) -> None:
        if any(record.call_id == "bad" for record in records):
            raise Refused("no")
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self.got += [record.call_id for record in records]
        if "last" in self.got:
            self.full.set()

    def close(self) -> None:
        self.closed = True


def writer(directory: Path, taker: Taker, *names: str) -> SinkWriter:
    lines = (encode(Cdr(name)) if name != "torn" else '{"call_id": "to' for name in names)
    (directory / "m1-2026-01-31.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return SinkWriter("taker", taker, RecordTail(directory, "m1", directory / "at.json"))


def test_all_records_go_in_order_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    taker = Taker()
    one = writer(tmp_path, taker, "torn", "a", "b")
    assert one.go() and not one.go()
    assert taker.got == ["a", "b"] and one.view() == Sink("taker", 0, 2, 0, 0)


def test_one_that_it_never_takes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    taker = Taker()
    one = writer(tmp_path, taker, "a", "bad", "b")
    assert one.go()
    assert taker.got == ["a", "b"] and one.view() == Sink("taker", 0, 2, 1, 0)


def test_a_webhook_whose_key_is_gone_waits_and_says_so(tmp_path: Path) -> None:
    gone = WebhookSettings("http://127.0.0.1:9/", Secret("the file hook.key", None))
    with pytest.raises(SinkError, match=r"hook\.key"):
        WebhookSink(gone).deliver([Cdr("a")])


def test_a_fault_of_ours_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not end the thread, or nobody would hear of records that wait for ever."""
    monkeypatch.setattr(record_sinks, "FIRST_WAIT", 0.01)
    taker = Taker(ZeroDivisionError("of a sink"))
    one = writer(tmp_path, taker, "a", "last")
    one.start()
    assert taker.full.wait(20)
    one.close(20)
    assert taker.got == ["a", "last"]


def test_it_is_tried_again_until_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_sinks, "FIRST_WAIT", 0.01)
    taker = Taker(SinkError("away"), SinkError("away"))
    one = writer(tmp_path, taker, "a", "last")
    one.start()
    assert taker.full.wait(20)
    one.close(20)
    assert taker.got == ["a", "last"] and taker.closed and one.trouble == ""


def test_trouble_is_shown_with_how_long_it_lasts(tmp_path: Path) -> None:
    now = [5.0]
    one = writer(tmp_path, Taker(SinkError("away")), "a")
    one._clock = lambda: now[0]
    with pytest.raises(SinkError) as fault:
        one.go()
    one._failed(str(fault.value))
    now[0] += LATE + 1
    view = one.view()
    assert view == Sink("taker", 1, 0, 0, 0, "away", LATE + 1)
    [alert] = alerts_of("m1", (view,))
    assert (alert.code, alert.text) == (
        "records-sink",
        "call records of m1 do not get to taker (1 wait on the disk): away",
    )
    assert not list(alerts_of("m1", (replace(view, trouble_s=LATE - 1), replace(view, trouble=""))))
    [alert] = alerts_of("m1", (Sink("taker", 0, 0, 0, 7),))
    assert alert.code == "records-lost" and alert.text.startswith("7 call records of m1 were removed")


def test_a_webhook_gets_records_signed() -> None:
    receiver = Receiver()
    try:
        WebhookSink(WebhookSettings(receiver.url, KEY)).deliver([Cdr("a"), Cdr("b")])
        [event] = receiver.wait(1)
        assert [record["call_id"] for record in event["records"]] == ["a", "b"]
        assert [record["id"] for record in event["records"]] == [Cdr("a").id, Cdr("b").id]
        [(headers, body)] = receiver.got
        assert headers["X-Holdfast-Signature"] == signature(b"a key of records", headers["X-Holdfast-Time"], body)
    finally:
        receiver.close()
    with pytest.raises(SinkError, match=r"127\.0\.0\.1"):
        WebhookSink(WebhookSettings("http://127.0.0.1:9/")).deliver([Cdr("a")])


def test_sinks_come_and_go_with_the_site_file(tmp_path: Path) -> None:
    sinks = RecordSinks(tmp_path, tmp_path, "m1")
    sinks.follow(Records(webhook=WebhookSettings("http://127.0.0.1:9/"), postgres=PostgresSettings("host=/nowhere")))
    assert sorted(one.name for one in sinks.views()) == ["postgres", "webhook"]
    before = dict(sinks._writers)
    sinks.follow(Records(webhook=WebhookSettings("http://127.0.0.1:9/"), keep=5))
    assert [one.name for one in sinks.views()] == ["webhook"] and sinks._writers["webhook"] is before["webhook"]
    sinks.follow(Records(webhook=WebhookSettings("http://127.0.0.1:9/", KEY)))
    assert sinks._writers["webhook"] is not before["webhook"]
    sinks.close()
    assert not list(sinks.alerts())


@pytest.mark.parametrize(
    "lines, sentence",
    [
        ('[records.postgres]\nconnect = "db.example.com"', "records.postgres.connect: must be like host="),
        ('[records.postgres]\nconnect = "host=db password=x"', "records.postgres.connect: must have no password"),
        ("[records.postgres]", "records.postgres.connect: is missing"),
        ('[records.webhook]\nurl = "ftp://x/"', "records.webhook.url: must be like https://"),
    ],
)
def test_what_cannot_be_meant_is_refused(lines: str, sentence: str) -> None:
    with pytest.raises(SiteError) as refused:
        parse(f"{SITE}\n{lines}\n", Path("site.toml"))
    assert any(sentence in one for one in refused.value.complaints), refused.value.complaints


@pytest.mark.parametrize(
    "lines, places",
    [
        (
            '[records.webhook]\nurl = "http://billing.example.com/"\nkey = { env = "K" }',
            ["records.webhook.url: is http"],
        ),
        ('[records.webhook]\nurl = "https://billing.example.com/"', ["records.webhook: has no key"]),
        ('[records.webhook]\nurl = "http://127.0.0.1:9/"\nkey = { env = "K" }', []),
        (
            '[records.postgres]\nconnect = "host=db.example.com sslmode=require"',
            ["records.postgres.connect: does not"],
        ),
        ('[records.postgres]\nconnect = "host=db.example.com sslmode=verify-full"', []),
        ('[records.postgres]\nconnect = "host=/run/postgresql dbname=calls"', []),
        ('[records.postgres]\nconnect = "dbname=calls"', []),
    ],
)
def test_what_others_could_read_is_warned_of(lines: str, places: list[str]) -> None:
    found = [one for one in warnings(parse(f"{SITE}\n{lines}\n", Path("site.toml"))) if one.startswith("records.")]
    assert len(found) == len(places) and all(map(str.startswith, found, places)), found


def test_a_database_is_described_in_the_words_of_its_library() -> None:
    words = "host=/run/pg dbname='my calls' user=holdfast sslmode=verify-full"
    records = parse(f'{SITE}\n[records.postgres]\nconnect = "{words}"\n', Path("site.toml")).records
    assert records.postgres == PostgresSettings(words)


def test_status_shows_each_sink() -> None:
    stats = ProcessStats(0.1, 1.0, 0.0, 0.0, sinks=(Sink("postgres", 3, 1234, 0, 0, "away"),))
    console = Console(width=200)
    with console.capture() as shown:
        console.print(process_stats(stats))
    assert "postgres 1,234 records, 3 wait" in shown.get()
