"""docs/heartbeat.md says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

import pytest

from heartbeat.candidate import Candidate
from heartbeat.header import KINDS
from heartbeat.server_role import ServerRole

PAGE = (Path(__file__).parents[2] / "docs" / "heartbeat.md").read_text()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    "heading, table",
    [("The role of a server", ServerRole.TABLE), ("An election", Candidate.TABLE)],
)
def test_the_tables_of_the_page_are_those_of_the_code(
    heading: str, table: Mapping[tuple[str, Enum], tuple[str, Callable[..., None]]]
) -> None:
    done = {
        (state, event.name, after, action.__name__.strip("_").replace("_", " "))
        for (state, event), (after, action) in table.items()
    }
    assert {tuple(row) for row in rows(heading)} == done


def test_every_kind_of_message_is_in_the_table_and_no_other() -> None:
    assert {row[0].strip("`") for row in rows("The messages")} == KINDS


def test_every_reason_that_a_voter_gives_is_told() -> None:
    code = (Path(__file__).parents[2] / "heartbeat" / "voter.py").read_text()
    reasons = set(re.findall(r'(?:Vote\(|return |else )"([a-z]+)"', code))
    assert reasons >= {"mute", "voters", "promised", "young", "heard", "stale", "unproved", "released"}
    for reason in reasons:
        assert f"`{reason}`" in PAGE, reason
