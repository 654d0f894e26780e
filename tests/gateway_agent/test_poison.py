"""Which deaths of servers are put down to a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway_agent import poison


def pending(handed_at: float, reached: bool = True, heard: bool = False) -> Any:
    return SimpleNamespace(handed_at=handed_at, reached=reached, heard=heard, deaths=0)


@pytest.mark.parametrize(
    "died_at, reached, heard, weight",
    [
        (10.0, True, False, 2),
        (12.0, True, False, 2),
        (12.0, True, True, 1),
        (12.01, True, False, 0),
        (None, True, False, 0),
        (10.5, False, False, 0),
    ],
)
def test_a_death_counts_that_comes_soon_after_the_server_had_it(
    died_at: float | None, reached: bool, heard: bool, weight: int
) -> None:
    sent = pending(10.0, reached, heard)
    assert poison.count(sent, died_at, 20.0) is False
    assert (sent.deaths, sent.handed_at, sent.heard) == (weight, 20.0, False)


def test_four_servers_that_said_something_are_as_good_as_two_that_did_not() -> None:
    sent = pending(10.0)
    for at in (10.0, 20.0, 30.0):
        sent.heard = True
        assert not poison.count(sent, at + 1.0, at + 10.0)
    sent.heard = True
    assert poison.count(sent, 41.0, 50.0)


def test_the_second_silent_death_is_the_last() -> None:
    sent = pending(10.0)
    assert not poison.count(sent, 10.1, 11.0)
    assert not poison.count(sent, None, 12.0), "its connection only broke"
    assert not poison.count(sent, 15.0, 16.0), "that one died of something else"
    assert poison.count(sent, 16.1, 17.0)
