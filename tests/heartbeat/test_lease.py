"""How long a lease lasts."""

from __future__ import annotations

import pytest

from heartbeat.lease import NEVER, Lease, quorum_th
from heartbeat.proof import VoterList

LIST = VoterList(101, ("gw1", "gw2", "m2"), 1)


def test_the_quorum_th_newest_answer_decides_and_one_must_be_an_agents() -> None:
    assert quorum_th({"gw1": 5.0, "gw2": 7.0, "m2": 9.0}, 2, ["gw1", "gw2"]) == 7.0
    assert quorum_th({"gw1": 5.0, "m2": 9.0, "m3": 8.0}, 2, ["gw1"]) == 5.0
    assert quorum_th({"m2": 9.0, "m3": 8.0}, 2, ["gw1"]) == NEVER
    assert quorum_th({"gw1": 5.0}, 2, ["gw1"]) == NEVER


def test_without_a_quorum_there_is_never_a_lease() -> None:
    assert quorum_th({"gw1": 5.0, "gw2": 7.0}, 0, ["gw1"]) == NEVER
    lease = Lease(2.0, LIST, 2, ["gw1"])
    assert lease.until == lease.regarded_until == NEVER


def test_the_lease_counts_from_sending_and_only_active_beats() -> None:
    lease = Lease(2.0, LIST, 2, ["gw1", "gw2"])
    for seq, name, active in ((1, "gw1", True), (2, "gw2", True), (3, "m2", False)):
        lease.sent(seq, name, active, seq / 10)
    lease.answered("gw1", 1)
    lease.answered("m2", 3)
    assert lease.until == NEVER and lease.regarded_until == pytest.approx(2.1)
    lease.answered("gw1", 2)
    assert lease.until == NEVER, "an answer by another than was asked"
    lease.sent(4, "gw2", True, 0.4)
    lease.answered("gw2", 4)
    lease.answered("gw2", 4)
    assert lease.until == pytest.approx(2.1)
    assert lease.answering(2.05) == ["gw1", "gw2", "m2"] and lease.answering(2.35) == ["gw2"]
    assert lease.answering(2.4) == [], "what was sent a lease ago is old"


def test_what_was_sent_and_never_answered_is_forgotten() -> None:
    lease = Lease(2.0, LIST, 2, ["gw1"])
    for seq in range(5000):
        lease.sent(seq, "gw1", True, seq * 0.1)
    assert len(lease._sent) < 300


@pytest.mark.parametrize("names", [(), ("gw1",), ("gw1", "gw2")])
def test_what_is_forgotten_is_older_than_a_lease(names: tuple[str, ...]) -> None:
    lease = Lease(1.0, VoterList(1, names, 1), 1, names)
    most = 64 * max(1, len(names))
    for seq in range(most + 1):
        lease.sent(seq, "gw1", True, 9.0 if seq == most else 8.0)
    assert len(lease._sent) == most + 1, "as many are kept"
    lease.sent(most + 1, "gw1", True, 9.5)
    assert len(lease._sent) == 2
    for seq in range(2 * most, 3 * most):
        lease.sent(seq, "gw1", True, 9.5)
    lease.sent(5 * most, "gw1", True, 10.0)
    assert len(lease._sent) == most + 2, "what was sent within a lease is kept; a lease ago is not within"
