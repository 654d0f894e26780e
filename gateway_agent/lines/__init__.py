"""The kinds of lines: one file each."""

from __future__ import annotations

from gateway_agent.line import Line, LineEnvironment
from gateway_agent.lines.phone import Phone
from gateway_agent.lines.trunk import Trunk
from heartbeat.site.lines import Line as Settings


def make(environment: LineEnvironment, settings: Settings, now: float) -> Line:
    """The line that the site file describes."""
    return Trunk(environment, settings, now) if settings.kind == "trunk" else Phone(environment, settings, now)
