"""docs/heartbeat.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from heartbeat.header import KINDS
from heartbeat.leader import Leader

PAGE = (Path(__file__).parents[2] / "docs" / "heartbeat.md").read_text()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_the_role_is_the_table_of_the_code() -> None:
    told = {tuple(row) for row in rows("The role of a server")}
    done = {
        (state, cause.name, after, action.__name__.strip("_").replace("_", " "))
        for (state, cause), (after, action) in Leader.TRANSITIONS.items()
    }
    assert told == done


def test_every_kind_of_message_is_in_the_table_and_no_other() -> None:
    assert {row[0].strip("`") for row in rows("The messages")} == KINDS


def test_every_reason_that_a_voter_gives_is_told() -> None:
    code = (Path(__file__).parents[2] / "heartbeat" / "voter.py").read_text()
    reasons = set(re.findall(r'(?:Vote\(|return |else )"([a-z]+)"', code))
    assert reasons >= {"mute", "voters", "promised", "young", "heard", "stale", "unproved", "released"}
    for reason in reasons:
        assert f"`{reason}`" in PAGE, reason
