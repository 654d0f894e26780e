"""Voters that are among the supporters of two leaders."""

from __future__ import annotations

import pytest

from heartbeat.double_votes import DoubleVotes
from heartbeat.proof import FORCED, Proof, VoterList, sign_grant

KEY, OTHER = b"the key of the site, thirty-two.", b"a key that is none here, thirty2"
LIST = VoterList(1, ("gw1", "gw2", "gw3"), 1)


def proof(epoch: int, node: str, *voters: str, key: bytes = KEY) -> Proof:
    marks = tuple((voter, sign_grant(key, "paris", voter, epoch, node, 4, LIST)) for voter in voters)
    return Proof(epoch, node, 4, LIST, marks)


def found(text: str, epoch: int = 7, successor: int = 8, own: Proof | None = None) -> list[str]:
    votes = DoubleVotes("m1", "paris")
    votes.overruled(epoch, successor, ("gw1", "gw2"), own)
    names = votes.compare(text, (KEY,))
    assert sorted(votes.found) == names
    return names


def test_who_supported_both_is_named() -> None:
    votes = DoubleVotes("m1", "paris")
    votes.overruled(7, 8, ("gw1", "gw2"), None)
    assert votes.compare(proof(8, "m2", "gw1", "gw3").text, (OTHER, KEY)) == ["gw1"]
    assert votes.found["gw1"].startswith(
        "gw1 voted twice: it supported m1 under epoch 7 while it granted epoch 8 to m2: somebody has stolen its key"
    )
    assert votes.compare(proof(8, "m2", "gw1", "gw2").text, (KEY,)) == [], "once"


@pytest.mark.parametrize(
    "text",
    [
        proof(8, "m2", "gw3").text,
        proof(9, "m2", "gw1", "gw3").text,
        proof(8, "m1", "gw1", "gw3").text,
        proof(8, "m2", "gw1", "gw3", key=OTHER).text,
        proof(8, "m2", FORCED).text,
        "8|m2|4",
    ],
    ids=["nobody is among both", "a later epoch", "our own", "forged", "forced", "no proof"],
)
def test_nothing_else_is_evidence(text: str) -> None:
    assert found(text) == []


def test_one_epoch_that_was_granted_to_both() -> None:
    own = proof(8, "m1", "gw1", "gw3")
    votes = DoubleVotes("m1", "paris")
    votes.overruled(8, 8, (), own)
    assert votes.compare(proof(8, "m2", "gw2", "gw3").text, (KEY,)) == ["gw3"]
    assert found(proof(8, "m2", "gw3").text, own=own) == [], "of another epoch than ours the grant is no evidence"
    votes.overruled(8, 8, (), proof(8, "m1", FORCED))
    assert votes.compare(proof(8, "m2", FORCED, "gw1").text, (KEY,)) == []
