"""What the pages of servers and agents have in common, as people see it, and the options that choose from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

import click
from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import render as look
from heartbeat.console.client import Client
from heartbeat.console.commands import DEGRADED, HEALTHY, Screen, agent_client, known_line, limit_option
from heartbeat.console.render import NOTHING, count, grid, listed, several, wide
from heartbeat.console.view import CallState, LineState
from heartbeat.site.model import Site

F = TypeVar("F", bound=Callable[..., Any])


def calls_filters(whose: str) -> Callable[[F], F]:
    """The options of ``calls``; ``whose`` number is looked at."""
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


def said(site: Site, filters: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that were given. Raises :class:`ConsoleError` for lines and agents that the site does not have."""
    given = {name: value for name, value in filters.items() if value}
    if "agent" in given:
        agent_client(site, given["agent"])
    if "line" in given:
        known_line(site, given["line"])
    return given


def lines(client: Client, filters: Mapping[str, str], *, agents: bool) -> Screen:
    """Lines with their state, ``agents`` with the agent of each. Exit code 1 when one of them is out of service."""
    page = client.view("lines", **filters)
    out = any(not line["in_service"] for line in page["lines"])
    columns = ["Line", "~Kind", "State", ">Busy", "~Address", "~Registered", "~Forward", "~>Prio", "~Recovery", "Why"]
    rows = [_line_row(line) for line in page["lines"]]
    if agents:
        columns.insert(1, "~Agent")
        for row, line in zip(rows, page["lines"], strict=True):
            row.insert(1, line["agent"] or "servers")
    shown = wide(columns, rows) if rows else Text("No lines.", "dim")
    return Screen(page, shown, DEGRADED if out else HEALTHY)


def _line_row(line: Any) -> list[str | Text]:
    registered: str | Text = NOTHING
    if line["registered"] is not None:
        more = f" ({line['contacts']})" if line["contacts"] > 1 else ""
        registered = Text.assemble(look.yes(line["registered"]), more)
    forward = ", ".join(f"{when.replace('_', ' ')} {number}" for when, number in line["forward"].items())
    return [
        line["name"],
        line["kind"],
        look.state(line["state"] if line["in_service"] else "out of service"),
        f"{count(line['busy'])}/{count(line['channels'])}",
        line["address"] or NOTHING,
        registered,
        forward or NOTHING,
        str(line["priority"]),
        Text(line["recovery"], "" if line["recovery"] == "hot" else "yellow"),
        _why(line),
    ]


def _why(line: Any) -> Text:
    """Why it is out of service, and who guesses its password (agents alone know of that)."""
    shown = Text(line["why"], "red")
    if wrong := line.get("guesses", 0):
        said = f"{several(wrong, 'wrong password')}, the last from {line['guessed_from']}"
        shown.append(("; " if line["why"] else "") + said, "yellow")
    return shown


def calls(page: Any, columns: Iterable[str], row: Callable[[Any], list[str | Text]]) -> RenderableType:
    """Calls, and how many there are besides."""
    shown, foot = len(page["calls"]), None
    if shown < page["matched"]:
        foot = Text(f"{count(shown)} of {several(page['matched'], 'call')}; --limit shows more.", "dim")
    return look.page(grid(list(columns), map(row, page["calls"]), "No calls."), foot)


def epochs(numbers: list[int]) -> Text:
    """The epochs that a call lived in; more than one: it survived a takeover."""
    return Text("→".join(map(str, numbers)), "bold green" if len(numbers) > 1 else "")


def by_state(counts: Mapping[str, int]) -> list[Text]:
    """Numbers of calls, the states that there are."""
    return [
        look.line(count(number), look.coloured(word), gap=" ")
        for word, number in counts.items()
        if number and word != "total"
    ]


def vitals(status: Any) -> RenderableType:
    """How a process does; one of an older version does not say it."""
    process = status.get("process")
    if process is None:
        return Text("it does not say", "dim")
    stall = process["stall_last_minute"]
    return look.line(
        f"CPU {process['cpu']:.0%}",
        f"{process['messages_per_s']:,.0f} messages/s in",
        Text.assemble(
            "longest stall ",
            (_short(stall), "bold red" if stall > 1 else "yellow" if stall > 0.2 else ""),
            f" this minute, {_short(process['stall_since_start'])} ever",
        ),
    )


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else look.span(seconds)


def peer_warnings(name: str, config: str, peers: Iterable[Any], known: Iterable[str]) -> list[str]:
    """What can be read off a table of peers of ``name``: who is not reached, who runs from another site file. What
    a process said itself of a peer, as in the sentences ``known``, is better than that."""
    known = list(known)
    peers = [peer for peer in peers if not any(peer["name"] in sentence for sentence in known)]
    missing = [peer["name"] for peer in peers if not peer["reached"]]
    drifting = [peer["name"] for peer in peers if peer["drift"]]
    found = [f"{name} does not reach {listed(missing)}."] if missing else []
    if drifting:
        run = "runs from another site file" if len(drifting) == 1 else "run from other site files"
        found.append(f"{listed(drifting)} {run} than {name} ({config}).")
    return found
