"""What a node answers to who asks for its vote, and when it has to say that its disk takes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from heartbeat import ballot
from heartbeat.decision import What
from heartbeat.header import NO_DISK, Beat
from heartbeat.proof import VoterList, sign_grant
from tests.heartbeat.ballot_world import KEY
from tests.heartbeat.test_voter import LIST, SILENCE, SITE, UP, beat, claim, voter


class Node:
    """As much of a node as a vote needs; it notes what it is made to do."""

    name = "gw1"
    membership = SITE

    def __init__(self, has_no_disk: bool = False) -> None:
        self.voter = voter()
        self.has_no_disk = has_no_disk
        self.outbox = self
        self.answers: list[dict[str, Any]] = []
        self.decided: list[tuple[What, str]] = []
        self.tests = 0

    @property
    def on_disk(self) -> Any:
        return self.voter.state

    def test_disk(self) -> None:
        self.tests += 1

    def decide(self, what: What, said: str, now: float, **more: object) -> None:
        self.decided.append((what, said))

    def answer(self, ask: Beat, now: float, **more: Any) -> None:
        self.answers.append(more)


def asked(node: Any, request: Beat, now: float = UP) -> dict[str, Any]:
    ballot.answer_request(node, request, now)
    found: dict[str, Any] = node.answers.pop()
    return found


def test_a_grant_is_signed_and_said_once() -> None:
    node = Node()
    signed = {"for_epoch": 8, "grant": sign_grant(KEY, "paris", "gw1", 8, "m2", 4, LIST)}
    for _ in range(2):
        assert asked(node, claim()) == signed
        assert node.decided == [(What.GRANTED, "gw1 grants epoch 8 to m2")]


def test_a_refusal_says_why_and_how_long() -> None:
    node = Node()
    node.voter.hear(beat(), UP)
    assert (
        asked(node, claim()) == {"for_epoch": 8, "no": "heard", "wait": pytest.approx(SILENCE)} and node.decided == []
    )
    other = VoterList(2, ("gw1", "gw2"), 1)
    node.voter.take_list(other, 7)
    assert asked(node, claim()) == {"for_epoch": 8, "no": "voters", "wait": None, "list": other.text}


def test_a_prevote_is_answered_and_grants_nothing() -> None:
    node: Any = Node()
    before = node.voter.state
    ballot.answer_prevote(node, claim(), UP)
    assert node.answers == [{"for_epoch": 8, "no": "", "wait": None}] and node.voter.state is before


def test_who_cannot_write_grants_nothing_and_tries_its_disk_again_when_that_is_all() -> None:
    node: Any = Node(has_no_disk=True)
    before = node.voter.state
    assert ballot.judge(node, claim(), UP).no == NO_DISK and node.tests == 1
    assert asked(node, claim()) == {"for_epoch": 8, "no": NO_DISK, "wait": None} and node.tests == 2
    assert node.voter.state is before and node.decided == []
    assert ballot.judge(node, claim("m2", 7), UP).no == "promised" and node.tests == 2
