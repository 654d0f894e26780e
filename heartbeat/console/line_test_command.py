"""``b2bua test`` and ``gateway-agent test``: start a test of a line at its process and wait for the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from rich.text import Text

from heartbeat.console.client import Client
from heartbeat.console.command_line import DEGRADED, HEALTHY
from heartbeat.console.commands import POLL, Screen
from heartbeat.console.errors import ConsoleError
from heartbeat.console.render import stack, table
from heartbeat.console.views.lines import LineTrial, TrialStep
from heartbeat.line_tests import LONGEST_RING, RING

MARGIN: Final = 30.0
"""Seconds for a test besides its ringing."""

F = TypeVar("F", bound=Callable[..., Any])


def test_options(function: F) -> F:
    """The options of ``test``: LINE, ``--call``, ``--from``, ``--ring``."""
    options = (
        click.argument("line", metavar="LINE"),
        click.option("--call", "number", metavar="NUMBER", help="Call this number by the trunk, too."),
        click.option("--from", "caller", metavar="NUMBER", help="Who calls; left out: the account of the trunk."),
        click.option(
            "--ring",
            type=click.FloatRange(1, LONGEST_RING),
            default=RING,
            show_default=True,
            help="Seconds that it may ring, before it is given up.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def tested(client: Client, line: str, number: str | None, caller: str | None, ring: float) -> Screen:
    """Have a process test the line and wait for the result. Raises :class:`ConsoleError`."""
    given = {"line": line, "call": number or "", "from": caller or "", "ring": f"{ring:g}"}
    answer = client.command("test", given)
    end = time.monotonic() + MARGIN + (ring if number else 0.0)
    while (found := client.see(LineTrial, "test", id=answer.id))[1].state == "running":
        if time.monotonic() > end:
            raise ConsoleError(
                f"{client.name} still tests {line}: look again with GET /v1/test?id={answer.id}.", DEGRADED
            )
        time.sleep(POLL)
    value, trial = found
    good = trial.state == "done"
    said = f"{line} works, as far as it was tried." if good else f"{line} does not work in all."
    shown = stack(table(TrialStep, trial.steps), Text(said, "bold green" if good else "bold red"))
    return Screen({"node": client.name, **value}, shown, HEALTHY if good else DEGRADED)
