"""A voter's rules, one clause each (docs/heartbeat.md), and the proofs that they lead to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.death import commitment_of
from heartbeat.header import AS_IF_RELEASED, FIRST, MOST_NAME, Beat, Start
from heartbeat.persistent_state import Granted, Leadership, PersistentState
from heartbeat.proof import FORCED, Proof, VoterList, sign_grant
from heartbeat.timing import Timing
from heartbeat.voter import Voter
from tests.heartbeat.ballot_world import KEY, membership

SITE = membership(3)
LIST = VoterList(1, ("gw1", "gw2", "gw3"), 1)
SILENCE = SITE.timing.silence
OLD = PersistentState(
    incarnation=5, non_voting=False, voters=LIST, leadership=Leadership(7, "m1", 3), granted=(Granted(7, "m1", 3),)
)
SECRET = "5f" * 16
DEAD = commitment_of(SECRET)
"""The hash that the start with that secret says."""
UP = 100.0
"""Long enough after the start at 0."""


def voter(state: PersistentState = OLD, name: str = "gw1") -> Voter:
    return Voter(name, SITE, state, 0.0)


def beat(node: str = "m1", epoch: int = 7, incarnation: int = 3, state: str = "active", **more: object) -> Beat:
    return replace(Beat("paris", node, incarnation, epoch, state, 1), **more)


def claim(node: str = "m2", for_epoch: int = 8, incarnation: int = 4, **more: object) -> Beat:
    return beat(node, 7, incarnation, "standby", for_epoch=for_epoch, **{"list": LIST.text, **more})


def proof(
    epoch: int, node: str, incarnation: int, by: tuple[str, ...] = ("gw1", "gw2"), voters: VoterList = LIST
) -> Proof:
    grants = tuple((name, sign_grant(KEY, "paris", name, epoch, node, incarnation, voters)) for name in by)
    return Proof(epoch, node, incarnation, voters, grants)


def test_it_grants_when_it_has_heard_nobody_for_lease_and_margin() -> None:
    it = voter()
    assert it.hear(beat(), UP) == ""
    refusal = it.judge(claim(), UP + 1.0)
    assert (refusal.no, refusal.wait) == ("heard", pytest.approx(SILENCE - 1.0))
    assert not it.grant(claim(), UP + SILENCE - 0.01)
    assert it.state is OLD
    assert it.grant(claim(), UP + SILENCE)
    assert it.state.promised_epoch == 8 and it.state.serial == 1


def test_a_prevote_changes_nothing() -> None:
    it = voter()
    assert it.judge(claim(), UP) and it.judge(claim("m1", 9), UP)
    assert it.state is OLD and it.heard is None


def test_an_epoch_that_another_has_won_is_not_granted_to_whom_it_hears() -> None:
    it = voter()
    assert it.hear(beat(), UP) == "" and it.adopt(proof(8, "m2", 4), [KEY]) == ""
    assert it.judge(claim("m1", 8, 3), UP + 1.0).no == "promised"
    assert it.judge(claim("m1", 7, 3), UP + 1.0).no == "promised", "nor one of before, which it had granted"


def test_the_margin_of_a_longer_lease_than_ours_is_its_own_and_ours_is_the_least() -> None:
    for ours, lease, waited in (
        (Timing(interval=0.5, margin=0.05), 2.0, 2.05),
        (Timing(interval=0.5, margin=0.05), 10.0, 11.1),
        (Timing(interval=0.5, margin=3.0), 10.0, 13.0),
    ):
        it = Voter("gw1", membership(3, timing=ours), OLD, 0.0)
        assert ours.lease == 2.0 and it.hear(beat(lease=lease), UP) == ""
        assert it.judge(claim(), UP).wait == pytest.approx(waited)


def test_who_asks_without_a_word_of_its_lease_is_waited_for_as_the_site_has_it() -> None:
    site = membership(3, timing=Timing(interval=0.1, lease=0.5))
    it = Voter("gw1", site, OLD, 0.0)
    assert it.grant(claim(), UP)
    assert it.judge(claim("m1", 9, 3), UP).wait == pytest.approx(site.timing.silence) and it.state.lease == 0.0


def test_who_is_known_to_be_dead_is_not_waited_for_whoever_asks() -> None:
    it = voter()
    assert it.hear(beat(commitment=DEAD), UP) == "" and not it.judge(claim(), UP)
    it.end(SECRET)
    assert it.judge(claim(), UP)


def test_an_epoch_that_it_granted_before_its_own_restart_is_not_granted_again() -> None:
    it = voter(replace(OLD, granted=(Granted(8, "m2", 4),)))
    assert it.judge(claim(), UP).no == "promised"
    assert it.judge(claim(for_epoch=9), UP)


def test_the_lease_of_who_was_heard_before_is_not_waited_for() -> None:
    it = voter()
    assert it.hear(beat(lease=60.0), UP) == ""
    assert it.judge(claim(), UP + SILENCE).no == "heard"
    assert it.adopt(proof(8, "m2", 4), [KEY]) == ""
    assert it.hear(beat("m2", 8, 4, lease=SITE.timing.lease), UP + 1.0) == ""
    assert not it.judge(claim("m1", 9, 3), UP + 0.99 + SILENCE)
    assert it.judge(claim("m1", 9, 3), UP + 1.0 + SILENCE)


def test_a_young_voter_waits_although_it_heard_nobody() -> None:
    assert voter().judge(claim(), 1.0).no == "young"
    assert voter().judge(claim(), 1.0).wait == pytest.approx(SILENCE - 1.0)
    assert voter().judge(claim(), SILENCE)


def test_a_released_lease_need_not_be_waited_for() -> None:
    it = voter()
    it.hear(beat(), UP)
    it.release(Start("m1", 3), 6)
    assert it.judge(claim(), UP).no == "heard", "it let go of an earlier epoch"
    for other in (Start("m2", 3), Start("m1", 4), Start("m1", 3, "a copy's")):
        it.release(other, 7)
        assert it.judge(claim(), UP).no == "heard", "nobody lets go for another"
    it.release(Start("m1", 3), 7)
    assert it.judge(claim(), UP)
    assert it.hear(beat(), UP) == "released", "that epoch is never renewed"
    assert it.grant(claim(), UP)


def test_as_if_released_is_for_prevotes_only() -> None:
    it = voter()
    it.hear(beat(), UP)
    assert it.judge(claim(flags=(AS_IF_RELEASED,)), UP)
    assert it.grant(claim(flags=(AS_IF_RELEASED,)), UP).no == "heard"


def test_the_start_heard_last_may_have_the_next_epoch_at_once() -> None:
    it = voter()
    it.hear(beat(), UP)
    assert it.judge(claim("m1", 8, incarnation=3), UP + 0.1)


@pytest.mark.parametrize("other", [{"incarnation": 4}, {"incarnation": 3, "commitment": commitment_of("another")}])
def test_another_start_of_the_server_heard_last_waits_as_anybody(other: dict[str, object]) -> None:
    it = voter()
    it.hear(beat(), UP)
    again = claim("m1", 8, **other)
    refusal = it.judge(again, UP + 0.1)
    assert (refusal.no, refusal.wait) == ("heard", pytest.approx(SILENCE - 0.1)), "the one before may live yet"
    assert it.grant(again, UP + SILENCE)
    assert it.hear(beat(), UP + SILENCE + 0.1) == "stale", "and is not heard when another start has the promise"


def test_a_revealed_death_lifts_the_wait_for_that_start_alone() -> None:
    it = voter()
    it.hear(beat(commitment=DEAD), UP)
    for secrets in ((), ("a guess",), (DEAD,)):
        assert it.judge(claim(deaths=secrets), UP).no == "heard"
    assert it.judge(claim(deaths=("older", SECRET)), UP)
    assert it.state is OLD, "a pre-vote changes nothing"
    other = voter()
    other.hear(beat(), UP)
    assert other.judge(claim(deaths=(SECRET,)), UP).no == "heard", "what was heard last has no secret"


def test_a_revealed_death_does_not_make_a_young_voter_old() -> None:
    it = voter()
    it.hear(beat(commitment=DEAD), 0.5)
    assert it.judge(claim(deaths=(SECRET,)), 1.0).no == "young", "it may have forgotten whom it heard before"


def test_a_death_is_kept_and_that_start_is_refused_from_then_on() -> None:
    it = voter()
    it.hear(beat(commitment=DEAD), UP)
    assert it.grant(claim(deaths=(SECRET,)), UP)
    assert it.state.ended == (DEAD,)
    kept = voter(it.state)
    assert kept.hear(beat(commitment=DEAD), UP) == "ended"
    assert kept.judge(claim("m1", 9, incarnation=3, commitment=DEAD), UP + SILENCE).no == "ended"
    assert kept.judge(claim("m1", 9, incarnation=4, commitment=commitment_of("new")), UP + SILENCE)
    assert kept.judge(claim("m1", 9, incarnation=4), UP + SILENCE), "nor is a start without a secret dead"


def test_who_shows_its_own_secret_is_not_granted_anything_more() -> None:
    it = voter()
    it.end(SECRET)
    before = it.state
    it.end(SECRET)
    assert it.state is before, "said twice, written once"
    assert it.judge(claim(commitment=DEAD), UP).no == "ended"


def test_deaths_are_remembered_to_a_bound_the_latest_first() -> None:
    it = voter()
    for number in range(40):
        it.end(f"{number:032x}")
    assert len(it.state.ended) == 16 and it.state.ended[0] == commitment_of(f"{39:032x}")


def test_a_grant_to_one_start_is_none_to_another_of_the_same_server() -> None:
    it = voter()
    assert it.grant(claim("m1", 8, commitment=DEAD), UP)
    assert it.judge(claim("m1", 8, commitment=commitment_of("a copy's")), UP + SILENCE).no == "promised"
    assert it.grant(claim("m1", 8, commitment=DEAD), UP + 0.1), "the same claim again"
    assert it.state.promised_to_others(Start("m1", 4, DEAD)) == 7
    assert it.state.promised_to_others(Start("m1", 4)) == 8


def test_a_proof_is_of_the_start_that_was_granted_whatever_came_with_it() -> None:
    it = voter()
    it.grant(claim("m2", 8, commitment=DEAD, lease=9.0), UP)
    assert it.adopt(proof(8, "m2", 4), (KEY,)) == ""
    assert it.state.granted[0] == Granted(8, "m2", 4, DEAD) and it.state.lease == 9.0
    other = voter()
    assert other.adopt(proof(8, "m2", 4), (KEY,), commitment=DEAD) == ""
    assert other.state.granted[0] == Granted(8, "m2", 4, DEAD)
    assert other.hear(beat("m2", 8, 4, commitment=DEAD), UP) == ""


def test_a_grant_counts_as_hearing_the_candidate() -> None:
    it = voter()
    it.grant(claim(), UP)
    refusal = it.judge(claim("m1", 9), UP + 1.0)
    assert (refusal.no, refusal.wait) == ("heard", pytest.approx(SILENCE - 1.0))
    assert it.judge(claim("m2", 9), UP + 1.0), "but the candidate itself may go on"


def test_no_epoch_is_granted_twice_nor_a_lower_one() -> None:
    it = voter()
    it.grant(claim(), UP)
    later = UP + 10 * SILENCE
    for other in (claim("m1", 8), claim("m2", 8, incarnation=5), claim("m2", 7)):
        assert it.judge(other, later).no == "promised"
    assert it.grant(claim(), later), "the same claim again is the same grant"
    assert it.state.serial == 1, "and costs no disk"


def test_a_promise_makes_the_old_rule_stale_but_moves_no_obedience() -> None:
    it = voter()
    it.grant(claim(), UP)
    assert it.hear(beat(), UP + 0.1) == "stale"
    assert it.heard is not None and it.heard.start.node == "m2"
    assert it.state.leadership == Leadership(7, "m1", 3)


def test_a_later_promise_to_it_does_not_make_its_old_epoch_good_again() -> None:
    it = voter()
    it.grant(claim("m2", 8), UP)
    it.grant(claim("m1", 9, incarnation=3), UP + SILENCE)
    assert it.hear(beat("m1", 7), UP + SILENCE) == "stale"
    assert it.state.promised_to_others(Start("m1", 3)) == 8 and it.state.promised_to_others(Start("m2", 4)) == 9


def test_a_rule_that_was_not_proved_here_is_not_heard() -> None:
    it = voter()
    assert it.hear(beat("m2", 8, 4), UP) == "unproved"
    assert it.adopt(proof(8, "m2", 4), (KEY,)) == ""
    assert it.hear(beat("m2", 8, 4), UP) == ""
    assert it.hear(beat("m2", 8, 5), UP) == "unproved", "another start of the same server"
    assert it.hear(beat("m1", 7), UP) == "stale"


def test_holding_beats_refresh_nobody() -> None:
    it = voter()
    assert it.hear(beat(state="holding"), UP) == "" and it.heard is None


def test_a_proof_replaces_a_promise_of_the_same_number() -> None:
    it = voter()
    it.grant(claim("m1", 8, incarnation=3), UP)
    assert it.adopt(proof(8, "m2", 4, ("gw2", "gw3")), (KEY,)) == ""
    assert it.hear(beat("m2", 8, 4), UP) == ""
    assert it.judge(claim("m2", 9), UP + 0.1)


def test_an_older_proof_moves_nobody() -> None:
    it = voter()
    assert "epoch 6 of m2 is over: m1 rules under epoch 7" in it.adopt(proof(6, "m2", 4), (KEY,))
    assert "is over" in it.adopt(proof(7, "m2", 4), (KEY,))
    assert it.adopt(proof(7, "m1", 3), (KEY,)) == "" and it.state is OLD


@pytest.mark.parametrize(
    "bad",
    [
        proof(8, "m2", 4, ("gw1",)),
        proof(8, "m2", 4, ("gw1", "gw1")),
        proof(8, "m2", 4, ("gw1", "stranger")),
        replace(proof(8, "m2", 4), incarnation=5),
        replace(proof(8, "m2", 4), node="m1"),
        replace(proof(8, "m2", 4), epoch=9),
        replace(proof(8, "m2", 4), voters=replace(LIST, generation=2)),
        replace(proof(8, "m2", 4), voters=VoterList(1, ("gw1",), 1)),
        Proof(8, "m2", 4, VoterList(), ()),
        Proof(8, "m2", 4, LIST, ((FORCED, "00"),)),
    ],
)
def test_what_is_no_proof(bad: Proof) -> None:
    it = voter()
    assert it.adopt(bad, (KEY,)) != "" and it.state is OLD
    assert it.adopt(replace(bad), (b"another key",)) != ""


def test_during_a_key_change_grants_of_both_keys_add_up() -> None:
    mixed = (*proof(8, "m2", 4, ("gw1",)).grants, ("gw2", sign_grant(b"old", "paris", "gw2", 8, "m2", 4, LIST)))
    assert Proof(8, "m2", 4, LIST, mixed).fault((KEY, b"old"), "paris") == ""
    assert "1 good grants of 3" in Proof(8, "m2", 4, LIST, mixed).fault((KEY,), "paris")


def test_a_forced_rule_yields_to_a_quorum_of_the_same_epoch() -> None:
    it = voter()
    forced = Proof(8, "m2", 4, LIST, ((FORCED, sign_grant(KEY, "paris", FORCED, 8, "m2", 4, LIST)),))
    assert it.adopt(forced, (KEY,)) == "" and it.state.leadership == Leadership(8, "m2", 4, True)
    assert it.adopt(proof(8, "m1", 3), (KEY,)) == "" and it.state.leadership == Leadership(8, "m1", 3)


def test_a_forced_rule_does_not_yield_to_another_forced_one_of_its_epoch() -> None:
    it = voter()
    first, second = (
        Proof(8, node, 4, LIST, ((FORCED, sign_grant(KEY, "paris", FORCED, 8, node, 4, LIST)),))
        for node in ("m2", "m1")
    )
    assert it.adopt(first, (KEY,)) == ""
    assert "epoch 8 of m1 is over" in it.adopt(second, (KEY,)) and it.state.leadership.node == "m2"
    assert "epoch 7 of m1 is over" in it.adopt(proof(7, "m1", 3), (KEY,)), "nor to a quorum of an earlier one"


def test_what_a_forced_rule_let_go_of_binds_nobody_else() -> None:
    it = voter()
    forced = Proof(8, "m2", 4, LIST, ((FORCED, sign_grant(KEY, "paris", FORCED, 8, "m2", 4, LIST)),))
    assert it.adopt(forced, (KEY,)) == "" and it.hear(beat("m2", 8, 4), UP) == ""
    it.release(Start("m2", 4), 8)
    assert it.hear(beat("m2", 8, 4), UP) == "released"
    assert it.adopt(proof(8, "m1", 3), (KEY,)) == "" and it.hear(beat("m1", 8, 3), UP) == ""


def test_a_voter_without_its_file_has_no_vote() -> None:
    it = voter(PersistentState(incarnation=9))
    assert it.judge(claim(), UP).no == "mute"
    assert it.adopt(proof(8, "m2", 4), (KEY,)) == ""
    assert it.state.voters == LIST, "it knows the list from the first proved server"
    assert it.judge(claim("m2", 9), UP).no == "mute"
    assert it.judge(claim("m2", 9, flags=(FIRST,)), UP).no == "mute", "too late for a first start"
    assert not it.has_vote


def test_the_first_start_is_said() -> None:
    it = voter(PersistentState(incarnation=9))
    assert it.grant(claim("m1", 1, flags=(FIRST,)), UP)
    assert it.has_vote and it.state.voters == LIST and it.state.promised_epoch == 1


def test_a_readmitted_voter_starts_with_a_promise_to_nobody() -> None:
    it = voter(PersistentState(incarnation=9))
    newer = VoterList(701, LIST.names, 1)
    assert it.admit(newer, 7, 8, UP)
    assert it.has_vote and it.state.promised_epoch == 8
    assert it.state.promised_to_others(Start("m1", 3)) == it.state.promised_to_others(Start("m2", 4)) == 8
    assert it.judge(claim("m1", 9, list=newer.text), UP + 1).no == "young"
    assert it.judge(claim("m1", 8, list=newer.text), UP + SILENCE).no == "promised"
    assert it.judge(claim("m1", 9, list=newer.text), UP + SILENCE)
    assert not it.admit(newer, 7, 20, UP), "who has a vote keeps its promises"


def test_voters_grant_only_on_an_equal_list_or_a_later_one() -> None:
    it = voter(replace(OLD, voters=VoterList(701, LIST.names, 1)))
    assert it.judge(claim(), UP).no == "voters", "an older list"
    for nonsense in ("nonsense", "801:1:"):
        assert it.judge(claim(list=nonsense), UP).no == "voters"
    same_number = VoterList(701, ("gw1", "gw2"), 1)
    assert it.judge(claim(list=same_number.text), UP).no == "voters"
    later = VoterList(803, ("gw1", "gw4", "gw5"), 1)
    assert it.grant(claim(list=later.text), UP) and it.state.voters == later, "whatever changes it has missed"
    without = VoterList(804, ("gw2", "gw3", "gw4"), 2)
    assert it.judge(claim("m2", 9, list=without.text), UP).no == "mute"


def test_a_list_of_an_earlier_leader_that_did_not_become_the_sites_is_no_later_one() -> None:
    """m1 led under epoch 6 and made list 601, m2 was elected under epoch 7 by those who knew list 501 only."""
    hardly_told, sites = VoterList(601, (*LIST.names, "gw4"), 2), VoterList(501, LIST.names, 1)
    it = voter(replace(OLD, voters=sites, leadership=Leadership(7, "m2", 3)))
    assert it.judge(replace(claim("m1", 9, list=hardly_told.text), epoch=6), UP).no == "voters"
    assert not it.take_list(hardly_told, 6) and it.state.voters == sites
    lost = voter(replace(OLD, voters=sites, leadership=Leadership(7, "m2", 3), non_voting=True))
    assert not lost.admit(hardly_told, 6, 8, UP) and lost.admit(sites, 7, 8, UP)
    assert it.take_list(hardly_told, 8), "m1 was elected again by those who had it"
    it = voter(replace(OLD, voters=VoterList(801, LIST.names, 1)))
    assert it.judge(replace(claim("m1", 9), epoch=8), UP).no == "voters", "the leader of epoch 8 told it itself"


def test_with_a_later_list_comes_who_has_won_with_it_forced_or_not() -> None:
    later = VoterList(702, ("gw1", "gw2", "gw4"), 2)
    it = voter(replace(OLD, voters=VoterList(701, LIST.names, 1), leadership=Leadership(6, "m1", 3)))
    assert it.adopt(proof(7, "m2", 4, voters=later), (KEY,)) == "" and it.state.voters == later
    it = voter(replace(OLD, voters=LIST, leadership=Leadership(6, "m1", 3)))
    forced = Proof(7, "m2", 4, later, ((FORCED, sign_grant(KEY, "paris", FORCED, 7, "m2", 4, later)),))
    assert it.adopt(forced, (KEY,)) == "" and it.state.voters == later


def test_a_site_begins_by_its_first_list_and_has_begun_when_somebody_has_won() -> None:
    it = voter(PersistentState(incarnation=1))
    it.begin_site(LIST)
    assert (it.state.first, it.state.non_voting, it.state.voters) == (True, False, LIST)
    assert it.adopt(proof(1, "m1", 1), (KEY,)) == "" and not it.state.first


def test_a_proof_takes_no_promise_back() -> None:
    it = voter()
    assert it.grant(claim(for_epoch=9), UP) and it.adopt(proof(8, "m2", 4), (KEY,)) == ""
    assert it.state.promised_epoch == 9 and it.state.granted == (Granted(9, "m2", 4), Granted(7, "m1", 3))
    it = voter()
    assert it.grant(claim(for_epoch=9), UP) and it.adopt(proof(8, "m1", 3), (KEY,)) == ""
    assert it.state.granted == (Granted(9, "m2", 4), Granted(8, "m1", 3))
    assert it.state.promised_to_others(Start("m1", 3)) == 9


def test_who_is_let_in_has_heard_nobody_yet() -> None:
    it = voter(replace(OLD, non_voting=True))
    assert it.hear(beat(), UP) == "" and it.heard is not None
    assert it.admit(LIST, 7, 8, UP) and it.heard is None


def test_what_it_knows_of_whom_it_granted_stays_when_that_has_won() -> None:
    it = voter()
    assert it.grant(claim(commitment=DEAD, lease=5.0), UP) and it.adopt(proof(8, "m2", 4), (KEY,)) == ""
    assert it.state.granted == (Granted(8, "m2", 4, DEAD), Granted(7, "m1", 3)) and it.state.lease == 5.0
    assert it.adopt(proof(9, "m1", 3), (KEY,), commitment="of m1") == ""
    assert it.state.granted[0] == Granted(9, "m1", 3, "of m1")
    assert it.state.lease == 0.0, "a quorum has waited for the lease of before"


def test_who_was_told_such_a_list_goes_back_when_it_hears_of_the_later_leadership() -> None:
    hardly_told, newer = VoterList(601, (*LIST.names, "gw4"), 2), VoterList(701, LIST.names, 1)
    it = voter(replace(OLD, voters=hardly_told, leadership=Leadership(6, "m1", 3)))
    assert it.grant(claim("m2", 9), UP) and it.state.voters == LIST, "by who follows it"
    it = voter(replace(OLD, voters=hardly_told, leadership=Leadership(6, "m1", 3)))
    assert it.take_list(LIST, 7) and it.state.voters == LIST, "by the word of another voter"
    it = voter(replace(OLD, voters=hardly_told, leadership=Leadership(6, "m1", 3)))
    assert it.adopt(proof(7, "m2", 4), (KEY,)) == "" and it.state.voters == LIST
    it = voter(replace(OLD, voters=newer, leadership=Leadership(6, "m1", 3)))
    assert it.adopt(proof(7, "m2", 4), (KEY,)) == "" and it.state.voters == newer, (
        "the new leader has told it already"
    )
    it = voter(replace(OLD, voters=hardly_told, leadership=Leadership(6, "m1", 3)))
    forced = Proof(7, "m2", 4, LIST, ((FORCED, sign_grant(KEY, "paris", FORCED, 7, "m2", 4, LIST)),))
    assert it.adopt(forced, (KEY,)) == "" and it.state.voters == hardly_told, "no quorum has said anything"


def test_lists_and_proofs_survive_their_text() -> None:
    assert VoterList.parse(LIST.text) == LIST and LIST.text == "1:1:gw1,gw2,gw3"
    assert VoterList.parse(VoterList().text) == VoterList()
    assert Proof.parse(proof(8, "m2", 4).text) == proof(8, "m2", 4)
    assert all(len(grant) == 32 for _, grant in proof(8, "m2", 4).grants)


def test_a_list_names_sixteen_voters_at_the_most() -> None:
    sixteen = VoterList(1, tuple(f"gw{number}" for number in range(16)), 1)
    assert VoterList.parse(sixteen.text) == sixteen
    with pytest.raises(ValueError, match="up to 16"):
        VoterList.parse(f"{sixteen.text},gw16")


def test_names_and_numbers_of_a_list_are_what_a_header_can_have() -> None:
    for name in ("a", "n" * MOST_NAME, "gw.1_a-b"):
        assert VoterList.parse(f"1:1:{name}").names == (name,)
    for name in ("n" * (MOST_NAME + 1), *(f"gw{sign}1" for sign in " :;|=\t\r\n")):
        with pytest.raises(ValueError, match="must name"):
            VoterList.parse(f"1:1:{name}")
    assert VoterList.parse(f"{'9' * 16}:1:gw1").generation == int("9" * 16)
    for number in ("9" * 17, "", "-1", "²", "1.0"):
        with pytest.raises(ValueError, match="where a number must stand"):
            VoterList.parse(f"{number}:1:gw1")


def test_a_proof_has_sixteen_grants_and_two_thousand_characters_at_the_most() -> None:
    many = replace(proof(8, "m2", 4), grants=tuple((f"gw{number}", "00") for number in range(16)))
    assert Proof.parse(many.text) == many
    with pytest.raises(ValueError, match="17 grants"):
        Proof.parse(f"{many.text},gw16:00")
    long = many.text + "0" * (2000 - len(many.text))
    assert Proof.parse(long).text == long
    with pytest.raises(ValueError, match="must read"):
        Proof.parse(f"{long}0")


@pytest.mark.parametrize(
    "text",
    ["", "8|m2|13|1:1:gw1", "x|m2|13|1:1:gw1|gw1:0", "8||13|1:1:gw1|gw1:0", "8|m2|13|1:1:gw1,gw1|a:0", "é|" * 4],
)
def test_a_bad_proof_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"proof|list"):
        Proof.parse(text)


def test_a_full_proof_fits_into_a_header() -> None:
    names = tuple(f"agent-{n}-with-a-rather-long-name.example" for n in range(7))
    assert len(proof(10**6, "m2", 10**10, names, VoterList(10**8, names, 9)).text) < 1000


@pytest.mark.parametrize(
    "now, wanted, steps",
    [
        (("a", "b", "c"), ("a", "b", "d"), [("a", "b", "c", "d"), ("a", "b", "d")]),
        (("a",), ("a", "b", "m2"), [("a", "b"), ("a", "b", "m2")]),
        (("a", "b"), ("b", "a"), [("b", "a")]),
    ],
)
def test_the_list_changes_by_one_voter_at_a_time(
    now: tuple[str, ...], wanted: tuple[str, ...], steps: list[tuple[str, ...]]
) -> None:
    found = []
    while now != wanted:
        now = VoterList(1, now).step_towards(wanted)
        found.append(now)
    assert found == steps


def test_a_generation_names_one_list_only() -> None:
    first = LIST.next(7, LIST.names, 1)
    assert first is not None and first.generation == 701
    second = first.next(7, LIST.names, 1)
    assert second is not None and second.generation == 702
    under_eight = LIST.next(8, LIST.names, 1)
    assert under_eight is not None and under_eight.generation == 801
    assert VoterList(799, LIST.names).next(7, LIST.names, 1) is None


def test_memory_of_grants_is_bounded_and_keeps_the_highest() -> None:
    it = voter()
    for n in range(40):
        it.adopt(proof(10 + n, f"s{n}", 1), (KEY,))
    assert len(it.state.granted) == 16 and it.state.promised_epoch == 49
    assert it.state.promised_to_others(Start("s39", 1)) == 48


def test_an_epoch_of_a_voter_is_told_to_whom_it_matters() -> None:
    it = voter()
    it.grant(claim(), UP)
    assert it.state.granted[0] == Granted(8, "m2", 4)
    assert (it.state.promised_to_others(Start("m2", 4)), it.state.promised_to_others(Start("m1", 3))) == (7, 8)


def test_who_let_go_of_an_epoch_is_heard_again_under_a_higher_one() -> None:
    it = voter(replace(OLD, leadership=Leadership(9, "m1", 3), granted=(Granted(9, "m1", 3), Granted(7, "m1", 3))))
    it.hear(beat(), UP)
    it.release(Start("m1", 3), 7)
    assert it.hear(beat(epoch=9), UP + 1.0) == ""
    assert it.judge(claim(for_epoch=10), UP + 1.1).no == "heard", "it holds a lease again"


def test_the_longest_lease_heard_is_kept_for_the_next_start() -> None:
    it = voter()
    it.hear(beat(lease=30.0), UP)
    assert it.state.lease == 30.0 and it.state.serial == 1
    it.hear(beat(lease=30.0), UP + 1.0)
    it.hear(beat(lease=2.0), UP + 2.0)
    assert it.state.lease == 30.0 and it.state.serial == 1
    assert it.judge(claim(), UP + 20.0).no == "heard", "one leadership does not wait for less than it said once"
    again = Voter("gw1", SITE, it.state, UP)
    assert again.judge(claim(), UP + 30.0).no == "young" and again.judge(claim(), UP + 34.0)


@pytest.mark.parametrize(
    ("flags", "generation", "granted", "no"),
    [
        ((FIRST,), 1, (), ""),
        ((), 1, (), "mute"),
        ((FIRST,), 2, (), "mute"),
        ((FIRST,), 1, (Granted(3, "m1", 3),), "mute"),
    ],
)
def test_who_has_no_vote_has_one_at_the_first_start_of_the_site_alone(
    flags: tuple[str, ...], generation: int, granted: tuple[Granted, ...], no: str
) -> None:
    names = VoterList(generation, LIST.names, 1)
    it = voter(PersistentState(incarnation=5, non_voting=True, voters=names, granted=granted))
    assert it.judge(claim(for_epoch=9, flags=flags, list=names.text), UP).no == no


def test_a_changed_site_file_is_lived_by() -> None:
    it = voter()
    it.hear(beat(), UP)
    slow = membership(3, timing=Timing(interval=2.0))
    it.reload(slow)
    refusal = it.judge(claim(), UP + SILENCE)
    assert (refusal.no, refusal.wait) == ("heard", pytest.approx(slow.timing.silence - SILENCE))
