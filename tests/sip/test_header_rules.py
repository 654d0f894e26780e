"""Header rules of a line."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sip.device.header_rules import ruled


class Rule(NamedTuple):
    remove: str = ""
    add: str = ""
    replace: str = ""
    match: str = ""
    by: str = ""


@pytest.mark.parametrize(
    "rule, lines, left",
    [
        (Rule(add="X-A: 1"), ["Via: v"], ["Via: v", "X-A: 1"]),
        (Rule(add="Subject: 1"), ["s: 2"], ["s: 2"]),
        (Rule(remove="Subject"), ["s: a", "Via: v"], ["Via: v"]),
        (Rule(remove="s"), ["Subject: a", "s: b", "Via: v"], ["Via: v"]),
        (Rule(replace="s", match="a", by="b"), ["Subject: a"], ["Subject: b"]),
        (Rule(remove="X-A", match="b$"), ["X-A: ab", "x-a: ba"], ["x-a: ba"]),
        (Rule(replace="X-A", match="(.)b", by=r"\1c"), ["X-A: ab", "X-B: ab"], ["X-A: ac", "X-B: ab"]),
    ],
)
def test_each_rule_does_one_thing(rule: Rule, lines: list[str], left: list[str]) -> None:
    assert ruled([rule], lines) == left


@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", " \r\n  "])
def test_a_folded_line_is_what_it_says_unfolded(fold: str) -> None:
    """RFC 3261 section 7.3.1: a fold is one space; else a rule could be dodged, or made to end a line."""
    line = f"X-A: not{fold}Evil: 1"
    assert ruled([Rule(remove="X-A", match="not Evil")], [line]) == []
    assert ruled([Rule(replace="X-A", match=" ", by="")], [line]) == ["X-A: notEvil:1"]
    assert ruled([Rule(replace="X-A", match="nothing", by="")], [line]) == [line]
