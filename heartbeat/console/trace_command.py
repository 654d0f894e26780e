"""The command ``trace`` of both programs: the messages of calls as ladder diagrams, text, JSON, and capture file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import render
from heartbeat.console.client import Client
from heartbeat.console.command_line import DEGRADED, HEALTHY
from heartbeat.console.commands import Screen, format_option, limit_option
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.ladder import Ladder, what
from heartbeat.console.pcap import capture
from heartbeat.console.render import clock, listed, several, table
from heartbeat.console.schema import as_json
from heartbeat.console.traces import Found, Gathering, Hop, TracedCall, unknown
from heartbeat.console.views.calls import CallLeg, KnownCall

F = TypeVar("F", bound=Callable[..., Any])


def trace_options(function: F) -> F:
    """The options of ``trace``."""
    options = (
        click.argument("about", metavar="[CALL|LINE]", required=False),
        click.option("--failed", is_flag=True, help="The last calls that failed."),
        click.option("--pcap", metavar="FILE", type=click.Path(dir_okay=False), help="Also write a capture file."),
        click.option("--messages", is_flag=True, help="Also show each message in full, with secrets blanked."),
        limit_option(5),
        format_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def trace(
    clients: Sequence[Client],
    lines: Sequence[str],
    about: str | None,
    failed: bool,
    pcap: str | None,
    messages: bool,
    limit: int,
) -> Screen:
    """The screen of calls gathered from ``clients``: those with the id ``about``, those of a line ``about`` (one of
    ``lines``), or failed ones. ``pcap``: file to write. Raises :class:`ConsoleError`."""
    if failed == (about is not None):
        raise ConsoleError("Say which: an id of a call (any that is shown), a line, or --failed.")
    if limit > 50:
        raise ConsoleError(f"At most 50 calls are traced at once, not {limit}.")
    gathering = Gathering(clients)
    if failed:
        calls = gathering.known(failed="yes", limit=str(limit))
    elif about is not None and (about in lines or about.partition("/")[0] in lines):
        calls = gathering.known(line=about, limit=str(limit))
    else:
        assert about is not None
        calls = gathering.known(id=about) or [unknown(about)]
        if len(calls) > 1:
            known = listed(call.id or call.legs[0].call_id for call in calls[:5])
            raise ConsoleError(
                f"{several(len(calls), 'call')} are named so ({known}): give more of the id.", DEGRADED
            )
    found = gathering.trace(calls[:limit])
    if len(gathering.missing) == len(clients):
        raise Unreachable("\n".join(gathering.missing.values()))
    shown = [call for call in found.calls if call.hops]
    if not shown and not [call for call in calls if call.id]:
        subject = "of a failed call" if failed else f"of {about}"
        more = "".join(f"\n{sentence}" for sentence in found.missing.values())
        raise ConsoleError(f"Nobody who was asked remembers a message {subject}.{more}", DEGRADED)
    if pcap is not None:
        _write(pcap, [hop for call in shown for hop in call.hops])
    code = DEGRADED if found.missing else HEALTHY
    return Screen(as_json(found), _screen(found, messages, pcap), code)


def _write(path: str, hops: list[Hop]) -> None:
    hops.sort(key=lambda hop: hop.at)
    try:
        Path(path).write_bytes(capture(hops))
    except OSError as error:
        raise ConsoleError(f"{path} cannot be written: {error.strerror or error}.") from None


def _screen(found: Found, messages: bool, pcap: str | None) -> RenderableType:
    parts = [_call_screen(call, messages) for call in found.calls]
    said = list(found.missing.values())
    if pcap is not None:
        said.insert(0, f"{several(sum(len(call.hops) for call in found.calls), 'message')} are in {pcap}.")
    return render.stack(*parts, render.warnings(said) if said else None)


def _call_screen(traced: TracedCall, messages: bool) -> RenderableType:
    call = traced.call
    if not traced.hops:
        return render.stack(_title(call), Text("Nobody remembers messages of it (any more).", "yellow"))
    texts = [_message(hop) for hop in traced.hops] if messages else []
    return render.stack(_title(call), Ladder(traced.hops), *texts)


def _title(call: KnownCall) -> RenderableType:
    parts: list[str | Text] = [Text(f"call {call.id}" if call.id else call.legs[0].call_id, "bold")]
    if call.caller or call.callee:
        parts.append(f"{call.caller or '?'} → {call.callee or '?'}")
    if call.state:
        parts.append(render.coloured(call.state))
    if call.started_at is not None:
        parts.append(clock(call.started_at))
    return render.line(*parts)


def _message(hop: Hop) -> RenderableType:
    head = f"{clock(hop.at, fine=True)}  {hop.source} → {hop.target}  {what(hop.text)}  {hop.transport}"
    return Text.assemble((f"{head}\n", "bold"), hop.text.replace("\r\n", "\n").rstrip())


def legs_table(call: KnownCall) -> RenderableType | None:
    """A table of the dialogs of a call; None if none is known."""
    legs = [leg for leg in call.legs if leg.node]
    return table(CallLeg, legs) if legs else None
