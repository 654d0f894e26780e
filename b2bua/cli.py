"""``b2bua``: runs a call server of the site, and shows what the servers see. The verbs are in ``b2bua.cli_verbs``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from b2bua import cli_screens
from b2bua.cli_cdrs import cdrs
from b2bua.cli_check import check, init
from b2bua.cli_keys import agent_key
from b2bua.cli_looks import audit, rehearse, route
from b2bua.cli_provision import audit_log, provision
from b2bua.cli_site import Found, active_client, find
from b2bua.cli_trace import explain, trace
from b2bua.cli_verbs import (
    bans,
    busyout,
    hangup,
    log_level,
    pause,
    readmit,
    reload,
    reset,
    resume,
    switchover,
    test_line,
    unban,
)
from heartbeat.console import command_line, commands, screens
from heartbeat.console.command_line import Program, site_option, version_option
from heartbeat.console.commands import Screen, format_option, limit_option, node_option, sites_option, watch_option
from heartbeat.console.errors import ConsoleError
from heartbeat.console.log import LogSettings, log_options
from heartbeat.console.render import stack
from heartbeat.console.schema import as_json, of_json
from heartbeat.console.views.calls import Calls
from heartbeat.console.views.history import DecisionRow
from heartbeat.console.views.lines import Lines
from heartbeat.console.views.status import Agents, ServerStatus
from heartbeat.site.model import Site
from heartbeat.supervised import become_supervisor, is_supervised


@click.group(
    cls=Program,
    epilog="Exit codes: 0 healthy, 1 degraded or not done, 2 no active server, 3 wrong usage or unreachable, "
    "4 a bad site file.",
)
@version_option
def main() -> None:
    """Call servers of a site: run one, see them, move the active role between them."""


@main.command()
@sites_option
@click.option(
    "--node",
    "nodes",
    required=True,
    multiple=True,
    metavar="NODE",
    help="Which server of the site this is. For several sites: once for all, or once for each, in order.",
)
@log_options
def run(site_paths: tuple[str, ...], nodes: tuple[str, ...], log_levels: tuple[str, ...], log_format: str) -> int:
    """Run a call server until SIGTERM. SIGHUP reads lines and routes again.

    It consists of two processes: a supervisor, which reports the server's death to the other server, and the server,
    its child. With several site files it is a server of each of these sites, main for one, stand-by for others.
    """
    log = LogSettings.of(log_levels, log_format)
    if not is_supervised():
        become_supervisor()
    sites = commands.open_sites(site_paths)
    if len(nodes) not in (1, len(sites)):
        raise ConsoleError(f"There are {len(sites)} sites and {len(nodes)} nodes: say --node once, or once for each.")
    chosen = list(zip(sites, nodes * len(sites) if len(nodes) == 1 else nodes, strict=True))
    for site, node in chosen:
        commands.server_client(site, node)
    from b2bua import server

    return server.run([(site.path, node) for site, node in chosen], log)


@main.command()
@sites_option
@node_option
@format_option
@watch_option
def status(site_paths: tuple[str, ...], node: str | None, shape: str, watch: float | None) -> int:
    """The site: servers, agents, calls, lines, warnings. For several sites give --site for each."""
    sites = commands.open_sites(site_paths)

    def look() -> Screen:
        if len(sites) == 1:
            return _status(sites[0], node)
        screens = [_status_or_why_not(site, node) for site in sites]
        value = {"sites": [screen.value for screen in screens]}
        return Screen(value, stack(*[screen.shown for screen in screens]), max(screen.code for screen in screens))

    return commands.show(look, shape, watch)


def _status(site: Site, node: str | None) -> Screen:
    if node is None:
        found = find(site)
        return Screen(_site_json(found), cli_screens.site_screen(found), found.code)
    own, status = commands.server_client(site, node).see(ServerStatus, "status")
    alone = Found(site, {node: status}, {}, {node: own})
    return Screen(own, cli_screens.site_screen(alone), alone.code)


def _status_or_why_not(site: Site, node: str | None) -> Screen:
    """The status of one of several sites, or the error as a screen, so that it does not hide the others."""
    try:
        return _status(site, node)
    except ConsoleError as error:
        shown = cli_screens.silent_site_screen(site.name, error.sentence)
        return Screen({"site": site.name, "error": error.sentence}, shown, error.code)


def _site_json(found: Found) -> dict[str, Any]:
    silent = {node: {"error": because} for node, because in found.silent.items()}
    return {
        "site": found.site.name,
        "active": found.active,
        "epoch": found.best.epoch,
        "healthy": found.code == command_line.HEALTHY,
        "warnings": found.warnings(),
        "alerts": as_json(found.alerts()),
        "servers": {node: found.said.get(node) or silent[node] for node in found.site.servers},
    }


@main.command()
@site_option
@node_option
@format_option
@watch_option
@screens.calls_filters("the caller's or callee's")
@click.option("--agent", metavar="AGENT", help="Of this agent.")
def calls(
    site_path: str | None, node: str | None, shape: str, watch: float | None, limit: int, **filters: str | None
) -> int:
    """Calls at the active server, newest first."""
    site = command_line.open_site(site_path)
    params = {"limit": str(limit), **screens.parameters(site, filters)}

    def look() -> Screen:
        value, page = active_client(site, node).see(Calls, "calls", **params)
        return Screen(value, cli_screens.calls_screen(page))

    return commands.show(look, shape, watch)


@main.command()
@site_option
@node_option
@format_option
@watch_option
@click.option("--agent", metavar="AGENT", help="Of this agent.")
@screens.lines_filters
def lines(site_path: str | None, node: str | None, shape: str, watch: float | None, **filters: str | None) -> int:
    """Trunks and phones with their state. Exit code 1 when one of those shown is out of service."""
    site = command_line.open_site(site_path)
    params = screens.parameters(site, filters)
    return commands.show(lambda: screens.lines(active_client(site, node), Lines, params), shape, watch)


@main.command()
@site_option
@node_option
@format_option
@watch_option
def agents(site_path: str | None, node: str | None, shape: str, watch: float | None) -> int:
    """Agents as the active server sees them. Exit code 1 when one is not reached."""
    site = command_line.open_site(site_path)

    def look() -> Screen:
        client = active_client(site, node)
        value, page = client.see(Agents, "agents")
        missing = any(not agent.reached for agent in page.agents)
        shown = cli_screens.agents_screen(client.name, page.agents)
        return Screen(value, shown, command_line.DEGRADED if missing else command_line.HEALTHY)

    return commands.show(look, shape, watch)


@main.command()
@site_option
@node_option
@format_option
@watch_option
@limit_option(50)
def history(site_path: str | None, node: str | None, shape: str, watch: float | None, limit: int) -> int:
    """What the servers decided, and why, in the order of time."""
    site = command_line.open_site(site_path)
    return commands.show(partial(_history, site, node, limit), shape, watch)


def _history(site: Any, node: str | None, limit: int) -> Screen:
    nodes = [node] if node else list(find(site).answers)
    rows: list[Any] = []
    for name in nodes:
        page = commands.server_client(site, name).view("history", limit=str(limit))
        rows += [{"node": name, **row} for row in reversed(page["decisions"])]  # newest first, on the page
    rows.sort(key=lambda row: (row["at"], row["node"]))
    rows = rows[-limit:]
    return Screen({"decisions": rows}, cli_screens.history_screen(of_json(DecisionRow, row) for row in rows))


_looks = (explain, trace, check, init, cdrs, rehearse, audit, route, test_line, audit_log)
_verbs = (
    switchover,
    reset,
    hangup,
    busyout,
    pause,
    resume,
    readmit,
    bans,
    unban,
    reload,
    log_level,
    provision,
    agent_key,
)
for command in (*_looks, *_verbs):
    main.add_command(command)

if __name__ == "__main__":
    main()
