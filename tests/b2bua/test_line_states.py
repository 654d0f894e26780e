"""What a server keeps of its agents' calls."""

from __future__ import annotations

import pytest

from b2bua.line_states import LEAST_SWEPT, LONGEST, LONGEST_KEY, MOST_SUBSCRIPTIONS, LineStates


def kept(*living: str) -> LineStates:
    return LineStates(lambda: living)


def test_the_last_one_of_a_dialog_counts() -> None:
    states = kept()
    for text in ("1.5.1.aa.mac", "1.5.2.bb.mac", "1.5.1.aa.mac", "1.4.9.cc.mac", "1.5.2.dd.mac"):
        states.note("call", text, 1.0)
    found = states.get("call")
    assert found is not None and found.text == "1.5.2.bb.mac" and found.usable


def test_a_later_start_of_the_agent_counts_more_than_any_counter() -> None:
    states = kept()
    states.note("call", "1.5.9.aa.mac", 1.0)
    states.note("call", "1.6.1.bb.mac", 2.0)
    found = states.get("call")
    assert found is not None and (found.text, found.at) == ("1.6.1.bb.mac", 2.0)


def test_another_version_is_kept_as_it_is() -> None:
    states = kept()
    states.note("call", "27.5.9.aa.mac", 1.0)
    assert states.get("call") is not None


@pytest.mark.parametrize("text", ["", "1.5.1", "1.x.1.aa.mac", "1.5.1.a.b.mac", "1.5.1." + "a" * LONGEST + ".mac"])
def test_what_is_none_is_not_kept(text: str) -> None:
    states = kept()
    states.note("call", text, 1.0)
    states.note_line("alice", text, 1.0)
    assert states.get("call") is None and not len(states) and not states.lines
    states.note("call", "1.1.1.aa.mac", 1.0)
    states.note("call", text, 2.0)
    states.note_line("alice", "1.1.1.aa.mac", 1.0)
    states.note_line("alice", text, 2.0)
    assert [one and one.at for one in (states.get("call"), states.lines["alice"])] == [1.0, 1.0]


def test_one_of_just_the_longest_is_kept() -> None:
    states = kept()
    states.note("call", f"1.5.1.{'a' * (LONGEST - 10)}.mac", 1.0)
    found = states.get("call")
    assert found is not None and len(found.text) == LONGEST and found.usable


def test_the_last_one_of_a_line_counts() -> None:
    states = kept()
    for text in ("1.5.2.bb.mac", "1.5.1.aa.mac", "1.4.9.cc.mac", "1.5.2.dd.mac"):
        states.note_line("alice", text, 1.0)
        assert states.lines["alice"].text == "1.5.2.bb.mac"
    states.note_line("alice", "1.6.1.ee.mac", 2.0)
    assert states.lines["alice"].text == "1.6.1.ee.mac"


def test_one_that_was_too_long_is_known_to_be_of_no_use() -> None:
    states = kept()
    states.note("call", "1.5.1.aa.mac", 1.0)
    states.note("call", "1.5.2.-.mac", 1.0)
    found = states.get("call")
    assert found is not None and not found.usable


def test_dialogs_that_are_over_are_forgotten() -> None:
    states = kept("1", "2")
    for number in range(LEAST_SWEPT + 1):
        states.note(str(number), "1.5.1.aa.mac", 1.0)
    assert len(states) == 2
    assert states.get("1") is not None and states.get("3") is None
    for number in range(1000, 1000 + LEAST_SWEPT - 1):
        states.note(str(number), "1.5.1.aa.mac", 1.0)
    assert len(states) == 2, "few are looked through as often as that"


def test_many_are_looked_through_when_they_are_twice_as_many() -> None:
    living = [str(number) for number in range(LEAST_SWEPT + 1)]
    states = kept(*living)
    for number in range(2 * len(living)):
        states.note(str(number), "1.5.1.aa.mac", 1.0)
    assert len(states) == 2 * len(living)
    states.note("one more", "1.5.1.aa.mac", 1.0)
    assert len(states) == len(living)
    states.clear()
    for number in range(1000, 1000 + LEAST_SWEPT + 1):
        states.note(str(number), "1.5.1.aa.mac", 1.0)
    assert not len(states), "another epoch begins with few"


def test_only_calls_that_stand_are_worth_an_alert() -> None:
    living = {"long", "deadly"}
    states = LineStates(lambda: living)
    states.note("long", "1.5.1.-.mac", 1.0)
    for _ in range(2):
        states.died_of(["deadly"])
    assert (states.unusable, states.withheld) == (1, 1)
    living.clear()
    assert (states.unusable, states.withheld) == (0, 0)
    states.died_of(["another"])
    assert not states.suspects("deadly"), "what is over is forgotten"


def test_another_epoch_knows_nothing() -> None:
    states = kept()
    states.note("call", "1.5.1.aa.mac", 1.0)
    states.note_line("alice", "1.5.1.aa.mac", 1.0)
    states.complete = True
    states.died_of(["call"])
    states.clear()
    assert not len(states) and not states.lines and not states.complete and not states.suspects("call")


def test_what_is_missing_and_what_is_of_no_use() -> None:
    states = kept("call", "other")
    assert not states.missing and not states.unusable, "an agent that keeps nothing here misses nothing"
    states.note("call", "1.5.1.aa.mac", 1.0)
    states.note("other", "1.5.2.-.mac", 1.0)
    assert states.missing and states.unusable == 1
    states.complete = True
    assert not states.missing
    states.clear()
    assert not states.complete and not states.unusable


def test_those_of_subscriptions_are_kept_as_long_as_they_last() -> None:
    states = kept()
    states.note("s1 tag", "1.5.1.aa.mac", 1.0, 60.0)
    states.note("s1 other", "1.5.1.bb.mac", 1.0, 60.0)
    states.note("s2 tag", "1.5.1.-.mac", 1.0, 60.0)  # too long to be given back
    for n in range(LEAST_SWEPT + 1):
        states.note(f"gone{n}", "1.5.1.aa.mac", 2.0)
    assert [key for key, _ in states.subscriptions(3.0)] == ["s1 tag", "s1 other"]
    states.note("s1 tag", "1.5.2.cc.mac", 30.0)  # on an answer that does not say how long
    assert {key: one.text for key, one in states.subscriptions(60.0)}["s1 tag"] == "1.5.2.cc.mac"
    assert states.subscriptions(61.5) == []
    states.note("s1 tag", "1.5.3.cc.mac", 62.0, 60.0)
    states.subscription_ended("s1")
    assert states.subscriptions(63.0) == [] and states.get("s1 tag") is None
    states.note("s3 tag", "1.5.3.cc.mac", 62.0, 60.0)
    states.clear()
    assert states.subscriptions(63.0) == []


def test_no_agent_has_more_subscriptions_kept_than_it_can_have() -> None:
    states = kept()
    for number in range(MOST_SUBSCRIPTIONS + 500):
        states.note(f"call-{number} tag", f"1.5.{number}.aa.mac", 1.0, 4_000_000_000.0 if number >= 100 else 10.0)
    assert len(states.subscriptions(2.0)) == MOST_SUBSCRIPTIONS
    assert len(states) <= MOST_SUBSCRIPTIONS + LEAST_SWEPT
    states.note("late tag", "1.5.99999.aa.mac", 20.0, 60.0)
    assert states.get("late tag") is not None, "where others have expired there is room again"
    states.note("call-200 tag", "1.5.99999.bb.mac", 20.0, 60.0)
    found = states.get("call-200 tag")
    assert found is not None and found.text == "1.5.99999.bb.mac", "and what is known is renewed"


def test_a_name_without_end_is_not_kept() -> None:
    states = kept()
    for length in (LONGEST_KEY, LONGEST_KEY + 1):
        states.note("c" * length, "1.5.1.aa.mac", 1.0)
        assert (states.get("c" * length) is not None) == (length <= LONGEST_KEY)
