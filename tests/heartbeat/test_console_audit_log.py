"""The audit log of one process: what is in an entry, what is not, and who cannot make it forget."""

from __future__ import annotations

from pathlib import Path

from heartbeat.console.audit_log import MOST_REFUSED, MOST_TEXT, AuditLog, Entries


class Log:
    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.asked = 0
        self.log = AuditLog(directory, "m1", self.soon, lambda: self.now)

    def soon(self) -> None:
        self.asked += 1
        self.log.write()

    def read(self, **params: str) -> Entries:
        found = self.log.view(params).work()
        assert isinstance(found, Entries)
        return found


def test_an_entry_is_written_at_once_and_read_newest_first(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.log.note("root by socket", "", "hangup", {"call": "abc"}, "done", "it is ended")
    log.log.note("viewer by token", "192.0.2.9", "switchover", {}, "refused", "may not")
    assert log.asked == 2 and len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2
    newest, older = log.read().entries
    assert (newest.user, newest.host, newest.what, newest.result) == (
        "viewer by token",
        "192.0.2.9",
        "switchover",
        "refused",
    )
    assert (older.node, older.params, older.said) == ("m1", {"call": "abc"}, "it is ended")
    assert log.read(limit="1").entries == (newest,)


def test_texts_are_bounded_and_lines_of_another_version_are_passed_over(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.log.note("x", "", "reset", {f"{i}" * 99: "y" * 9999 for i in range(30)}, "failed", "z" * 9999)
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"other": 1}\n"text"\n{"torn": \n')
    (entry,) = log.read().entries
    assert len(entry.said) == MOST_TEXT and len(entry.params) == 8
    assert all(len(key) <= 40 and len(value) == MOST_TEXT for key, value in entry.params.items())


def test_who_may_do_nothing_cannot_push_out_what_was_done(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.log.note("operator by token", "", "pause", {}, "done", "paused")
    for _ in range(10 * MOST_REFUSED):
        log.log.note("somebody", "192.0.2.9", "login", {}, "refused", "no")
    assert len(log.read(limit="2000").entries) == 1 + MOST_REFUSED
    log.now = 60.0
    for _ in range(5):
        log.log.note("somebody", "192.0.2.9", "login", {}, "refused", "no")
    assert len(log.read(limit="2000").entries) == 2 + MOST_REFUSED
