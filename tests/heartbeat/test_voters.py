"""Promises, voters that lost their files, and changes of the list of voters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartbeat.decision import Tell, What
from heartbeat.header import Beat
from heartbeat.membership import Membership
from tests.heartbeat.ballot_world import Host, World, membership, running


def test_a_promise_above_our_epoch_makes_us_hold_and_win_a_newer_one() -> None:
    w = running(membership(3))
    m2 = w.member("m2")
    for_epoch = 2
    claim = m2.participant.stamp("gw1", kind="grant", for_epoch=for_epoch, list=m2.participant.on_disk.voters.text)
    w.voter("gw1").participant.voter.heard = None
    w._deliver("m2", "gw1", claim)
    w.run_until(lambda: w.member("m1").participant.epoch == 3 and w.holders(), limit=3.0)
    assert w.holders() == ["m1"]
    assert w.said("m1", What.HOLDING) == ["m1 holds under epoch 1: gw1 promised epoch 2 to another"]
    last = next(d for d in reversed(w.hosts["m1"].log) if d.what is What.BECAME_ACTIVE)
    assert last.again, "nobody can have ruled in between"


def test_a_voter_that_lost_its_file_is_readmitted_by_an_operator() -> None:
    w = running(membership(3))
    w.lose_file("gw1")
    w.start("gw1")
    w.run(5.0)
    assert w.mute_voters() == ["gw1"] and w.settled() == "m1"
    assert w.said("m1", What.NO_VOTE) == [
        "gw1 has no vote any more: its epoch file is gone; when you know why, `b2bua readmit gw1`"
    ]
    assert w.act("m2", lambda member, now: member.restore_vote("gw1", now)).startswith("m2 has no quorum")  # type: ignore[union-attr]
    assert w.act("m1", lambda member, now: member.restore_vote("gw9", now)) == "gw9 is no voter of this site"
    assert w.act("m1", lambda member, now: member.restore_vote("gw1", now)) == ""
    w.run_until(lambda: not w.mute_voters(), limit=5.0)
    w.run(5.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1, (
        "nobody can have won a later epoch by what gw1 forgot"
    )
    assert w.said("m1", What.HOLDING) == []
    assert {host.file.voters.generation for host in w.hosts.values() if host.file} == {101}
    w.crash("m1")
    w.crash("gw2")
    w.run_until(lambda: w.holders() == ["m2"], limit=5.0)


def test_a_voter_that_is_lost_twice_while_it_is_admitted_needs_another_list() -> None:
    w = running(membership(3))
    w.lose_file("gw1")
    w.start("gw1")
    w.run(3.0)
    w.act("m1", lambda member, now: member.restore_vote("gw1", now))
    w.run_until(lambda: not w.mute_voters(), limit=5.0)
    w.cut("gw1", "m1", both=False)
    admitted = w.hosts["gw1"].file
    w.lose_file("gw1")
    w.start("gw1")
    w.heal()
    w.run_until(lambda: not w.mute_voters(), limit=6.0)
    file = w.hosts["gw1"].file
    assert file is not None and admitted is not None and file.voters.generation > admitted.voters.generation
    w.run(2.0)
    assert w.settled() == "m1" and w.member("m1").reconfiguration.change is None


@pytest.mark.parametrize("moved", [True, False])
def test_what_a_voter_forgot_that_it_granted_makes_no_second_ruler(moved: bool) -> None:
    """gw1 granted epoch 2 to m2 and lost its file; the claim to gw2 is still under way, and gw2 may live by the new
    list before it arrives, or not.
    """
    w = running(membership(3))
    kept_back: dict[tuple[str, str], Tell] = {}
    send = w._send

    def keep_back(host: Host, tell: Tell) -> None:
        if tell.beat.kind == "grant" and "gw1" not in (host.name, tell.to):
            kept_back[host.name, tell.to] = tell
        else:
            send(host, tell)

    w._send = keep_back  # type: ignore[method-assign]
    w.isolate("m1")
    w.run_until(lambda: (campaign := w.member("m2").candidate.election) and "gw1" in campaign.grants, limit=5.0)
    w.pause("m2", 30.0)
    w.heal()
    w.lose_file("gw1")
    w.start("gw1")
    w.run_until(lambda: w.holders() == ["m1"] and "gw1" in w.member("m1").cluster.non_voting, limit=3.0)
    w.act("m1", lambda member, now: member.restore_vote("gw1", now))
    if moved:
        w.run_until(lambda: not w.mute_voters(), limit=5.0)
    w.cut("m1", "gw2")
    w.run(3.0)
    assert (w.holders() == ["m1"]) is moved and w.member("m1").participant.epoch == 1, (
        "with gw1 and gw3 it has a quorum"
    )
    w._deliver("m2", "gw2", kept_back["m2", "gw2"].beat)
    w.run(0.0)
    w.hosts["m2"].paused_until = w.now
    w._deliver("gw2", "m2", kept_back["gw2", "m2"].beat)
    w.run(1.0)
    assert w.holders() == (["m1"] if moved else ["m2"])


def test_an_order_to_vote_is_for_one_start_of_the_voter_only() -> None:
    w = running(membership(3))
    w.lose_file("gw1")
    w.start("gw1")
    gw1, text = w.voter("gw1"), w.member("m1").participant.on_disk.voters.text
    for start, non_voting in (
        (gw1.participant.on_disk.incarnation - 1, True),
        (gw1.participant.on_disk.incarnation, False),
    ):
        order = w.member("m1").participant.stamp(
            "gw1", kind="voters", list=text, for_epoch=1, flags=("gw1", f"start-{start}")
        )
        w._deliver("m1", "gw1", order)
        assert gw1.participant.voter.state.non_voting is non_voting


def test_two_lost_voters_do_not_vouch_for_each_other() -> None:
    w = running(membership(5))
    for lost in ("gw1", "gw2"):
        w.lose_file(lost)
        w.start(lost)
    w.run(3.0)
    w.cut("m1", "gw3")
    w.act("m1", lambda member, now: member.restore_vote("gw1", now))
    w.run(10.0)
    assert w.mute_voters() == ["gw1", "gw2"], "with gw1 both may have granted what gw3 knows"
    w.heal()
    w.act("m1", lambda member, now: member.restore_vote("gw1", now, True))
    w.run_until(lambda: w.mute_voters() == ["gw2"], limit=6.0)


def test_the_only_voter_is_readmitted_by_force() -> None:
    w = running(membership(1))
    w.lose_file("gw1")
    w.start("gw1")
    w.run(5.0)
    assert w.holders() == []
    assert w.act("m1", lambda member, now: member.restore_vote("gw1", now, True)) == ""
    w.run_until(lambda: w.settled() == "m1", limit=6.0)


def test_the_lists_of_the_site_file_are_followed_one_voter_at_a_time() -> None:
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    changed = replace(w.site, chosen_voters=("gw2", "gw3", "gw4"), generation=2)
    w.site = changed
    for host in w.hosts.values():
        assert host.core is not None
        host.core.reload(changed)
    w.run_until(lambda: w.member("m1").participant.on_disk.voters.filed == 2 and w.settled(), limit=12.0)
    w.run(8.0)
    assert w.member("m1").participant.on_disk.voters.names == ("gw2", "gw3", "gw4")
    assert w.voter("gw4").participant.voter.has_vote and not w.voter("gw1").participant.voter.has_vote
    w.crash("m1")
    w.crash("gw2")
    w.run_until(lambda: w.holders() == ["m2"], limit=5.0)


def _reload(w: World, site: Membership, names: tuple[str, ...]) -> None:
    for name in names:
        core = w.hosts[name].core
        if core is not None:
            core.reload(site)
            w._drain(w.hosts[name])


def _with_voters(w: World, *names: str) -> Membership:
    return replace(w.site, chosen_voters=names, generation=w.site.generation + 1)


def _settles_and_takes_over(w: World) -> None:
    w.run(60.0)
    names = w.member("m1").participant.on_disk.voters.names
    assert set(names) == set(w.site.voters), "the change has settled"
    assert w.holders() == ["m1"] and all(not w.hosts[name].file.non_voting for name in names)  # type: ignore[union-attr]
    w.crash("m1")
    w.run(30.0)
    assert w.holders() == ["m2"]


@pytest.mark.parametrize(
    "before, after",
    [
        (("gw1", "gw2"), ("gw3", "gw4")),
        (("gw1", "gw2", "gw3"), ("gw4", "gw5", "gw6")),
        (("gw1", "gw2", "gw3"), ("gw1", "gw2", "gw4")),
        (("gw1",), ("gw2",)),
    ],
)
@pytest.mark.parametrize("later", [0.0, 10.0])
def test_the_order_in_which_nodes_learn_of_other_voters_does_not_matter(
    before: tuple[str, ...], after: tuple[str, ...], later: float
) -> None:
    w = running(membership(6, chosen_voters=before))
    site = _with_voters(w, *after)
    w.site = site
    _reload(w, site, site.servers)
    w.later(later, lambda: _reload(w, site, site.agents))
    _settles_and_takes_over(w)


@pytest.mark.parametrize("after", [("gw2",), ("gw2", "gw3"), ("gw1", "gw2", "gw4")])
def test_a_voter_that_was_never_started_is_let_in_by_those_who_are_not_removed_before(after: tuple[str, ...]) -> None:
    w = World(membership(4, chosen_voters=("gw1", "gw2", "gw3")), 1)
    w.start("m1", "m2", "gw1", "gw3", "gw4")
    w.run_until(lambda: w.holders() == ["m1"], limit=10.0)
    w.run(8.0)
    w.site = _with_voters(w, *after)
    _reload(w, w.site, tuple(w.hosts))
    w.run(20.0)
    w.start("gw2")
    _settles_and_takes_over(w)


def test_who_lost_its_file_says_so_whatever_its_own_site_file_makes_it() -> None:
    w = running(membership(3, chosen_voters=("gw1", "gw2", "gw3")))
    w.lose_file("gw2")
    kept, w.site = w.site, _with_voters(w, "gw1", "gw3")
    w.start("gw2")
    w.site = kept
    w.run(3.0)
    w.cut("m1", "gw3")
    w.run(3.0)
    assert w.member("m1").state == "holding", "gw1 alone is no quorum"
    assert w.said("m1", What.NO_VOTE) != [] and w.member("m1").cluster.without_vote(w.site.voters) == ["gw2"]


def test_an_agent_that_was_never_a_voter_is_no_news() -> None:
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    w.run(5.0)
    assert w.said("m1", What.NO_VOTE) == [] and w.said("gw4", What.NO_VOTE) == []
    assert w.member("m1").cluster.without_vote(w.site.voters) == []


def test_a_holding_server_lets_a_voter_in_as_soon_as_a_quorum_answers() -> None:
    w = running(membership(3))
    w.crash("m2")
    w.lose_file("gw1")
    w.start("gw1")
    for name in ("gw2", "gw3"):
        w.cut("m1", name)
    w.run(5.0)
    m1 = w.member("m1")
    assert m1.restore_vote("gw1", w.clock("m1")) == "m1 has no quorum; readmit at the active server, or by force"
    w.heal()
    w.run_until(lambda: m1.state == "holding" and m1.leader.quorum_answers(w.clock("m1")), limit=3.0)
    assert m1.restore_vote("gw1", w.clock("m1")) == ""
    w.run_until(lambda: not w.mute_voters() and w.settled() == "m1", limit=5.0)


def _list_voters(w: World, *names: str, only: tuple[str, ...] = ()) -> None:
    """The file's voters are these from now on, at all nodes or at ``only`` some."""
    w.site = replace(w.site, chosen_voters=names, generation=w.site.generation + 1)
    for host in [w.hosts[name] for name in only or w.hosts]:
        if host.core is not None:
            host.core.reload(w.site)
            w._drain(host)


def _lives_by(w: World, node: str, *names: str) -> bool:
    file = w.hosts[node].file
    return file is not None and file.voters.names == names


def test_a_voter_that_missed_several_changes_of_the_list_votes_by_the_last() -> None:
    """Nobody leads who could tell it: it learns the list from the server that asks for its vote."""
    w = running(membership(5, chosen_voters=("gw1", "gw2", "gw3")))
    w.crash("gw1")
    _list_voters(w, "gw1", "gw4", "gw5")
    w.run_until(lambda: all(_lives_by(w, name, "gw1", "gw4", "gw5") for name in ("gw4", "gw5", "m2")), limit=20.0)
    w.crash("m1")
    w.crash("gw5")
    w.start("gw1")
    w.run_until(lambda: w.holders() == ["m2"], limit=5.0)
    assert _lives_by(w, "gw1", "gw1", "gw4", "gw5")


def _two_lists() -> World:
    """Of the list gw1, gw2, gw3, gw4 two leaders have made lists whose quorums need share nobody, and died before
    they told anybody: m1 took gw3 out of it under epoch 1, m2 gw4 under epoch 2, by another file."""
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    _list_voters(w, "gw1", "gw2", "gw4", only=("m1",))
    w.run_until(lambda: _lives_by(w, "m1", "gw1", "gw2", "gw4"), limit=10.0)
    w.crash("m1")
    _list_voters(w, "gw1", "gw2", "gw3", only=("m2",))
    w.run_until(lambda: _lives_by(w, "m2", "gw1", "gw2", "gw3"), limit=10.0)
    w.crash("m2")
    assert all(_lives_by(w, name, "gw1", "gw2", "gw3", "gw4") for name in ("gw1", "gw2", "gw3", "gw4"))
    return w


def test_lists_of_two_leaders_that_hardly_anybody_knows_elect_no_two_servers() -> None:
    w = _two_lists()
    for one in ("m1", "gw1", "gw4"):
        for other in ("m2", "gw2", "gw3"):
            w.cut(one, other)
    w.start("m1", "m2")
    w.run(12.0)
    assert w.holders() == ["m2"], "its list is that of the later epoch"
    w.heal()
    w.run_until(lambda: _lives_by(w, "m1", "gw1", "gw2", "gw3") and w.settled() == "m2", limit=5.0)


def test_a_leader_whose_list_did_not_become_the_sites_goes_back_to_the_list_that_did() -> None:
    """m2 stays away, so nobody can bring the proof of its epoch: the voters' word on it is enough."""
    w = _two_lists()
    w.start("m1")
    w.run_until(lambda: w.settled() == "m1", limit=12.0)


def test_a_leader_changes_the_list_when_a_quorum_follows_it() -> None:
    """Until then the list of an earlier leader may still win by voters who have not heard of this one."""
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    w.crash("m1")
    _list_voters(w, "gw1", "gw2", "gw4", only=("m2",))
    deliver = w._deliver

    def without_proof(sender: str, to: str, what: Any, *asker: Any) -> None:
        if isinstance(what, Beat) and what.proof:
            what = replace(what, proof="")
        deliver(sender, to, what, *asker)

    w._deliver = without_proof  # type: ignore[method-assign]
    w.run_until(lambda: w.holders() == ["m2"], limit=6.0)
    w.run(4.0)
    assert w.holders() == ["m2"] and w.said("m2", What.VOTERS) == [], "it has their grants, and nobody its proof"
    w._deliver = deliver  # type: ignore[method-assign]
    w.run_until(lambda: _lives_by(w, "gw4", "gw1", "gw2", "gw4") and w.settled() == "m2", limit=10.0)
