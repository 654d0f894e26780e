"""``b2bua cdrs``: the call records of both servers, merged to one for each call."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.console import RenderableType
from rich.text import Text

from b2bua.cdr import RESULTS, Cdr, merge_by_call
from b2bua.cdr_store import read
from heartbeat.console import command_line, commands, render
from heartbeat.console.client import Client
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, limit_option
from heartbeat.console.errors import ConsoleError
from heartbeat.console.render import NOTHING, clock, count, grid, several, span
from heartbeat.console.sanitize import ONE_LINE
from heartbeat.site.model import Site

LEAST_MOS: Final = 3.6
"""MOS below which many users are dissatisfied (ITU-T G.107 annex B)."""


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """An instant: ISO 8601 in local time, ``14:30`` of today, or ``2h`` (``30s``, ``15m``, ``7d``) ago."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
        return time.time() - int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    today = f"{datetime.now():%Y-%m-%d}T" if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text.strip()) else ""
    try:
        return datetime.fromisoformat(today + text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time; say 2026-01-31, '2026-01-31 14:30', 14:30, or 2h for two hours ago."
        ) from None


@click.command()
@site_option
@click.option(
    "--format", "shape", type=click.Choice(["table", "json", "csv"]), default="table", help="For people or programs."
)
@click.option(
    "--since", callback=_moment, metavar="WHEN", help="Calls that started at or after: 2026-01-31, 14:30, or 2h ago."
)
@click.option("--until", callback=_moment, metavar="WHEN", help="Calls that started before.")
@click.option("--from", "caller", help="Part of the caller's number.")
@click.option("--to", "callee", help="Part of the callee's number.")
@click.option("--result", type=click.Choice(RESULTS))
@click.option(
    "--dir",
    "directories",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Read this directory instead of those in the site file; may be given several times.",
)
@click.option("--all", "everything", is_flag=True, help="All of them, not only the last --limit.")
@limit_option(50)
def cdrs(
    site_path: str | None,
    shape: str,
    since: float | None,
    until: float | None,
    caller: str | None,
    callee: str | None,
    result: str | None,
    directories: tuple[Path, ...],
    everything: bool,
    limit: int,
) -> int:
    """Call records of both servers, merged so that a call has one."""
    asked = {"since": since, "until": until, "from": caller, "to": callee}
    params = {name: str(value) for name, value in asked.items() if value is not None}
    site = None if directories else command_line.open_site(site_path)
    places = _directories(site) if site is not None else {directory: str(directory) for directory in directories}
    records, missing = _read(site, places, since, until, params, everything)
    for sentence in missing:
        click.echo(sentence, err=True)
    found = [
        record
        for record in merge_by_call(records)
        if (caller is None or caller in record.caller)
        and (callee is None or callee in record.callee or callee in record.dialled)
        and (result is None or record.result == result)
    ]
    chosen = found if everything else found[-limit:]
    value = {"cdrs": [_as_json(record) for record in chosen], "matched": len(found)}
    code = command_line.DEGRADED if missing else command_line.HEALTHY
    if shape == "csv":
        click.echo(_as_csv(chosen), nl=False)
        return code
    return commands.show(lambda: Screen(value, _screen(chosen, found), code), shape)


def _directories(site: Site) -> dict[Path, str]:
    """The directories that servers write to, each with a server; two may share one."""
    found: dict[Path, str] = {}
    for server in site.servers.values():
        found.setdefault(server.cdr_dir, server.name)
    return found


def _read(
    site: Site | None,
    directories: dict[Path, str],
    since: float | None,
    until: float | None,
    params: dict[str, str],
    everything: bool,
) -> tuple[list[Cdr], list[str]]:
    """The records of all directories, or of a server's API if its directory is not here; and a sentence for each that
    cannot be read. Raises :class:`ConsoleError` if none can."""
    records: list[Cdr] = []
    missing: list[str] = []
    for directory, node in directories.items():
        try:
            records += read(directory, since, until)
            continue
        except OSError as error:
            away = isinstance(error, FileNotFoundError)
            said = f"has no call records here ({directory})" if away else f"cannot be read: {error.strerror or error}"
        try:
            if site is None:
                raise ConsoleError("--dir names a directory that is here.")
            records += _asked(commands.server_client(site, node), params, everything)
        except ConsoleError as error:
            missing.append(f"{node} {said}, and does not tell them: {error.sentence} --dir names a copy of them.")
    if len(missing) == len(directories):
        raise ConsoleError("\n".join(missing))
    return records, missing


def _asked(client: Client, params: dict[str, str], everything: bool) -> list[Cdr]:
    """The records from a server's API, only the newest ones unless ``everything``. Raises :class:`ConsoleError`."""
    records: list[Cdr] = []
    while True:
        found = client.view("cdrs", **params, offset=str(len(records)))
        try:
            page = [Cdr.from_json(each) for each in found["cdrs"]]
            records += page
            if not page or not everything or len(records) >= found["matched"]:
                return records
        except (ValueError, LookupError, TypeError):
            raise ConsoleError(f"{client.name} is of another version: what it says are no call records.") from None


def _as_csv(records: list[Cdr]) -> str:
    """CSV (RFC 4180) with a header line. Cells that a spreadsheet would take for formulas get an apostrophe, except
    numbers that begin with a plus."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_as_json(Cdr("")))
    for record in records:
        writer.writerow(map(_cell, _as_json(record).values()))
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list):
        return "+".join(value)
    if isinstance(value, str):
        text = value.translate(ONE_LINE)
        return f"'{text}" if text[:1] in ("=", "@", "-") or (text[:1] == "+" and not text[1:].isalnum()) else text
    return value


def _as_json(record: Cdr) -> dict[str, object]:
    return {**record.to_json(), "writers": record.node.split("+")}


def _screen(chosen: list[Cdr], found: list[Cdr]) -> RenderableType:
    columns = (">Started", "From", "To", "Result", ">Talked", "~Ended by", "~MOS", "~Lines", "~Written by", "~Id")
    both = sum("+" in record.node for record in found)
    answered = sum(record.result == "answered" for record in found)
    foot = [f"{several(len(found), 'call')}, {count(answered)} answered, {count(both)} written by both servers"]
    if len(chosen) < len(found):
        foot.append(f"the last {len(chosen)} are shown")
    return render.stack(grid(columns, map(_row, chosen), "No call records."), Text("; ".join(foot) + ".", "dim"))


def _row(record: Cdr) -> list[str | Text]:
    status = f" {record.status}" if record.status and record.result not in ("answered", "cancelled") else ""
    return [
        clock(record.started),
        record.caller or NOTHING,
        f"{record.dialled} → {record.callee}" if record.dialled else record.callee or NOTHING,
        Text.assemble(render.coloured(record.result), status),
        span(record.duration),
        record.ended_by or NOTHING,
        _scores(record),
        f"{record.caller_line or '?'} → {record.callee_line or '?'}",
        Text(record.node.replace("+", " and "), "cyan" if "+" in record.node else ""),
        record.id[:12],
    ]


def _scores(record: Cdr) -> str | Text:
    """The scores (MOS) of caller and callee; 0 for one without any packets."""
    if record.caller_packets is None and record.callee_packets is None:
        return NOTHING
    ways = (record.caller_packets, record.caller_mos), (record.callee_packets, record.callee_mos)
    shown = ("?" if packets is None else "0" if mos is None else f"{mos:.1f}" for packets, mos in ways)
    return Text(" ".join(shown), "yellow" if any(map(_is_bad, ways)) else "")


def _is_bad(way: tuple[int | None, float | None]) -> bool:
    packets, mos = way
    return packets is not None and (mos or 0.0) < LEAST_MOS
