"""Changes of the list of voters, one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.cluster_view import ClusterView, VoterStatus
from heartbeat.header import AGENT, FAILED, Beat
from heartbeat.proof import VoterList
from heartbeat.reconfiguration import next_change

LIST = VoterList(101, ("gw1", "gw2", "m2"), 1)


def test_who_lives_by_a_leadership_in_memory_only_does_not_count_as_following_it() -> None:
    cluster, answer = ClusterView("m1", 2, 2), Beat("paris", "gw1", 1, 2, AGENT, 1, voters=101, re=(1, 1))
    cluster.learn_vote(answer, LIST.names)
    assert cluster.statuses["gw1"].epoch == 2
    cluster.learn_vote(replace(answer, disk=FAILED), LIST.names)
    assert cluster.statuses["gw1"].epoch == 0


@pytest.mark.parametrize(
    "generations, lost, readmit, filed, names, admit",
    [
        ({}, (), (), 1, None, ""),
        ({"gw1": 102}, (), (), 1, LIST.names, ""),
        ({}, ("gw1",), (), 1, LIST.names, "gw1"),
        ({}, ("gw1",), ("gw2",), 1, LIST.names, "gw2"),
        ({}, ("gw9",), (), 1, None, ""),
        ({}, (), (), 2, (*LIST.names, "gw3"), "gw3"),
    ],
)
def test_one_change_of_the_list_at_a_time(
    generations: dict[str, int],
    lost: tuple[str, ...],
    readmit: tuple[str, ...],
    filed: int,
    names: tuple[str, ...] | None,
    admit: str,
) -> None:
    change = next_change(LIST, ("gw1", "gw2", "gw3"), filed, 1, generations, lost, readmit, LIST.names)
    if names is None:
        assert change is None
    else:
        assert change is not None and (change.new.names, change.admit) == (names, admit)
        assert change.new.generation == 102


def test_a_change_is_settled_by_a_quorum_of_the_old_list_without_the_admitted() -> None:
    change = next_change(LIST, LIST.names, 1, 1, {}, ("gw1",), (), LIST.names)
    assert change is not None
    assert not change.committed({"gw1": VoterStatus(102, 0, 1), "gw2": VoterStatus(102, 0, 1)})
    assert change.committed({"m2": VoterStatus(102, 0, 1), "gw2": VoterStatus(102, 9, 1)})
    assert not change.superseded({"m2": VoterStatus(102, 0, 1), "gw2": VoterStatus(102, 9, 1)}, 1), (
        "gw2 may have made up a quorum with gw1"
    )
    assert change.superseded({"m2": VoterStatus(102, 0, 1), "gw2": VoterStatus(102, 1, 1)}, 1)


@pytest.mark.parametrize(
    "seen, names",
    [
        ((), None),
        (("gw2",), None),
        (("gw1", "gw2"), None),
        (("gw2", "gw3"), ("gw2", "gw3", "m2")),
        (("gw3", "m2"), ("gw2", "gw3", "m2")),
    ],
)
def test_a_voter_goes_only_when_those_who_stay_and_were_seen_to_vote_are_a_quorum(
    seen: tuple[str, ...], names: tuple[str, ...] | None
) -> None:
    four = VoterList(102, ("gw1", "gw2", "gw3", "m2"), 1)
    change = next_change(four, ("gw2", "gw3", "m2"), 2, 1, {}, (), (), seen)
    assert (change.new.names if change is not None else None) == names
    assert next_change(four, ("gw2", "gw3", "m2"), 2, 1, {}, (), (), ("gw2", "gw3"), quorum_wanted=3) is None
