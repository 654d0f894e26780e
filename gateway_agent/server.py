"""The process of a gateway agent: `heartbeat.program` around :class:`gateway_agent.core.Core`, its relay, and an end
that waits for the last call."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gateway_agent import console
from gateway_agent.core import Core
from gateway_agent.media.audit import Audit
from gateway_agent.media.ports import Counts, Measured, Notice, RelayPorts, RelaySettings, Silent, Trouble
from gateway_agent.media.process import RelayError, RelayProcess
from gateway_agent.media_relay import AgentRelay, EngineRelay, MediaRelay
from gateway_agent.rtpengine.link import EngineLink
from gateway_agent.rtpengine.sessions import EngineSessions
from gateway_agent.web_pages import PagesError, WebPages
from gateway_agent.webrtc.companion import Companion, other_family
from heartbeat import program, signed_callers
from heartbeat.console.answers import Answers
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.contract import ConsoleProcess, Progress
from heartbeat.console.log import LogSettings
from heartbeat.console.passed_on import PassedOn
from heartbeat.site.model import Agent, Site
from sip.actions import Flow
from sip.device.stir import Crypto
from sip.io.clock import boottime
from sip.io.pump import Pump

WARN_EVERY: Final = 3
"""Ticks between two updates of the alert codes that are told to servers."""
COUNT_EVERY: Final = 10
"""Ticks between two counts of the relay."""


class _AgentPump(Pump):
    """After each input the relay hears what the core wants of it."""

    media: tuple[RelayProcess | EngineLink, ...] = ()

    def flush(self) -> None:
        super().flush()
        for process in self.media:
            process.flush()


def _join(pump: _AgentPump, process: RelayProcess | EngineLink) -> None:
    """A media process is there, and hears from now on."""
    pump.media = (*pump.media, process)
    pump.flush()


async def _started(link: EngineLink) -> None:
    try:
        await link.start()
    except OSError as error:
        raise program.StartError(f"No rtpengine can be asked from here: {error}.") from None


class Process(program.Process[Core]):
    """One gateway agent at work."""

    logger = logging.getLogger("gateway_agent")
    pump: _AgentPump

    def __init__(self, site: Site, agent: str, loop: asyncio.AbstractEventLoop) -> None:
        settings = site.agents[agent]
        super().__init__(site, agent, settings, loop)
        self._relay: AgentRelay | None = None
        self._engines: EngineSessions | None = None
        self._link: EngineLink | None = None
        relays: dict[str, MediaRelay] = {}
        rtp, ports = settings.rtp, RelayPorts()
        wanted: RelaySettings | None = None
        if because := _needs_srtp(site, agent):
            raise program.StartError(because)
        if _relays(site, agent):
            second = other_family(settings)
            self._relay = relays["relay"] = AgentRelay(ports, rtp.address, rtp.advertise, second)
            addresses = (rtp.address, second) if second else (rtp.address,)
            wanted = RelaySettings(addresses, rtp.ports[0], rtp.ports[1])
        if settings.rtpengine:
            daemons = [endpoint.address for endpoint in settings.rtpengine]
            self._engines = EngineSessions(daemons, f"holdfast/{site.name}/{agent}/", random.SystemRandom())
            relays["rtpengine"] = EngineRelay(self._engines)
            self._link = EngineLink(self._engines, daemons, self._relay_said, boottime)
        path, start, grace = settings.state_dir / "relay.sock", self.persistent.incarnation, site.timing.agent_grace
        self._outliving = RelayProcess(wanted, ports, self._relay_said, path, start, grace)
        self._gateway = Companion(site, settings, start, grace)
        chance = random.SystemRandom()
        legs, secret = self._gateway.legs, secrets.token_bytes(32)
        core = Core(site, agent, self.persistent, secret, chance, boottime(), relays, legs)
        self.drive(core, map(str, settings.sip), _view, _command, _peer_of, _AgentPump)
        _serve_pages(self, settings)
        answers = Answers(self, boottime, lambda: self.audited.note)
        self.passed_on = PassedOn(
            agent, core.connections.console, self.pump, answers, console.VIEWS, console.ORDERS, _load_views
        )
        self._fetcher = signed_callers.fetching(self.pump, core.done)
        taken = signed_callers.take_up(core.stack, site.name, site.lines_of(agent), lambda: core.wall_offset)
        core.environment.stir = taken[0] if taken is not None else None
        self._crypto = taken[1] if taken is not None else None
        self._leaving = self._for_good = False
        self._relay_ticks = 0
        self._audit = Audit()

    async def run(self, serve: program.Serve) -> None:
        relay = self._outliving
        try:
            await relay.start()
            self.pump.transport.inherit(await relay.sockets())
            # what devices send while this process is dead waits for its next start
            self.site_applied = lambda site: relay.hold(self.pump.transport.listening(), site.timing.hold_attempt)
            if self._relay is not None:
                _join(self.pump, relay)
        except RelayError as error:
            if self._relay is not None:
                raise program.StartError(str(error)) from None
            self.logger.warning("devices will be refused while the agent is away: %s", error)
        self._gateway.begin(partial(_join, self.pump))
        try:
            if self._link is not None:
                await _started(self._link)
                _join(self.pump, self._link)
            await super().run(serve)
        finally:
            if self._link is not None:
                self._link.close()
            await relay.close(self._for_good)
            await self._gateway.close(self._for_good)
            await self._fetcher.close()

    def _relay_said(self, notice: Notice) -> None:
        if isinstance(notice, Trouble):
            self.logger.warning("media: %s", notice.sentence)
        elif isinstance(notice, Counts | Silent | Measured):
            self.pump.ask(self.core.relay_said, notice)

    def tick(self, cpu: float, now: float) -> None:
        """How busy the process is, and whether it may end."""
        self.core.load = cpu
        self.core.wall_offset = time.time() - now
        if self._relay_ticks % WARN_EVERY == 0:
            self.core.connections.voter.participant.warns = program.alert_codes(self)
        self._relay_ticks += 1
        if self._relay is not None and self._relay_ticks % COUNT_EVERY == 0:
            self._relay.ports.count()
            self.pump.flush()
        if self._audit.is_due(self.core.returning.complete, now):
            relay = self._relay.ports if self._relay is not None else None
            for ports in (relay, self._engines, self._gateway.legs):
                if ports is not None:
                    ports.audit()
            self.pump.flush()
        self._stop_after_last_call()

    def stop(self) -> None:
        """End: servers keep the calls for the next start. Where none does, refuse new calls and end with the last."""
        if self.core.line_states.kept and self.core.connected:
            self.end()
            return
        self._leaving = True
        self.pump.ask(self.core.draining.begin)
        self._stop_after_last_call()

    def _stop_after_last_call(self) -> None:
        if (self._leaving or self.core.draining.for_good) and not self.core.calls:
            self._leaving, self._for_good = False, self.core.draining.for_good
            self.end()
            self.core.draining.for_good = False

    def misses(self, site: Site) -> Iterable[str]:
        if self._relay is None and _relays(site, self.name):
            yield "the first line with media = relay needs a restart of the agent"
        if site.agents[self.name].page != self.core.agent.page:
            yield "other web pages need a restart of the agent"
        if self._gateway.legs is None and site.joins_browsers(self.name):
            yield "the first browser of the site needs a restart of the agent"
        yield from _unmet(site, self.name, self._crypto)


def _unmet(site: Site, agent: str, crypto: Crypto | None) -> Iterator[str]:
    """What its lines need of libraries, and have not."""
    if because := _needs_srtp(site, agent):
        yield because
    yield from signed_callers.unmet(site.lines_of(agent), crypto)


def _needs_srtp(site: Site, agent: str) -> str:
    """Why a line of the agent cannot have the SRTP that it asks for, a sentence; ``""`` where it can."""
    wanted = next((line.name for line in site.lines_of(agent) if line.srtp == "sdes"), None)
    if wanted is None or find_spec("pylibsrtp") is not None:
        return ""
    missing = f"lines.{wanted}.srtp needs pylibsrtp, which is not installed here"
    return f"{missing}: it comes with the extra srtp (docs/deploy.md#extras)"


def _relays(site: Site, agent: str) -> bool:
    return any(line.media == "relay" for line in site.lines_of(agent))


def _serve_pages(process: Process, agent: Agent) -> None:
    """Where it listens for WebSockets. Raises `program.StartError`."""
    codecs, core = process.certificates.codecs, process.core
    if agent.page is None or codecs is None:
        return
    try:
        codecs.pages = WebPages(
            agent.page,
            lambda: {"agent": agent.name, "server": core.obedience.adopted[0] if core.connected else ""},
        )
    except PagesError as error:
        raise program.StartError(f"The web pages cannot be served: {error}.") from None
    codecs.allow(agent.origins)


def run(site_path: Path, agent: str, log: LogSettings) -> int:
    """Run one agent until it is told to stop; the exit code."""
    return program.start(Process, _serve, [(site_path, agent)], log)


# What operators ask is loaded when one does: a restart is to take no longer than it must, since calls wait for it.


async def _serve(process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float]) -> Any:
    api = await asyncio.to_thread(import_module, "gateway_agent.api")
    await _load_views()
    return await api.serve(process, at, clock)


async def _load_views() -> None:
    await asyncio.to_thread(import_module, "gateway_agent.views")


def _view(core: Core, name: str, params: Mapping[str, str], now: float) -> Any:
    from gateway_agent import views

    return views.view(core, name, params, now)


def _command(core: Core, name: str, params: Mapping[str, str], now: float) -> Progress:
    from gateway_agent import views

    return views.command(core, name, params, now)


def _peer_of(core: Core, flow: Flow) -> str:
    from gateway_agent import known_calls

    return known_calls.peer_of(core, flow)
