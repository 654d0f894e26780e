"""``b2bua agent-key``: an agent's own key, made where the site key is (docs/deploy.md)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from heartbeat.agent_key import AgentKey, derive
from heartbeat.console import command_line
from heartbeat.console.command_line import site_option
from heartbeat.console.errors import ConsoleError
from heartbeat.site.model import Site
from heartbeat.site.needed_secrets import SHORTEST_KEY


@click.command("agent-key")
@site_option
@click.option(
    "--previous", is_flag=True, help="Make it from previous_key, not from key: while the site key is being changed."
)
@click.option(
    "--to",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write it to this file, readable by its owner only.",
)
@click.argument("name", metavar="AGENT")
def agent_key(site_path: str | None, previous: bool, target: Path | None, name: str) -> int:
    """Make the key of one agent from the site key, for the key file on that agent's machine.

    Who has it can speak as that agent, and as no other node.
    """
    site = command_line.open_site(site_path)
    if name not in site.agents:
        raise ConsoleError(f"The site {site.name} has no agent {name}: it has {', '.join(site.agents) or 'none'}.")
    text = AgentKey(site.name, name, derive(_site_key(site, previous), site.name, name)).text
    if target is None:
        click.echo(text)
    else:
        _write(target, text)
        click.echo(
            f"{target} has the key of {name}: put it in place of the site key on its machine, and nowhere else."
        )
    return command_line.HEALTHY


def _site_key(site: Site, previous: bool) -> bytes:
    secret = site.identity.previous_key if previous else site.identity.key
    if secret is None:
        raise ConsoleError("The site file has no previous_key.")
    try:
        key = secret.reveal()
        own = AgentKey.parse(key)
    except (LookupError, ValueError) as error:
        raise ConsoleError(f"No key can be made of that here: {error.args[0]}") from None
    if own is not None:
        raise ConsoleError(
            f"This is the machine of {own.agent}, which has its own key only: say it where a server is."
        )
    if len(key) < SHORTEST_KEY:
        raise ConsoleError(f"The site key must have at least {SHORTEST_KEY} bytes, has {len(key)}.")
    return key


def _write(path: Path, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="ascii") as key_file:
            key_file.write(f"{text}\n")
    except FileExistsError:
        raise ConsoleError(f"{path} is there already: nothing was written.") from None
    except OSError as error:
        raise ConsoleError(f"{path} cannot be written: {error.strerror}.") from None
