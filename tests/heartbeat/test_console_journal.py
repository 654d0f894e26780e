"""What is known again after a restart: lines of JSON in two generations of a file."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from heartbeat.console.journal import MOST_WAITING, DecisionJournal, Journal
from heartbeat.decision import Decided


def test_what_is_written_is_read_again_by_the_next_start(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl")
    assert journal.read() == [] and not journal.waits
    journal.add({"at": 1.5, "because": "é\n"})
    assert journal.waits and not journal.path.exists(), "it is written when there is time for it"
    journal.write()
    journal.add({"at": 2.5})
    journal.write()
    assert not journal.waits and Journal(journal.path).read() == [{"at": 1.5, "because": "é\n"}, {"at": 2.5}]
    assert journal.path.stat().st_mode & 0o077 == 0


def test_it_stays_small_and_keeps_the_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl", 1000)
    for number in range(1000):
        journal.add({"number": number})
        if number % 7 == 0:
            journal.write()
    journal.write()
    found = [each["number"] for each in journal.read()]
    assert found == list(range(found[0], 1000)) and len(found) > 50
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2500


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl")
    journal.add(1)
    journal.write()
    with journal.path.open("a") as file:
        file.write('{"number": ')
    journal.add(2)
    journal.write()
    assert journal.read() == [1, 2]


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "gone" / "history.jsonl")
    for _ in range(3):
        journal.add(1)
        journal.write()
    assert len(caplog.records) == 1 and not journal.waits
    (tmp_path / "gone").mkdir()
    journal.add(2)
    journal.write()
    assert journal.read() == [2]


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl")
    for number in range(MOST_WAITING + 5):
        journal.add(number)
    journal.write()
    assert journal.read()[0] == 5


def test_decisions_of_former_starts_stand_before_those_of_this_one(tmp_path: Path) -> None:
    journal = DecisionJournal(tmp_path / "history.jsonl")
    for number in range(5):
        journal.note(Decided(float(number), "code", f"because {number}"), 1_700_000_000.0)
    journal.add({"of": "another version"})
    journal.write()
    history = deque([Decided(7.0, "code", "of this start")], maxlen=4)
    DecisionJournal(journal.path).take_up(history, -1_700_000_100.0)
    assert [each.because for each in history] == ["because 2", "because 3", "because 4", "of this start"]
    assert history[0] == Decided(-98.0, "code", "because 2")
    DecisionJournal(journal.path).take_up(history, 0.0)
    assert len(history) == 4, "there is no room for more"
