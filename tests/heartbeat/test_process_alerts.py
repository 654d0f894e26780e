"""What a process itself warns of, beside what its core knows: each thing is provoked and seen, by its code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from b2bua import server
from heartbeat import program
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.status import Alert
from heartbeat.site.load import parse
from sip.io.clock import boottime

TEXT = """
[site]
name = "paris"
key = { file = "KEY_FILE" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
"""
STATS = ProcessStats(0.1, 1.0, 0.0, 0.0)


class Process:
    """As much of a server's process as its warnings look at."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.key = directory / "key"
        self.key.write_text("0123456789abcdef")
        self.key.chmod(0o600)
        self.directory = directory
        self.parts: dict[str, Any] = {
            "name": "m1",
            "disk_space": SimpleNamespace(warnings=lambda node: []),
            "certificates": SimpleNamespace(warnings=lambda now: []),
            "votes": SimpleNamespace(took=0.01),
            "reloading": SimpleNamespace(trouble=[]),
            **changes,
        }

    def alerts(self, stats: ProcessStats = STATS) -> dict[str, str]:
        site = parse(TEXT.replace("KEY_FILE", str(self.key)), self.directory / "site.toml")
        fake: Any = SimpleNamespace(core=SimpleNamespace(site=site), **self.parts)
        return {alert.code: alert.text for alert in program.Process.alerts(fake, stats)}


def test_a_process_that_is_well_has_nothing_to_say(tmp_path: Path) -> None:
    assert Process(tmp_path).alerts() == {}


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"disk_space": SimpleNamespace(warnings=lambda node: [f"the disk of {node} is nearly full"])}, "disk"),
        ({"certificates": SimpleNamespace(warnings=lambda now: ["m1: it has expired"])}, "certificate"),
        ({"votes": SimpleNamespace(took=0.31)}, "disk-slow"),
        ({"reloading": SimpleNamespace(trouble=["m1 does not take what was provisioned: .."])}, "provisioned"),
    ],
    ids=["disk", "certificate", "disk-slow", "provisioned"],
)
def test_disks_certificates_and_what_cannot_be_taken(tmp_path: Path, part: dict[str, Any], code: str) -> None:
    assert list(Process(tmp_path, **part).alerts()) == [code]


def test_other_nodes_are_told_codes_of_what_they_cannot_know(tmp_path: Path) -> None:
    parts = {"votes": SimpleNamespace(took=0.31), "reloading": SimpleNamespace(trouble=["m1 does not take it"])}
    process = Process(tmp_path, **parts)
    process.key.chmod(0o644)
    fake: Any = SimpleNamespace(alerts=lambda stats: [Alert(code, "") for code in process.alerts(stats)])
    assert program.alert_codes(fake) == ("disk-slow", "key-file")


def test_a_slow_disk_is_said_with_its_figure(tmp_path: Path) -> None:
    said = Process(tmp_path, votes=SimpleNamespace(took=0.31)).alerts()["disk-slow"]
    assert said.startswith("the disk of m1 is slow: keeping an epoch took 0.31 s")


def test_a_key_that_everybody_may_read(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.key.chmod(0o644)
    assert process.alerts() == {
        "key-file": f"site.key: everybody on this machine may read {process.key}: chmod 600 it"
    }


def test_new_calls_that_are_refused_for_want_of_time(tmp_path: Path) -> None:
    found = Process(tmp_path).alerts(ProcessStats(0.99, 1.0, 0.0, 0.0, refused_share=0.4))
    assert list(found) == ["overload"] and "m1" in found["overload"]


def records(**changes: Any) -> dict[str, str]:
    store: Any = SimpleNamespace(**{"waiting": 0, "lost": 0, "trouble": "", **changes})
    since = changes.pop("since", None)
    return {alert.code: alert.text for alert in server._record_alerts("m1", store, since)}


def test_call_records_that_wait_or_are_lost() -> None:
    assert records() == {} == records(waiting=3, since=boottime())
    assert records(waiting=7, trouble="no space left") == {
        "records": "m1 cannot write call records (7 wait): no space left"
    }
    assert records(waiting=7, since=boottime() - 20)["records"].startswith("7 call records of m1 wait for the disk")
    assert records(lost=2) == {
        "records-lost": "m1 has lost 2 call records for want of room on the disk since it started"
    }


def test_a_server_without_its_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.Process, "alerts", lambda process, stats: [])
    store = SimpleNamespace(waiting=0, lost=0, trouble="")
    fake: Any = server.Process.__new__(server.Process)
    fake.name, fake.cdrs, fake.core = "m1", store, SimpleNamespace(records=SimpleNamespace(unwritten_since=None))
    fake._sinks = SimpleNamespace(alerts=lambda: [])
    for supervised, codes in ((None, ["no-supervisor"]), (object(), [])):
        fake._supervised = supervised
        assert [alert.code for alert in server.Process.alerts(fake, STATS)] == codes
