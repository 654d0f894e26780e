"""What the stations of an agent do, beside its lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from rich.console import RenderableType

from gateway_agent.station.views import StationStatus, api_of
from heartbeat.console import render
from heartbeat.console.client import Client, ask_all
from heartbeat.console.errors import ConsoleError
from heartbeat.console.schema import Column, Styled
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site

NONE: Final = Styled("")


def client_of(site: Site, line: LineSettings) -> Client:
    """Asks that station, which runs on the machine of its agent."""
    return Client(line.name, api_of(site.agents[line.agent], line.name))


@dataclass(frozen=True, slots=True)
class StationRow:
    """A station among the lines of its agent."""

    station: Annotated[str, Column("Station")]
    state: Annotated[str, Column("State", "state")]
    number: Annotated[str, Column("With")] = ""
    sent: Annotated[str, Column("Sends")] = ""
    heard: Annotated[str, Column("Hears")] = ""
    plays: Annotated[str, Column("~Plays")] = ""
    probe: Annotated[Styled, Column("Last probe", "sentence")] = NONE


def stations(site: Site, names: Iterable[str]) -> tuple[dict[str, Any], RenderableType | None]:
    """What those of these lines show of themselves that are stations and may be asked on this machine: as JSON by
    name, and as a table; nothing where there are none. A station that does not answer is ``silent``."""
    lines = [line for name in names if (line := site.lines.get(name)) is not None and line.kind == "station"]
    clients = [client for line in lines if not (client := client_of(site, line)).is_elsewhere]
    if not clients:
        return {}, None
    answers = ask_all(clients, "status")
    value: dict[str, Any] = {}
    rows: list[StationRow] = []
    for client in clients:
        answer = answers[client.name]
        if isinstance(answer, ConsoleError):
            value[client.name] = {"error": answer.sentence}
            rows.append(StationRow(client.name, "silent", probe=Styled(answer.sentence, "red")))
        else:
            value[client.name] = answer
            rows.append(_row(client.read(StationStatus, answer)))
    return value, render.table(StationRow, rows)


def _row(status: StationStatus) -> StationRow:
    talks, probe = status.state == "talking", status.probe
    return StationRow(
        status.station,
        status.state,
        status.number,
        level(status.sent_dbov) if talks else "",
        level(status.heard_dbov) if talks else "",
        status.plays,
        NONE if probe is None else Styled(probe.because, "green" if probe.good else "red"),
    )


def level(dbov: float | None) -> str:
    """A level for people; None is silence."""
    return "silence" if dbov is None else f"{dbov:g} dBov"
