"""The provisioned part in pieces, as one node asks another for it."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest

from heartbeat.header import FETCH, Beat
from heartbeat.part_exchange import PIECE, PartExchange, TakePart
from heartbeat.participant import Participant
from heartbeat.persistent_state import PersistentState
from heartbeat.site.provisioned import NOTHING
from tests.heartbeat.test_site_provisioned import site

WHOLE = bytes(range(256)) * 8
SAID = Beat("paris", "gw1", 1, 0, "agent", 1, given="3.7")


class Made:
    def __init__(self) -> None:
        here = site(NOTHING)
        state = PersistentState(incarnation=7, non_voting=False)
        node = Participant("m1", here.membership(), state, lambda: "standby", lambda name, now: None, 0.0)
        self.asked: list[Any] = []
        self.did: list[Any] = []
        self.exchange = PartExchange(node, self.asked.append, self.did.append, here)

    def answer(self, offset: int, data: bytes, size: int = len(WHOLE)) -> None:
        piece = f"3.7/{offset}/{size}/{urlsafe_b64encode(data).rstrip(b'=').decode()}"
        self.exchange.answered(replace(SAID, kind=FETCH, re=(7, 1), piece=piece), 2.0)


def test_a_part_is_fetched_piece_by_piece() -> None:
    made = Made()
    made.exchange.learn(SAID, 1.0, sealed=True)
    for offset in range(0, len(WHOLE), PIECE):
        assert made.asked[-1].beat.fetch == f"3.7/{offset}" and made.did == []
        made.answer(offset, WHOLE[offset : offset + PIECE])
    assert made.did == [TakePart(WHOLE, "gw1")]


@pytest.mark.parametrize("length", [0, 1, PIECE - 1, PIECE + 1, len(WHOLE)])
def test_pieces_of_another_length_are_none(length: int) -> None:
    """An agent that sends a byte at a time would have all copied for each."""
    made = Made()
    made.exchange.learn(SAID, 1.0, sealed=True)
    made.answer(0, WHOLE[:length])
    assert len(made.asked) == 1 and made.did == []
