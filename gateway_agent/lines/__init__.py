"""The kinds of lines: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_agent.lines.phone import Phone
from gateway_agent.lines.trunk import Trunk
from heartbeat.site.lines import Line as Settings

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line


def make(core: Core, settings: Settings, now: float) -> Line:
    """The line that the site file describes."""
    return Trunk(core, settings, now) if settings.kind == "trunk" else Phone(core, settings, now)
