"""The memory of origin keys: how long a request is known, how many, and what a response says of itself."""

from __future__ import annotations

import pytest

from gateway_agent.deduplication import MOST_KEY, Deduplication, Remembered, key_of, place_of
from sip.timers import Deadlines
from sip.wire.message import Request, Response


def memory(most: int = 3) -> Deduplication[Remembered]:
    return Deduplication(32.0, Deadlines(), most)


def known(found: Deduplication[Remembered], *keys: str) -> list[str]:
    return [key for key in keys if found.get(key) is not None]


def test_a_request_is_known_until_64_times_t1_after_its_answer_and_not_a_moment_longer() -> None:
    found = memory()
    one = Remembered("one")
    found.add(one, 0.0)
    found.purge(1000.0)
    assert found.get("one") is one, "what is not answered may be repeated at any time"
    found.answered(one, 1000.0)
    found.purge(1031.9)
    assert found.get("one") is one and len(found) == 1
    found.purge(1032.0)
    assert found.get("one") is None and len(found) == 0


def test_those_that_were_answered_are_forgotten_in_that_order_and_by_the_clock_alone() -> None:
    deadlines = Deadlines()
    found: Deduplication[Remembered] = Deduplication(32.0, deadlines)
    some = {name: Remembered(name) for name in "abc"}
    for each in some.values():
        found.add(each, 0.0)
    for name, at in (("b", 1.0), ("a", 2.0)):
        found.answered(some[name], at)
    at = deadlines.next()
    assert at is not None and 33.0 <= at < 33.5
    deadlines.fire(33.5)
    assert known(found, "a", "b", "c") == ["a", "c"]
    deadlines.fire(34.5)
    assert known(found, "a", "b", "c") == ["c"], "it is not answered yet"


def test_what_is_over_leaves_when_a_new_one_comes_though_its_alarm_is_late() -> None:
    found = memory()
    one = Remembered("one")
    found.add(one, 0.0)
    found.answered(one, 0.0)
    found.add(Remembered("two"), 31.9)
    assert known(found, "one", "two") == ["one", "two"]
    found.add(Remembered("three"), 32.0)
    assert known(found, "one", "two", "three") == ["two", "three"]


def test_above_the_limit_the_oldest_answered_ones_go_and_none_that_is_not_answered() -> None:
    found = memory(3)
    one, two, three = (Remembered(name) for name in ("1", "2", "3"))
    for each in (one, two, three):
        found.add(each, 0.0)
    assert len(found) == 3
    found.add(Remembered("4"), 1.0)
    assert known(found, "1", "2", "3", "4") == ["1", "2", "3", "4"], "nothing is answered"
    found.answered(two, 2.0)
    found.answered(three, 2.0)
    found.add(Remembered("5"), 3.0)
    assert known(found, "1", "2", "3", "4", "5") == ["1", "4", "5"]
    below = memory(3)
    below.add(one, 0.0)
    below.answered(one, 0.0)
    below.add(Remembered("2"), 1.0)
    assert known(below, "1", "2") == ["1", "2"], "there is room"


def test_what_has_no_key_cannot_be_recognised() -> None:
    found = memory()
    nameless = Remembered("")
    found.add(nameless, 0.0)
    found.answered(nameless, 0.0)
    assert len(found) == 0 and found.get("") is None and nameless.expires_at == 0.0


@pytest.mark.parametrize(
    ("value", "key"),
    [(None, ""), ("gw1;z9hG4bK1;1", "gw1;z9hG4bK1;1"), ("k" * MOST_KEY, "k" * MOST_KEY), ("k" * (MOST_KEY + 1), "")],
)
def test_the_key_of_a_request(value: str | None, key: str) -> None:
    lines = [f"Call-Origin: {value}"] if value is not None else []
    assert key_of(Request("INFO", "sip:a@b", ["call-origin"] * len(lines), lines)) == key


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (None, None),
        ("gw1;z9hG4bK1;2;n=3", (2, 3)),
        ("gw1;z9hG4bK1;2", None),
        ("gw1;z9hG4bK1;x;n=3", None),
        ("gw1;z9hG4bK1;2;n=x", None),
        ("gw1;z9hG4bK1;2;n=", None),
        ("gw1;z9hG4bK1;123456789;n=987654321", (123456789, 987654321)),
        ("gw1;z9hG4bK1;1234567890;n=1", None),
        ("gw1;z9hG4bK1;1;n=1234567890", None),
    ],
)
def test_the_place_of_a_response(value: str | None, place: tuple[int, int] | None) -> None:
    lines = [f"Call-Origin: {value}"] if value is not None else []
    assert place_of(Response(180, "", ["call-origin"] * len(lines), lines)) == place
