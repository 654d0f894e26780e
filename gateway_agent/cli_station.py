"""Stations: one is run, and the orders to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import RenderableType
from rich.text import Text

from gateway_agent.cli_stations import client_of, level
from gateway_agent.station.probe import ProbeResult
from gateway_agent.station.process import run as run_station
from gateway_agent.station.views import StationStatus
from heartbeat.console import commands, render
from heartbeat.console.client import Client
from heartbeat.console.command_line import DEGRADED, HEALTHY, open_site, site_option
from heartbeat.console.commands import Screen, format_option, known_line, watch_option
from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError
from heartbeat.console.log import LogSettings, log_options
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site

station_argument = click.argument("name", metavar="STATION")
SETTING_UP: float = 200.0
"""Seconds that a call may take until it is answered or has failed, and to end."""


def _line(site: Site, name: str) -> LineSettings:
    known_line(site, name)
    line = site.lines[name]
    if line.kind != "station":
        stations = [one.name for one in site.lines.values() if one.kind == "station"]
        raise ConsoleError(f"{name} is a {line.kind}; stations are {', '.join(stations) or 'none'}.")
    return line


def _client(site_path: str | None, name: str) -> Client:
    site = open_site(site_path)
    return client_of(site, _line(site, name))


def _order(site_path: str | None, name: str, verb: str, **params: str) -> int:
    click.echo(_client(site_path, name).command(verb, params).sentence)
    return HEALTHY


@click.group()
def station() -> None:
    """Stations (telephones that are programs): run one, show its state."""


@station.command()
@site_option
@click.option("--station", "name", required=True, metavar="STATION", help="Which station of the site this is.")
@log_options
def run(site_path: str | None, name: str, log_levels: tuple[str, ...], log_format: str) -> int:
    """Run a station until SIGTERM, on the machine of its agent and as its user."""
    settings = LogSettings.of(log_levels, log_format)
    site = open_site(site_path)
    return run_station(site, _line(site, name), settings)


@station.command("status")
@station_argument
@site_option
@format_option
@watch_option
def station_status(name: str, site_path: str | None, shape: str, watch: float | None) -> int:
    """What a station does, how loud its call is, what its last probe found. Exit code 1: it is not registered."""
    client = _client(site_path, name)

    def look() -> Screen:
        value, status = client.see(StationStatus, "status")
        return Screen(value, _screen(status), HEALTHY if status.registered else DEGRADED)

    return commands.show(look, shape, watch)


def _screen(status: StationStatus) -> RenderableType:
    head = render.line(
        Text(status.station, "bold"),
        f"of {status.agent}",
        render.state(status.state),
        render.age(status.since_at),
        Text("registered", "green") if status.registered else Text(f"not registered: {status.why}", "red"),
        gap="   ",
    )
    return render.stack(head, render.facts(_facts(status)))


def _facts(status: StationStatus) -> Iterator[tuple[str, RenderableType]]:
    if status.number:
        yield "Call", f"with {status.number}"
        yield "Level", f"sends {level(status.sent_dbov)}, hears {level(status.heard_dbov)}"
    yield "Plays", status.plays
    if status.records:
        yield "Records", status.records
    if status.last:
        yield "Last", status.last
    if status.probe is not None:
        yield "Probe", f"{render.age(status.probe.at)} ago: {status.probe.because}"


@click.command()
@station_argument
@click.argument("number")
@site_option
def dial(name: str, number: str, site_path: str | None) -> int:
    """Let a station call a number."""
    return _order(site_path, name, "dial", number=number)


@click.command()
@station_argument
@site_option
def answer(name: str, site_path: str | None) -> int:
    """Let a station answer the call that rings there."""
    return _order(site_path, name, "answer")


@click.command()
@station_argument
@site_option
def hangup(name: str, site_path: str | None) -> int:
    """Let a station end its call, or refuse the one that rings there."""
    return _order(site_path, name, "hangup")


@click.command()
@station_argument
@click.argument("file", type=click.Path())
@site_option
def say(name: str, file: str, site_path: str | None) -> int:
    """Play a WAV file to the far end of a station's call, once."""
    return _order(site_path, name, "say", file=str(Path(file).absolute()))


@click.command()
@station_argument
@click.argument("file", type=click.Path(), required=False)
@site_option
def record(name: str, file: str | None, site_path: str | None) -> int:
    """Record what a station hears in its call, or the next one, to a WAV file; without FILE: stop."""
    return _order(site_path, name, "record", file=str(Path(file).absolute()) if file else "")


@click.command()
@station_argument
@click.argument("number")
@site_option
@format_option
@click.option(
    "--seconds",
    type=click.FloatRange(3, 3600),
    default=10.0,
    show_default=True,
    help="How long it listens, once the call is answered.",
)
@click.option("--mos", type=click.FloatRange(0, 4.5), default=0.0, help="Fail below this mean opinion score.")
def probe(name: str, number: str, site_path: str | None, shape: str, seconds: float, mos: float) -> int:
    """Let a station call an echo, and measure what comes back. Exit code 1: it was not heard well."""
    client = _client(site_path, name)
    progress = client.command("probe", {"number": number, "seconds": str(seconds), "mos": str(mos)})
    deadline = time.monotonic() + seconds + SETTING_UP
    while progress.state == "running":
        if time.monotonic() > deadline:
            raise ConsoleError(f"The probe of {number} does not end.", DEGRADED)
        time.sleep(commands.POLL)
        progress = client.see(Progress, "progress", id=progress.id)[1]
    value, status = client.see(StationStatus, "status")
    result = status.probe
    if result is None:
        raise ConsoleError(progress.sentence, DEGRADED)
    return commands.show(lambda: Screen(value["probe"], _result(result), HEALTHY if result.good else DEGRADED), shape)


def _result(result: ProbeResult) -> RenderableType:
    return render.stack(
        Text(f"{result.because}.", "green" if result.good else "bold red"),
        render.facts((name, text) for name, text in _figures(result) if text),
    )


def _figures(result: ProbeResult) -> Iterator[tuple[str, str]]:
    yield "Answered", f"after {result.answered_s:.2f} s" if result.answered_s is not None else ""
    yield "Delay", f"{result.delay_ms:.0f} ms there and back, by the tone" if result.delay_ms is not None else ""
    yield "Network", f"{result.round_trip_ms:.1f} ms there and back" if result.round_trip_ms is not None else ""
    yield "Jitter", f"{result.jitter_ms:.1f} ms" if result.jitter_ms is not None else ""
    if result.loss is not None and result.loss_there is not None:
        yield "Loss", f"{result.loss_there:.2%} there, {result.loss:.2%} back"
    if result.mos is not None:
        yield "MOS", f"{result.mos:.2f} (R {result.rating:.1f})"
