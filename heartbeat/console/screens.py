"""Screens and options that the commands of servers and agents share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args

import click
from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import render
from heartbeat.console.client import Client
from heartbeat.console.command_line import DEGRADED, HEALTHY
from heartbeat.console.commands import Screen, agent_client, known_line, limit_option
from heartbeat.console.render import count, listed, several, table
from heartbeat.console.views.calls import CallState
from heartbeat.console.views.lines import AgentLine, AgentLines, Line, Lines, LineState
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.status import Alert, CallCounts, Peer
from heartbeat.site.model import Site

F = TypeVar("F", bound=Callable[..., Any])


def calls_filters(whose: str) -> Callable[[F], F]:
    """The options of ``calls``; ``whose``: the number that ``--number`` searches, for its help."""
    options = (
        click.option("--state", type=click.Choice(get_args(CallState)), help="Only those in this state."),
        click.option("--number", metavar="DIGITS", help=f"Part of {whose} number."),
        click.option("--line", metavar="LINE", help="Of this trunk, phone or channel."),
        limit_option(200),
    )
    return _all(options)


_line_options = (
    click.option("--line", metavar="LINE", help="This trunk or phone."),
    click.option("--state", type=click.Choice(get_args(LineState)), help="Only those in this state."),
)


def lines_filters(function: F) -> F:
    """The options of ``lines``."""
    return _all(_line_options)(function)


def _all(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def parameters(site: Site, filters: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that were given. Raises :class:`ConsoleError` for unknown lines and agents."""
    given = {name: value for name, value in filters.items() if value}
    if "agent" in given:
        agent_client(site, given["agent"])
    if "line" in given:
        known_line(site, given["line"])
    return given


def lines(client: Client, kind: type[Lines | AgentLines], filters: Mapping[str, str]) -> Screen:
    """The screen of lines (``AgentLines`` without the column of the agent). Exit code 1 if one is out of service."""
    value, view = client.see(kind, "lines", **filters)
    out = any(not line.in_service for line in view.lines)
    without = ("agent",) if kind is AgentLines else ()
    shown = table(AgentLine if kind is AgentLines else Line, view.lines, without=without, empty="No lines.")
    return Screen(value, shown, DEGRADED if out else HEALTHY)


def calls(kind: type[Any], shown: Sequence[Any], matched: int) -> RenderableType:
    """A table of calls, and how many of the matching ones it shows."""
    foot = None
    if len(shown) < matched:
        foot = Text(f"{count(len(shown))} of {several(matched, 'call')}; --limit shows more.", "dim")
    return render.stack(table(kind, shown, empty="No calls."), foot)


def by_state(counts: CallCounts) -> list[Text]:
    """The numbers of calls by state, zeros left out."""
    states = [spec.name for spec in fields(counts) if spec.name != "total"]
    return [
        render.line(count(number), render.coloured(state), gap=" ")
        for state in states
        if (number := getattr(counts, state))
    ]


def process_stats(stats: ProcessStats | None) -> RenderableType:
    """A line with the statistics of a process; None: it is of an older version."""
    if stats is None:
        return Text("it does not say", "dim")
    stall = stats.stall_last_minute
    refusing = [Text(f"refuses {stats.refused_share:.0%} of new calls", "bold red")] if stats.refused_share else []
    return render.line(
        f"CPU {stats.cpu:.0%}{' compiled' if stats.form == 'compiled' else ''}",
        *refusing,
        f"{stats.messages_per_s:,.0f} messages/s in",
        Text.assemble(
            "longest stall ",
            (_short(stall), "bold red" if stall > 1 else "yellow" if stall > 0.2 else ""),
            f" this minute, {_short(stats.stall_since_start)} ever",
        ),
        *(
            Text(f"{sink.name} {sink.sent:,} records, {sink.waiting:,} wait", "yellow" if sink.trouble else "")
            for sink in stats.sinks
        ),
    )


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else render.span(seconds)


def peer_alerts(name: str, config: str, peers: Iterable[Peer], known: Iterable[str]) -> list[Alert]:
    """Alerts about the peers of ``name``: those not reached, those with another site file. A peer that is named in
    one of the sentences ``known``, which the process gave itself, is left out."""
    known = list(known)
    peers = [peer for peer in peers if not any(peer.name in sentence for sentence in known)]
    missing = [peer.name for peer in peers if not peer.reached]
    drifting = [peer.name for peer in peers if peer.drift]
    found = [Alert("not-reached", f"{name} does not reach {listed(missing)}.")] if missing else []
    if drifting:
        run = "runs from another site file" if len(drifting) == 1 else "run from other site files"
        found.append(Alert("drift", f"{listed(drifting)} {run} than {name} ({config})."))
    return found
