"""python -m tests.interop.table [--write] [--check] [-k EXPRESSION]

Tries all that is tried with programs of others, and says what came of it: each row of the table is tests, marked
``row``. ``-k`` chooses some of them, as pytest's does; what earlier runs in this clone have found of the others is
kept. ``--write`` writes the table into docs/interop.md. ``--check`` runs nothing: it fails where the page has other
rows than the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
from typing import Final

import pytest

from examples.demo_processes import ROOT

PAGE: Final = ROOT / "docs" / "interop.md"
RESULTS: Final = ROOT / "build" / "interop.json"
COLUMNS: Final = ("calm", "server killed", "agent killed")
NOT_RUN: Final = "not run"
_TABLE: Final = re.compile(r"(?<=<!-- table interop -->\n).*?(?=<!-- end -->)", re.S)
_HEAD: Final = f"| peer | what is tried | {' | '.join(COLUMNS)} |\n{'| --- ' * 5}|\n"
_SAID: Final = {"passed": "good", "failed": "**fails**", "skipped": NOT_RUN}

Row = tuple[str, str, str]
"""Peer, what is tried, column."""
Known = dict[Row, tuple[str, str]]
"""What came of it, and the peer's version."""


class Recorder:
    """A plugin of pytest: which rows there are, and what came of those that ran."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.known: Known = {}
        self._of: dict[str, Row] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before ``-k`` takes some away."""
        for item in items:
            for mark in item.iter_markers("row"):
                self._of[item.nodeid] = mark.args
                self.rows.append(mark.args)
        items[:] = [item for item in items if item.nodeid in self._of]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The call says it; where there was none, the setup."""
        if report.when == "call" or not report.passed:
            version = dict(report.user_properties).get("version", "")
            self.known[self._of[report.nodeid]] = (_SAID[report.outcome], str(version))


def run(*words: str) -> tuple[Recorder, int]:
    """pytest with these words on all rows."""
    recorder = Recorder()
    status = pytest.main(["-q", "--wide", *words, str(ROOT / "tests" / "interop")], plugins=[recorder])
    return recorder, status


def remembered() -> Known:
    """What earlier runs have found."""
    if not RESULTS.exists():
        return {}
    return {
        (row[0], row[1], row[2]): (said, version) for *row, said, version in json.loads(RESULTS.read_text("utf-8"))
    }


def remember(known: Known) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([[*row, *found] for row, found in known.items()], indent=0), "utf-8")


def table(rows: list[Row], known: Known) -> str:
    """All rows; where nothing is tried a cell is empty."""
    lines = []
    for peer, what in dict.fromkeys(row[:2] for row in rows):
        of = [(peer, what, column) for column in COLUMNS]
        cells = [known.get(row, (NOT_RUN, ""))[0] if row in rows else "" for row in of]
        version = next((known[row][1] for row in of if row in known and known[row][1]), "")
        named = f"{peer} ({version})" if version else peer
        lines.append(f"| {named} | {what} | {' | '.join(cells)} |\n")
    return _HEAD + "".join(lines)


def tried(text: str) -> list[tuple[str, str]]:
    """Peers, without versions, and what is tried with each, as a table has them."""
    rows = [line.split(" | ")[:2] for line in text.splitlines()[2:]]
    return [(re.sub(r" \([^()]*\d[^()]*\)$", "", peer.removeprefix("| ")), what) for peer, what in rows]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into docs/interop.md")
    parser.add_argument("--check", action="store_true", help="only see whether the page has the rows of the tests")
    parser.add_argument("-k", metavar="EXPRESSION", default="", help="only these")
    options = parser.parse_args()
    text = PAGE.read_text("utf-8")
    found = _TABLE.search(text)
    assert found is not None, f"{PAGE} has no place for the table"
    if options.check:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            recorder, status = run("--collect-only")
        if status:
            sys.exit(said.getvalue())
        if tried(found[0]) == list(dict.fromkeys(row[:2] for row in recorder.rows)):
            return 0
        sys.exit(f"{PAGE.name} has not the rows of the tests: run python -m tests.interop.table --write")
    recorder, status = run("-k", options.k, "--tb=short")
    known = remembered() | recorder.known
    remember(known)
    rows = table(recorder.rows, known)
    if options.write:
        PAGE.write_text(text[: found.start()] + rows + text[found.end() :], "utf-8")
    print(rows)
    return status


if __name__ == "__main__":
    sys.exit(main())
