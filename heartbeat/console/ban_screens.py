"""The commands ``bans`` and ``unban`` of both programs, for several processes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import click
from rich.text import Text

from heartbeat.console import render
from heartbeat.console.client import Client, ask_all
from heartbeat.console.command_line import DEGRADED, HEALTHY
from heartbeat.console.commands import Screen
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.schema import Column
from heartbeat.console.views.process import BanList, BannedHost


@dataclass(frozen=True, slots=True)
class BanRow:
    """One ban at one process."""

    at: Annotated[str, Column("At")]
    host: Annotated[str, Column("Host")]
    since: Annotated[float, Column("~Since", "clock")]
    left: Annotated[float, Column(">Ends in", "span")]
    dropped: Annotated[int, Column(">Dropped", "count")]
    because: Annotated[str, Column("For")]

    @classmethod
    def of(cls, name: str, ban: BannedHost) -> BanRow:
        return cls(name, ban.host, ban.at, ban.left, ban.dropped, ban.because)


def bans_screen(clients: Sequence[Client]) -> Screen:
    """The bans of these processes. Raises :class:`Unreachable` when none of them answers."""
    value: dict[str, Any] = {}
    rows, silent = list[BanRow](), list[str]()
    total = 0
    for client, answer in zip(clients, ask_all(clients, "bans").values(), strict=True):
        if isinstance(answer, ConsoleError):
            value[client.name] = {"error": answer.sentence}
            silent.append(answer.sentence)
            continue
        value[client.name] = answer
        found = client.read(BanList, answer)
        total += found.total
        rows += [BanRow.of(client.name, ban) for ban in found.banned]
    if len(silent) == len(clients):
        raise Unreachable("\n".join(silent))
    shown = (
        render.table(BanRow, rows)
        if rows
        else Text(f"Nobody is banned now; {render.several(total, 'ban')} since the start.")
    )
    return Screen(
        value,
        render.stack(shown, render.warnings(silent) if silent else None),
        DEGRADED if silent else HEALTHY,
    )


def lift(clients: Sequence[Client], host: str) -> int:
    """Lift the ban of ``host`` at all of these; returns the exit code, 1 when one does not answer. Raises
    :class:`ConsoleError` when it is banned nowhere."""
    code, lifted, said = HEALTHY, False, list[str]()
    for client in clients:
        try:
            click.echo(f"{client.name}: {client.command('unban', {'host': host}).sentence}")
            lifted = True
        except Unreachable as error:
            click.echo(error.sentence, err=True)
            code = DEGRADED
        except ConsoleError as error:
            said.append(f"{client.name}: {error.sentence}")
    if lifted:
        return code
    raise ConsoleError("\n".join(said) or "Nobody was there to be told.", DEGRADED)
