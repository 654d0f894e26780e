"""The views of a station, and the address of its API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway_agent.station.probe import ProbeResult
from heartbeat.console.schema import Metric
from heartbeat.site.model import Agent
from heartbeat.site.values import Api


def api_of(agent: Agent, name: str) -> Api:
    """The API of a station of that agent."""
    return Api(path=str(agent.state_dir / f"station-{name}.sock"))


@dataclass(frozen=True, slots=True)
class StationStatus:
    """``status`` of a station."""

    site: str
    agent: str
    station: str
    version: str
    state: str
    """``idle``, ``dialing``, ``alerting`` (the far end rings), ``ringing`` (here), ``answering``, ``talking``,
    ``ending``."""
    since_at: float
    registered: Annotated[bool, Metric("station_registered", "1: the station is registered at its agent")]
    why: str
    """Why it is not registered; ``""`` if it is."""
    number: str
    """Number of the far end; ``""`` without a call."""
    plays: str
    records: str
    sent_dbov: Annotated[float | None, Metric("station_sent_dbov", "Level of what the station sends, in dBov")]
    """None for silence."""
    heard_dbov: Annotated[float | None, Metric("station_heard_dbov", "Level of what the station hears, in dBov")]
    last: str
    """How the last call ended; ``""`` before there was one."""
    probe: ProbeResult | None
    """Result of the last probe."""
