"""What became of ended calls, as the next start of the server tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2bua import call_stories
from b2bua.call_stories import CallStories
from b2bua.cdr import Cdr
from b2bua.cdr_store import encode
from heartbeat.console.contract import Refused
from tests.b2bua.fake_agent import ServerFixture
from tests.consoles import seen

WALL = 1_700_000_000.0


def ended(number: int, because: str = "a route says so") -> tuple[str, str]:
    """A record in JSON, and why the call went where it did."""
    record = Cdr(
        f"{number:04d}beef", caller="1001", callee="2001", caller_line="alice", callee_line="east", started=WALL,
        answered=WALL + 1, ended=WALL + 9, result="answered", status=200, ended_by="caller",
    )  # fmt: skip
    return encode(record), because


def test_the_story_of_an_ended_call_survives_a_restart(tmp_path: Path) -> None:
    file = CallStories(tmp_path / "calls.jsonl")
    assert not file.waits
    file.note(*ended(1))
    assert file.waits
    file.write()
    assert not file.waits and (tmp_path / "calls.jsonl").stat().st_mode & 0o077 == 0
    core = ServerFixture().bench.core
    core.records.wall_offset = WALL - 50.0
    CallStories(tmp_path / "calls.jsonl").take_up(core.records)
    found = seen(core, "explain", {"id": "0001"}, 60.0)
    assert found["about"] == "call 0001beef"
    assert [(each["at"], each["text"]) for each in found["sentences"]] == [
        (50.0, "1001 called 2001 from alice"),
        (None, "it was sent to east: a route says so"),
        (51.0, "east answered"),
        (59.0, "it ended with 200 (answered), by the caller"),
    ]
    assert "0001beef" not in core.records.ended, "whether its record is on disk is another question"
    with pytest.raises(Refused):
        seen(core, "explain", {"id": "0002"}, 60.0)


def test_what_is_no_call_is_passed_over_and_the_last_word_of_a_call_counts(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    file = CallStories(path)
    for each in (ended(1, "first"), ended(2), ended(1, "second")):
        file.note(*each)
    file.write()
    path.write_text('{"call_id": 7}\n[1]\n"x"\n' + path.read_text() + '{"call_id": "torn')
    core = ServerFixture().bench.core
    CallStories(path).take_up(core.records)
    assert list(core.records.former) == ["0002beef", "0001beef"]
    assert core.records.former["0001beef"].because == "second"


def test_files_and_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_stories, "MOST_ENDED", 20)
    file = CallStories(tmp_path / "calls.jsonl", 20_000)
    for number in range(500):
        file.note(*ended(number))
        file.write()
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 45_000
    core = ServerFixture().bench.core
    CallStories(tmp_path / "calls.jsonl").take_up(core.records)
    assert list(core.records.former) == [f"{number:04d}beef" for number in range(480, 500)]
