"""What ``gateway-agent`` shows of lines and calls, and its orders to agents."""

from __future__ import annotations

import click

from gateway_agent import cli_screens
from gateway_agent.cli_stations import stations
from heartbeat.console import command_line, commands, render, screens
from heartbeat.console.ban_screens import bans_screen, lift
from heartbeat.console.client import Client, ask_all, near
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, format_option, watch_option, yes_option
from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.line_test_command import test_options, tested
from heartbeat.console.log import fault_of
from heartbeat.console.render import console, several
from heartbeat.console.trace_command import trace as traced
from heartbeat.console.trace_command import trace_options
from heartbeat.console.views.calls import AgentCalls
from heartbeat.console.views.lines import AgentLines
from heartbeat.console.views.status import AgentStatus
from heartbeat.site.model import Site

agent_option = click.option(
    "--agent", metavar="AGENT", help="Which agent; not needed if the site, or this machine, has only one."
)


def _one(site: Site, agent: str | None) -> Client:
    clients = _all_or(site, agent)
    if len(clients) != 1:
        raise ConsoleError(f"Which agent? Say --agent; the site {site.name} has {', '.join(site.agents) or 'none'}.")
    return clients[0]


def _looked_at(site: Site, agent: str | None) -> Client:
    """The same, asked by a server that is here where the agent that is named is on another machine."""
    if agent is None or agent not in site.agents:
        return _one(site, agent)
    return commands.node_client(site, agent)


@click.command()
@site_option
@agent_option
@format_option
@watch_option
def status(site_path: str | None, agent: str | None, shape: str, watch: float | None) -> int:
    """All agents of the site that can be asked from here, or one of them in full."""
    site = command_line.open_site(site_path)

    def look() -> Screen:
        if agent is not None or len(site.agents) == 1:
            value, found = _looked_at(site, agent).see(AgentStatus, "status")
            return Screen(value, cli_screens.agent_screen(found), cli_screens.code_of(found))
        return _all_agents(site)

    return commands.show(look, shape, watch)


def _all_agents(site: Site) -> Screen:
    clients = _all_or(site, None)
    answers = ask_all(clients, "status")
    silent = [answer.sentence for answer in answers.values() if isinstance(answer, ConsoleError)]
    if len(silent) == len(clients):
        raise Unreachable("\n".join([f"No agent of the site {site.name} answers.", *silent]))
    value, found = {}, {}
    for client in clients:
        answer = answers[client.name]
        failed = isinstance(answer, ConsoleError)
        value[client.name] = {"error": answer.sentence} if failed else answer
        found[client.name] = answer if failed else client.read(AgentStatus, answer)
    code = max(map(cli_screens.code_of, found.values()))
    elsewhere = [name for name in site.agents if name not in value]
    shown = {"site": site.name, "agents": value, "elsewhere": elsewhere}
    return Screen(shown, cli_screens.agents_screen(found, elsewhere), code)


@click.command()
@site_option
@agent_option
@format_option
@watch_option
@screens.lines_filters
def lines(site_path: str | None, agent: str | None, shape: str, watch: float | None, **filters: str | None) -> int:
    """Lines of an agent, and what its stations do. Exit code 1 when one of those shown is out of service."""
    site = command_line.open_site(site_path)
    client, params = _looked_at(site, agent), screens.parameters(site, filters)

    def look() -> Screen:
        screen = screens.lines(client, AgentLines, params)
        value, table = stations(site, (line["name"] for line in screen.value["lines"]))
        if table is None:
            return screen
        return Screen({**screen.value, "stations": value}, render.stack(screen.shown, table), screen.code)

    return commands.show(look, shape, watch)


@click.command()
@site_option
@agent_option
@format_option
@watch_option
@screens.calls_filters("the far end's")
def calls(
    site_path: str | None, agent: str | None, shape: str, watch: float | None, limit: int, **filters: str | None
) -> int:
    """Calls of an agent, newest first."""
    site = command_line.open_site(site_path)
    client, params = _looked_at(site, agent), {"limit": str(limit), **screens.parameters(site, filters)}

    def look() -> Screen:
        value, page = client.see(AgentCalls, "calls", **params)
        return Screen(value, cli_screens.calls_screen(page))

    return commands.show(look, shape, watch)


@click.command()
@site_option
@agent_option
@yes_option
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 604800),
    default=86400.0,
    show_default=True,
    help="Seconds to wait for the result.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the last call.")
def drain(site_path: str | None, agent: str | None, sure: bool, timeout: float, no_wait: bool) -> int:
    """Refuse new calls and wait until the last one has ended. Ctrl-C stops waiting, not draining."""
    client = _one(command_line.open_site(site_path), agent)
    left = client.see(AgentStatus, "status")[1].calls.total
    until = (
        f", and be empty when {several(left, 'call')} of it {'has' if left == 1 else 'have'} ended" if left else ""
    )
    console().put(f"{client.name} will refuse new calls{until}.")
    commands.ask(f"Drain {client.name}?", sure)
    answer = client.command("drain", {})
    if no_wait:
        click.echo(answer.sentence)
        return command_line.HEALTHY
    commands.wait_until(lambda: _drained(client, answer), timeout, what=f"draining {client.name}")
    return command_line.HEALTHY


@click.command()
@site_option
@click.option("--agent", metavar="AGENT", help="Use this agent only.")
@trace_options
def trace(
    site_path: str | None,
    agent: str | None,
    about: str | None,
    failed: bool,
    pcap: str | None,
    messages: bool,
    limit: int,
    shape: str,
) -> int:
    """The SIP messages of a call at agents, as a ladder or a capture file. b2bua trace has those of servers, too.

    CALL is a Call-ID, of the device's dialog or of that with the servers. Of a LINE, or --failed: the last calls.
    Secrets are blanked. Exit code 1: the part of some node is missing.
    """
    site = command_line.open_site(site_path)
    names = [agent] if agent is not None else list(site.agents)
    clients, asked = [_looked_at(site, name) for name in names], (about, failed, pcap, messages, limit)
    return commands.show(lambda: traced(clients, list(site.lines), *asked), shape)


@click.command("test")
@site_option
@test_options
@format_option
def test(site_path: str | None, line: str, number: str | None, caller: str | None, ring: float, shape: str) -> int:
    """Test a line: name resolution, OPTIONS, registration, with --call a call. Exit code 1: something fails."""
    site = command_line.open_site(site_path)
    commands.known_line(site, line)
    settings = site.lines[line.partition("/")[0]]
    if settings.at_servers:
        raise ConsoleError(f"{settings.name} has no agent: the servers test it, by b2bua test.")
    client = commands.node_client(site, settings.agent)
    return commands.show(lambda: tested(client, settings.name, number, caller, ring), shape)


@click.command()
@site_option
@agent_option
@yes_option
@click.option("--for-good", is_flag=True, required=True, help="Remove registrations at carriers.")
def stop(site_path: str | None, agent: str | None, sure: bool, for_good: bool) -> int:
    """Refuse new calls, remove registrations at carriers, and end with the last call."""
    client = _one(command_line.open_site(site_path), agent)
    commands.ask(f"End {client.name} for good, with its last call?", sure)
    click.echo(client.command("stop", {}).sentence)
    return command_line.HEALTHY


def _drained(client: Client, answer: Progress) -> tuple[bool, str]:
    try:
        progress = client.see(Progress, "progress", id=answer.id)[1]
    except Unreachable:
        # An agent ends with its last call, and takes its API along.
        return True, f"{client.name} has ended."
    if progress.state == "failed":
        raise ConsoleError(f"It failed: {progress.sentence}", command_line.DEGRADED)
    return progress.state == "done", progress.sentence


@click.command()
@site_option
@agent_option
def resume(site_path: str | None, agent: str | None) -> int:
    """End a drain: take new calls again."""
    client = _one(command_line.open_site(site_path), agent)
    click.echo(client.command("resume", {}).sentence)
    return command_line.HEALTHY


@click.command()
@site_option
@agent_option
@click.option("--timeout", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True, help="Seconds to wait.")
def reload(site_path: str | None, agent: str | None, timeout: float) -> int:
    """Make an agent, or all, read the site file again, and show what they took from it, or all its mistakes."""
    site = command_line.open_site(site_path)
    return commands.reload_all(_all_or(site, agent), timeout)


@click.command()
@site_option
@agent_option
@format_option
@watch_option
def bans(site_path: str | None, agent: str | None, shape: str, watch: float | None) -> int:
    """Hosts that an agent, or all agents, ignore, and why."""
    clients = _all_or(command_line.open_site(site_path), agent)
    return commands.show(lambda: bans_screen(clients), shape, watch)


@click.command()
@site_option
@agent_option
@click.argument("host", metavar="HOST|all")
def unban(site_path: str | None, agent: str | None, host: str) -> int:
    """Make an agent, or all, listen to a banned host again."""
    return lift(_all_or(command_line.open_site(site_path), agent), host)


def _all_or(site: Site, agent: str | None) -> list[Client]:
    """That agent, or all that can be asked from here."""
    if agent is not None:
        return [commands.agent_client(site, agent)]
    return near(commands.agent_client(site, name) for name in site.agents)


@click.command("log-level")
@site_option
@agent_option
@click.argument("package", metavar="PACKAGE")
@click.argument("level", metavar="LEVEL")
def log_level(site_path: str | None, agent: str | None, package: str, level: str) -> int:
    """Set from which level a package (or part, like sip.receiver; or all) of an agent is logged, until a restart."""
    if fault := fault_of(package, level):
        raise ConsoleError(f"{fault[:1].upper()}{fault[1:]}.")
    client = _one(command_line.open_site(site_path), agent)
    click.echo(client.command("log-level", {"package": package, "level": level}).sentence)
    return command_line.HEALTHY
