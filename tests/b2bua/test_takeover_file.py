"""Takeover reports on disk: what a server knows of takeovers before its last start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from b2bua.takeover_file import APART, TakeoverFile
from heartbeat.console.schema import as_json
from tests.b2bua.fake import Bench
from tests.b2bua.fake_agent import ServerFixture
from tests.b2bua.test_report import taken
from tests.consoles import seen

WALL = 1_700_000_000.0


def started_anew(file: TakeoverFile, offset: float) -> Bench:
    """Another start, whose clock begins elsewhere."""
    bench = ServerFixture().bench
    file.take_up(bench.core.takeovers, -offset)
    return bench


def test_a_report_survives_a_restart(tmp_path: Path) -> None:
    bench = taken(ServerFixture())
    file = TakeoverFile(tmp_path / "takeovers.json")
    file.follow(bench.core.takeovers, WALL, bench.now)
    assert file.waits
    file.write()
    assert not file.waits and file.path.stat().st_mode & 0o077 == 0
    was = seen(bench.core, "report", {}, bench.now)
    later = started_anew(TakeoverFile(file.path), WALL + 50.0)
    found = seen(later.core, "report", {}, later.now)
    assert found["decided_at"] == pytest.approx(was["decided_at"] - 50.0, abs=0.002)
    assert found["evidence"] and {**found, "evidence": 0} | {
        key: was[key] for key in was if key == "evidence" or key.endswith("_at")
    } | {"agents": 0, "evidence": 0} == {**was, "agents": 0, "evidence": 0}
    assert seen(later.core, "report", {"limit": "1"}, later.now)["calls"] == was["calls"][:1]
    summary = seen(later.core, "status", {}, later.now)["last_takeover"]
    assert (summary["kept"], summary["lost"], summary["epoch"], summary["kind"]) == (1, 1, 2, "takeover")
    texts = [each["text"] for each in seen(later.core, "explain", {"id": "takeover"}, later.now)["sentences"]]
    assert "1 calls were kept" in texts and "1 calls were released" in texts
    [released] = [each for each in was["calls"] if each["verdict"] == "released"]
    story = seen(later.core, "explain", {"id": released["id"]}, later.now)["sentences"]
    assert story[-1]["text"] == f"at a takeover before the last start it was released: {released['because']}"


def test_it_is_written_when_it_has_changed_and_not_all_the_time(tmp_path: Path) -> None:
    bench = taken(ServerFixture())
    file = TakeoverFile(tmp_path / "takeovers.json")
    file.take_up(bench.core.takeovers, -WALL)
    file.follow(bench.core.takeovers, WALL, bench.now)
    assert not file.waits, "that is what the start found"
    bench.core.recovery.verdicts.note("more", "released", "why")
    file.follow(bench.core.takeovers, WALL, bench.now)
    assert file.waits
    file.write()
    bench.core.recovery.verdicts.note("more still", "released", "why")
    file.follow(bench.core.takeovers, WALL, bench.now + APART - 0.1)
    assert not file.waits
    file.follow(bench.core.takeovers, WALL, bench.now + APART)
    assert file.waits


@pytest.mark.parametrize("text", ["", "{", "5", "[5]", '[{"epoch": 1}]', "null"])
def test_a_file_that_is_none_of_ours_is_nothing(tmp_path: Path, text: str) -> None:
    file = TakeoverFile(tmp_path / "takeovers.json")
    file.path.write_text(text)
    bench = started_anew(file, WALL)
    assert seen(bench.core, "status", {}, bench.now)["last_takeover"] is None


def test_of_takeovers_before_the_last_the_calls_are_left_out(tmp_path: Path) -> None:
    bench = taken(ServerFixture())
    [report] = bench.core.takeovers.reports()
    later = ServerFixture().bench.core.takeovers
    later.remember([replace(report, epoch=number) for number in range(1, 40)])
    kept = later.reports()
    assert [each.epoch for each in kept] == list(range(20, 40))
    assert [bool(each.calls) for each in kept] == [False] * 19 + [True]
    assert as_json(kept[-1])["epoch"] == 39


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = taken(ServerFixture())
    file = TakeoverFile(tmp_path / "gone" / "takeovers.json")
    for number in range(3):
        bench.core.recovery.verdicts.note(f"more {number}", "released", "why")
        file.follow(bench.core.takeovers, WALL, bench.now + 10.0 * number)
        file.write()
    assert len(caplog.records) == 1
