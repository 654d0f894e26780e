"""How an election counts what voters say: value by value, without nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.election import Election, Grant
from heartbeat.header import Beat
from heartbeat.proof import VoterList
from tests.heartbeat.test_voter import beat

LIST = VoterList(1, ("gw1", "gw2", "m1", "m2", "m3"), 1)


def election(quorum: int = 3, **more: bool) -> Election:
    it = Election("for a test", ("gw1", "gw2"), 10.0, slack=0.5, **more)
    it.prevote(8, LIST, quorum, 12.0, 10.0)
    return it


def answer(it: Election, voter: str, seq: int, **more: object) -> Beat:
    """Its answer to a question that was just asked."""
    it.asked(seq, voter, 10.0)
    return beat(voter, 7, 1, **{"re": (1, seq), "for_epoch": 8, **more})


def test_an_election_is_neither_planned_nor_a_renewal_and_waits_for_nobody_unless_that_is_said() -> None:
    it = Election("for a test", ("gw1",), 10.0)
    assert (it.because, it.began_at) == ("for a test", 10.0)
    assert not it.planned and not it.renewal and not it.waits_for({"gw1"}, 10.0, 1.0)


def test_a_quorum_with_an_agent_among_it_wins_and_nothing_less() -> None:
    it = election()
    for voter in ("m1", "m2", "m3"):
        it.agreed(voter)
        it.granted(voter, Grant("signed", 10.0, 0))
    assert not it.wins_prevote() and not it.wins(), "no agent"
    it = election()
    for number, voter in enumerate(("gw1", "m1", "m2"), 1):
        assert not it.wins_prevote() and not it.wins()
        it.agreed(voter)
        it.granted(voter, Grant("signed", 10.0, number))
    assert it.wins_prevote() and it.wins()
    it.granted("m3", Grant("", 10.0, 0))
    assert set(it.grants) == {"gw1", "m1", "m2"}, "one without a signature is none"


def test_who_is_needed_must_agree_or_have_no_vote() -> None:
    it = election()
    for voter in ("gw1", "m1", "m2"):
        it.agreed(voter)
    assert it.wins_prevote(("gw1",)) and not it.wins_prevote(("gw1", "m3"))
    it.refused("m3", beat("m3", no="heard"))
    assert not it.wins_prevote(("m3",))
    it.refused("m3", beat("m3", no="mute"))
    assert it.wins_prevote(("m3",))


def test_another_epoch_asks_anew_and_the_same_one_keeps_what_was_granted() -> None:
    it = election()
    it.granted("gw1", Grant("signed", 10.0, 0))
    it.agreed("gw1")
    it.refused("m1", beat("m1", no="heard"))
    it.prevote(8, LIST, 3, 14.0, 13.0)
    assert set(it.grants) == {"gw1"} and not it.yes and not it.refusals
    assert (it.round_at, it.retry_at) == (10.0, 14.0)
    it.prevote(9, LIST, 3, 16.0, 15.0)
    assert not it.grants and (it.epoch, it.round_at, it.retry_at) == (9, 15.0, 16.0)
    it.refused("m1", beat("m1", no="heard"))
    it.repeat_request(17.0)
    assert not it.refusals and it.retry_at == 17.0
    it.retry(30.0)
    it.hurry(40.0)
    assert it.retry_at == 30.0
    it.hurry(20.0)
    assert it.retry_at == 20.0


def test_only_an_answer_to_what_was_asked_counts() -> None:
    it = election()
    it.answered(answer(it, "gw1", 1), 10.1)
    assert it.yes == {"gw1"}
    it.answered(answer(it, "m1", 2, for_epoch=7), 10.1)
    it.answered(replace(answer(it, "m1", 3), node="m2"), 10.1)
    it.answered(replace(answer(it, "m1", 4), re=None), 10.1)
    it.answered(answer(it, "gw9", 5), 10.1)
    assert it.yes == {"gw1"}


def test_it_asks_again_when_a_quorum_would_say_yes() -> None:
    it = election()
    it.retry(99.0)
    it.answered(answer(it, "gw1", 1), 10.0)
    it.answered(answer(it, "m1", 2, no="heard", wait=3.0), 10.0)
    assert it.retry_at == 99.0, "two are no quorum"
    it.answered(answer(it, "m2", 3, no="heard", wait=1.0), 10.0)
    assert it.retry_at == pytest.approx(13.5), "the third of 0, 1 and 3 s, and the slack"
    it.granted("m1", Grant("signed", 10.0, 0))
    assert "m1" not in it.refusals
    it.answered(answer(it, "m3", 4, no="heard", wait=2.0), 10.0)
    assert it.retry_at == pytest.approx(11.5), "of 0, 0, 1 and 2 s"
    it.answered(answer(it, "gw2", 5, no="promised"), 10.0)
    assert it.retry_at == pytest.approx(11.5), "who says no time says nothing of when"
    it.refused("m1", beat("m1", no="heard", wait=0.1))
    it.answered(answer(it, "m2", 6, no="heard", wait=0.9), 10.0)
    assert it.retry_at == pytest.approx(11.4), "of 0, 0, 0.9 and 2 s: whoever granted has granted"


def test_a_time_that_has_passed_is_not_asked_for_at_this_instant() -> None:
    it = Election("for a test", ("gw1",), 10.0)
    it.prevote(8, LIST, 1, 99.0, 10.0)
    it.answered(answer(it, "gw1", 1, no="young", wait=0.0), 10.0)
    assert it.retry_at == pytest.approx(10.01, abs=1e-6)


def test_at_a_first_start_it_waits_for_the_last_and_for_who_is_there() -> None:
    it = election(wait_for_more=True)
    it.retry(99.0)
    for number, (voter, wait) in enumerate((("m1", 1.0), ("m2", 5.0), ("m3", 2.0)), 1):
        it.answered(answer(it, voter, number, no="young", wait=wait), 10.0)
    assert it.retry_at == pytest.approx(15.5), "for the last, not for a quorum"
    assert not it.waits, "there is no quorum yet"
    for number, voter in enumerate(("gw1", "m1", "m2"), 4):
        it.answered(answer(it, voter, number), 10.0)
    assert it.waits and it.waits_for({"m3"}, 10.0, 3.0)
    it.prevote(8, LIST, 3, 99.0, 11.0)
    it.refused("m3", beat("m3", no="young"))
    assert it.waits_for({"gw1", "m3"}, 12.9, 3.0) and not it.waits_for({"gw1", "m3"}, 13.0, 3.0)
    it = election(wait_for_more=True)
    it.answered(answer(it, "gw1", 1), 10.0)
    it.prevote(8, LIST, 3, 99.0, 11.0)
    assert not it.waits_for({"gw1"}, 11.0, 3.0), "who was willing before is not waited for"
    for voter in ("gw1", "m1", "m2"):
        it.agreed(voter)
    assert it.wins_prevote() and not it.waits


def test_the_highest_promise_is_that_of_who_refuses() -> None:
    it = election()
    assert it.highest_promise == 0
    for voter, promised in (("m1", 9), ("m2", 12), ("m3", 10)):
        it.refused(voter, beat(voter, no="promised", promised_epoch=promised))
    assert it.highest_promise == 12


def test_how_it_stands_is_said_voter_by_voter() -> None:
    it = election()
    it.agreed("gw1")
    it.refused("m1", beat("m1", no="heard", leader="m3"))
    it.refused("m2", beat("m2", no="heard"))
    assert it.outcome == (
        "1 of 5 for it, 3 needed; gw2: no answer yet; m1: it has heard m3; m2: it has heard a server; "
        "m3: no answer yet"
    )
