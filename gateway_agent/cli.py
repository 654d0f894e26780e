"""``gateway-agent``: runs an agent of the site. What shows its lines and calls is in ``gateway_agent.cli_verbs``."""

from __future__ import annotations

import click

from heartbeat.console.command_line import Program, agent_of, open_site, site_option, version_option
from heartbeat.console.log import LogSettings, log_options


@click.group(
    cls=Program,
    later={
        **dict.fromkeys(
            "status lines calls test trace bans drain stop resume reload unban log-level".split(),
            "gateway_agent.cli_verbs",
        ),
        **dict.fromkeys("station dial answer hangup say record probe".split(), "gateway_agent.cli_station"),
    },
    epilog="Exit codes: 0 healthy, 1 degraded or not done, 2 obeys no server, 3 wrong usage or unreachable, "
    "4 a bad site file.",
)
@version_option
def main() -> None:
    """Gateway agents of a site: run one, see its lines and calls, drain it."""


@main.command()
@site_option
@click.option("--agent", required=True, metavar="AGENT", help="Which agent of the site this is.")
@log_options
def run(site_path: str | None, agent: str, log_levels: tuple[str, ...], log_format: str) -> int:
    """Run a gateway agent until SIGTERM. SIGHUP reads lines again."""
    log = LogSettings.of(log_levels, log_format)
    site = open_site(site_path)
    agent_of(site, agent)
    from gateway_agent import server

    return server.run(site.path, agent, log)


if __name__ == "__main__":
    main()
