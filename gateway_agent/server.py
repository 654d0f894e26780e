"""The process of a gateway agent: sockets, disk, clock, relay, API around :class:`gateway_agent.core.Core`."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway_agent import api
from gateway_agent.core import Core, Decided
from gateway_agent.description import Relay
from gateway_agent.media.ports import Counts, Notice, RelayPorts, RelaySettings, Trouble
from gateway_agent.media.process import RelayError, RelayProcess
from heartbeat import site as sites
from heartbeat.console_server import ApiError, Served
from heartbeat.site_reload import reload_complaints
from heartbeat.store import StoreError, VoteStore
from sip.clock import boottime
from sip.loop import run as run_loop
from sip.pump import Pump
from sip.resolver import Resolver
from sip.transport import TransportError

logger = logging.getLogger("gateway_agent")

LOOK: Final = 1.0
"""Seconds between two looks at the load, and whether a drained agent may end."""
COUNT_EVERY: Final = 10
"""Looks between two counts of the relay."""
LAST_WORDS: Final = 0.2
"""Seconds for the last words to leave, as REGISTERs that take contacts back."""


class _AgentPump(Pump):
    """After each input the relay hears what the core wants of it."""

    relay: RelayProcess | None = None

    def flush(self) -> None:
        super().flush()
        if self.relay is not None:
            self.relay.flush()


class Process:
    """One gateway agent at work."""

    def __init__(self, site: sites.Site, agent: str, loop: asyncio.AbstractEventLoop) -> None:
        self.site_path = site.path
        self.name = agent
        settings = site.agents[agent]
        self._loop = loop
        self.votes = VoteStore(settings.state_dir, agent)
        kept = self.votes.start()
        self._relay: Relay | None = None
        self._relay_process: RelayProcess | None = None
        rtp = settings.rtp
        if any(line.media == "relay" for line in site.lines_of(agent)):
            ports = RelayPorts()
            self._relay = Relay(ports, rtp.address, rtp.advertise)
            wanted = RelaySettings((rtp.address,), rtp.ports[0], rtp.ports[1])
            self._relay_process = RelayProcess(wanted, ports, self._relay_said)
        chance = random.SystemRandom()
        self.core = Core(site, agent, kept, secrets.token_bytes(32), chance, boottime(), self._relay)
        self.names = Resolver(random.Random(secrets.randbits(128)))
        self.pump = _AgentPump(
            self.core,
            [str(endpoint) for endpoint in settings.sip],
            loop,
            names=self.names,
            store=self.votes.write,
            on_event=self._event,
            on_reload=self._reload,
            on_stop=self._stop,
        )
        self._served: Served | None = None
        self._leaving = False
        self._looks = 0
        self._cpu = time.process_time()

    async def run(self) -> None:
        """Serve until a signal says stop. Raises what keeps it from starting."""
        settings = self.core.agent
        if self._relay_process is not None:
            await self._relay_process.start()
            self.pump.relay = self._relay_process
        token = settings.api_token.reveal() if settings.api_token is not None else None
        try:
            self._served = await api.serve(self, settings.api_address, token, boottime)
            logger.info("%s runs for site %s", self.name, self.core.site.name)
            self._look()
            await self.pump.run()
        finally:
            if self._served is not None:
                await self._served.close()
            if self._relay_process is not None:
                await self._relay_process.close()

    # -- what the API asks ------------------------------------------------------------------------------------------

    def view(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]:
        return self.core.view(name, params, now)

    def command(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]:
        return self.pump.ask(self.core.command, name, params)

    # -- what happens -----------------------------------------------------------------------------------------------

    def _event(self, event: Decided) -> None:
        logger.info("%s: %s", event.code, event)

    def _relay_said(self, notice: Notice) -> None:
        if isinstance(notice, Trouble):
            logger.warning("relay: %s", notice.sentence)
        elif isinstance(notice, Counts) and self._relay is not None:
            self._relay.packets = sum(count.packets for count in notice.counts)
            self._relay.size = sum(count.octets for count in notice.counts)

    def _look(self) -> None:
        """How busy the process is, and whether it may end."""
        cpu = time.process_time()
        self.core.load, self._cpu = (cpu - self._cpu) / LOOK, cpu
        self._looks += 1
        if self._relay is not None and self._looks % COUNT_EVERY == 0:
            self._relay.ports.count()
            self.pump.flush()
        if self._leaving and not self.core.calls:
            self.pump.ask(self.core.leave)
            self._loop.call_later(LAST_WORDS, self.pump.stop)
            return
        self._loop.call_later(LOOK, self._look)

    def _reload(self) -> None:
        try:
            site = sites.load(self.site_path, self.name)
        except sites.SiteError as error:
            for complaint in error.complaints:
                logger.error("the site file is not taken: %s", complaint)
            return
        complaints = reload_complaints(self.core.site, site, self.name)
        if self._relay is None and any(line.media == "relay" for line in site.lines_of(self.name)):
            complaints.append("the first line with media = relay needs a restart of the agent")
        for complaint in complaints:
            logger.error("the site file is not taken: %s", complaint)
        if not complaints:
            self.pump.ask(self.core.reload, site)

    def _stop(self) -> None:
        """Refuse new calls, end with the last; a second signal ends the process at once."""
        self._leaving = True
        self.pump.ask(self.core.drain)
        if not self.core.calls:
            self.pump.ask(self.core.leave)
            self._loop.call_later(LAST_WORDS, self.pump.stop)


async def _main(site: sites.Site, agent: str) -> None:
    await Process(site, agent, asyncio.get_running_loop()).run()


def run(site_path: str, agent: str) -> int:
    """Run one agent until it is told to stop; the exit code, errors on stderr as one sentence each."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        site = sites.load(Path(site_path), agent)
        if agent not in site.agents:
            print(f"{agent} is no agent of {site_path}; it has {', '.join(site.agents)}", file=sys.stderr)
            return 3
        run_loop(_main(site, agent))
    except sites.SiteError as error:
        print("\n".join(error.complaints), file=sys.stderr)
        return 3
    except (StoreError, TransportError, ApiError, RelayError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0
