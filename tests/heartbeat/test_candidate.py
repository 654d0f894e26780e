"""The candidate's side of an election, message by message: what it asks, when it asks again, when it gives up."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from heartbeat.candidate import Candidate, ElectionEvent
from heartbeat.cluster_view import ClusterView
from heartbeat.decision import Persist, Tell, What
from heartbeat.header import AS_IF_RELEASED, FIRST, Beat
from heartbeat.participant import Participant
from heartbeat.persistent_state import Granted, Leadership, PersistentState
from heartbeat.proof import VoterList, sign_grant
from heartbeat.timing import Timing
from tests.heartbeat.ballot_world import KEY, membership
from tests.heartbeat.test_voter import beat

TIMING = Timing(interval=0.5, lease=2.0, margin=0.5)
UP = 100.0
"""Long after the start at 0; powers of two and their sums are exact, so that instants may be compared."""
AGAIN = 0.5 * 1.05
"""Seconds from one round of the pre-vote to the next."""


class Half(Random):
    """The middle of all chances."""

    def random(self) -> float:
        return 0.5


class Bed:
    """A stand-by, m2 where no other is named, that knows m1 as the leader of epoch 7."""

    def __init__(
        self,
        agents: int = 2,
        name: str = "m2",
        leader: str = "m1",
        first: bool = False,
        started_at: float = 0.0,
        timing: Timing = TIMING,
        **changes: Any,
    ) -> None:
        site = membership(agents, timing=timing, **changes)
        led = () if first else (Granted(7, leader, 3),)
        state = PersistentState(
            incarnation=4,
            first=first,
            non_voting=False,
            voters=VoterList(1, site.voters, 1),
            leadership=Leadership() if first else Leadership(7, leader, 3),
            granted=led,
        )
        self.node = Participant(name, site, state, lambda: "standby", lambda server, now: None, started_at)
        self.cluster = ClusterView(name, 0 if first else 7, 0)
        self.cluster.set_servers(site.servers)
        self.cluster.leader = "" if first else leader
        self.it = Candidate(self.node, self.cluster, Half(), started_at)
        self.now = UP
        self.full = self.slow = False
        """The disk takes nothing; the disk takes its time (``written``)."""
        self.unwritten: list[PersistentState] = []
        self.asked: list[Beat] = []
        """What went out since somebody looked last."""
        self._newest: dict[str, Beat] = {}

    def start(self, because: str = "m1 is dead", **more: Any) -> list[Beat]:
        self.it.start(because, 0.25, self.now, **more)
        return self.sent()

    def sent(self) -> list[Beat]:
        """What is asked from now on; the disk writes what it is given."""
        self._work()
        found, self.asked = self.asked, []
        return found

    def to(self) -> list[str]:
        return [one.to for one in self.sent()]

    def _work(self) -> None:
        while actions := self.node.outbox.to_do():
            for action in actions:
                if isinstance(action, Tell):
                    self.asked.append(action.beat)
                    self._newest[action.to] = action.beat
                elif isinstance(action, Persist):
                    self.unwritten.append(action.state)
            while self.unwritten and not self.slow:
                self.written()

    def written(self, at: int = 0) -> None:
        state = self.unwritten.pop(at)
        if self.full:
            self.node.outbox.not_persisted(state, "no space left", self.now)
        else:
            self.node.outbox.persisted(state, self.now)
            self.node.outbox.release(self.now)

    def answers(self, voter: str, no: str = "", **more: Any) -> None:
        """A voter answers what it was asked last; a grant is signed."""
        self._work()
        asked = self._newest[voter]
        said: dict[str, Any] = {
            "kind": asked.kind,
            "re": (asked.incarnation, asked.seq),
            "for_epoch": asked.for_epoch,
            "no": no,
        }
        if asked.kind == "grant" and not no:
            voters = VoterList.parse(asked.list)
            node, incarnation = self.node.name, self.node.on_disk.incarnation
            said["grant"] = sign_grant(KEY, "paris", voter, asked.for_epoch, node, incarnation, voters)
        self.it.answered(beat(voter, 7, 9, "agent", **{**said, **more}), self.now)
        self._work()

    def due(self, after: float, objection: str = "", leader_dead: bool = False) -> str:
        """So many seconds later the timer is looked at."""
        self.now += after
        return self.it.handle_timer(objection, leader_dead, self.now)

    def said(self, *whats: What) -> list[str]:
        """What was decided since somebody looked last."""
        found = []
        while (decision := self.node.outbox.next_event()) is not None:
            if not whats or decision.what in whats:
                found.append(str(decision))
        return found

    def election(self) -> Any:
        assert self.it.election is not None
        return self.it.election

    def requesting(self, **more: Any) -> list[Beat]:
        """The pre-vote is won, and votes are requested; what is asked for them."""
        self.start(**more)
        self.answers("gw1")
        assert self.it.phase == "requesting"
        return self.sent()


def test_an_election_is_neither_planned_nor_a_renewal_unless_that_is_said() -> None:
    bed = Bed()
    assert (bed.it.phase, bed.it.election, bed.it.retry_at) == ("none", None, float("inf"))
    bed.start()
    election = bed.election()
    assert (election.planned, election.renewal, election.because) == (False, False, "m1 is dead")
    assert bed.said() == ["m2 asks for votes: m1 is dead"]
    assert bed.it.phase == "prevote" and bed.it.retry_at == pytest.approx(UP + AGAIN)


def test_a_prevote_asks_every_voter_but_itself_and_counts_its_own_vote() -> None:
    bed = Bed()
    asked = bed.start()
    assert [(one.to, one.kind, one.for_epoch, one.flags, one.lease) for one in asked] == [
        ("gw1", "prevote", 8, (), None),
        ("gw2", "prevote", 8, (), None),
    ]
    assert bed.election().outcome == "1 of 3 for it, 2 needed; gw1: no answer yet; gw2: no answer yet"
    bed.cluster.deaths = ("5f" * 16,)
    bed.due(AGAIN + 0.001)
    assert [one.deaths for one in bed.sent()] == [("5f" * 16,)] * 2


def test_a_server_without_a_vote_asks_the_others_alone() -> None:
    bed = Bed(3)
    assert [one.to for one in bed.start()] == ["gw1", "gw2", "gw3"]
    assert bed.election().yes == set() and bed.election().refusals == {}
    bed.answers("gw1")
    bed.answers("gw2")
    bed.sent()
    assert bed.it.phase == "requesting" and bed.election().grants == {} and bed.election().refusals == {}


def test_its_own_no_counts_as_that_of_any_voter() -> None:
    bed = Bed()
    bed.node.voter.hear(beat("m1", 7, 3), UP - 1.0)
    bed.start()
    no = bed.election().refusals["m2"]
    assert (no.no, no.wait) == ("heard", pytest.approx(1.5)) and bed.election().yes == set()
    bed.answers("gw1")
    assert bed.it.phase == "prevote"
    bed.answers("gw2")
    assert bed.it.phase == "requesting", "two agents are a quorum"


def test_it_asks_again_in_time_and_not_before() -> None:
    bed = Bed()
    bed.start()
    bed.due(0.5)
    assert bed.to() == []
    bed.due(0.03)
    assert bed.to() == ["gw1", "gw2"]
    bed.it.hurry(bed.now)
    assert bed.it.retry_at == pytest.approx(bed.now + 0.01), "a round lasts for a moment"
    bed.due(0.01)
    assert bed.to() == ["gw1", "gw2"]
    bed.it.call_off("enough", bed.now)
    bed.it.hurry(bed.now)
    assert bed.it.election is None and bed.it.retry_at == float("inf")
    bed.due(100.0)
    assert bed.to() == []


def test_what_does_not_apply_changes_nothing() -> None:
    bed = Bed()
    bed.start()
    for event in (ElectionEvent.RELEASED, ElectionEvent.GRANTED, ElectionEvent.REFUSED):
        bed.it.step(event, bed.now)
    assert bed.it.phase == "prevote" and bed.sent() == []
    bed.it.step(ElectionEvent.CONCLUDED, bed.now)
    bed.it.step(ElectionEvent.CONCLUDED, bed.now)
    assert bed.it.election is None and bed.it.phase == "none"


def test_a_won_prevote_is_followed_by_a_request_for_votes_with_the_lease_that_they_give() -> None:
    bed = Bed()
    bed.start()
    bed.said()
    bed.answers("gw1")
    asked = bed.sent()
    assert [(one.to, one.kind, one.for_epoch, one.lease) for one in asked] == [
        ("gw1", "grant", 8, 2.0),
        ("gw2", "grant", 8, 2.0),
    ]
    decision = bed.node.outbox.next_event()
    assert decision is not None and (decision.what, decision.epoch, decision.node) == (What.TAKING_OVER, 8, "m1")
    assert str(decision).startswith("m2 requests votes for epoch 8: m1 is dead; 2 of 3 for it, 2 needed")
    assert bed.it.retry_at == UP + 0.25 and bed.election().round_at == UP
    assert set(bed.election().grants) == {"m2"}, "its own vote, which is on disk"
    assert bed.node.on_disk.promised_epoch == 8


def test_those_who_have_not_granted_are_asked_again() -> None:
    bed = Bed(4)
    bed.start()
    bed.answers("gw1")
    bed.answers("gw2")
    assert sorted(bed.to()) == ["gw1", "gw2", "gw3", "gw4"]
    bed.answers("gw1")
    own = bed.election().grants["m2"]
    bed.due(0.25)
    assert bed.to() == ["gw2", "gw3", "gw4"]
    assert bed.it.retry_at == bed.now + 0.25
    assert bed.election().grants["m2"] is own, "a lease counts from when a vote was asked for first"


def test_a_quorum_of_votes_wins_and_is_written_down() -> None:
    bed = Bed()
    bed.requesting()
    bed.slow = True
    bed.answers("gw1")
    assert bed.it.phase == "won" and bed.node.proof is not None
    assert [voter for voter, _ in bed.node.proof.grants] == ["gw1", "m2"]
    [state] = bed.unwritten
    assert state.leadership == Leadership(8, "m2", 4) and state.granted[0].node == "m2"


@pytest.mark.parametrize("written", [True, False])
def test_a_victory_waits_for_its_disk_without_limit(written: bool) -> None:
    bed = Bed()
    bed.requesting()
    bed.full = True
    bed.answers("gw1")
    assert bed.node.has_no_disk and bed.it.phase == "won"
    for _ in range(5):
        bed.due(2.5)
        assert bed.it.phase == "won" and bed.it.retry_at == bed.now + 0.5
    bed.full = not written
    bed.due(0.5)
    bed.sent()
    assert (bed.node.on_disk.leadership.epoch == 8) is written


def test_a_proof_that_is_none_wins_nothing() -> None:
    bed = Bed()
    bed.requesting()
    bed.said()
    bed.answers("gw1", grant="00" * 16)
    assert bed.it.election is None and bed.said(What.CALLED_OFF) == [
        "m2 won nothing: the proof has 1 good grants of 3 voters, no quorum"
    ]


def test_a_vote_of_a_disk_that_was_slow_counts_for_its_own_election_and_epoch_only() -> None:
    bed = Bed()
    bed.start()
    bed.slow = True
    bed.answers("gw1")
    assert bed.it.phase == "requesting" and bed.election().grants == {} and len(bed.unwritten) == 1
    bed.due(2.0)  # epoch 8 is given up
    bed.due(1.0)
    bed.answers("gw1")
    assert bed.it.phase == "requesting" and bed.election().epoch == 9
    bed.written()
    assert bed.election().grants == {}, "that vote was for epoch 8"
    bed.written()
    assert set(bed.election().grants) == {"m2"}


def test_a_vote_of_a_slow_disk_is_the_last_that_is_needed() -> None:
    bed = Bed()
    bed.start()
    bed.slow = True
    bed.answers("gw1")
    bed.answers("gw1")
    assert bed.it.phase == "requesting" and set(bed.election().grants) == {"gw1"}
    bed.written()
    assert bed.it.phase == "won"


def test_a_vote_that_comes_when_the_epoch_is_won_already_is_none_of_its_grants() -> None:
    bed = Bed()
    bed.start()
    bed.slow = True
    bed.answers("gw1")
    for voter in ("gw1", "gw2"):
        bed.answers(voter)
    assert bed.it.phase == "won"
    bed.written()
    assert set(bed.election().grants) == {"gw1", "gw2"}


def test_a_vote_of_an_election_that_was_called_off_does_not_count_in_the_next() -> None:
    bed = Bed()
    bed.start()
    bed.slow = True
    bed.answers("gw1")
    first = bed.election()
    bed.it.call_off("for a test", bed.now)
    bed.start()
    bed.answers("gw1")
    assert bed.it.phase == "requesting" and bed.election() is not first
    bed.written()
    assert first.grants == bed.election().grants == {}


def test_a_server_that_may_not_vote_for_itself_is_one_voter_that_refuses() -> None:
    bed = Bed()
    bed.start()
    bed.node.voter.hear(beat("m1", 7, 3), UP)
    bed.answers("gw1")
    assert bed.it.phase == "requesting" and bed.election().grants == {}
    assert bed.election().refusals["m2"].no == "heard" and bed.election().refusals["m2"].wait == pytest.approx(2.5)


@pytest.mark.parametrize(("interval", "lease", "waits"), [(0.25, 1.0, 2.0), (1.0, 4.0, 4.0)])
def test_a_request_is_repeated_for_a_lease_and_for_slow_disks(interval: float, lease: float, waits: float) -> None:
    bed = Bed(timing=Timing(interval=interval, lease=lease, margin=0.5))
    bed.requesting()
    bed.due(waits - 0.125)
    assert bed.it.phase == "requesting" and bed.to() == ["gw1", "gw2"]
    bed.it.hurry(bed.now)
    bed.due(0.125)
    assert bed.it.phase == "prevote" and bed.to() == []


def test_an_epoch_that_is_not_won_is_given_up_for_the_next() -> None:
    bed = Bed()
    bed.requesting()
    bed.said()
    bed.due(1.875)
    assert bed.it.phase == "requesting" and bed.said() == []
    bed.sent()
    bed.it.hurry(bed.now)
    bed.due(0.125)
    assert bed.it.phase == "prevote" and bed.sent() == [], "2 s after the request"
    assert bed.said() == ["m2 did not win epoch 8: 1 of 3 for it, 2 needed; gw1: no answer yet; gw2: no answer yet"]
    assert bed.it.retry_at == pytest.approx(bed.now + 0.5 + 0.5 * 0.7), "who is not preferred waits an interval more"
    assert bed.cluster.promised_epoch == 8 and bed.election().epoch == 9
    bed.due(1.0)
    assert [one.for_epoch for one in bed.sent()] == [9, 9]


def test_the_preferred_server_asks_again_sooner() -> None:
    bed = Bed(name="m1", leader="m2")
    bed.start()
    for voter in ("gw1", "gw2"):
        bed.answers(voter)
    assert bed.it.phase == "requesting"
    bed.it.hurry(UP + 2.0)
    bed.due(2.0)
    assert bed.it.phase == "prevote" and bed.it.retry_at == pytest.approx(bed.now + 0.5 * 0.7)


@pytest.mark.parametrize(
    ("voters", "promised", "phase", "known"),
    [
        (["gw1"], 12, "requesting", 0),  # the others are a quorum yet
        (["gw1", "gw2"], 8, "requesting", 0),
        (["gw1", "gw2"], 12, "prevote", 12),
    ],
)
def test_a_quorum_that_has_promised_more_ends_the_round_at_once(
    voters: list[str], promised: int, phase: str, known: int
) -> None:
    bed = Bed()
    bed.requesting()
    for voter in voters:
        bed.answers(voter, "promised", promised_epoch=promised)
    bed.due(0.25)
    assert bed.it.phase == phase and bed.cluster.promised_epoch == known


@pytest.mark.parametrize(("promised", "hurries"), [(7, False), (8, True), (12, True)])
def test_a_prevote_for_an_epoch_that_was_promised_is_asked_anew_soon(promised: int, hurries: bool) -> None:
    bed = Bed()
    bed.start()
    bed.answers("gw1", "promised", promised_epoch=promised)
    assert bed.it.retry_at == pytest.approx(bed.now + (0.05 if hurries else AGAIN))


@pytest.mark.parametrize(("no", "learns"), [("voters", True), ("heard", False)])
def test_a_later_list_of_voters_is_learnt_from_who_refuses_for_it(no: str, learns: bool) -> None:
    bed = Bed()
    bed.start()
    later = VoterList(701, ("gw1", "gw2"), 1)
    bed.answers("gw1", no, list=later.text)
    assert (bed.node.on_disk.voters == later) is learns
    bed.it.call_off("for a test", bed.now)
    newest = VoterList(702, ("gw2",), 1)
    bed.answers("gw2", no, list=newest.text)
    assert (bed.node.on_disk.voters == newest) is learns, "also when there is no election any more"


def test_votes_are_not_requested_by_the_list_of_another_leadership() -> None:
    bed = Bed()
    bed.start()
    bed.node.voter.state = replace(bed.node.voter.state, leadership=Leadership(9, "m1", 5))
    bed.sent()
    bed.answers("gw1")
    assert bed.it.phase == "prevote" and bed.sent() == [] and bed.election().epoch == 9
    assert bed.said(What.CALLED_OFF)[0].startswith("m2 did not win epoch 8")


# -- why elections end ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "objection", "ends"),
    [
        ({}, "m1 is active", True),
        ({}, "", False),
        ({"planned": True}, "m1 is active", False),
        ({"renewal": True}, "m1 is active", False),
    ],
)
def test_an_election_that_nobody_wants_any_more_is_called_off(
    kind: dict[str, bool], objection: str, ends: bool
) -> None:
    bed = Bed()
    bed.start(**kind)
    bed.said()
    assert bed.due(1.0, objection) == ""
    assert (bed.it.election is None) is ends
    assert bed.said() == (["m2 stops asking for votes: m1 is active"] if ends else [])
    assert bed.to() == ([] if ends else ["gw1", "gw2"])


@pytest.mark.parametrize(
    ("kind", "after", "ends"), [({"planned": True}, 5.0, True), ({"planned": True}, 4.5, False), ({}, 5.0, False)]
)
def test_a_switchover_that_does_not_get_ready_is_called_off_in_time(
    kind: dict[str, bool], after: float, ends: bool
) -> None:
    bed = Bed()
    assert [one.flags for one in bed.start(**kind)] == [(AS_IF_RELEASED,) if kind else ()] * 2
    bed.due(1.0)
    bed.said()
    bed.due(after - 1.0)
    assert (bed.it.election is None) is ends
    assert bed.said(What.CALLED_OFF) == (
        ["m2 is not ready to take over: 1 of 3 for it, 2 needed; gw1: no answer yet; gw2: no answer yet"]
        if ends
        else []
    )


def test_who_is_ready_for_a_switchover_says_so_and_waits_for_the_release() -> None:
    bed = Bed()
    bed.start(planned=True)
    bed.said()
    bed.answers("gw1")
    assert bed.it.phase == "ready" and bed.said() == [
        "m2 would have a quorum: 2 of 3 for it, 2 needed; gw2: no answer yet"
    ]
    [ready] = bed.sent()
    assert (ready.to, ready.kind, ready.for_epoch) == ("m1", "ready", 7)
    assert bed.it.retry_at == UP + 5.0
    bed.it.step(ElectionEvent.RELEASED, bed.now)
    assert bed.it.phase == "requesting" and not bed.election().planned
    assert {one.flags for one in bed.sent()} == {()}, "a request never assumes a release"


def test_who_is_ready_in_vain_gives_up() -> None:
    bed = Bed()
    bed.start(planned=True)
    bed.answers("gw1")
    bed.said()
    bed.due(4.875)
    assert bed.it.phase == "ready" and bed.said() == []
    bed.due(0.125)
    assert bed.it.election is None and bed.said() == ["m2 was ready, but m1 did not let go"]


# -- hold_down --------------------------------------------------------------------------------------


def taken_over(bed: Bed, **answered: float) -> Bed:
    """The last takeover is a second ago; agents were heard so many seconds ago."""
    bed.cluster.changed_at = UP - 1.0
    for agent, ago in answered.items():
        bed.cluster.learn_agent(agent, UP - ago)
    return bed


@pytest.mark.parametrize(
    ("heard", "wins"),
    [
        ({"gw1": 1.0}, True),
        ({"gw1": 1.0, "gw2": 1.0}, False),
        ({"gw1": 1.0, "gw2": 3.0}, True),
        ({}, True),
    ],
    ids=["gw2 was never heard", "gw2 is there", "gw2 is silent for longer than a lease", "nobody was heard"],
)
def test_soon_after_a_takeover_every_voter_that_is_there_must_agree(heard: dict[str, float], wins: bool) -> None:
    bed = taken_over(Bed(), **heard)
    bed.start()
    bed.answers("gw1")
    assert (bed.it.phase == "requesting") is wins
    if not wins:
        bed.answers("gw2")
    assert bed.it.phase == "requesting"


def test_soon_after_a_takeover_the_server_that_votes_itself_must_agree_too() -> None:
    bed = taken_over(Bed(), gw1=1.0, gw2=1.0)
    bed.node.voter.hear(beat("m1", 7, 3), UP - 1.0)
    bed.start()
    for voter in ("gw1", "gw2"):
        bed.answers(voter)
    assert bed.it.phase == "prevote", "it hears the new server itself"


def test_the_server_that_is_to_be_replaced_is_not_asked_for_its_agreement() -> None:
    bed = taken_over(Bed(name="m1", leader="m2"), gw1=1.0, gw2=1.0)
    bed.cluster.peers["m2"].heard_at = UP - 1.0
    bed.start()
    for voter in ("gw1", "gw2"):
        bed.answers(voter)
    assert bed.it.phase == "requesting"


def test_a_server_without_a_vote_is_not_needed_and_needs_those_who_are_there() -> None:
    bed = taken_over(Bed(3), gw1=1.0, gw2=1.0)
    bed.start()
    for voter in ("gw1", "gw2"):
        bed.answers(voter)
    assert bed.it.phase == "requesting", "gw3 was never heard, and m2 is no voter"


@pytest.mark.parametrize(
    ("why", "wins"),
    [
        ("automatic", False),
        ("renewal", True),
        ("planned", True),
        ("died", True),
        ("over", True),
        ("nearly over", False),
    ],
)
def test_hold_down_is_for_takeovers_that_nobody_asked_for(why: str, wins: bool) -> None:
    bed = taken_over(Bed(), gw1=1.0, gw2=1.0)
    bed.cluster.leader_died = why == "died"
    bed.cluster.changed_at = UP - {"over": 30.0, "nearly over": 29.5}.get(why, 1.0)
    bed.start(**({why: True} if why in ("renewal", "planned") else {}))
    bed.answers("gw1")
    assert (bed.it.phase in ("requesting", "ready")) is wins


# -- the first start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started_at", "heard_ago", "waits"),
    [
        (UP - 1.0, None, True),
        (UP - 2.5, None, False),
        (0.0, None, False),
        (0.0, 0.9, True),
        (0.0, 1.1, False),
    ],
    ids=["all may come yet", "long enough up", "long up", "it is there", "it was there"],
)
def test_at_the_first_start_of_a_site_voters_that_are_there_are_waited_for(
    started_at: float, heard_ago: float | None, waits: bool
) -> None:
    bed = Bed(3, first=True, started_at=started_at)
    if heard_ago is not None:
        bed.cluster.learn_agent("gw3", UP - heard_ago)
    assert {one.flags for one in bed.start()} == {(FIRST,)}
    bed.answers("gw1")
    bed.answers("gw2")
    assert (bed.it.phase == "prevote") is waits


# -- leading without a quorum -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "kind", "dead", "after", "refuses", "leads"),
    [
        (True, {}, True, 4.5, False, True),
        (False, {}, True, 4.5, False, False),
        (True, {}, False, 4.5, False, False),
        (True, {}, True, 4.375, False, False),
        (True, {"renewal": True}, True, 4.5, False, False),
        (True, {}, True, 4.5, True, False),
    ],
    ids=["yes", "not allowed", "the leader lives", "not long enough", "a leader itself", "a quorum says no"],
)
def test_a_site_may_do_without_a_quorum(
    allowed: bool, kind: dict[str, bool], dead: bool, after: float, refuses: bool, leads: bool
) -> None:
    bed = Bed(takeover_without_quorum=allowed)
    bed.start(**kind)
    if refuses:
        bed.answers("gw1", "heard")
    found = bed.due(after, leader_dead=dead)
    assert found == ("m1 is dead, no quorum answers, and the site file allows it" if leads else "")
    assert bed.to() == ([] if leads else ["gw1", "gw2"])


# -- what operators are told ------------------------------------------------------------------------


def test_an_election_that_lasts_says_what_it_lacks_and_again_when_that_changes() -> None:
    bed = Bed()
    bed.start()
    bed.said()
    bed.due(4.375)
    assert bed.said() == []
    bed.it.hurry(bed.now)
    bed.due(0.125)
    lacks = "m2 has no quorum yet: 1 of 3 for it, 2 needed; gw1: no answer yet; gw2: no answer yet"
    assert bed.said() == [lacks], "a lease and a silence after its begin"
    bed.due(12.0)
    assert bed.said() == [], "as before"
    bed.answers("gw1", "mute")
    bed.due(1.0)
    assert bed.said() == [lacks.replace("gw1: no answer yet", "gw1: it has no vote")]
    bed.due(9.0)
    assert bed.said() == [], "it changed, but it was told a moment ago"
    bed.it.hurry(bed.now)
    bed.due(1.0)
    assert bed.said() == [lacks]


def test_the_next_election_tells_as_late_as_the_first() -> None:
    bed = Bed()
    bed.start()
    bed.due(4.5)
    bed.said()
    bed.it.call_off("for a test", bed.now)
    bed.said()
    bed.start()
    bed.said()
    bed.due(4.375)
    assert bed.said() == []
    bed.it.hurry(bed.now)
    bed.due(0.125)
    assert len(bed.said()) == 1, "the same as the last time, but of another election"


@pytest.mark.parametrize(
    ("changed_at", "agrees", "tail"),
    [
        (
            UP - 1.0,
            True,
            "; every voter that is there is needed for another 24 s, so soon after the last takeover",
        ),
        (UP - 1.0, False, ""),
        (UP - 25.5, True, ""),
    ],
    ids=["all are needed", "there is no quorum anyway", "not any more"],
)
def test_it_is_said_when_the_last_takeover_is_the_reason(changed_at: float, agrees: bool, tail: str) -> None:
    bed = taken_over(Bed())
    bed.cluster.changed_at = changed_at
    bed.start()
    bed.due(4.0)
    for agent in ("gw1", "gw2"):
        bed.cluster.learn_agent(agent, bed.now)
    if agrees:
        bed.answers("gw1")
    bed.said()
    bed.due(0.75)
    count = "2 of 3 for it, 2 needed" if agrees else "1 of 3 for it, 2 needed; gw1: no answer yet"
    assert bed.said() == [f"m2 has no quorum yet: {count}; gw2: no answer yet{tail}"]
