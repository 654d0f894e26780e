"""The agent's side of the WebRTC gateway process: it is connected to or started while the agent already runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from gateway_agent.media.ports import NOWHERE, Notice, Trouble
from gateway_agent.media.process import RelayError, RelayProcess
from gateway_agent.webrtc.legs import GatewaySettings, WebrtcLegs
from heartbeat.site.model import Agent, Site
from heartbeat.site.values import split_host_port
from sip.wire.headers import bracketed

logger = logging.getLogger("gateway_agent")

START_S: Final = 30.0
"""Seconds in which it must start; it loads some thirty megabytes."""
AGAIN_S: Final = 10.0
"""Seconds until a gateway that did not start is started again."""
STUN_PORT: Final = 3478
MISSING: Final = "aiortc is not installed: it comes with the extra web (docs/deploy.md#extras)"
UNJOINED: Final = "browsers cannot be connected with other lines here: %s"


class Companion:
    """The gateway of one agent; ``start`` and ``grace_s`` as for `RelayProcess`."""

    def __init__(self, site: Site, agent: Agent, start: int, grace_s: float) -> None:
        self.legs: WebrtcLegs | None = None
        """None if no call can need the gateway."""
        self._process: RelayProcess | None = None
        self._starting: asyncio.Task[None] | None = None
        if site.joins_browsers(agent.name):
            # aiortc is only looked for; the gateway's process loads it
            self.legs = WebrtcLegs("" if find_spec("aiortc") is not None else MISSING, agent.rtp.advertise)
        if self.legs is not None and not self.legs.absent:
            self._process = RelayProcess(
                *(_settings(agent), self.legs, _said, agent.state_dir / "webrtc.sock", start, grace_s),
                module="gateway_agent.webrtc.process",
                name="the WebRTC gateway",
                within_s=START_S,
            )

    def begin(self, started: Callable[[RelayProcess], None]) -> None:
        """Connect to or start the gateway in the background; ``started`` is called when it is ready."""
        if self.legs is not None and self.legs.absent:
            logger.warning(UNJOINED, self.legs.absent)
        if self._process is not None:
            self._starting = asyncio.create_task(self._start(self._process, started))

    async def close(self, for_good: bool) -> None:
        """Disconnect from the gateway, see `RelayProcess.close`."""
        if self._starting is not None:
            self._starting.cancel()
        if self._process is not None:
            await self._process.close(for_good)

    async def _start(self, process: RelayProcess, started: Callable[[RelayProcess], None]) -> None:
        while True:
            try:
                await process.start()
            except RelayError as error:
                logger.warning(UNJOINED, error)
                await asyncio.sleep(AGAIN_S)
            else:
                started(process)
                return


def other_family(agent: Agent) -> str:
    """The address for media of the other family than ``rtp.address``: that of a SIP listener; ``""`` without one."""
    six = ":" in agent.rtp.address
    return next((one.host for one in agent.sip if (":" in one.host) != six and one.host not in NOWHERE), "")


def _settings(agent: Agent) -> GatewaySettings:
    rtp, webrtc = agent.rtp, agent.webrtc
    second, password = other_family(agent), webrtc.turn_password
    return GatewaySettings(
        (rtp.address, second) if second else (rtp.address,),
        *rtp.ports,
        ahead=webrtc.ahead,
        sessions=webrtc.sessions,
        stun=_with_port(webrtc.stun),
        turn=_with_port(webrtc.turn),
        turn_transport=webrtc.turn_transport,
        turn_user=webrtc.turn_user,
        turn_password=password.reveal().decode("utf-8", "replace") if password is not None else "",
    )


def _with_port(text: str) -> str:
    if not text:
        return ""
    host, port = split_host_port(text)
    return f"{bracketed(host)}:{port or STUN_PORT}"


def _said(notice: Notice) -> None:
    if isinstance(notice, Trouble):
        logger.warning("WebRTC gateway: %s", notice.sentence)
