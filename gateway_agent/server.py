"""The process of a gateway agent: `heartbeat.program` around :class:`gateway_agent.core.Core`, its relay, and an end
that waits for the last call."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gateway_agent.core import Core
from gateway_agent.media.ports import NOWHERE, Counts, Notice, RelayPorts, RelaySettings, Silent, Trouble
from gateway_agent.media.process import RelayError, RelayProcess
from gateway_agent.media_anchor import AgentRelay
from gateway_agent.web_pages import PagesError, WebPages
from gateway_agent.webrtc.legs import GatewaySettings, WebrtcLegs
from heartbeat import program
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.log import LogSettings
from heartbeat.console.view import ConsoleProcess, Progress
from heartbeat.site.model import Agent, Site
from heartbeat.site.values import split_host_port
from sip.actions import Flow
from sip.io.clock import boottime
from sip.io.pump import Pump
from sip.wire.headers import bracketed

AUDIT_AFTER: Final = 30
"""Ticks after the return was complete: sessions of the relay that no call has asked for by then are closed."""
GATEWAY_AGAIN_S: Final = 10.0
"""Seconds until a WebRTC gateway that did not start is tried again."""
STUN_PORT: Final = 3478
COUNT_EVERY: Final = 10
"""Ticks between two counts of the relay."""


class _AgentPump(Pump):
    """After each input the relay hears what the core wants of it."""

    media: tuple[RelayProcess, ...] = ()

    def flush(self) -> None:
        super().flush()
        for process in self.media:
            process.flush()


class Process(program.Process[Core]):
    """One gateway agent at work."""

    logger = logging.getLogger("gateway_agent")
    pump: _AgentPump

    def __init__(self, site: Site, agent: str, loop: asyncio.AbstractEventLoop) -> None:
        settings = site.agents[agent]
        super().__init__(site, agent, settings, loop)
        self._relay: AgentRelay | None = None
        rtp, ports = settings.rtp, RelayPorts()
        wanted: RelaySettings | None = None
        if _relays(site, agent):
            second = _second(settings)
            self._relay = AgentRelay(ports, rtp.address, rtp.advertise, second)
            addresses = (rtp.address, second) if second else (rtp.address,)
            wanted = RelaySettings(addresses, rtp.ports[0], rtp.ports[1])
        path, start, grace = settings.state_dir / "relay.sock", self.persistent.incarnation, site.timing.agent_grace
        self._outliving = RelayProcess(wanted, ports, self._relay_said, path, start, grace)
        self._webrtc = WebrtcLegs(_absent(), rtp.advertise) if _joins_browsers(site, agent) else None
        self._gateway: RelayProcess | None = None
        if self._webrtc is not None and not self._webrtc.absent:
            path = settings.state_dir / "webrtc.sock"
            self._gateway = RelayProcess(
                *(_gateway_settings(settings), self._webrtc, self._gateway_said, path, start, grace),
                module="gateway_agent.webrtc.process",
                name="the WebRTC gateway",
            )
        chance = random.SystemRandom()
        core = Core(
            *(site, agent, self.persistent, secrets.token_bytes(32), chance, boottime()), self._relay, self._webrtc
        )
        self.drive(core, map(str, settings.sip), _view, _command, _peer_of, _AgentPump)
        self._page = settings.page
        if settings.page is not None:
            self._serve_pages(settings.page)
        self._leaving = self._for_good = False
        self._relay_ticks = self._ticks_since_return = 0

    def _serve_pages(self, directory: Path) -> None:
        codecs, core = self.certificates.codecs, self.core
        if codecs is None:
            return
        try:
            codecs.pages = WebPages(
                directory,
                lambda: {"agent": self.name, "server": core.obedience.adopted[0] if core.connected else ""},
            )
        except PagesError as error:
            raise program.StartError(f"The web pages cannot be served: {error}.") from None
        codecs.allow(core.agent.origins)

    async def run(self, serve: program.Serve) -> None:
        relay = self._outliving
        try:
            await relay.start()
            self.pump.transport.inherit(await relay.sockets())
            # what devices send while this process is dead waits for its next start
            self.lives_by = lambda site: relay.hold(self.pump.transport.listening(), site.timing.hold_attempt)
            if self._relay is not None:
                self.pump.media = (relay,)
        except RelayError as error:
            if self._relay is not None:
                raise program.StartError(str(error)) from None
            self.logger.warning("devices will be refused while the agent is away: %s", error)
        starting = asyncio.create_task(self._start_gateway())
        try:
            await super().run(serve)
        finally:
            starting.cancel()
            await relay.close(self._for_good)
            if self._gateway is not None:
                await self._gateway.close(self._for_good)

    async def _start_gateway(self) -> None:
        """Beside the agent, which does not wait for it; it is there already when only the agent died."""
        if self._webrtc is not None and self._webrtc.absent:
            self.logger.warning("browsers cannot be connected with other lines here: %s", self._webrtc.absent)
        while self._gateway is not None:
            try:
                await self._gateway.start()
            except RelayError as error:
                self.logger.warning("browsers cannot be connected with other lines here: %s", error)
                await asyncio.sleep(GATEWAY_AGAIN_S)
            else:
                self.pump.media = (*self.pump.media, self._gateway)
                self.pump.flush()
                return

    def _relay_said(self, notice: Notice) -> None:
        if isinstance(notice, Trouble):
            self.logger.warning("relay: %s", notice.sentence)
        elif isinstance(notice, Counts | Silent):
            self.pump.ask(self.core.relay_said, notice)

    def _gateway_said(self, notice: Notice) -> None:
        if isinstance(notice, Trouble):
            self.logger.warning("WebRTC gateway: %s", notice.sentence)

    def tick(self, cpu: float, now: float) -> None:
        """How busy the process is, and whether it may end."""
        self.core.load = cpu
        self.core.wall_offset = time.time() - now
        self._relay_ticks += 1
        if self._relay is not None and self._relay_ticks % COUNT_EVERY == 0:
            self._relay.ports.count()
            self.pump.flush()
        self._ticks_since_return += self.core.returning.complete
        if self._ticks_since_return == AUDIT_AFTER:
            if self._relay is not None:
                self._relay.ports.audit()
            if self._webrtc is not None:
                self._webrtc.audit()
            self.pump.flush()
        self._end_with_the_last_call()

    def stop(self) -> None:
        """End: servers keep the calls for the next start. Where none does, refuse new calls and end with the last."""
        if self.core.line_states.kept and self.core.connected:
            self.end()
            return
        self._leaving = True
        self.pump.ask(self.core.draining.begin)
        self._end_with_the_last_call()

    def _end_with_the_last_call(self) -> None:
        if (self._leaving or self.core.draining.for_good) and not self.core.calls:
            self._leaving, self._for_good = False, self.core.draining.for_good
            self.end()
            self.core.draining.for_good = False

    def misses(self, site: Site) -> Iterable[str]:
        if self._relay is None and _relays(site, self.name):
            yield "the first line with media = relay needs a restart of the agent"
        if site.agents[self.name].page != self._page:
            yield "other web pages need a restart of the agent"
        if self._webrtc is None and _joins_browsers(site, self.name):
            yield "the first browser of the site needs a restart of the agent"


def _second(agent: Agent) -> str:
    """Where media of the other family than that of ``rtp.address`` is relayed: where its devices are listened to."""
    six = ":" in agent.rtp.address
    return next((one.host for one in agent.sip if (":" in one.host) != six and one.host not in NOWHERE), "")


def _relays(site: Site, agent: str) -> bool:
    return any(line.media == "relay" for line in site.lines_of(agent))


def _joins_browsers(site: Site, agent: str) -> bool:
    """Whether calls of its lines may be between a browser and what is none."""
    kinds = {line.kind == "web" or line.webrtc for line in site.lines.values()}
    return len(kinds) == 2 and bool(site.lines_of(agent))


def _absent() -> str:
    """Why there can be no WebRTC gateway; it is not loaded here."""
    return "" if find_spec("aiortc") is not None else "aiortc is not installed: pip install 'holdfast[web]'"


def _gateway_settings(agent: Agent) -> GatewaySettings:
    rtp, webrtc = agent.rtp, agent.webrtc
    second = _second(agent)
    return GatewaySettings(
        (rtp.address, second) if second else (rtp.address,),
        *rtp.ports,
        ahead=webrtc.ahead,
        sessions=webrtc.sessions,
        stun=_with_port(webrtc.stun),
        turn=_with_port(webrtc.turn),
        turn_transport=webrtc.turn_transport,
        turn_user=webrtc.turn_user,
        turn_password=webrtc.turn_password.reveal().decode("utf-8", "replace")
        if webrtc.turn_password is not None
        else "",
    )


def _with_port(text: str) -> str:
    if not text:
        return ""
    host, port = split_host_port(text)
    return f"{bracketed(host)}:{port or STUN_PORT}"


def run(site_path: Path, agent: str, log: LogSettings) -> int:
    """Run one agent until it is told to stop; the exit code."""
    return program.start(Process, _serve, [(site_path, agent)], log)


# What operators ask is loaded when one does: a restart is to take no longer than it must, since calls wait for it.


async def _serve(process: ConsoleProcess, at: ApiSocket, clock: Callable[[], float]) -> Any:
    api = await asyncio.to_thread(import_module, "gateway_agent.api")
    await asyncio.to_thread(import_module, "gateway_agent.views")
    return await api.serve(process, at, clock)


def _view(core: Core, name: str, params: Mapping[str, str], now: float) -> Any:
    from gateway_agent import views

    return views.view(core, name, params, now)


def _command(core: Core, name: str, params: Mapping[str, str], now: float) -> Progress:
    from gateway_agent import views

    return views.command(core, name, params, now)


def _peer_of(core: Core, flow: Flow) -> str:
    from gateway_agent import known_calls

    return known_calls.peer_of(core, flow)
