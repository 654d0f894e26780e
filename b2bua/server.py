"""The process of a call server: sockets, disk, clock, API around :class:`b2bua.core.Core`."""

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

from b2bua import api
from b2bua.cdr_store import CdrStore
from b2bua.core import CallEnded, Core, Event
from heartbeat import site as sites
from heartbeat.console_server import ApiError, Served
from heartbeat.site_reload import reload_complaints
from heartbeat.store import StoreError, VoteStore
from sip.clock import boottime
from sip.loop import run as run_loop
from sip.pump import Pump
from sip.resolver import Resolver
from sip.transport import TransportError

logger = logging.getLogger("b2bua")

WALL: Final = 10.0
"""Seconds after which the wall clock is looked at anew, for call records."""


class Process:
    """One call server at work."""

    def __init__(self, site: sites.Site, node: str, loop: asyncio.AbstractEventLoop) -> None:
        self.site_path = site.path
        self.node = node
        server = site.servers[node]
        self._loop = loop
        self.votes = VoteStore(server.state_dir, node)
        kept = self.votes.start()
        self.cdrs = CdrStore(server.cdr_dir, node)
        chance = random.Random(secrets.randbits(128))
        now = boottime()
        self.core = Core(site, node, kept, secrets.token_bytes(32), chance, now, time.time() - now)
        listeners = [str(endpoint) for endpoint in (*server.listen, *server.sip)]
        if server.beat is not None:
            listeners.append(str(server.beat))
        self.names = Resolver(chance)
        self.pump = Pump(
            self.core,
            listeners,
            loop,
            names=self.names,
            store=self.votes.write,
            on_event=self._event,
            on_reload=self._reload,
            on_stop=self._stop,
        )
        self._served: Served | None = None

    async def run(self) -> None:
        """Serve until a signal says stop."""
        server = self.core.server
        token = server.api_token.reveal() if server.api_token is not None else None
        self._served = await api.serve(self, server.api_address, token, boottime)
        self._look_at_wall_clock()
        logger.info("%s runs site %s as %s", self.node, self.core.site.name, server.role)
        try:
            await self.pump.run()
        finally:
            await self._served.close()
            self.cdrs.close()

    # -- what the API asks ----------------------------------------------------------------------------------------

    def view(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]:
        return self.core.view(name, params, now)

    def command(self, name: str, params: Mapping[str, str], now: float) -> Mapping[str, Any]:
        return self.pump.ask(self.core.command, name, params)

    # -- what happens ---------------------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.cdrs.write(event.record)
        else:
            logger.info("%s: %s", event.code, event)

    def _look_at_wall_clock(self) -> None:
        self.core.wall_offset = time.time() - boottime()
        self._loop.call_later(WALL, self._look_at_wall_clock)

    def _reload(self) -> None:
        try:
            site = sites.load(self.site_path, self.node)
        except sites.SiteError as error:
            for complaint in error.complaints:
                logger.error("the site file is not taken: %s", complaint)
            return
        complaints = reload_complaints(self.core.site, site, self.node)
        for complaint in complaints:
            logger.error("the site file is not taken: %s", complaint)
        if not complaints:
            self.pump.ask(self.core.reload, site)

    def _stop(self) -> None:
        """Let go of the site, so that the other server need not wait for our silence; then stop."""
        self.pump.ask(self.core.leave)
        self._loop.call_later(0.2, self.pump.stop)


async def _main(site: sites.Site, node: str) -> None:
    await Process(site, node, asyncio.get_running_loop()).run()


def run(site_path: str, node: str) -> int:
    """Run one server until it is told to stop; the exit code, errors on stderr as one sentence each."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        site = sites.load(Path(site_path), node)
        if node not in site.servers:
            print(f"{node} is no server of {site_path}; it has {', '.join(site.servers)}", file=sys.stderr)
            return 3
        run_loop(_main(site, node))
    except sites.SiteError as error:
        print("\n".join(error.complaints), file=sys.stderr)
        return 3
    except (StoreError, TransportError, ApiError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0
