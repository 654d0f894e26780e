"""Text that strangers wrote: in logs, on terminals, in call records, in numbers, and at the API."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore, read
from heartbeat.console import commands
from heartbeat.console.commands import Screen
from heartbeat.console.sanitize import LineFormatter
from sip.actions import Flow
from sip.wire.message import Request
from sip.wire.uri import as_user
from tests.b2bua.fake import Bench, Peer, site_of
from tests.consoles import seen
from tests.gateway_agent.agent_fixture import ALICE, CARRIER, LISTEN, SDP, AgentFixture
from tests.security.test_impostors import SITE, STRANGER

ODD = Flow("udp", LISTEN, ("127.0.0.66", 5060))
NASTY = "\x1b[2J\x9b31m\x07\x00\x7f"


def hostile(text: str) -> list[bytes]:
    """Requests with ``text`` in one field after the other."""
    fields = {
        "Via": "SIP/2.0/UDP 127.0.0.66:5060;branch=z9hG4bK{}",
        "From": "<sip:a@x>;tag=f",
        "To": "<sip:alice@paris>",
        "Call-ID": "h",
        "CSeq": "1 {}",
        "Contact": "<sip:a@127.0.0.66>",
        "Max-Forwards": "70",
        "User-Agent": "x",
        "Authorization": 'Digest username="alice", realm="paris", nonce="n", uri="sip:x", response="r"',
        "Content-Length": "0",
    }
    found = []
    for method in ("REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "BYE", text):
        for index, name in enumerate(["", *fields]):
            lines = [f"{method} sip:alice{text if not name else ''}@x SIP/2.0"]
            for key, value in fields.items():
                value = value.format(method if key == "CSeq" else index)
                lines.append(f"{key}: {value}{text if key == name else ''}")
            found.append("\r\n".join([*lines, "", ""]).encode("latin-1"))
    return found


@pytest.mark.parametrize("flow", [ODD, CARRIER, ALICE])
def test_no_log_line_carries_what_steers_a_terminal_or_another_line(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    for text in (NASTY, "\r\n folded \x1b[2J", '"\x1b]0;x\x07"', "\u00a0\u00ad\u0085"):
        fixture, bench = AgentFixture(), Bench(site_of(SITE)).serve()
        with caplog.at_level(logging.DEBUG):
            for data in hostile(text):
                fixture.core.receive(data, flow, fixture.now)
                bench.core.receive(data, STRANGER, bench.now)
    assert caplog.messages
    assert not [line for line in caplog.messages if set(line) & {"\x1b", "\x9b", "\n", "\r", "\x00", "\x07"}]


def test_whatever_comes_into_a_record_of_the_log_it_stays_one_line() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter("%(levelname).1s %(message)s"))
    logger = logging.Logger("x")
    logger.addHandler(handler)
    logger.info("from %s\nI forged: all is well %s", NASTY, "ü")
    assert out.getvalue() == "I from " + "�[2J�31m���" + "�I forged: all is well ü\n"


def test_json_for_people_and_programs_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    commands.show(lambda: Screen({"number": NASTY + "ü"}, ""), "json")
    text = capsys.readouterr().out
    assert not set(text) & {"\x1b", "\x9b", "\x7f", "\x00"} and "ü" in text
    assert json.loads(text) == {"number": NASTY + "ü"}


def test_a_call_record_is_data_whatever_stands_in_it(tmp_path: Path) -> None:
    store = CdrStore(tmp_path, "m1", interval=0.01)
    evil = "../../etc/x'); DROP TABLE cdr; --\x00\n\x1b[2J"
    fields: dict[str, Any] = {"started": 1.0, "ended": 2.0, "callee": evil, "reason": evil, "session_id": evil}
    store.write(Cdr(evil, caller=evil, **fields))
    store.close()
    assert {path.name.partition("-")[0].partition(".")[0] for path in tmp_path.iterdir()} == {"m1"}
    assert {record.caller for record in read(tmp_path)} == {evil}
    with closing(sqlite3.connect(tmp_path / "m1.sqlite")) as database:
        assert database.execute("SELECT caller, callee FROM cdr").fetchall() == [(evil, evil)]


@pytest.mark.parametrize(
    "fields", [{"caller": "a\ud800"}, {"ended": 1e300}, {"ended": float("nan")}, {"ended": -1e18}, {"status": 2**70}]
)
def test_a_record_that_cannot_be_written_stands_in_nobodys_way(tmp_path: Path, fields: dict[str, Any]) -> None:
    store = CdrStore(tmp_path, "m1", interval=0.01)
    store.write(Cdr("bad", **({"started": 1.0, "ended": 2.0} | fields)))
    store.write(Cdr("good", started=1.0, ended=2.0))
    store.close()
    assert "good" in [record.call_id for record in read(tmp_path)]
    assert store.waiting == 0 and store.lost == (0 if "status" in fields else 1)


@pytest.mark.parametrize("number", ["1" * 40_000, "%00" * 20, "%00", "", "%0d%0aX:%20y", "%FF%FE", "a%80b", ";", "%"])
@pytest.mark.parametrize("rules", ["", 'from_device = { called = { match = "*", strip = 1, prefix = "00" } }'])
def test_odd_numbers_are_refused_or_stay_what_they_are(number: str, rules: str) -> None:
    fixture = AgentFixture(rules)
    fixture.request("INVITE", f"sip:{number}@127.0.0.11", body=SDP, call_id="n")
    for message in fixture.m1.inbox:
        assert isinstance(message, Request)
        assert "\r" not in message.uri and "\x00" not in message.uri and "x" not in message.names
    made = Bench(site_of(SITE)).serve()
    caller, out = Peer(made, "in", "127.0.0.20"), Peer(made, "out", "127.0.0.21")
    side = caller.call("1", uri=f"sip:{number}@127.0.0.1", caller=number)
    assert out.sides or any(status >= 400 for status in side.statuses)
    for call in made.core.calls.values():
        assert len(call.state.caller) <= 1024 and "\n" not in call.state.caller + call.state.callee
    for other in out.sides:
        assert other.invite is not None and "x" not in other.invite.names


def test_what_is_put_into_a_uri_is_escaped() -> None:
    assert as_user("1\r\nX: y\x00@;>ü") == "1%0D%0AX%3A%20y%00%40;%3E%FC"


@pytest.mark.parametrize("value", ["\x00", "\x1b[2J", "\udcff", "9" * 5000, "-1", "%s", "../x", "a" * 100_000])
def test_pages_take_any_parameter(value: str) -> None:
    fixture = AgentFixture()
    for page, names in (("calls", ("state", "number", "line", "id")), ("lines", ("line", "state", "agent"))):
        for name in names:
            assert seen(fixture.core, page, {name: value}, fixture.now)
