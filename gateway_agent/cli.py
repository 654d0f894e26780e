"""``gateway-agent``: runs an agent of the site, and shows its lines and calls."""

from __future__ import annotations

from typing import Any

import click

from gateway_agent import cli_screens as screens
from heartbeat.console import commands, pages
from heartbeat.console.client import Client, ConsoleError, Unreachable, ask_all
from heartbeat.console.commands import (
    Program,
    Screen,
    format_option,
    site_option,
    version_option,
    watch_option,
    yes_option,
)
from heartbeat.console.render import paper, several
from heartbeat.site.model import Site

agent_option = click.option(
    "--agent", metavar="AGENT", help="Which agent; may be left out where a site has only one."
)


@click.group(
    cls=Program,
    epilog="Exit codes: 0 healthy, 1 degraded or not done, 2 obeys no server, 3 wrong usage or unreachable.",
)
@version_option
def main() -> None:
    """Gateway agents of a site: run one, see its lines and calls, drain it."""


def _one(site: Site, agent: str | None) -> Client:
    if agent is None and len(site.agents) != 1:
        raise ConsoleError(f"Which agent? Say --agent; the site {site.name} has {', '.join(site.agents) or 'none'}.")
    return commands.agent_client(site, agent or next(iter(site.agents)))


@main.command()
@site_option
@click.option("--agent", required=True, metavar="AGENT", help="Which agent of the site this is.")
def run(site_path: str | None, agent: str) -> int:
    """Run a gateway agent until SIGTERM. SIGHUP reads lines again."""
    site = commands.open_site(site_path)
    commands.agent_client(site, agent)
    from gateway_agent import server

    return server.run(site.path, agent)


@main.command()
@site_option
@agent_option
@format_option
@watch_option
def status(site_path: str | None, agent: str | None, shape: str, watch: float | None) -> int:
    """All agents of the site, or one of them in full."""
    site = commands.open_site(site_path)

    def look() -> Screen:
        if agent is not None or len(site.agents) == 1:
            page = _one(site, agent).view("status")
            return Screen(page, screens.agent_screen(page), screens.code_of(page))
        answers = ask_all([commands.agent_client(site, name) for name in site.agents], "status")
        return _all_agents(site, answers)

    return commands.show(look, shape, watch)


def _all_agents(site: Site, answers: dict[str, Any]) -> Screen:
    if not any(isinstance(answer, dict) for answer in answers.values()):
        said = [answer.sentence for answer in answers.values()]
        raise Unreachable("\n".join([f"No agent of the site {site.name} answers.", *said]))
    value = {
        name: {"error": answer.sentence} if isinstance(answer, ConsoleError) else answer
        for name, answer in answers.items()
    }
    code = max(screens.code_of(answer) for answer in value.values())
    return Screen({"site": site.name, "agents": value}, screens.agents_screen(value), code)


@main.command()
@site_option
@agent_option
@format_option
@watch_option
@pages.lines_filters
def lines(site_path: str | None, agent: str | None, shape: str, watch: float | None, **filters: str | None) -> int:
    """Lines of an agent. Exit code 1 when one of those shown is out of service."""
    site = commands.open_site(site_path)
    client, params = _one(site, agent), pages.said(site, filters)
    return commands.show(lambda: pages.lines(client, params, agents=False), shape, watch)


@main.command()
@site_option
@agent_option
@format_option
@watch_option
@pages.calls_filters("the far end's")
def calls(
    site_path: str | None, agent: str | None, shape: str, watch: float | None, limit: int, **filters: str | None
) -> int:
    """Calls of an agent, newest first."""
    site = commands.open_site(site_path)
    client, params = _one(site, agent), {"limit": str(limit), **pages.said(site, filters)}

    def look() -> Screen:
        page = client.view("calls", **params)
        return Screen(page, screens.calls_screen(page))

    return commands.show(look, shape, watch)


@main.command()
@site_option
@agent_option
@yes_option
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 604800),
    default=86400.0,
    show_default=True,
    help="Seconds to wait for it.",
)
@click.option("--no-wait", is_flag=True, help="Only begin; do not wait for the last call.")
def drain(site_path: str | None, agent: str | None, sure: bool, timeout: float, no_wait: bool) -> int:
    """Refuse new calls and wait until the last one has ended. Ctrl-C stops waiting, not draining."""
    client = _one(commands.open_site(site_path), agent)
    page = client.view("status")
    left = several(int(page["calls"]["total"]), "call")
    paper().put(f"{client.name} will refuse new calls and be empty when its {left} have ended.")
    commands.ask(f"Drain {client.name}?", sure)
    answer = client.command("drain", {})
    if no_wait:
        click.echo(answer["sentence"])
        return commands.HEALTHY
    commands.wait_until(lambda: _drained(client, answer), timeout, what=f"draining {client.name}")
    return commands.HEALTHY


def _drained(client: Client, answer: Any) -> tuple[bool, str]:
    try:
        progress = client.view("progress", id=answer["id"])
    except Unreachable:
        # An agent ends with its last call, and takes its API along.
        return True, f"{client.name} has ended."
    if progress["state"] == "failed":
        raise ConsoleError(f"It failed: {progress['sentence']}", commands.DEGRADED)
    return progress["state"] == "done", str(progress["sentence"])


@main.command()
@site_option
@agent_option
def resume(site_path: str | None, agent: str | None) -> int:
    """End a drain: take new calls again."""
    client = _one(commands.open_site(site_path), agent)
    click.echo(client.command("resume", {})["sentence"])
    return commands.HEALTHY


if __name__ == "__main__":
    main()
