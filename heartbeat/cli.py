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

from heartbeat.console import command_line, render
from heartbeat.console.command_line import Program, site_option, version_option
from heartbeat.console.commands import format_option
from heartbeat.console.errors import ConsoleError
from heartbeat.console.ping import TRANSPORTS, PingTarget, Signer, Tally, signer
from heartbeat.console.probe import PingProbe
from heartbeat.console.render import NOTHING, console, count, grid
from heartbeat.site.model import Site

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

    A target is sip:host:port;transport=tcp, or a part of that: the defaults are port 5060 and UDP. With a site file
    it may be the name of a node. What a node tells of its site is shown without checking its signature.
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
    site = command_line.open_site(site_path) if site_path is not None else None
    probe = PingProbe(_targets(target, site)[0], timeout, _signer(site))
    try:
        asyncio.run(_ping(probe, interval, number, _say_nothing if shape == "json" else _say))
    except KeyboardInterrupt:
        pass
    tally = probe.tally
    if shape == "json":
        click.echo(json.dumps(tally.to_json(), indent=2))
    elif tally.sent:
        console().put(_sum(tally, site is not None))
    return tally.code


async def _ping(probe: PingProbe, interval: float, number: int, say: Callable[[Tally], None]) -> None:
    try:
        await probe.go_on(interval, number, say)
    finally:
        probe.close()


def _signer(site: Site | None) -> Signer | None:
    """The signer of the pings, by the key of the site file; None: there is no site file."""
    if site is None:
        return None
    try:
        return signer(site.name, site.identity.key.reveal())
    except LookupError as error:
        raise ConsoleError(str(error.args[0])) from None


def _targets(text: str, site: Site | None) -> list[PingTarget]:
    """The target of an address, or those of a node of the site."""
    if site is not None and (text in site.servers or text in site.agents):
        return _of_node(site, text)
    try:
        return [PingTarget.parse(text)]
    except ValueError as error:
        raise ConsoleError(str(error)) from None


def _of_node(site: Site, name: str) -> list[PingTarget]:
    """The addresses at which a node answers OPTIONS of any sender, first that at which it reports the site's
    state."""
    if name in site.servers:
        server = site.servers[name]
        endpoints = (*((server.beat,) if server.beat else ()), *server.sip)
    else:
        endpoints = tuple(site.agents[name].sip)
    endpoints = tuple(endpoint for endpoint in endpoints if endpoint.transport in TRANSPORTS)
    if not endpoints:
        raise ConsoleError(f"The site file gives {name} no address that answers pings; name one.")
    return [PingTarget.parse(str(endpoint), name) for endpoint in endpoints]


def _say_nothing(tally: Tally) -> None:
    pass


def _say(tally: Tally) -> None:
    """Print one line for the last ping."""
    target, last = tally.target, tally.last
    where = f"{tally.sent}  {target.node + ' at ' if target.node else ''}{target.address} over {target.transport}: "
    if tally.trouble or last is None:
        console().put(Text.assemble(where, (tally.trouble, "red")))
        return
    status = Text(f"{last.status} {last.reason}", "green" if last.healthy else "yellow")
    beat = last.beat
    said: tuple[str | Text, ...] = (render.state(beat.state), f"epoch {beat.epoch}") if beat is not None else ()
    console().put(Text.assemble(where, render.line(status, f"{tally.trips[-1] * 1000:.2f} ms", *said)))


def _sum(tally: Tally, signed: bool) -> RenderableType:
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
    elif signed and tally.trouble.startswith("no answer"):
        why = "A node answers a signed ping only when its site key is the same; without --site it answers anyone."
        rows.append(("Signed", why))
    return Padding(render.facts(rows), (1, 0, 0, 0))


def _beat(tally: Tally, named: bool = False, file: bool = True) -> Text:
    """The statement of a node as text, without its name where it is ``named`` elsewhere, and with the hash of its
    site ``file``."""
    beat = tally.last.beat if tally.last else None
    if beat is None:
        return Text(NOTHING, "dim")
    return render.line(
        *(() if named else (Text(beat.site, "bold"), beat.node)),
        render.state(beat.state),
        f"epoch {beat.epoch}",
        f"{count(beat.calls)} of {count(beat.capacity)} calls" if beat.capacity else f"{count(beat.calls)} calls",
        *((f"file {beat.config}",) if beat.config and file else ()),
    )


@main.command()
@click.argument("targets", nargs=-1)
@site_option
@interval_option
@timeout_option
@click.option("--count", "-c", "number", type=click.IntRange(1), help="End after this many pings to each.")
@format_option
def watch(
    targets: tuple[str, ...], site_path: str | None, interval: float, timeout: float, number: int | None, shape: str
) -> int:
    """A live table of several SIP servers; without targets, of all addresses in the site file."""
    site = command_line.open_site(site_path) if site_path is not None or not targets else None
    chosen = [target for text in targets for target in _targets(text, site)]
    if site is not None and not targets:
        chosen = _of_site(site)
    sign = _signer(site)
    probes = [PingProbe(target, timeout, sign) for target in chosen]
    try:
        asyncio.run(_watch(probes, interval, number, shape))
    except KeyboardInterrupt:
        pass
    return max(probe.tally.code for probe in probes)


def _of_site(site: Site) -> list[PingTarget]:
    """The addresses at which servers and agents of a site answer OPTIONS of any sender."""
    named = [name for name, server in site.servers.items() if server.sip or server.beat]
    named += [name for name, agent in site.agents.items() if agent.sip]
    if not named:
        raise ConsoleError(f"The site {site.name} has no address to ping; name targets.")
    return [target for name in named for target in _of_node(site, name)]


async def _watch(probes: list[PingProbe], interval: float, number: int | None, shape: str) -> None:
    tallies = [probe.tally for probe in probes]
    out = console()
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
        live.update(render.stack(_table(tallies), Text(render.clock(time.time()), "dim")), refresh=True)
    elif shape == "json":
        click.echo(json.dumps([tally.to_json() for tally in tallies]))
    else:
        console().put(_table(tallies))


def _table(tallies: list[Tally]) -> RenderableType:
    columns = ("Node", "Address", "Status", ">Last", "~>Mean", "~>Most", ">Lost", "~>Sent", "Site", "~Server")
    answers = [tally.last for tally in tallies if tally.last is not None]
    missing = {
        "Node": not any(tally.target.node for tally in tallies),
        "Site": not any(answer.beat is not None for answer in answers),
        "~Server": not any(answer.server for answer in answers),
    }
    shown = [number for number, name in enumerate(columns) if not missing.get(name)]
    drift = len({answer.beat.config for answer in answers if answer.beat is not None}) > 1
    rows = [_row(tally, drift) for tally in tallies]
    return grid([columns[number] for number in shown], [[row[number] for number in shown] for row in rows])


def _row(tally: Tally, drift: bool) -> list[str | Text]:
    last, trips = tally.last, tally.trips
    status = Text(tally.trouble or NOTHING, "red" if tally.trouble else "dim")
    if last is not None and not tally.trouble:
        status = Text(f"{last.status} {last.reason}", "green" if last.healthy else "yellow")
    times = (trips[-1], sum(trips) / len(trips), max(trips)) if trips else ()
    return [
        tally.target.node or NOTHING,
        str(tally.target),
        status,
        *([f"{seconds * 1000:.2f} ms" for seconds in times] or [NOTHING] * 3),
        Text(f"{tally.lost:.0%}", "red" if tally.lost else ""),
        str(tally.sent),
        _beat(tally, bool(tally.target.node), drift),
        (last.server if last else "") or NOTHING,
    ]


if __name__ == "__main__":
    main()
