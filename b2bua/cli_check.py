"""``b2bua check``, which explains a site file, and ``b2bua init``, the first start of a site."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from heartbeat.console import command_line, commands, render
from heartbeat.console.command_line import site_option
from heartbeat.console.commands import Screen, format_option, sites_option
from heartbeat.console.errors import ConsoleError
from heartbeat.console.render import grid, listed
from heartbeat.persistence import FILE, DirectoryLock, StoreError, VoteStore
from heartbeat.persistent_state import PersistentState, decode, encode
from heartbeat.proof import VoterList
from heartbeat.site import certificates
from heartbeat.site.dispatcher import NoDestination, dispatcher
from heartbeat.site.explain import Failure, SiteExplanation, Table, explain
from heartbeat.site.load import SiteError, load
from heartbeat.site.model import Agent, Server, Site

_EXPENDABLE = ("Role", "Capacity", "Priority", "Api", "Channels", "Media", "Recovery", "Rings")
_OUTCOMES = {"goes on": "green", "takes over": "green", "holds": "yellow", "stops": "red", "ends": "bold red"}


@click.command()
@sites_option
@click.option("--node", metavar="NAME", help="Also check the keys and secrets that this server or agent needs.")
@click.option(
    "--dispatcher",
    "spread",
    is_flag=True,
    help="Instead: the configuration of a Kamailio that spreads calls over these sites.",
)
@click.option(
    "--line",
    "lines",
    multiple=True,
    metavar="LINE",
    help="With --dispatcher: the trunk to that Kamailio, where a site has others, too.",
)
@format_option
@click.argument("file", required=False, metavar="[FILE]")
def check(
    site_paths: tuple[str, ...], node: str | None, spread: bool, lines: tuple[str, ...], shape: str, file: str | None
) -> int:
    """What a site file means, and what the site survives.

    A file with errors gives one sentence for each, and exit code 4. With --dispatcher there may be several.
    """
    sites = commands.open_sites((file,) if file else site_paths)
    if spread:
        return _dispatcher(sites, lines, shape)
    if lines:
        raise ConsoleError("--line is only for --dispatcher.")
    if len(sites) > 1:
        raise ConsoleError("Only with --dispatcher several sites are looked at together: name one file.")
    [site] = sites
    if node is not None:
        try:
            load(site.path, node)
        except SiteError as error:
            raise ConsoleError(str(error), command_line.BAD_SITE) from None
    complaints, notes = _certificates(site, node)
    if complaints:
        raise ConsoleError("\n".join(complaints))
    explanation = explain(site)
    explanation = replace(explanation, notes=(*explanation.notes, *notes))
    return commands.show(lambda: Screen(asdict(explanation), _screen(explanation)), shape)


def _dispatcher(sites: list[Site], lines: tuple[str, ...], shape: str) -> int:
    """The two files of a Kamailio, one below the other, each with a first line that names it."""
    for name in lines:
        if not any(name in site.lines for site in sites):
            raise ConsoleError(f"No site has a line {name!r}.")
    try:
        made = dispatcher(sites, lines)
    except NoDestination as error:
        raise ConsoleError(str(error)) from None
    if shape == "table":
        click.echo(f"# ---- dispatcher.list\n{made.list}\n# ---- sites.cfg\n{made.config}", nl=False)
        return command_line.HEALTHY
    return commands.show(lambda: Screen(asdict(made), ""), shape)


def _certificates(site: Site, node: str | None) -> tuple[list[str], list[str]]:
    """Errors, then warnings, about the certificates of a node, or of all programs whose keys are readable here."""
    programs: list[Server | Agent] = [*site.servers.values(), *site.agents.values()]
    complaints: list[str] = []
    notes: list[str] = []
    for program in programs:
        tls = program.tls
        if node == program.name or (node is None and tls is not None and tls.key.exists()):
            read = certificates.read(site, program.name)
            complaints += [*read.complaints, *read.expired]
            notes += read.warnings
    return complaints, notes


@click.command()
@site_option
@click.option("--node", metavar="NODE", help="The server that starts first; default: the main.")
def init(site_path: str | None, node: str | None) -> int:
    """Declare that the site starts for the first time.

    Once in the life of a site, at one server, before anything runs or beside nodes that were started without it.
    Voters take the list of voters from that server; from then on a voter that lost its file has no vote until b2bua
    readmit.
    """
    site = command_line.open_site(site_path)
    chosen = node or site.main.name
    commands.server_client(site, chosen)
    stores = [VoteStore(server.state_dir, name) for name, server in site.servers.items()]
    stores += [VoteStore(agent.state_dir, name) for name, agent in site.agents.items()]
    for store in stores:
        if _has_a_past(store):
            raise ConsoleError(f"{store.path} tells of an epoch: the site has been started before. Nothing was done.")
    store = VoteStore(site.servers[chosen].state_dir, chosen)
    members = site.membership(chosen)
    voters = VoterList(1, members.voters, members.generation)
    if _runs(store.directory, chosen):
        answer = commands.server_client(site, chosen).command("init", {})
        click.echo(f"The site {site.name} starts for the first time, at {chosen}, which runs: {answer.sentence}.")
        return command_line.HEALTHY
    try:
        lock = DirectoryLock(store.directory, chosen)
        # the node may have run before: its incarnations go on counting
        incarnation = decode(store.path.read_text()).incarnation if store.path.exists() else 0
        store.write(FILE, encode(PersistentState(incarnation, first=True, non_voting=False, voters=voters)))
        lock.end()
    except StoreError as error:
        raise ConsoleError(str(error), command_line.BAD_SITE) from None
    click.echo(f"The site {site.name} may start for the first time, at {chosen} ({store.path}).")
    if voters.names:
        click.echo(f"Its voters will be {listed(voters.names)}: have them running at that start.")
    return command_line.HEALTHY


def _runs(directory: Path, node: str) -> bool:
    """Whether a process of that node uses its state directory."""
    if not directory.is_dir():
        return False
    try:
        DirectoryLock(directory, node).end()
    except StoreError:
        return True
    return False


def _has_a_past(store: VoteStore) -> bool:
    """Whether the file of a node has an epoch, or cannot be read."""
    try:
        state = decode(store.path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return bool(state.voters.names or state.leadership.epoch or state.granted)


def _screen(explanation: SiteExplanation) -> RenderableType:
    parts: list[Any] = [Text(explanation.summary, "bold")]
    for table in explanation.tables:
        if table.rows:
            parts += [_table(table)]
    parts += [
        render.stack(Text("What the site survives", "bold"), _failures(explanation.failures)),
        Text(explanation.decision),
        render.warnings(explanation.notes) if explanation.notes else None,
    ]
    return render.stack(*parts)


def _table(table: Table) -> RenderableType:
    """The table without its empty columns."""
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    columns = [table.columns[index].capitalize() for index in kept]
    columns = ["~" * (name in _EXPENDABLE) + name for name in columns]
    columns[0] = f"{table.title.removesuffix('s')}" if columns[0] in ("Name", "No") else columns[0]
    return grid(columns, [[row[index] or render.NOTHING for index in kept] for row in table.rows])


def _failures(failures: tuple[Failure, ...]) -> RenderableType:
    return render.wide(
        ("What fails", "Site", "What happens"),
        [
            (failure.failed, Text(failure.outcome, _OUTCOMES[failure.outcome]), failure.sentence)
            for failure in failures
        ],
    )
