"""``b2bua provision`` and ``b2bua audit-log``: what is put into the site while it runs, and who did what."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.text import Text

from b2bua.cli_site import active_client
from heartbeat.console import command_line, commands, render
from heartbeat.console.audit_log import Entries, Entry
from heartbeat.console.client import Client, ask_all, near
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, format_option, limit_option, watch_option
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.schema import as_json, can_be_shown
from heartbeat.site.provisioned import BEFORE, KINDS

TIMEOUT: Final = 25.0
"""Seconds for a change: a site of many thousands of lines is checked whole."""


@click.group()
def provision() -> None:
    """Put and delete lines and routes of a running site: at the active server, which hands them to all nodes."""


@provision.command(name="list")
@site_option
@format_option
def list_(site_path: str | None, shape: str) -> int:
    """What is provisioned, and its version."""
    site = command_line.open_site(site_path)

    def look() -> Screen:
        value = active_client(site, None).view("provisioned")
        return Screen(value, _screen(value))

    return commands.show(look, shape)


@provision.command()
@site_option
@click.argument("file", metavar="FILE|-")
def put(site_path: str | None, file: str) -> int:
    """Put the lines and routes of a file, all of them or none.

    The file is TOML with [lines.NAME] and [routes.NAME], and keys as in the site file; one that is there already is
    replaced. A route may say before = "NAME". All that is wrong is said, and then nothing has changed (exit code 1).
    """
    return _change(site_path, _tables(file))


@provision.command()
@site_option
@click.option("--line", "lines", metavar="NAME", multiple=True, help="A provisioned line.")
@click.option("--route", "routes", metavar="NAME", multiple=True, help="A provisioned route.")
def delete(site_path: str | None, lines: tuple[str, ...], routes: tuple[str, ...]) -> int:
    """Delete provisioned lines and routes, all that are named or none. Calls on them go on."""
    if not lines and not routes:
        raise ConsoleError("What shall be deleted? Say --line NAME or --route NAME.")
    return _change(site_path, {"lines": dict.fromkeys(lines), "routes": dict.fromkeys(routes)})


def _tables(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise ConsoleError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConsoleError(f"{file} is not TOML: {error}.") from None


def _change(site_path: str | None, tables: dict[str, Any]) -> int:
    site = command_line.open_site(site_path)
    try:
        change = json.dumps(tables)
    except TypeError:
        raise ConsoleError("No line or route has dates or times.") from None
    answer = replace(active_client(site, None), timeout=TIMEOUT).provision(change.encode())
    click.echo(answer["sentence"])
    for sentence in answer["warnings"]:
        click.echo(sentence, err=True)
    return command_line.HEALTHY


def _screen(value: Any) -> RenderableType:
    if value["routes_are"] == "no":
        return Text('The site file takes nothing by API: say provisioned = "last" (or "first") in its [site].')
    parts: list[RenderableType] = [Text(f"Provisioned version {value['version']}", "bold")]
    for kind in KINDS:
        rows = [(name, _in_words(table)) for name, table in value[kind].items()]
        parts.append(render.wide((kind[:-1].capitalize(), "Settings"), rows) if rows else Text(f"No {kind}."))
    return render.stack(*parts)


def _in_words(table: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} = {json.dumps(item, ensure_ascii=False)}" for key, item in table.items() if key != BEFORE
    )


@click.command("audit-log")
@site_option
@click.option("--node", metavar="NODE", help="Ask this server or agent only.")
@format_option
@watch_option
@limit_option(50)
def audit_log(site_path: str | None, node: str | None, shape: str, watch: float | None, limit: int) -> int:
    """Who ordered, provisioned, or tried to log in, at servers and agents, in the order of time.

    Each keeps its own, in audit.jsonl in its state directory. Those of other machines are asked by a server that is
    here; where none is, they are not asked, and named. Exit code 1 where one that is asked does not answer.
    """
    site = command_line.open_site(site_path)
    names = [node] if node else [*site.servers, *site.agents]
    clients = near(commands.node_client(site, name) for name in names)
    elsewhere = [name for name in names if name not in {client.name for client in clients}]
    return commands.show(lambda: _audited(clients, elsewhere, limit), shape, watch)


def _audited(clients: list[Client], elsewhere: list[str], limit: int) -> Screen:
    rows, silent = list[Entry](), list[str]()
    for client, answer in zip(clients, ask_all(clients, "audit-log", limit=str(limit)).values(), strict=True):
        try:
            if isinstance(answer, ConsoleError):
                raise answer
            # each speaks for itself alone
            rows += [
                replace(row, node=client.name)
                for row in client.read(Entries, answer).entries[:limit]
                if can_be_shown(row.time)
            ]
        except ConsoleError as error:
            silent.append(error.sentence)
    if len(silent) == len(clients):
        raise Unreachable("\n".join(silent))
    rows = sorted(rows, key=lambda row: row.time)[-limit:]
    shown = render.stack(
        render.table(Entry, rows, empty="Nobody has ordered anything."),
        render.warnings(silent) if silent else None,
        render.elsewhere(elsewhere),
    )
    value = {"entries": as_json(rows), "silent": silent, "elsewhere": elsewhere}
    return Screen(value, shown, command_line.DEGRADED if silent else command_line.HEALTHY)
