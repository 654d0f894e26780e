"""The kinds of lines: a module for the far side of each."""

from __future__ import annotations

from collections.abc import Callable

from gateway_agent.far_side import LineEnvironment
from gateway_agent.line import Line
from gateway_agent.lines.phone import Phone
from gateway_agent.lines.trunk import Trunk
from heartbeat.site.lines import LineSettings as Settings


def make(
    environment: LineEnvironment, settings: Settings, changed: Callable[[Line, str, float, bool], None], now: float
) -> Line:
    """Make the line that the site file describes."""
    return Line(environment, settings, Phone if settings.is_phone else Trunk, changed, now)
