"""The process of a call server: `heartbeat.program` around :class:`b2bua.core.Core`, and its call records."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from pathlib import Path
from typing import Final

from b2bua import api
from b2bua.cdr_store import CdrStore
from b2bua.core import CallEnded, Core, Event
from heartbeat import program
from heartbeat.site.model import Site
from sip.io.clock import boottime

WALL: Final = 10
"""Looks after which the wall clock is looked at anew, for call records."""


class Process(program.Process[Core]):
    """One call server at work."""

    logger = logging.getLogger("b2bua")

    def __init__(self, site: Site, node: str, loop: asyncio.AbstractEventLoop) -> None:
        server = site.servers[node]
        super().__init__(site, node, server, loop)
        try:
            server.cdr_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.logger.error("call records wait in memory: %s: %s", server.cdr_dir, error.strerror)
        self.cdrs = CdrStore(server.cdr_dir, node)
        chance = random.Random(secrets.randbits(128))
        now = boottime()
        core = Core(site, node, self.kept, secrets.token_bytes(32), chance, now, time.time() - now)
        listeners = [*server.listen, *server.sip, *([server.beat] if server.beat is not None else [])]
        self.drive(core, map(str, listeners))
        self._looked = 0

    async def run(self, serve: program.Serve) -> None:
        try:
            await super().run(serve)
        finally:
            self.cdrs.close()

    def event(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.cdrs.write(event.record)
        else:
            super().event(event)

    def look(self, cpu: float, now: float) -> None:
        self.core.rates(now)  # so that it is an average over the last seconds, however seldom somebody asks
        self._looked += 1
        if self._looked % WALL == 0:
            self.core.wall_offset = time.time() - now


def run(site_path: Path, node: str) -> int:
    """Run one server until it is told to stop; the exit code."""
    return program.start(Process, api.serve, site_path, node)
