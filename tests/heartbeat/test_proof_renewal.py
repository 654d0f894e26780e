"""After a change of the site's key the ruling server proves its epoch by the new one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.header import GRANT
from tests.heartbeat.ballot_world import KEY, World, membership, running

NEW = b"another key of the site, 32 chars"


def _take(w: World, keys: tuple[bytes, ...], *names: str) -> None:
    w.site = replace(w.site, keys=keys)
    for name in names or tuple(w.hosts):
        core = w.hosts[name].core
        if core is not None:
            core.reload(w.site)
            w._drain(w.hosts[name])


def _change_the_key(w: World) -> None:
    for keys in ((KEY, NEW), (NEW, KEY), (NEW,)):
        _take(w, keys)
        w.run(5.0)


def test_an_agent_that_lost_its_file_verifies_the_ruling_server() -> None:
    w = running(membership(3))
    _change_the_key(w)
    w.lose_file("gw3")
    w.run(1.0)
    w.start("gw3")
    w.run(5.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1, "and no epoch was spent for that"


@pytest.mark.parametrize("forced", [False, True])
def test_an_agent_that_is_added_afterwards_verifies_it(forced: bool) -> None:
    w = World(membership(4, chosen_voters=("gw1", "gw2", "gw3")), 1)
    w.start("m1", "m2", "gw1", "gw2", "gw3")
    w.run_until(lambda: w.holders() == ["m1"], limit=8.0)
    if forced:
        w.act("m1", lambda member, now: member.force(now))
    w.run(5.0)
    _change_the_key(w)
    w.start("gw4")
    w.run(5.0)
    assert w.settled() == "m1"


def test_a_quorum_that_still_signs_with_the_old_key_is_asked_again() -> None:
    w = running(membership(3))
    _take(w, (KEY, NEW))
    _take(w, (NEW, KEY), "m1", "m2")
    w.run(6.0)
    m1 = w.member("m1").participant
    assert m1.proof is not None and m1.proof.fault((NEW,), w.site.site), "the agents sign with the old key"
    _take(w, (NEW, KEY))
    w.run(4.0)
    assert not m1.proof.fault((NEW,), w.site.site)


def test_without_a_change_nothing_is_asked() -> None:
    w = running(membership(3))
    sent: list[str] = []
    deliver = w._deliver
    w._deliver = lambda sender, to, beat, *asker: (sent.append(beat.kind), deliver(sender, to, beat, *asker))[1]  # type: ignore
    w.run(10.0)
    assert sent and GRANT not in sent


def test_the_stand_by_rules_after_the_ruling_server_under_the_new_key() -> None:
    w = running(membership(3))
    _change_the_key(w)
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=5.0)
