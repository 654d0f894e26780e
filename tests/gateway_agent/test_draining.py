"""New calls refused until the last one has ended."""

from __future__ import annotations

from gateway_agent.draining import Draining


def test_it_is_begun_and_ended_once_and_said_each_time() -> None:
    said: list[tuple[str, str, float]] = []
    living = 7
    draining = Draining("gw1", lambda: living, lambda code, text, now: said.append((code, text, now)))
    assert not draining.active
    draining.end(1.0)
    assert said == [], "nothing had begun"
    draining.begin(2.0)
    draining.begin(3.0)
    assert draining.active and said == [("drain", "gw1 drains, calls left: 7", 2.0)]
    draining.end(4.0)
    draining.end(5.0)
    assert not draining.active and said[1:] == [("resume", "gw1 takes new calls again", 4.0)]
    living = 2
    draining.begin(6.0)
    assert said[2:] == [("drain", "gw1 drains, calls left: 2", 6.0)], "calls are counted when it begins"
