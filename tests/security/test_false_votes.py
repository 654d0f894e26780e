"""What one voter of a site reaches that says whatever it likes: it has one vote, and no more than that.

The others are honest; a liar with the shortest way to the servers is heard before them each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from heartbeat.decision import What
from heartbeat.header import BEAT, GRANT, PREVOTE, PROOF, Beat, Start
from heartbeat.membership import Membership
from heartbeat.proof import VoterList, sign_grant
from heartbeat.timing import Timing
from tests.heartbeat.ballot_world import KEY, Host, World, membership

Lie = Callable[[Beat], Beat]

LIAR = "gw1"
BEATS = frozenset({BEAT, PROOF})
VOTES = frozenset({PREVOTE, GRANT})


class Town(World):
    """A site whose agent gw1 answers with lies, sooner than others."""

    lie: Lie | None = None
    highest = 0
    """The highest epoch that the liar heard of."""

    def _carry(self, sender: str, to: str, what: object, asker: Start | None = None) -> None:
        if isinstance(what, Beat):
            if to == LIAR:
                self.highest = max(self.highest, what.epoch, what.for_epoch)
            if sender == LIAR and self.lie is not None and what.re is not None:
                said = self.lie(what)
                self._at(self.now, lambda: self._deliver(sender, to, said, asker))
                return
            if to == LIAR and self.lie is not None:
                self._at(self.now, lambda: self._deliver(sender, to, what, asker))
                return
        super()._carry(sender, to, what, asker)  # type: ignore[arg-type]


def town(agents: int = 3, delay: tuple[float, float] = (0.030, 0.035), **changes: object) -> Town:
    timing = Timing(interval=0.2, round_trip=0.1)
    site: Membership = membership(agents, timing=timing, **changes)
    made = Town(site, delay=delay)
    made.start_all()
    made.run_until(lambda: made.settled() == "m1", limit=6.0)
    made.run(5.0)
    return made


def promises_more(w: Town) -> Lie:
    """Whatever it is asked, it has promised a higher epoch already."""

    def lie(beat: Beat) -> Beat:
        epoch = w.highest + 1
        no = "promised" if beat.kind in VOTES else "stale" if beat.kind in BEATS else ""
        return replace(beat, no=no, promised_epoch=epoch, promised_to_others=epoch, grant="", wait=None)

    return lie


def promises_more_and_says_yes(w: Town) -> Lie:
    """It would vote for everybody, and its answers count, but it has promised a higher epoch."""

    def lie(beat: Beat) -> Beat:
        epoch = w.highest + 1
        return replace(beat, no="", promised_epoch=epoch, promised_to_others=epoch, wait=None)

    return lie


def would_vote_soon(w: Town) -> Lie:
    """In a moment it would vote for everybody."""

    def lie(beat: Beat) -> Beat:
        return replace(beat, no="heard", wait=0.0, grant="") if beat.kind in VOTES else beat

    return lie


class TwoFaced(Town):
    """gw1 votes for everybody, and tells each server that it follows that one."""

    def _carry(self, sender: str, to: str, what: object, asker: Start | None = None) -> None:
        if to == LIAR and isinstance(what, Beat):
            if (sender, to) not in self.cuts and what.re is None:
                said = self.answer_to(what)
                self._at(self.now, lambda: self._deliver(LIAR, sender, said, what.start))
        elif sender != LIAR:
            super()._carry(sender, to, what, asker)

    def answer_to(self, asked: Beat) -> Beat:
        stamp = self.voter(LIAR).participant.stamp(asked.node, kind=asked.kind, re=(asked.incarnation, asked.seq))
        said = replace(stamp, epoch=asked.epoch, leader=asked.node, heard=0.0, for_epoch=asked.for_epoch)
        if asked.kind != GRANT:
            return said
        lists = VoterList.parse(asked.list)
        mark = sign_grant(KEY, "paris", LIAR, asked.for_epoch, asked.node, asked.incarnation, lists)
        return replace(said, grant=mark)

    def _check(self, host: Host) -> None:
        """Here two servers may have a lease."""


class Forgetful(dict[int, tuple[str, int, str]]):
    """Here an epoch may be won twice."""

    def setdefault(self, key: int, default: tuple[str, int, str]) -> tuple[str, int, str]:  # type: ignore[override]
        return default


def two_faced(cut: tuple[tuple[str, str], ...] = ()) -> TwoFaced:
    made = TwoFaced(membership(3, timing=Timing(interval=0.2)))
    made.proved = Forgetful()
    for link in cut:
        made.cut(*link)
    made.start_all()
    return made


HALVES = (("m1", "m2"), ("m1", "gw3"), ("m2", "gw2"))


def test_who_votes_for_two_leaders_is_found_out_when_they_meet() -> None:
    w = two_faced()
    w.run_until(lambda: w.holders() == ["m1"], limit=6.0)
    w.run(5.0)
    for link in HALVES:
        w.cut(*link)
    w.run_until(lambda: w.holders() == ["m1", "m2"], limit=10.0)
    w.run(60.0)
    assert w.holders() == ["m1", "m2"], "as long as the two halves of the site are apart"
    assert w.voter("gw2").leadership.node == "m1" and w.voter("gw3").leadership.node == "m2"
    w.heal()
    w.run(5.0)
    assert w.holders() == ["m2"] and w.voter("gw2").leadership.node == "m2"
    assert list(w.member("m1").double_votes.found) == ["gw1"] and not w.member("m2").double_votes.found
    [said] = w.said("m1", What.VOTED_TWICE)
    assert said.startswith("gw1 voted twice: it supported m1 under epoch 1 while it granted epoch 2 to m2")


def test_who_grants_one_epoch_to_two_servers_is_found_out_too() -> None:
    w = two_faced(HALVES)
    w.hosts["m2"].file = w.hosts["m1"].file
    w.start("m1", "m2")
    w.run_until(lambda: w.holders() == ["m1", "m2"], limit=10.0)
    assert w.member("m1").leader.epoch == w.member("m2").leader.epoch
    w.heal()
    w.run(20.0)
    assert len(w.holders()) == 1
    assert {"gw1"} == {*w.member("m1").double_votes.found, *w.member("m2").double_votes.found}


@pytest.mark.parametrize("seed", range(5))
def test_honest_voters_are_never_said_to_have_voted_twice(seed: int) -> None:
    w = World(membership(3, timing=Timing(interval=0.2)), seed=seed, loss=0.05, delay=(0.001, 0.05), drift=0.005)
    w.start_all()
    w.run(5.0)
    for turn in range(40):
        one, other = w.rng.sample(sorted(w.hosts), 2)
        w.cut(one, other)
        if turn % 5 == 0:
            w.pause(w.rng.choice(("m1", "m2")), 3.0)
        w.run(w.rng.uniform(0.5, 4.0))
        w.heal()
        w.run(w.rng.uniform(0.0, 2.0))
    assert not w.said("m1", What.VOTED_TWICE) + w.said("m2", What.VOTED_TWICE), w.story()


LIES = (promises_more, promises_more_and_says_yes, would_vote_soon)


@pytest.mark.parametrize("delay", [(0.001, 0.002), (0.030, 0.035), (0.09, 0.12), (0.2, 0.23)])
@pytest.mark.parametrize("lies", LIES)
def test_it_keeps_nobody_from_winning_whom_the_others_elect(
    lies: Callable[[Town], Lie], delay: tuple[float, float]
) -> None:
    w = town(delay=delay)
    w.lie = lies(w)
    w.run(40.0)
    w.crash("m1")
    w.run_until(lambda: w.holders() == ["m2"], limit=10.0)
    for _ in range(5):
        w.run(60.0)
        w.run_until(lambda: w.holders() == ["m2"], limit=5.0)


@pytest.mark.parametrize("lies", LIES)
def test_a_leader_that_the_others_support_stays_what_it_is(lies: Callable[[Town], Lie]) -> None:
    w = town()
    w.lie = lies(w)
    before = len(w.said("m1", What.BECAME_ACTIVE, What.HOLDING))
    w.run(3600.0)
    assert w.holders() == ["m1"]
    again = len(w.said("m1", What.BECAME_ACTIVE, What.HOLDING)) - before
    assert again <= 40, f"{again} changes of the lease in an hour"


def test_an_agent_without_a_vote_moves_no_leader_by_a_promise() -> None:
    w = town(4, chosen_voters=("gw2", "gw3", "gw4"))
    assert LIAR not in w.site.voters
    w.lie = promises_more(w)
    w.run(60.0)
    assert w.said("m1", What.HOLDING) == [] and w.holders() == ["m1"]


def test_what_a_node_says_of_itself_fills_no_history() -> None:
    w = town()
    turns = [0]

    def lie(beat: Beat) -> Beat:
        turns[0] += 1
        flip = turns[0] % 2
        return replace(
            beat,
            config=f"{turns[0]:08x}",
            disk="failed" if flip else "",
            flags=("mute",) if flip else (),
        )

    before = len(w.hosts["m1"].log)
    w.lie = lie
    w.run(600.0)
    assert turns[0] > 1000
    assert len(w.hosts["m1"].log) - before <= 40
    assert w.holders() == ["m1"]
