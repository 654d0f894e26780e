"""The verbs of ``b2bua``: each shows what will happen, asks, and waits until it is true."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click
from rich.console import RenderableType
from rich.text import Text

from b2bua import cli_screens
from b2bua.cli_looks import rehearsal_screen, rehearsed
from b2bua.cli_screens import last_takeover, servers_table
from b2bua.cli_site import Found, active_client, find
from heartbeat.console import command_line, commands, render, screens
from heartbeat.console.ban_screens import bans_screen, lift
from heartbeat.console.client import Client, near
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import format_option, node_option, watch_option, yes_option
from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError, RefusedByProcess, Unreachable
from heartbeat.console.line_test_command import test_options, tested
from heartbeat.console.log import fault_of
from heartbeat.console.render import console, listed, several
from heartbeat.console.views.calls import Calls
from heartbeat.console.views.status import CallCounts, ServerStatus
from heartbeat.console.views.takeovers import Rehearsal
from heartbeat.site.model import Site

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86400),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the result.",
)


@click.command()
@site_option
@click.option("--to", metavar="NODE", help="The server to make active; default: the other one.")
@click.option("--force", is_flag=True, help="Without the votes of a quorum, with the agents that are reached.")
@click.option(
    "--max-loss",
    type=click.IntRange(0),
    metavar="CALLS",
    help="Rehearse first, and do nothing if more calls than this would be lost.",
)
@yes_option
@timeout_option
def switchover(
    site_path: str | None, to: str | None, force: bool, max_loss: int | None, sure: bool, timeout: float
) -> int:
    """Move the active role to the other server; calls go on.

    The active server releases its lease and the other one takes over. With --force the other one takes over without
    asking the voters, for when no quorum can be reached; first make sure that the old one is really dead.
    """
    site = command_line.open_site(site_path)
    before = find(site)
    source, target = before.active, _target(before, to)
    if not force and not source:
        raise ConsoleError("No server is active, so none can release. If the other one is dead, say --force.", 2)
    if source == target:
        raise ConsoleError(f"{target} is active already; nothing is to be done.", command_line.HEALTHY)
    if target not in before.answers:
        raise Unreachable(before.silent[target])
    if not force and source not in before.answers:
        raise Unreachable(before.silent[source])
    if max_loss is not None:
        _within(rehearsed(commands.server_client(site, target), 20, timeout)[1], max_loss)
    console().put(_plan(before, source, target, force))
    commands.ask(f"Make {target} the active server?", sure)
    asked = commands.server_client(site, target if force else source)
    answer = asked.command("switchover", {"to": target, **({"force": "yes"} if force else {})})
    epoch = before.best.epoch
    took = commands.wait_until(
        lambda: _moved(site, asked, answer, target, epoch), timeout, what=f"the switchover to {target}"
    )
    after = find(site)
    console().put(render.stack(Text(f"Done in {took:.1f} s.", "bold green"), _before_and_after(before, after)))
    return command_line.HEALTHY  # done, whatever `status` warns of: half-way through an upgrade it has warnings


def _within(rehearsal: Rehearsal, max_loss: int) -> None:
    """Raises :class:`ConsoleError` if more calls would be lost, or there is an obstacle to a takeover."""
    lost = rehearsal.lost + rehearsal.waiting
    if lost > max_loss or rehearsal.obstacles:
        console().put(rehearsal_screen(rehearsal, True))
        why = rehearsal.obstacles[0] if rehearsal.obstacles else f"{several(lost, 'call')} would be lost"
        raise ConsoleError(f"Nothing was done: {why}.", command_line.DEGRADED)


def _target(found: Found, to: str | None) -> str:
    servers = found.site.servers
    if to is not None:
        commands.server_client(found.site, to)
        return to
    if len(servers) != 2:
        raise ConsoleError(
            f"The site {found.site.name} has {several(len(servers), 'server')}: there is no other one."
        )
    if found.active:
        return next(node for node in servers if node != found.active)
    standing = [node for node in servers if node in found.answers]
    if len(standing) != 1:
        raise ConsoleError(f"Neither {' nor '.join(servers)} is active; say which one shall be: --to NODE.")
    return standing[0]


def _plan(found: Found, source: str, target: str, force: bool) -> RenderableType:
    giving, taking = found.answers.get(source), found.answers[target]
    agents = [peer for peer in taking.peers if peer.kind == "agent"]
    missing = [peer.name for peer in agents if not peer.reached]
    epoch = found.best.epoch
    warnings = list(taking.warnings)
    if force:
        warnings.insert(
            0, "Forced: no quorum is asked. If the other server still serves agents, both will act at once."
        )
    if missing:
        warnings.append(f"{target} does not reach {listed(missing)}; their calls stay where they are until it does.")
    return render.stack(
        Text("This will happen", "bold"),
        render.facts(
            [
                ("Active", render.line(source or "none", "→", Text(target, "bold green"), gap=" ")),
                ("Epoch", f"{epoch} → {epoch + 1}"),
                ("Calls", _carried_over(giving.calls) if giving is not None else "those that the agents tell of"),
                ("Agents", f"{len(agents) - len(missing)} of {several(len(agents), 'agent')} reached by {target}"),
            ]
        ),
        render.warnings(warnings) if warnings else None,
    )


def _carried_over(calls: CallCounts) -> str:
    states = [text.plain for text in screens.by_state(calls)]
    return f"{several(calls.total, 'call')} carried over" + (f": {', '.join(states)}" if states else "")


def _moved(site: Site, asked: Client, answer: Progress, target: str, old_epoch: int) -> tuple[bool, str]:
    """Whether ``target`` leads in a newer epoch and all agents it reaches obey it, with a sentence."""
    try:
        progress = asked.see(Progress, "progress", id=answer.id)[1]
        if progress.state == "failed":
            raise ConsoleError(f"It failed: {progress.sentence}", command_line.DEGRADED)
        said = progress.sentence
    except (Unreachable, RefusedByProcess):
        # the server that was asked may have ended or restarted meanwhile; the new one's answer counts
        said = f"{asked.name} says nothing of it"
    try:
        status = commands.server_client(site, target).see(ServerStatus, "status")[1]
    except Unreachable as error:
        return False, error.sentence
    if status.state != "active" or status.epoch <= old_epoch:
        return False, f"{target} is {status.state} in epoch {status.epoch}; {said}"
    agents = [peer for peer in status.peers if peer.kind == "agent" and peer.reached]
    behind = [peer.name for peer in agents if peer.obeys != target]
    if behind:
        return False, f"{target} is active; {several(len(behind), 'agent')} still to come: {listed(behind[:5])}"
    obey = f"{several(len(agents), 'agent')} {'obeys' if len(agents) == 1 else 'obey'} it"
    return True, f"{target} is active in epoch {status.epoch}, and {obey}."


def _before_and_after(before: Found, after: Found) -> RenderableType:
    return render.stack(
        Text("Before", "bold"),
        servers_table(before),
        Text("After", "bold"),
        servers_table(after),
        last_takeover(after.best.last_takeover),
        render.warnings(after.warnings()) if after.warnings() else None,
    )


@click.command()
@site_option
@node_option
@click.argument("names", metavar="LINE...", nargs=-1, required=True)
@click.option("--state", type=click.Choice(["idle", "out of service"]), default="idle", show_default=True)
@yes_option
@timeout_option
def reset(
    site_path: str | None, node: str | None, names: tuple[str, ...], state: str, sure: bool, timeout: float
) -> int:
    """End the calls on lines and put these into a state. "all" names every line of the site."""
    site = command_line.open_site(site_path)
    client = active_client(site, node)
    for name in names if names != ("all",) else ():
        commands.known_line(site, name)
    busy = _busy(client, names)
    console().put(
        f"{listed(names)} {'becomes' if len(names) == 1 else 'become'} {state}; {several(busy, 'call')} will end."
    )
    commands.ask("Reset now?", sure)
    answer = client.command("reset", {"lines": ",".join(names), "state": state})
    _await(client, answer, timeout)
    return command_line.HEALTHY


def _busy(client: Client, names: tuple[str, ...]) -> int:
    if names == ("all",):
        return client.see(ServerStatus, "status")[1].calls.total
    return sum(client.see(Calls, "calls", line=name, limit="1")[1].matched for name in names)


@click.command()
@site_option
@node_option
@click.argument("call", metavar="CALL")
@yes_option
@timeout_option
def hangup(site_path: str | None, node: str | None, call: str, sure: bool, timeout: float) -> int:
    """End one call, named by its id or the beginning of it."""
    site = command_line.open_site(site_path)
    client = active_client(site, node)
    page = client.see(Calls, "calls", id=call, limit="2")[1]
    if page.matched != 1:
        several_or_none = f"{page.matched:,} calls begin with {call}" if page.matched else f"no call {call} stands"
        raise ConsoleError(f"Nothing was done: {several_or_none}; `b2bua calls` lists them.", command_line.DEGRADED)
    console().put(cli_screens.calls_screen(page))
    commands.ask("End this call?", sure)
    _await(client, client.command("hangup", {"call": page.calls[0].id}), timeout)
    return command_line.HEALTHY


@click.command()
@site_option
@node_option
@click.argument("line", metavar="LINE")
@click.option("--end", is_flag=True, help="End it: take new calls again.")
@timeout_option
def busyout(site_path: str | None, node: str | None, line: str, end: bool, timeout: float) -> int:
    """Take no new calls on a line, in neither direction, until --end; the calls on it go on.

    Status warns of it meanwhile. It outlasts reloads, takeovers and restarts of the line's agent. For a line of the
    servers' own each server keeps it until it is restarted.
    """
    site = command_line.open_site(site_path)
    commands.known_line(site, line)
    if "/" in line:
        raise ConsoleError(f"{line} is a channel: a line is busied out as a whole.")
    params = {"line": line, **({"end": "yes"} if end else {})}
    if site.lines[line].at_servers:
        return _at_each(site_path, node, "busyout", params)
    client = active_client(site, node)
    _await(client, client.command("busyout", params), timeout)
    return command_line.HEALTHY


@click.command("test")
@site_option
@test_options
@format_option
def test_line(
    site_path: str | None, line: str, number: str | None, caller: str | None, ring: float, shape: str
) -> int:
    """Test a line: name resolution, OPTIONS, registration, with --call a call. Exit code 1: something fails.

    The line's agent makes the test (for a line of the servers' own the active server), as it would make a call.
    Devices of a phone are asked by OPTIONS. A call is hung up as soon as it is answered, and may cost.
    """
    site = command_line.open_site(site_path)
    commands.known_line(site, line)
    settings = site.lines[line.partition("/")[0]]
    client = active_client(site, None) if settings.at_servers else commands.node_client(site, settings.agent)
    return commands.show(lambda: tested(client, settings.name, number, caller, ring), shape)


@click.command()
@site_option
@node_option
def pause(site_path: str | None, node: str | None) -> int:
    """Stop automatic takeovers and failbacks, until resume.

    For maintenance; at both servers, or at --node. A planned switchover still works.
    """
    return _at_each(site_path, node, "pause")


@click.command()
@site_option
@node_option
def resume(site_path: str | None, node: str | None) -> int:
    """Allow automatic takeovers and failbacks again."""
    return _at_each(site_path, node, "resume")


def _at_each(site_path: str | None, node: str | None, verb: str, params: Mapping[str, str] = NOTHING) -> int:
    site = command_line.open_site(site_path)
    silent: list[Unreachable] = []
    nodes = [node] if node else list(site.servers)
    for name in nodes:
        try:
            answer = commands.server_client(site, name).command(verb, params)
            click.echo(f"{name}: {answer.sentence}")
        except Unreachable as error:
            silent.append(error)
    if len(silent) == len(nodes):
        raise Unreachable("\n".join(error.sentence for error in silent))
    for silence in silent:
        click.echo(silence.sentence, err=True)
    return command_line.DEGRADED if silent else command_line.HEALTHY


@click.command()
@site_option
@node_option
@timeout_option
def reload(site_path: str | None, node: str | None, timeout: float) -> int:
    """Make the servers read the site file again, and show what they took from it, or all its mistakes.

    At both servers, or at --node. A file with any mistake is refused as a whole. For agents use gateway-agent
    reload.
    """
    site = command_line.open_site(site_path)
    return commands.reload_all(_both_or(site, node), timeout)


@click.command()
@site_option
@node_option
@format_option
@watch_option
def bans(site_path: str | None, node: str | None, shape: str, watch: float | None) -> int:
    """Hosts that the servers ignore, and why. Agents have their own bans: gateway-agent bans."""
    clients = _both_or(command_line.open_site(site_path), node)
    return commands.show(lambda: bans_screen(clients), shape, watch)


@click.command()
@site_option
@node_option
@click.argument("host", metavar="HOST|all")
def unban(site_path: str | None, node: str | None, host: str) -> int:
    """Make the servers, or --node, listen to a banned host again."""
    return lift(_both_or(command_line.open_site(site_path), node), host)


def _both_or(site: Site, node: str | None) -> list[Client]:
    return near(commands.server_client(site, name) for name in ([node] if node else site.servers))


@click.command("log-level")
@site_option
@node_option
@click.argument("package", metavar="PACKAGE")
@click.argument("level", metavar="LEVEL")
def log_level(site_path: str | None, node: str | None, package: str, level: str) -> int:
    """Set from which level a package (or part, like sip.receiver; or all) is logged, at both servers or --node.

    The level is debug, info, warning, error, or default. It holds until a restart.
    """
    if fault := fault_of(package, level):
        raise ConsoleError(f"{fault[:1].upper()}{fault[1:]}.")
    return _at_each(site_path, node, "log-level", {"package": package, "level": level})


@click.command()
@site_option
@node_option
@click.argument("voter")
@click.option("--force", is_flag=True, help="Even if no server is active, because this very vote is missing.")
@yes_option
@timeout_option
def readmit(site_path: str | None, node: str | None, voter: str, force: bool, sure: bool, timeout: float) -> int:
    """Give a voter back the vote that it lost with its file.

    A voter is an agent, or the stand-by; its file is epochs.json in its state directory.
    """
    site = command_line.open_site(site_path)
    if voter not in site.servers:
        commands.agent_client(site, voter)
    client = (
        commands.server_client(site, find(site).best.node) if force and node is None else active_client(site, node)
    )
    voters = client.see(ServerStatus, "status")[1].voters
    warning = "Forced: you vouch that no other server rules by a vote which it forgot."
    console().put(
        f"{voter} votes again under a new generation of the voters' list (now {voters.generation}). "
        f"Do this only when {voter} really runs anew with an empty file, and is not merely cut off."
        + (f"\n{warning}" if force else "")
    )
    commands.ask(f"Readmit {voter}?", sure)
    answer = client.command("readmit", {"agent": voter, **({"force": "yes"} if force else {})})
    _await(client, answer, timeout)
    return command_line.HEALTHY


def _await(client: Client, answer: Progress, timeout: float) -> None:
    def look_again() -> tuple[bool, str]:
        progress = answer if answer.state != "running" else client.see(Progress, "progress", id=answer.id)[1]
        if progress.state == "failed":
            raise ConsoleError(f"It failed: {progress.sentence}", command_line.DEGRADED)
        of = f" ({progress.done} of {progress.total})" if progress.total else ""
        return progress.state == "done", f"{progress.sentence}{of}"

    took = commands.wait_until(look_again, timeout, what=answer.verb)
    click.echo(f"Done in {took:.1f} s: {look_again()[1]}")
