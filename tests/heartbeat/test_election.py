"""What the voters said, counted."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat.election import Election
from heartbeat.header import Beat
from heartbeat.proof import VoterList

LIST = VoterList(101, ("gw1", "gw2", "m2"), 1)
AGENTS = ("gw1", "gw2")


def answer(node: str, seq: int, kind: str = "prevote", **more: Any) -> Beat:
    return Beat("paris", node, 1, 7, "agent", 1, kind=kind, for_epoch=8, re=(4, seq), **more)


def prevote(**more: Any) -> Election:
    """A pre-vote for epoch 8; message 1 asks gw1, 2 gw2, 3 m2."""
    election = Election("m1 is dead", AGENTS, 0.0, **more)
    election.prevote(8, LIST, 2, 0.5, 0.0)
    for seq, voter in enumerate(LIST.names, 1):
        election.asked(seq, voter, 0.0)
    return election


def request(**more: Any) -> Election:
    """The vote request after it; message 11 asks gw1, 12 gw2, 13 m2."""
    election = prevote(**more)
    election.request_votes(0.25, 0.1)
    for seq, voter in enumerate(LIST.names, 11):
        election.asked(seq, voter, 0.1)
    return election


def test_a_quorum_wins_the_prevote_when_an_agent_is_among_it() -> None:
    election = prevote()
    election.answered(answer("m2", 3), 0.1)
    assert not election.wins_prevote()
    election.answered(answer("gw1", 1), 0.1)
    assert election.wins_prevote() and not election.wins_prevote(LIST.names)
    assert election.wins_prevote(("gw1", "m2")), "whose yes is not asked for does not hold it up"
    election.answered(answer("gw2", 2, no="mute"), 0.1)
    assert election.wins_prevote(LIST.names), "who has no vote is not needed"
    servers = Election("test", AGENTS, 0.0)
    servers.prevote(8, VoterList(1, ("m2", "m3", "m4")), 2, 0.5, 0.0)
    servers.agreed("m2")
    servers.agreed("m3")
    assert not servers.wins_prevote()


@pytest.mark.parametrize(
    "said",
    [
        answer("gw2", 1),
        answer("gw1", 9),
        Beat("paris", "gw1", 1, 7, "agent", 1, kind="prevote", for_epoch=7, re=(4, 1)),
        Beat("paris", "gw1", 1, 7, "agent", 1, kind="prevote", for_epoch=8),
    ],
    ids=["of another than was asked", "of a question that was not asked", "of another epoch", "of no question"],
)
def test_an_answer_counts_only_for_its_question(said: Beat) -> None:
    election = prevote()
    election.answered(said, 0.1)
    assert election.yes == set() and election.refusals == {}


def test_a_vote_request_forgets_the_prevote_and_its_questions() -> None:
    election = prevote(planned=True)
    election.answered(answer("gw1", 1), 0.05)
    election.request_votes(0.25, 0.1)
    assert election.yes == set() and not election.planned
    election.answered(answer("gw2", 2), 0.15)
    assert election.yes == set() and election.grants == {}


def test_a_quorum_of_grants_is_a_proof_and_counts_from_the_sending() -> None:
    election = request()
    election.answered(answer("gw1", 11, "grant", grant="aa", promised_to_others=7), 0.2)
    assert not election.wins()
    election.answered(answer("gw2", 12, "grant", grant="bb", promised_to_others=9), 0.2)
    assert election.wins() and election.grants["gw1"].sent_at == 0.1
    assert election.proof("m2", 4).grants == (("gw1", "aa"), ("gw2", "bb"))
    assert not election.none_between(7) and election.none_between(9)
    assert election.outcome == "2 of 3 for it, 2 needed; m2: no answer yet"


def test_a_grant_without_a_signature_is_none() -> None:
    election = request()
    election.answered(answer("gw1", 11, "grant"), 0.2)
    assert election.grants == {}


def test_an_epoch_that_was_not_won_is_given_up_with_its_grants() -> None:
    election = request()
    election.answered(answer("gw1", 11, "grant", grant="aa"), 0.2)
    election.answered(answer("gw2", 12, "grant", no="promised", promised_epoch=8), 0.2)
    assert election.highest_promise == 8
    election.give_up_epoch(1.0, 0.3)
    assert (election.epoch, election.grants, election.retry_at, election.round_at) == (9, {}, 1.0, 0.3)


def test_it_asks_again_when_a_quorum_would_say_yes() -> None:
    election = prevote(slack=0.05)
    election.answered(answer("gw1", 1), 0.1)
    election.answered(answer("gw2", 2, no="heard", wait=0.2), 0.1)
    assert election.retry_at == pytest.approx(0.35)


def test_at_a_first_start_those_who_are_there_are_waited_for_but_not_for_ever() -> None:
    election = prevote(wait_for_more=True)
    election.answered(answer("gw1", 1), 0.1)
    election.answered(answer("m2", 3), 0.1)
    election.answered(answer("gw2", 2, no="young", wait=2.0), 0.1)
    assert election.waits_for({"gw1", "gw2", "m2"}, 0.1, 2.3) and election.waits
    assert not election.waits_for({"gw1", "gw2", "m2"}, 2.4, 2.3)
    other = prevote(wait_for_more=True)
    other.answered(answer("gw1", 1), 0.1)
    other.answered(answer("m2", 3), 0.1)
    assert not other.waits_for({"gw1", "m2"}, 0.1, 2.3), "nobody waits for who is not there"


def test_what_was_asked_and_never_answered_is_forgotten() -> None:
    election = prevote()
    for seq in range(5000):
        election.asked(seq, "gw1", seq * 0.1)
    assert len(election._asked) <= 1025
