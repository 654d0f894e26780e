"""What commands of both programs share: options, clients of the site's processes, ``--watch``, confirmation,
waiting."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import click
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from heartbeat.console.client import FETCHING, Client, near
from heartbeat.console.command_line import DEGRADED, HEALTHY, INTERRUPTED, NO_ACTIVE, UNREACHABLE, agent_of, open_site
from heartbeat.console.contract import Progress
from heartbeat.console.errors import ConsoleError, Unreachable
from heartbeat.console.render import clock, console, stack
from heartbeat.console.sanitize import IN_JSON
from heartbeat.site.model import Site

POLL: Final = 0.15
"""Seconds between two requests while waiting for a result."""

F = TypeVar("F", bound=Callable[..., Any])


def open_sites(paths: Sequence[str]) -> list[Site]:
    """The site files, at least one. Raises as `open_site`."""
    return [open_site(path) for path in paths or (None,)]


def server_client(site: Site, node: str) -> Client:
    """The client of a server: its own API or, when that is on another machine, the API of a server here."""
    if node not in site.servers:
        raise ConsoleError(f"The site {site.name} has no server {node!r}; it has {', '.join(site.servers)}.")
    server = site.servers[node]
    return _by_servers(site, Client(node, server.api_address, server.api_token))


def agent_client(site: Site, name: str) -> Client:
    """The client of an agent's own API."""
    agent = agent_of(site, name)
    return Client(name, agent.api_address, agent.api_token, is_agent=True)


def node_client(site: Site, name: str) -> Client:
    """The client of a server or agent: its own API or, when that is on another machine, the API of a server here."""
    return server_client(site, name) if name in site.servers else _by_servers(site, agent_client(site, name))


def _by_servers(site: Site, own: Client) -> Client:
    """The same client, but through the servers whose APIs are here, if its own is not and there are such servers."""
    if not own.is_elsewhere:
        return own
    servers = [Client(name, server.api_address, server.api_token) for name, server in site.servers.items()]
    timeout = FETCHING if own.is_agent else own.timeout
    ways = [
        replace(own, api=one.api, token=one.token, timeout=timeout, through=one.name)
        for one in servers
        if not one.is_elsewhere
    ]
    return replace(ways[0], instead=tuple(ways[1:])) if ways else own


def known_line(site: Site, name: str) -> None:
    """Raises :class:`ConsoleError` if the site has no such line, or the line no such channel."""
    word, _, channel = name.partition("/")
    line = site.lines.get(word)
    if line is None:
        some = [*site.lines][:20]
        more = f" and {len(site.lines) - len(some):,} more" if len(site.lines) > len(some) else ""
        raise ConsoleError(f"The site {site.name} has no line {word!r}; it has {', '.join(some) or 'none'}{more}.")
    if "/" in name and not (channel.isascii() and channel.isdigit() and 1 <= int(channel[:9]) <= line.channels):
        of = f"channels {word}/1 to {word}/{line.channels}" if line.channels > 1 else f"the one channel {word}/1"
        raise ConsoleError(f"{word} has {of}, not {name}.")


sites_option = click.option(
    "--site",
    "site_paths",
    metavar="FILE",
    multiple=True,
    envvar="HOLDFAST_SITE",
    type=click.Path(),
    help="The site file (or HOLDFAST_SITE; there several are set apart by colons). Several: say it for each.",
)
node_option = click.option("--node", metavar="NODE", help="Use this server only.")
format_option = click.option(
    "--format", "shape", type=click.Choice(["table", "json"]), default="table", help="For people or for programs."
)
watch_option = click.option(
    "--watch",
    "-w",
    type=click.FloatRange(0.1, 3600),
    is_flag=False,
    flag_value=1.0,
    metavar="[SECONDS]",
    help="Repeat it every so many seconds (1).",
)
yes_option = click.option("--yes", "-y", "sure", is_flag=True, help="Do not ask for confirmation.")


def limit_option(default: int) -> Callable[[F], F]:
    return click.option(
        "--limit", type=click.IntRange(1, 2000), default=default, show_default=True, help="Show at most this many."
    )


@dataclass(frozen=True, slots=True)
class Screen:
    """The result of a command."""

    value: Any
    """The result as JSON."""
    shown: RenderableType
    """The result for people."""
    code: int = HEALTHY


def show(make: Callable[[], Screen], shape: str, watch: float | None = None) -> int:
    """Show the screen of ``make``, once or, if ``watch``, every so many seconds until Ctrl-C. Returns the exit
    code."""
    if watch is None:
        return _once(make(), shape)
    out = console()
    try:
        if shape == "table" and out.is_terminal:
            with Live(console=out, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(
                        stack(_found(make).shown, Text(f"{clock(time.time())}, every {watch:g} s", "dim")),
                        refresh=True,
                    )
                    time.sleep(watch)
        while True:
            _once(_found(make), shape, compact=True)
            time.sleep(watch)
    except KeyboardInterrupt:
        return HEALTHY


def _once(screen: Screen, shape: str, *, compact: bool = False) -> int:
    if shape == "json":
        text = json.dumps(screen.value, ensure_ascii=False, indent=None if compact else 2)
        click.echo(text.translate(IN_JSON))
    else:
        console().put(screen.shown)
    return screen.code


def _found(make: Callable[[], Screen]) -> Screen:
    """The screen of ``make``; while watching, an unreachable process is shown and does not end the command."""
    try:
        return make()
    except ConsoleError as error:
        if not isinstance(error, Unreachable) and error.code != NO_ACTIVE:
            raise
        return Screen({"error": error.sentence}, Text(error.sentence, style="bold red"), error.code)


def reload(client: Client, timeout: float) -> bool:
    """Have a process reload its site file and show the changes, or the faults; returns whether it took the file.
    Raises :class:`Unreachable`, or :class:`ConsoleError` after ``timeout`` seconds."""
    answer = client.command("reload", {})
    end = time.monotonic() + timeout
    while answer.state == "running":
        if time.monotonic() >= end:
            raise ConsoleError(f"After {timeout:g} s {client.name} still reads its site file.", DEGRADED)
        time.sleep(POLL)
        answer = client.see(Progress, "progress", id=answer.id)[1]
    for sentence in answer.sentence.splitlines():
        click.echo(f"{client.name}: {sentence}", err=answer.state != "done")
    return answer.state == "done"


def reload_all(clients: Sequence[Client], timeout: float) -> int:
    """The same for several, one after the other, whether or not others fail; returns the exit code. Raises
    :class:`ConsoleError` when none could be asked."""
    code, failed = HEALTHY, list[ConsoleError]()
    clients = near(clients)
    for client in clients:
        try:
            code = code if reload(client, timeout) else DEGRADED
        except ConsoleError as error:
            failed.append(error)
    if len(failed) == len(clients):
        sentences = [each.sentence for each in failed] or ["There is nobody in this site to read its file again."]
        raise ConsoleError("\n".join(sentences), max((each.code for each in failed), default=UNREACHABLE))
    for each in failed:
        click.echo(each.sentence, err=True)
    return DEGRADED if failed else code


def ask(question: str, sure: bool) -> None:
    """Ask for confirmation, unless ``sure``. Raises :class:`ConsoleError` if it is denied or there is no terminal."""
    if sure:
        return
    try:
        click.echo()
        agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise ConsoleError("Nothing was done: this asks first, and there is nobody to ask; say --yes.") from None
    if not agreed:
        raise ConsoleError("Nothing was done.", DEGRADED)


def wait_until(
    look: Callable[[], tuple[bool, str]], timeout: float, *, quiet: bool = False, what: str = "this"
) -> float:
    """Call ``look`` until it returns true, showing its sentence. Returns the seconds that it took.

    Raises :class:`ConsoleError` (exit code 1) with the last sentence after ``timeout`` seconds.
    """
    started = time.monotonic()
    out = console()
    last = ""
    spinner = out.status("") if out.is_terminal and not quiet else None
    if spinner is not None:
        spinner.start()
    try:
        while True:
            true, sentence = look()
            passed = time.monotonic() - started
            if spinner is not None:
                spinner.update(Text(f"{sentence}  {passed:.1f} s"))
            elif sentence != last and not quiet:
                click.echo(f"{passed:6.2f} s  {sentence}")
            last = sentence
            if true:
                return passed
            if passed >= timeout:
                raise ConsoleError(f"After {timeout:g} s {what} is not true yet: {sentence}", DEGRADED)
            time.sleep(POLL)
    except KeyboardInterrupt:
        raise ConsoleError(f"Stopped waiting; {what} may still come true. Last seen: {last}", INTERRUPTED) from None
    finally:
        if spinner is not None:
            spinner.stop()
