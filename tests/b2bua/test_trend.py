"""The last hour of a server in points."""

from __future__ import annotations

from b2bua.trend import EVERY, POINTS, Trend


def test_a_point_is_noted_every_so_often_and_an_hour_is_kept() -> None:
    trend = Trend()
    for second in range(4000):
        trend.note(float(second), second, 1.234, 0.1234, 0.0215)
    points = trend.view(1000.0)
    assert len(points) == POINTS and EVERY * POINTS == 3600.0
    assert points[-1] == [4990, 3990, 1.23, 12.3, 22] and points[0][0] == 1400
