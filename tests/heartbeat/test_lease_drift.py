"""Nodes that run from site files with different leases, as in the middle of a rolling restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartbeat.decision import What
from heartbeat.header import Beat
from heartbeat.membership import Membership
from heartbeat.persistent_state import PersistentState, decode, encode
from heartbeat.timing import Timing
from heartbeat.voter import Voter
from tests.heartbeat.ballot_world import membership, running
from tests.heartbeat.test_voter import LIST, OLD, UP, beat, claim, proof

SHORT = Timing(interval=0.25)
LONG = Timing(interval=1.0)
KEYS = membership(3).keys


def voter(timing: Timing, state: PersistentState = OLD) -> Voter:
    return Voter("gw1", membership(3, timing=timing), state, 0.0)


def test_a_site_whose_lease_is_being_shortened_has_one_ruler() -> None:
    w = running(membership(3))
    shorter: Membership = replace(w.site, timing=SHORT)
    for name in ("m2", "gw1", "gw2", "gw3"):
        core = w.hosts[name].core
        assert core is not None
        core.reload(shorter)
    w.run(2.0)
    w.isolate("m1")
    took = w.run_until(lambda: w.holders() == ["m2"], limit=5.0)
    assert took < 2.5 and w.said("m1", What.HOLDING)


def test_a_voter_waits_for_the_lease_of_the_ruler_and_not_for_its_own() -> None:
    it = voter(SHORT)
    assert it.hear(beat(lease=2.0), UP) == ""
    assert it.judge(claim(), UP + SHORT.silence).wait == pytest.approx(2.0 + 0.3 - SHORT.silence)
    assert it.judge(claim(), UP + 2.3)
    own = voter(LONG)
    own.hear(beat(lease=2.0), UP)
    assert own.judge(claim(), UP + 2.3).no == "heard", "never less than its own file says"


def test_a_beat_of_a_version_that_says_no_lease_counts_as_by_the_own_file() -> None:
    it = voter(SHORT)
    it.hear(beat(), UP)
    assert it.judge(claim(), UP + SHORT.silence)
    assert it.state.lease == 0.0


def test_a_restarted_voter_waits_for_the_lease_that_it_gave_before() -> None:
    before = voter(Timing())
    before.hear(beat(lease=2.0), UP)
    assert before.state.lease == 2.0 and before.state.serial == OLD.serial + 1
    before.hear(beat(lease=2.0), UP + 1)
    assert before.state.serial == OLD.serial + 1, "written once"
    it = voter(SHORT, decode(encode(before.state)))
    assert it.judge(claim(), 2.2).no == "young"
    assert it.judge(claim(), 2.3)


def test_with_a_new_epoch_the_old_lease_is_over() -> None:
    it = voter(SHORT, replace(OLD, lease=30.0))
    assert it.judge(claim(), 20.0).no == "young"
    assert it.adopt(proof(8, "m2", 4), KEYS) == ""
    assert it.state.lease == 0.0 and it.judge(claim("m1", 9, 3), 20.0)


def test_a_grant_gives_the_lease_of_the_claim() -> None:
    it = voter(SHORT)
    assert it.grant(claim(lease=2.0), UP)
    assert it.state.lease == 2.0
    assert it.judge(claim("m1", 9, 3), UP + 2.2).no == "heard"
    assert it.adopt(proof(8, "m2", 4), KEYS) == ""
    assert it.state.lease == 2.0, "what it granted may be in use"


def test_what_servers_say_carries_their_lease() -> None:
    w = running(membership(3), text=True)
    assert {w.voter(name).participant.voter.state.lease for name in ("gw1", "gw2", "gw3")} == {2.0}
    heard: list[Beat] = []
    deliver = w._deliver

    def listen(sender: str, to: str, said: Beat, *asker: Any) -> None:
        heard.append(said)
        deliver(sender, to, said, *asker)

    w._deliver = listen  # type: ignore[method-assign]
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=5.0)
    w.run(2.0)
    leases = {(said.kind, said.state): said.lease for said in heard if said.re is None and said.node == "m2"}
    assert leases["grant", "standby"] == leases["beat", "active"] == leases["proof", "active"] == 2.0
    assert leases["prevote", "standby"] is None


def test_a_file_of_an_earlier_version_keeps_no_lease() -> None:
    text = encode(PersistentState(incarnation=1, voters=LIST)).replace(', "lease": 0.0', "")
    assert "lease" not in text and decode(text).lease == 0.0
