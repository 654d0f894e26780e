"""``b2bua rehearse`` and ``b2bua audit``: they ask all agents what they have, and change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.text import Text

from b2bua.cdr_store import read
from b2bua.cli_site import active_client, find
from heartbeat.console import command_line, commands, render
from heartbeat.console.client import Client
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, format_option, limit_option, node_option
from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.render import clock, count, grid, listed, several, span, table
from heartbeat.console.schema import as_json
from heartbeat.console.views.lines import RouteStep, RouteTrial
from heartbeat.console.views.takeovers import Audit, Fault, Rehearsal, Verdict
from heartbeat.site.model import Site

BACK: Final = 86_400.0
"""Seconds before the audit from which on call records are searched, since records are filed by the begin of a
call."""

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the result.",
)


@click.command()
@site_option
@node_option
@format_option
@click.option("--calls", "with_calls", is_flag=True, help="Also show each call that would not be kept.")
@limit_option(200)
@timeout_option
def rehearse(
    site_path: str | None, node: str | None, shape: str, with_calls: bool, limit: int, timeout: float
) -> int:
    """What a takeover now would keep and lose, why, and how long it would take. Changes nothing.

    The stand-by asks every agent what it has, as at a takeover, without taking anything over. Exit code 0 when
    nothing would be lost and nothing stands against a takeover, otherwise 1: for cron.
    """
    site = command_line.open_site(site_path)
    client = commands.server_client(site, node if node is not None else _stand_by(site))
    value, rehearsal = rehearsed(client, limit, timeout)
    code = command_line.HEALTHY if rehearsal.good else command_line.DEGRADED
    return commands.show(lambda: Screen(value, rehearsal_screen(rehearsal, with_calls), code), shape)


def _stand_by(site: Site) -> str:
    """The server that would take over: one that answers and is not active; in a site with one server, that one."""
    found = find(site)
    others = [node for node in site.servers if node != found.active] or list(site.servers)
    there = [node for node in others if node in found.answers]
    if not there:
        raise Unreachable(found.silent[others[0]])
    return there[0]


def rehearsed(client: Client, limit: int, timeout: float) -> tuple[Any, Rehearsal]:
    """Order a rehearsal, and wait for its result."""
    _wait(client, client.command("rehearse", {}), timeout)
    return client.see(Rehearsal, "rehearsal", limit=str(limit))


def _wait(client: Client, answer: Progress, timeout: float) -> None:
    def look() -> tuple[bool, str]:
        progress = client.see(Progress, "progress", id=answer.id)[1]
        if progress.state == "failed":
            raise ConsoleError(f"It failed: {progress.sentence}", command_line.DEGRADED)
        return progress.state == "done", progress.sentence

    commands.wait_until(look, timeout, quiet=True, what=answer.verb)


def rehearsal_screen(rehearsal: Rehearsal, with_calls: bool) -> RenderableType:
    """The screen of a rehearsal: calls kept and lost, the agents' lists, and obstacles to a takeover."""
    total = rehearsal.kept + rehearsal.lost + rehearsal.waiting
    verdicts = [
        render.line(count(number), render.coloured(word), gap=" ")
        for word, number in rehearsal.verdicts.items()
        if number
    ]
    rows = [
        (
            agent.agent,
            span(agent.complete_at - agent.asked_at)
            if agent.complete_at is not None and agent.asked_at is not None
            else Text("not told", "bold red"),
            count(agent.parts),
            f"{count(agent.size / 1024)} KB",
            count(agent.calls),
        )
        for agent in rehearsal.agents
    ]
    title = Text.assemble(
        (f"Had {rehearsal.node} taken over", "bold"), f" from {rehearsal.active or 'nobody'} at {clock(rehearsal.at)}"
    )
    said = Text(
        f"{count(rehearsal.kept)} of {several(total, 'call')} kept, {count(rehearsal.lost)} lost"
        + (f", {count(rehearsal.waiting)} at agents that were not heard" if rehearsal.waiting else ""),
        "bold green" if rehearsal.good else "bold red",
    )
    took = (
        f"{span(rehearsal.took)} until all agents had told what they have, {span(rehearsal.decision)} at most before"
    )
    return render.stack(
        title,
        render.facts(
            [
                ("Calls", said),
                ("Verdicts", render.line(*verdicts) if verdicts else "none"),
                *([("No agent", rehearsal.without_agents)] if rehearsal.without_agents else []),
                ("Time", took),
            ]
        ),
        grid(("Agent", ">Took", ">Parts", ">Size", ">Dialogs"), rows, "No agent was asked."),
        render.warnings(list(rehearsal.obstacles)) if rehearsal.obstacles else None,
        table(Verdict, rehearsal.calls, empty="Every call would be kept.") if with_calls else None,
    )


@click.command()
@site_option
@node_option
@format_option
@limit_option(200)
@timeout_option
def audit(site_path: str | None, node: str | None, shape: str, limit: int, timeout: float) -> int:
    """Compare the active server's calls with its agents', and their ended calls with the call records.

    Changes nothing. Exit code 1 when something does not agree, or an agent was not heard.
    """
    site = command_line.open_site(site_path)
    client = active_client(site, node)
    _wait(client, client.command("audit", {}), timeout)
    found = _with_records(site, client.see(Audit, "audit", limit=str(limit))[1])
    code = command_line.DEGRADED if found.matched or found.not_checked else command_line.HEALTHY
    return commands.show(lambda: Screen(as_json(found), _audit_screen(found), code), shape)


@click.command()
@site_option
@node_option
@format_option
@click.argument("origin", metavar="FROM")
@click.argument("number", metavar="TO")
def route(site_path: str | None, node: str | None, shape: str, origin: str, number: str) -> int:
    """Where a call from a line (or a number of one) to a number would go now, and why. No call is made.

    TO is written as the site writes numbers, after the rules of the line (from_device). Exit code 1: it would be
    refused.
    """
    site = command_line.open_site(site_path)
    value, trial = active_client(site, node).see(RouteTrial, "route", **{"from": origin, "to": number})
    code = command_line.HEALTHY if trial.steps else command_line.DEGRADED
    return commands.show(lambda: Screen(value, _route_screen(trial), code), shape)


def _route_screen(trial: RouteTrial) -> RenderableType:
    head = f"A call from {trial.line} to {trial.called}"
    if not trial.steps:
        return Text.assemble(head, (f" would be refused with {trial.status}: {trial.because}", "bold red"))
    tried = "would be tried in this order" if len(trial.steps) > 1 else "would go to"
    return render.stack(Text(f"{head} {tried}"), table(RouteStep, trial.steps))


def _with_records(site: Site, found: Audit) -> Audit:
    """The audit, after call records that the server no longer has in memory were searched in the files."""
    if not found.unrecorded:
        return found
    missing = set(found.unrecorded)
    for directory in {server.cdr_dir for server in site.servers.values()}:
        try:
            missing -= {record.call_id for record in read(directory, found.at - BACK)}
        except OSError:
            continue  # of a server on another machine
    faults = tuple(
        Fault(call, "", "unrecorded", "agents say that it has ended, and no call record of it is found here")
        for call in sorted(missing)
    )
    return replace(
        found,
        faults=(*found.faults, *faults),
        matched=found.matched + len(faults),
        unrecorded=tuple(sorted(missing)),
    )


def _audit_screen(found: Audit) -> RenderableType:
    facts = f"{several(found.calls, 'call')} of {found.node}, {count(found.dialogs)} dialogs of its agents"
    ended = f"{several(found.ended, 'ended call')} that agents remember"
    agreed = (
        Text("all agree", "bold green") if not found.matched else Text(f"{count(found.matched)} do not", "bold red")
    )
    if found.without_agents:
        facts += f"; {several(found.without_agents, 'call')} between lines without agents, with nothing to compare"
    warnings = [f"{listed(found.not_checked)} did not tell what they have."] if found.not_checked else []
    return render.stack(
        render.facts([("Calls", facts), ("Records", ended), ("Found", agreed), ("Took", span(found.took))]),
        render.warnings(warnings) if warnings else None,
        table(Fault, found.faults) if found.faults else None,
    )
