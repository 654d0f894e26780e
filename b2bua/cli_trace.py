"""``b2bua explain`` and ``b2bua trace``: what became of a call, and its messages, from all who know some of it."""

from __future__ import annotations

import click

from b2bua.cli_report import explanation_screen, report_screen
from b2bua.cli_site import first_that_knows
from heartbeat.console import command_line, commands, render
from heartbeat.console.client import Client
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, format_option, limit_option, node_option
from heartbeat.console.errors import ConsoleError, RefusedByProcess
from heartbeat.console.schema import as_json
from heartbeat.console.trace_command import legs_table, trace_options
from heartbeat.console.trace_command import trace as traced
from heartbeat.console.traces import Gathering
from heartbeat.console.views.calls import KnownCall
from heartbeat.console.views.history import Explanation
from heartbeat.console.views.takeovers import Report
from heartbeat.site.model import Site


@click.command()
@site_option
@trace_options
def trace(
    site_path: str | None,
    about: str | None,
    failed: bool,
    pcap: str | None,
    messages: bool,
    limit: int,
    shape: str,
) -> int:
    """The SIP messages of a call on all hops, as a ladder or a capture file.

    CALL is any id that a command, a record or a device shows: the call's id or its beginning, its record's id, a
    Session-ID, a Call-ID. With a LINE, or --failed: the last calls. Secrets are blanked. Exit code 1: the part of
    some node is missing.
    """
    site = command_line.open_site(site_path)
    asked = (about, failed, pcap, messages, limit)
    return commands.show(lambda: traced(_everybody(site), list(site.lines), *asked), shape)


@click.command()
@site_option
@node_option
@format_option
@click.argument("about", metavar="CALL|EPOCH|takeover", default="takeover")
@click.option("--calls", "with_calls", is_flag=True, help="Also show the verdict for each call of a takeover.")
@limit_option(200)
def explain(site_path: str | None, node: str | None, shape: str, about: str, with_calls: bool, limit: int) -> int:
    """What happened to a call and why, or the report of a takeover.

    A call is named by its id or the beginning of it, the id of its record, its Session-ID or a Call-ID; a takeover by
    its epoch, the last one by "takeover".
    """
    site = command_line.open_site(site_path)
    if about == "takeover" or (about.isdigit() and len(about) < 7):
        params = {"limit": str(limit)} if about == "takeover" else {"limit": str(limit), "epoch": about}
        try:
            value, report = first_that_knows(site, node, Report, "report", **params)
        except RefusedByProcess as error:
            raise ConsoleError(error.sentence, command_line.DEGRADED) from None
        return commands.show(lambda: Screen(value, report_screen(report, with_calls)), shape)
    known = _known(site, about)
    try:
        value, explanation = first_that_knows(site, node, Explanation, "explain", id=about)
    except RefusedByProcess as error:
        if known is None or not known.id or error.status != 404:
            raise
        # a Call-ID that only an agent knows
        value, explanation = first_that_knows(site, node, Explanation, "explain", id=known.id)
    legs = legs_table(known) if known is not None else None
    value["legs"] = as_json(known.legs) if known is not None else []
    return commands.show(lambda: Screen(value, render.stack(explanation_screen(explanation), legs)), shape)


def _known(site: Site, about: str) -> KnownCall | None:
    """The call with that id and all its dialogs; None: unknown, or ambiguous."""
    found = Gathering(_everybody(site)).known(id=about)
    return found[0] if len(found) == 1 else None


def _everybody(site: Site) -> list[Client]:
    return [commands.node_client(site, name) for name in (*site.servers, *site.agents)]
