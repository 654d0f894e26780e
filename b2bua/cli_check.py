"""``b2bua check``: what a site file means, and what fails when."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from heartbeat import console
from heartbeat import console_render as look
from heartbeat.console import Screen, format_option, site_option
from heartbeat.console_client import ConsoleError
from heartbeat.console_render import grid, page
from heartbeat.site import SiteError, load
from heartbeat.site_explain import Explanation, Failure, Table, explain

_OUTCOMES = {"goes on": "green", "takes over": "green", "holds": "yellow", "stops": "red", "ends": "bold red"}


@click.command()
@site_option
@click.option("--node", metavar="NAME", help="Also see that the keys are there which this server or agent needs.")
@format_option
@click.argument("file", required=False, metavar="[FILE]")
def check(site_path: str | None, node: str | None, shape: str, file: str | None) -> int:
    """Read a site file, say what it means and which failures the site survives.

    A file with errors gives one sentence for each, and exit code 3.
    """
    site = console.open_site(file or site_path)
    if node is not None:
        try:
            load(site.path, node)
        except SiteError as error:
            raise ConsoleError(str(error)) from None
    explanation = explain(site)
    return console.show(lambda: Screen(asdict(explanation), _screen(explanation)), shape)


def _screen(explanation: Explanation) -> RenderableType:
    parts: list[Any] = [Text(explanation.summary, "bold")]
    for table in explanation.tables:
        if table.rows:
            parts += [_table(table)]
    parts += [
        page(Text("What the site survives", "bold"), _failures(explanation.failures)),
        Text(explanation.decision),
        look.warnings(explanation.notes) if explanation.notes else None,
    ]
    return page(*parts)


def _table(table: Table) -> RenderableType:
    """Without the columns in which nothing stands."""
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    columns = [table.columns[index].capitalize() for index in kept]
    columns[0] = f"{table.title.removesuffix('s')}" if columns[0] in ("Name", "No") else columns[0]
    return grid(columns, [[row[index] or look.NOTHING for index in kept] for row in table.rows])


def _failures(failures: tuple[Failure, ...]) -> RenderableType:
    return look.wide(
        ("What fails", "Site", "What happens"),
        [
            (failure.failed, Text(failure.outcome, _OUTCOMES[failure.outcome]), failure.sentence)
            for failure in failures
        ],
    )
