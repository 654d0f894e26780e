"""Which deaths of servers are put down to a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway_agent import poison


def pending(handed_at: float, reached: bool = True, deaths: int = 0) -> Any:
    return SimpleNamespace(handed_at=handed_at, reached=reached, deaths=deaths)


@pytest.mark.parametrize(
    "handed_at, died_at, reached, deaths",
    [
        (10.0, 10.0, True, 1),
        (10.0, 12.0, True, 1),
        (10.0, 12.01, True, 0),
        (10.0, None, True, 0),
        (10.0, 10.5, False, 0),
    ],
)
def test_a_death_counts_that_comes_soon_after_the_server_had_it(
    handed_at: float, died_at: float | None, reached: bool, deaths: int
) -> None:
    sent = pending(handed_at, reached)
    assert poison.count(sent, died_at, 20.0) is False
    assert (sent.deaths, sent.handed_at) == (deaths, 20.0)


def test_the_second_death_is_the_last() -> None:
    sent = pending(10.0)
    assert not poison.count(sent, 10.1, 11.0)
    assert not poison.count(sent, None, 12.0), "its connection only broke"
    assert not poison.count(sent, 15.0, 16.0), "that one died of something else"
    assert poison.count(sent, 16.1, 17.0)
