"""``heartbeat``: an OPTIONS ping that any SIP server answers; servers of ours tell which site they serve."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import click
from rich.console import RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from heartbeat import console
from heartbeat import console_render as look
from heartbeat.console import Program, format_option, site_option, version_option
from heartbeat.console_client import ConsoleError
from heartbeat.console_ping import Signer, Tally, Target, signer
from heartbeat.console_probe import Probe
from heartbeat.console_render import NOTHING, count, grid, paper
from heartbeat.site import Site

interval_option = click.option(
    "--interval",
    "-i",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between pings.",
)
timeout_option = click.option(
    "--timeout",
    "-W",
    type=click.FloatRange(0.01, 60),
    default=2.0,
    show_default=True,
    help="Seconds to wait for each.",
)


@click.group(
    cls=Program,
    epilog="Exit codes: 0 all answered, 1 some lost or not 2xx, 2 not active (503), 3 wrong usage or no answer.",
)
@version_option
def main() -> None:
    """Ask SIP servers whether they are there, with OPTIONS.

    A target is sip:host:port;transport=tcp, or less of it: the port is 5060 and the transport udp when not said.
    What a server of ours tells of its site is shown as it came; its signature is not checked here.
    """


@main.command()
@click.argument("target")
@site_option
@click.option("--count", "-c", "number", type=click.IntRange(1), default=4, show_default=True, help="How many pings.")
@interval_option
@timeout_option
@format_option
def ping(target: str, site_path: str | None, number: int, interval: float, timeout: float, shape: str) -> int:
    """Send OPTIONS to one SIP server and measure the answers.

    With a site file the question is signed, and a node of the site tells how the site is.
    """
    probe = Probe(_target(target), timeout, _signer(site_path))
    try:
        asyncio.run(_ping(probe, interval, number, _say_nothing if shape == "json" else _say))
    except KeyboardInterrupt:
        pass
    tally = probe.tally
    if shape == "json":
        click.echo(json.dumps(tally.to_json(), indent=2))
    elif tally.sent:
        paper().put(_sum(tally))
    return tally.code


async def _ping(probe: Probe, interval: float, number: int, say: Callable[[Tally], None]) -> None:
    try:
        await probe.go_on(interval, number, say)
    finally:
        probe.close()


def _signer(site_path: str | None) -> Signer | None:
    """What signs the pings: the key of the site file, where one is named."""
    if site_path is None:
        return None
    site = console.open_site(site_path)
    return signer(site.name, site.identity.key.reveal())


def _target(text: str) -> Target:
    try:
        return Target.parse(text)
    except ValueError as error:
        raise ConsoleError(str(error)) from None


def _say_nothing(tally: Tally) -> None:
    pass


def _say(tally: Tally) -> None:
    """One line for the last ping."""
    where = f"{tally.target.host}:{tally.target.port} over {tally.target.transport}"
    if tally.trouble or tally.last is None:
        paper().put(Text(f"{tally.sent}  {where}: {tally.trouble}", "red"))
        return
    last = tally.last
    paper().put(
        look.line(
            str(tally.sent),
            f"{where}:",
            Text(f"{last.status} {last.reason}", "green" if last.healthy else "yellow"),
            f"{tally.trips[-1] * 1000:.2f} ms",
            gap=" ",
        )
    )


def _sum(tally: Tally) -> RenderableType:
    rows: list[tuple[str, RenderableType]] = [
        ("Pings", f"{tally.sent} sent, {tally.answered} answered, {tally.lost:.0%} lost")
    ]
    if tally.trips:
        least, mean, most = min(tally.trips), sum(tally.trips) / len(tally.trips), max(tally.trips)
        rows.append(("Round trip", f"{least * 1000:.2f} least, {mean * 1000:.2f} mean, {most * 1000:.2f} ms most"))
    if tally.last is not None:
        last = tally.last
        rows += [(name, words) for name, words in (("Server", last.server), ("Allow", last.allow)) if words]
        if last.beat is not None:
            rows.append(("Site", _beat(tally)))
    return Padding(look.facts(rows), (1, 0, 0, 0))


def _beat(tally: Tally) -> Text:
    beat = tally.last.beat if tally.last else None
    if beat is None:
        return Text(NOTHING, "dim")
    return look.line(
        Text(beat.site, "bold"),
        beat.node,
        look.state(beat.state),
        f"epoch {beat.epoch}",
        f"{count(beat.calls)} of {count(beat.capacity)} calls" if beat.capacity else f"{count(beat.calls)} calls",
        f"file {beat.config}" if beat.config else "",
    )


@main.command()
@click.argument("targets", nargs=-1)
@site_option
@interval_option
@timeout_option
@click.option("--count", "-c", "number", type=click.IntRange(1), help="End after so many pings to each.")
@format_option
def watch(
    targets: tuple[str, ...], site_path: str | None, interval: float, timeout: float, number: int | None, shape: str
) -> int:
    """A live table of several SIP servers; without targets, of all addresses in the site file."""
    chosen = [_target(text) for text in targets] or _of_site(console.open_site(site_path))
    sign = _signer(site_path)
    probes = [Probe(target, timeout, sign) for target in chosen]
    try:
        asyncio.run(_watch(probes, interval, number, shape))
    except KeyboardInterrupt:
        pass
    return max(probe.tally.code for probe in probes)


def _of_site(site: Site) -> list[Target]:
    """Where servers and agents of a site answer OPTIONS to anyone."""
    endpoints = [
        e for server in site.servers.values() for e in (server.sip or ((server.beat,) if server.beat else ()))
    ]
    endpoints += [endpoint for agent in site.agents.values() for endpoint in agent.sip]
    if not endpoints:
        raise ConsoleError(f"The site {site.name} has no address to ping; name targets.")
    return [_target(str(endpoint)) for endpoint in endpoints]


async def _watch(probes: list[Probe], interval: float, number: int | None, shape: str) -> None:
    tallies = [probe.tally for probe in probes]
    out = paper()
    live = Live(console=out, screen=True, auto_refresh=False) if out.is_terminal and shape == "table" else None
    try:
        async with asyncio.TaskGroup() as group:
            if live is not None:
                live.start()
            pings = [group.create_task(probe.go_on(interval, number, _say_nothing)) for probe in probes]
            while not all(task.done() for task in pings):
                await asyncio.wait(pings, timeout=interval)
                _show(tallies, shape, live)
    finally:
        if live is not None:
            live.stop()
            out.put(_table(tallies))
        for probe in probes:
            probe.close()


def _show(tallies: list[Tally], shape: str, live: Live | None) -> None:
    if live is not None:
        live.update(look.page(_table(tallies), Text(look.clock(time.time()), "dim")), refresh=True)
    elif shape == "json":
        click.echo(json.dumps([tally.to_json() for tally in tallies]))
    else:
        paper().put(_table(tallies))


def _table(tallies: list[Tally]) -> RenderableType:
    columns = ("Target", "Status", ">Last", "~>Mean", "~>Most", ">Lost", "~>Sent", "Site", "~Server")
    return grid(columns, map(_row, tallies))


def _row(tally: Tally) -> list[str | Text]:
    last, trips = tally.last, tally.trips
    status = Text(tally.trouble or NOTHING, "red" if tally.trouble else "dim")
    if last is not None and not tally.trouble:
        status = Text(f"{last.status} {last.reason}", "green" if last.healthy else "yellow")
    times = (trips[-1], sum(trips) / len(trips), max(trips)) if trips else ()
    return [
        str(tally.target),
        status,
        *([f"{seconds * 1000:.2f} ms" for seconds in times] or [NOTHING] * 3),
        Text(f"{tally.lost:.0%}", "red" if tally.lost else ""),
        str(tally.sent),
        _beat(tally),
        (last.server if last else "") or NOTHING,
    ]


if __name__ == "__main__":
    main()
