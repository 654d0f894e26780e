"""Call records in a real PostgreSQL and at a webhook: one row a call, nothing lost while they are away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from b2bua.cdr import Cdr
from b2bua.cdr_store import encode
from b2bua.record_sinks import SinkWriter
from b2bua.record_tail import RecordTail
from b2bua.sink_error import Refused, SinkError
from examples.softphone_call import Policy
from heartbeat.console.hooks import signature
from heartbeat.site.model import PostgresSettings
from tests.heartbeat.test_console_hooks import Receiver
from tests.interop.phones import Phone, talking
from tests.interop.postgres import Postgres
from tests.interop.programs import PASSWORDS, Site, network, until

psycopg = pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")

from b2bua.postgres import COLUMNS, MIGRATIONS, PostgresSink  # noqa: E402

pytestmark = pytest.mark.interop

CALL = Cdr(
    "c1", site="paris", node="m1", epoch=3, caller="+331", callee="+332", started=1_700_000_000.0,
    answered=1_700_000_001.5, ended=1_700_000_011.5, result="answered", status=200, caller_mos=4.25,
    caller_packets=500,
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    one = Postgres()
    try:
        if one.because:
            pytest.skip(one.because)
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture
def database(server: Postgres) -> Iterator[Postgres]:
    with psycopg.connect(server.connect, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS holdfast_calls, holdfast_schema")
    yield server


def asked(server: Postgres, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.connect) as connection:
        return connection.execute(query.encode()).fetchall()


def sink(server: Postgres, node: str = "m1") -> PostgresSink:
    return PostgresSink(PostgresSettings(server.connect), node)


def test_a_call_has_one_row_with_a_column_for_each_member(database: Postgres) -> None:
    one = sink(database)
    one.deliver([CALL, Cdr("c2")])
    one.close()
    found = "SELECT column_name FROM information_schema.columns WHERE table_name = 'holdfast_calls'"
    assert {name for (name,) in asked(database, found)} == set(COLUMNS), "a new member of Cdr needs a migration"
    [row] = asked(database, "SELECT caller, duration, extract(epoch FROM answered)::float8, record->>'caller', "
                            "caller_mos FROM holdfast_calls WHERE call_id = 'c1'")  # fmt: skip
    assert row == ("+331", 10.0, 1_700_000_001.5, "+331", 4.25)
    assert asked(database, "SELECT started, ended, duration FROM holdfast_calls WHERE call_id = 'c2'") == [
        (None,) * 3
    ]


def test_what_two_servers_wrote_is_merged_in_whatever_order(database: Postgres) -> None:
    one, two = sink(database), sink(database, "m2")
    other = CALL._replace(
        node="m2", epoch=4, answered=None, result="failed", status=503, session_id="abc", ended=None
    )
    two.deliver([other, other])
    one.deliver([CALL])
    two.deliver([other])
    one.close(), two.close()
    [(text,)] = asked(database, "SELECT record::text FROM holdfast_calls")
    merged = Cdr.from_json(json.loads(text))
    assert merged == CALL._replace(node="m1+m2", epoch=4, session_id="abc")
    assert asked(database, "SELECT node, result, session_id FROM holdfast_calls") == [("m1+m2", "answered", "abc")]


def test_two_servers_at_once_leave_one_row_each(database: Postgres) -> None:
    one, two = sink(database), sink(database, "m2")
    one.deliver([Cdr("first")])
    two.deliver([Cdr("first")])
    with psycopg.connect(database.connect) as connection:  # m2 is in the middle of it
        connection.execute("SELECT * FROM holdfast_calls FOR UPDATE")
        connection.execute("INSERT INTO holdfast_calls (id, call_id, record) VALUES (%s, 'c1', %s)",
                           (CALL.id, encode(CALL._replace(node="m2"))))  # fmt: skip
        connection.commit()
        one.deliver([CALL, Cdr("first")])
    one.close(), two.close()
    assert asked(database, "SELECT call_id, node FROM holdfast_calls ORDER BY call_id") == [
        ("c1", "m1+m2"),
        ("first", ""),
    ]


def test_the_schema_of_a_newer_server_is_left_alone(database: Postgres) -> None:
    one = sink(database)
    one.deliver([CALL])
    one.close()
    with psycopg.connect(database.connect) as connection:
        connection.execute("ALTER TABLE holdfast_calls ADD COLUMN later text")
        connection.execute("UPDATE holdfast_schema SET version = %s", (len(MIGRATIONS) + 1,))
    one.deliver([Cdr("c2")])
    one.close()
    assert asked(database, "SELECT count(*) FROM holdfast_calls") == [(2,)]
    assert asked(database, "SELECT version FROM holdfast_schema") == [(len(MIGRATIONS) + 1,)]


def test_what_no_row_can_take_is_refused_and_the_next_goes_on(database: Postgres, tmp_path: Path) -> None:
    for bad in (CALL._replace(caller="a\0b"), CALL._replace(started=1e300)):
        one = sink(database)
        with pytest.raises(Refused):
            one.deliver([bad])
        one.deliver([CALL])
        one.close()
    bad = CALL._replace(call_id="bad", caller="a\0b")
    (tmp_path / "m1-2023-11-14.jsonl").write_text(
        "".join(encode(each) + "\n" for each in (Cdr("c5"), bad, Cdr("c6")))
    )
    writer = SinkWriter("postgres", sink(database), RecordTail(tmp_path, "m1", tmp_path / "at.json"))
    assert writer.go() and not writer.go()
    assert (writer.sent, writer.refused, writer.tail.waiting) == (2, 1, 0)
    writer._sink.close()
    assert {name for (name,) in asked(database, "SELECT call_id FROM holdfast_calls")} == {"c1", "c5", "c6"}


def test_nothing_is_lost_while_it_is_away(database: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "m1-2023-11-14.jsonl"
    file.write_text("".join(encode(Cdr(f"c{number}")) + "\n" for number in range(450)))
    one = sink(database)
    writer = SinkWriter("postgres", one, RecordTail(tmp_path, "m1", tmp_path / "at.json"))
    assert writer.go()
    database.stop()
    with pytest.raises(SinkError):
        writer.go()
    with pytest.raises(SinkError) as away:
        writer.go()
    assert "\n" not in str(away.value) and writer.tail.waiting == 350
    with file.open("a") as more:
        more.write(encode(CALL._replace(call_id="late")) + "\n")
    database.start()
    writer = SinkWriter("postgres", sink(database), RecordTail(tmp_path, "m1", tmp_path / "at.json"))  # another start
    while writer.go():
        pass
    writer._sink.close()
    assert asked(database, "SELECT count(*), count(DISTINCT call_id) FROM holdfast_calls") == [(451, 451)]
    assert writer.view().waiting == 0 and writer.sent == 351


LINES = """
[lines.alice]
kind = "phone"
agent = "gw1"
numbers = ["5001"]
password = {{ file = "alice.secret" }}
media = "relay"
digest = ["MD5", "SHA-256"]
[lines.bob]
kind = "phone"
agent = "gw2"
numbers = ["5002"]
password = {{ file = "bob.secret" }}
media = "relay"
digest = ["MD5", "SHA-256"]
[records.postgres]
connect = "{connect}"
[records.webhook]
url = "{url}"
key = {{ file = "records.secret" }}
"""


def test_a_call_that_outlives_its_server_has_one_row_with_its_quality(database: Postgres, tmp_path: Path) -> None:
    net, receiver = network(), Receiver(503)
    lines = LINES.format(connect=database.connect, url=receiver.url)
    site = Site(tmp_path / "site", net, lines, passwords={**PASSWORDS, "records": "signs records"})
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 20, "the call is not answered")
        alices.ask(alices.core.bye, call)
        rows = "SELECT result, caller_packets > 20 AND callee_packets > 20 AND caller_mos > 1 FROM holdfast_calls"
        until(lambda: len(asked(database, rows)) == 1, 30, lambda: f"no row\n{site.words()}")
        call = alices.call(alice, "5002")
        until(lambda: alices.heard_audio(call) > 20, 10, "no audio")
        site["m1"].kill()
        until(lambda: site.active == "m2", 30, lambda: f"nobody took over\n{site.words()}")
        alices.ask(alices.core.bye, call)
        until(lambda: len(asked(database, rows)) == 2, 30, lambda: f"{asked(database, rows)}\n{site.words()}")
        found = asked(database, rows)
        assert [result for result, _ in found] == ["answered"] * 2 and ("answered", True) in found, found
        ids = {id_ for (id_,) in asked(database, "SELECT id FROM holdfast_calls")}

        def told() -> set[str]:
            return {one["id"] for event in receiver.wait(0) for one in event["records"]}

        until(lambda: told() == ids, 20, lambda: f"{told()} at the webhook, not {ids}")
        for headers, body in receiver.got:
            assert headers["X-Holdfast-Signature"] == signature(b"signs records", headers["X-Holdfast-Time"], body)
        sinks = site["m2"].view()["process"]["sinks"]
        assert [(one["name"], one["waiting"], one["trouble"]) for one in sinks] == [
            ("postgres", 0, ""),
            ("webhook", 0, ""),
        ]
        assert not site.bugs()
    finally:
        for phone in (alices, bobs):
            phone.close()
        site.stop()
        receiver.close()
