"""Deaths that are said: who leads afterwards and how soon; and what is said falsely, late, or of another start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.death import Death, commitment_of, notice
from heartbeat.decision import What
from heartbeat.header import STANDBY
from tests.heartbeat.ballot_world import World, membership, running

SILENCE = membership().timing.silence


def test_a_revealed_death_is_decided_without_waiting_for_silence() -> None:
    for seed in range(12):
        w = running(seed=seed, disk=(0.001, 0.01), text=True)
        w.die("m1")
        assert w.run_until(lambda w=w: w.holders() == ["m2"], limit=3.0) < 0.05
    assert w.said("m2", What.DEAD) == ["m1 is dead: its supervisor saw it end by signal 9"]
    assert w.said("m2", What.BECAME_ACTIVE)[-1].startswith("m2 is active under epoch 2: m1 is dead; ")


def test_a_notice_that_is_lost_costs_the_lease_as_before() -> None:
    w = running()
    w.cut("m1", "m2")
    w.die("m1")
    took = w.run_until(lambda: w.holders() == ["m2"], limit=6.0)
    assert SILENCE - 0.6 < took < SILENCE + 0.3


def test_a_late_notice_is_worth_what_is_left_of_the_wait() -> None:
    w = running()
    w.die("m1", after=1.0)
    w.run(1.0)
    assert w.holders() == [] and w.member("m2").detector.state == "suspect"
    assert w.run_until(lambda: w.holders() == ["m2"], limit=1.0) < 0.02


def test_a_notice_in_the_midst_of_an_election_shortens_it() -> None:
    w = running()
    w.die("m1", after=1.8)
    w.run(1.79)
    assert w.member("m2").candidate.election is not None
    w.run(0.01)
    assert w.run_until(lambda: w.holders() == ["m2"], limit=1.0) < 0.02


def test_hold_down_is_not_for_a_revealed_death() -> None:
    w = running(membership(3))
    w.die("m1")
    w.run_until(lambda: w.holders() == ["m2"], limit=1.0)
    w.start("m1")
    w.run(3.0)
    w.crash("gw1")
    w.die("m2")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=3.0) < 0.05, "with a voter away, 3 s after a takeover"


def test_a_stand_by_that_looks_on_only_believes_a_notice() -> None:
    w = running()
    w.pause("m2", 1.5)
    w.run(1.51)
    assert w.said("m2", What.WATCHING)
    w.die("m1")
    assert w.run_until(lambda: w.holders() == ["m2"], limit=3.0) < 0.02


def test_a_paused_stand_by_takes_nothing_over_for_a_notice_either() -> None:
    w = running()
    w.act("m2", lambda member, now: member.pause(now))
    w.die("m1")
    w.run(5.0)
    assert w.holders() == []


def test_a_server_that_starts_anew_shows_what_its_supervisor_left() -> None:
    w = running()
    w.crash("m2")
    w.run(0.5)
    w.die("m1")
    w.run(0.001)
    w.start("m1")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=3.0) < 0.7
    last = next(d for d in reversed(w.hosts["m1"].log) if d.what is What.BECAME_ACTIVE)
    assert last.epoch == 2 and not last.again, "its calls are not in its memory"


def test_a_server_that_starts_anew_without_the_secret_waits_as_anybody() -> None:
    w = running()
    w.crash("m2")
    w.crash("m1")
    w.start("m1")
    assert SILENCE - 0.6 < w.run_until(lambda: w.holders() == ["m1"], limit=6.0) < SILENCE + 0.6


def test_an_orphan_and_the_next_start_never_decide_both() -> None:
    for seed in range(8):
        w = running(seed=seed)
        w.orphan("m1")
        w.start("m1")
        w.run(10.0)  # the World looks at each step
        assert w.holders() in (["m1"], ["m1'"], ["m2"]), w.story()


@pytest.mark.parametrize("behind", [0, 1])
def test_a_copied_state_directory_makes_no_second_decider(behind: int) -> None:
    """The copy begins with the number of the start that runs, or an older one."""
    for seed in range(8):
        w = running(seed=seed)
        file = w.hosts["m1"].file
        assert file is not None
        w.orphan("m1")
        w.hosts["m1"].boots -= 1 + behind
        w.start("m1")
        w.act("m1", lambda member, now: member.switchover("", now))
        w.run(10.0)
        assert len(w.holders()) == 1, w.story()


def test_the_death_of_a_copy_that_stands_by_deposes_nobody() -> None:
    w = running()
    w.orphan("m1")
    w.start("m1")
    w.run(0.2)
    w.die("m1")
    w.run(0.1)
    assert w.said("m2", What.TAKING_OVER) == []
    assert [d for d in w.said("m2", What.DEAD) if "supervisor" in d] == [
        "m1 is dead: its supervisor saw it end by signal 9"
    ]


def test_late_words_of_the_dead_change_nothing() -> None:
    w = running()
    m1 = w.member("m1")
    beats = [m1.participant.stamp(to, state="active", lease=2.0) for to in ("m2", "gw1", "gw2")]
    w.die("m1")
    w.run(0.01)
    for beat in beats:
        w._deliver("m1", beat.to, beat)
    assert w.member("m2").detector.state == "dead"
    assert w.run_until(lambda: w.holders() == ["m2"], limit=1.0) < 0.02
    claim = m1.participant.stamp("gw1", kind="grant", for_epoch=9, list=m1.participant.on_disk.voters.text)
    w._deliver("m1", "gw1", claim)
    w.run(0.1)
    assert w.voter("gw1").participant.voter.state.promised_epoch == 2


@pytest.mark.parametrize(
    "false",
    [
        Death("paris", "m1", "0" * 32, "signal-9"),
        Death("paris", "m2", "0" * 32, "signal-9"),
        Death("paris", "nobody", "0" * 32, "signal-9"),
    ],
)
def test_what_is_no_secret_is_passed_over(false: Death) -> None:
    w = running()
    w._deliver("m1", "m2", false)
    w._deliver("m1", "m2", replace(false, site="london", secret=w.hosts["m1"].secret))
    w.run(3.0)
    assert w.settled() == "m1" and w.said("m2", What.DEAD) == []
    assert w.member("m2").participant.ignored["a death of nobody"] == 2


def test_servers_without_supervisors_are_as_before() -> None:
    for supervised in ((), ("m1",), ("m2",)):
        w = running(supervised=supervised)
        w.die("m1")
        took = w.run_until(lambda w=w: w.holders() == ["m2"], limit=6.0)
        assert (took < 0.05) == ("m1" in supervised)
        w.start("m1")
        w.run(40.0)
        w.die("m2")
        took = w.run_until(lambda w=w: w.holders() == ["m1"], limit=6.0)
        assert (took < 0.05) == ("m2" in supervised)


def test_a_goodbye_is_told_as_such_although_a_notice_follows() -> None:
    w = running()
    w.act("m1", lambda member, now: member.leave(now))
    w.run(0.05)
    w.die("m1")
    w.run(1.5)
    assert w.settled() == "m2" and w.said("m2", What.DEAD) == []


def test_the_death_of_the_stand_by_is_told_to_the_active_one() -> None:
    w = running()
    w.die("m2")
    w.run(1.5)
    assert w.said("m1", What.DEAD) == ["m2 is dead: its supervisor saw it end by signal 9"]
    assert w.member("m1").cluster.peers["m2"].state == "dead"
    assert w.act("m1", lambda member, now: member.switchover("m2", now)) == (
        "m2 is not there: nothing was heard of it lately"
    )
    w.start("m2")
    w.run(1.0)
    assert w.member("m1").cluster.peers["m2"].state == STANDBY


def test_who_is_taken_for_dead_but_lives_is_told() -> None:
    w = running()
    for name in ("gw1", "gw2", "m2"):
        core = w.hosts[name].core
        assert core is not None
        core.participant.voter.end(w.hosts["m1"].secret)
    w.run(1.0)
    assert w.said("m1", What.REFUSED) == [
        f"{w.said('m1', What.REFUSED)[0].split()[0]} takes this start of m1 for dead: its secret was revealed;"
        " restart m1, and see that nothing else runs under its name"
    ]


def test_notices_survive_their_text_and_nothing_else_is_one() -> None:
    death = Death("paris", "m1", "5f" * 16, "status-1")
    assert Death.parse(death.text) == death and death.how == "with exit status 1"
    data = notice(death, "127.0.0.1:5062", "[::1]:5062").decode()
    assert f"Death: {death.text}\r\n" in data and data.startswith("OPTIONS sip:[::1]:5062 SIP/2.0\r\n")
    for bad in ("", death.text + "; more=1", death.text.replace("5f", "5F"), death.text.replace("status", "fate")):
        with pytest.raises(ValueError, match="must read"):
            Death.parse(bad)
    assert commitment_of("a") != commitment_of("b") and len(commitment_of("a")) == 32


def test_the_evidence_that_is_carried_is_bounded() -> None:
    w = World(membership(2))
    w.start_all()
    w.run_until(lambda: w.settled() == "m1", limit=6.0)
    w.crash("m2")
    for _ in range(7):
        w.run(1.0)
        w.die("m1")
        w.run(0.001)
        w.start("m1")
        w.run_until(lambda: w.settled() == "m1", limit=2.0)
    assert len(w.hosts["m1"].deaths) == 4 == len(w.member("m1").cluster.deaths)
