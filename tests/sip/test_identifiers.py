"""Tags, Call-IDs and branches: unguessable, never twice, and repeatable with one secret."""

from __future__ import annotations

from sip.identifiers import Identifiers
from sip.wire.message import MAGIC


def test_none_comes_twice_and_one_secret_repeats_all() -> None:
    one, same, other = Identifiers(b"x"), Identifiers(b"x"), Identifiers(b"y")
    tokens = [one.token() for _ in range(100)]
    branches = [one.branch() for _ in range(100)]
    assert len({*tokens}) == len({*branches}) == 100
    assert {len(token) for token in tokens} == {16} and all(branch.startswith(MAGIC) for branch in branches)
    assert tokens == [same.token() for _ in range(100)] and branches == [same.branch() for _ in range(100)]
    assert not {*tokens} & {other.token() for _ in range(100)}


def test_an_ack_keeps_its_branch_and_an_answer_without_a_transaction_its_tag() -> None:
    one, same, other = Identifiers(b"x"), Identifiers(b"x"), Identifiers(b"y")
    one.token()
    assert one.branch_of_ack("dialog", 2) == same.branch_of_ack("dialog", 2) != other.branch_of_ack("dialog", 2)
    assert len({one.branch_of_ack(key, cseq) for key in ("d", "e") for cseq in (1, 2)}) == 4
    assert one.branch_of_ack("dialog", 2).startswith(MAGIC)
    assert one.tag_of("c@x") == same.tag_of("c@x") != other.tag_of("c@x") and one.tag_of("d@x") != one.tag_of("c@x")


def test_a_secret_longer_than_a_hash_takes_is_cut() -> None:
    assert Identifiers(b"x" * 32).token() == Identifiers(b"x" * 40).token()
