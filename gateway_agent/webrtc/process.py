"""The WebRTC gateway: a process beside its agent; it alone loads aiortc (``holdfast[web]``).

Started by `gateway_agent.media.process` as ``python -m gateway_agent.webrtc.process SOCKET detach``, or by a systemd
unit of its own as ``… SOCKET stay``. Like the relay it outlives its agent, whose next start connects at SOCKET; media
goes on meanwhile. Its commands and notices are described in `gateway_agent.webrtc.legs`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import select
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gateway_agent.media.control import Control, begin
from gateway_agent.media.control_listener import Hello
from gateway_agent.media.held import HeldSockets
from gateway_agent.media.ports import Pair
from gateway_agent.media.sockets import BoundPair, bind
from gateway_agent.media.stocks import Stocks
from gateway_agent.webrtc.legs import GatewaySettings, Leg, session_of
from sip.io.clock import boottime
from sip.io.loop import loop_class

IDLE_S: Final = 5.0
"""Seconds without an agent and without a session after which it ends, unless it is to stay."""
STALE_S: Final = 20.0
"""Seconds for which candidates from STUN and TURN are valid; NATs keep an idle binding for some 30 s."""
RENEW_S: Final = 12.0
"""Age in seconds at which a leg is replaced, since gathering may wait 5 s for a server."""
TOGETHER: Final = 8
"""Legs prepared at once, since each may have to wait that long."""
LIMIT: Final = "limit"
"""The ``address`` of a shortage that concerns all addresses."""
NEEDED: Final = frozenset({"legs", "ready", "unknown", "expired"})
"""Notices that are sent however much is unread."""


class _Prepared(NamedTuple):
    """A prepared leg with its ICE agent and ports."""

    leg: Leg
    ice: Any
    pair: BoundPair
    at: float


class PortRange:
    """Mix-in for an event loop: UDP sockets that libraries bind to port 0 get a port of our range, for firewalls."""

    low = high = 0
    """The range; 0 before the agent has sent it."""

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **more: Any
    ) -> Any:
        create = super().create_datagram_endpoint  # type: ignore[misc]
        if local_addr is None or local_addr[1] or remote_addr is not None or not self.high:
            return await create(protocol_factory, local_addr=local_addr, remote_addr=remote_addr, **more)
        span = self.high - self.low + 1
        begin = secrets.randbelow(span)
        for number in range(span):
            port = self.low + (begin + number) % span
            try:  # bound here, since uvloop hides the error and leaks the transport
                sock = bind(local_addr[0], port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return await create(protocol_factory, sock=sock, **more)
        raise OSError(errno.EADDRINUSE, f"all ports from {self.low} to {self.high} are in use")


class Gateway:
    """All sessions of one agent; with ``stay`` it never ends by itself."""

    def __init__(self, listener: socket.socket, clock: Callable[[], float], stay: bool = False) -> None:
        from gateway_agent.webrtc import endpoint, session

        self._endpoint, self._session = endpoint, session
        self._clock = clock
        self._stay = stay
        self._epoll = select.epoll()
        self._held = HeldSockets()
        self._control = Control(listener, self._epoll, self._held, GatewaySettings, self._lose, NEEDED)
        self._stocks = Stocks(self._short)
        self._settings: GatewaySettings | None = None
        self._certificate = endpoint.certificate()
        self._fingerprint = endpoint.fingerprint_of(self._certificate)
        self._prefix = secrets.token_hex(4)
        self._numbers = 0
        self._free: dict[str, _Prepared] = {}
        self._taken: dict[str, _Prepared] = {}
        """Legs in use."""
        self._sessions: dict[str, Any] = {}
        self._given: set[str] = set()
        """Legs whose ICE agent belongs to a session, which closes it."""
        self._unclaimed: set[str] = set()
        self._complained_at = 0.0
        self._grace_s = IDLE_S
        self._alone_since = clock()
        self._open = asyncio.Event()
        self._lacking = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until the process is to end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._epoll.fileno(), self._ready)
        filler = asyncio.create_task(self._fill())
        try:
            while not self._open.is_set():
                await asyncio.sleep(1.0)
                self._tick(self._clock())
        finally:
            filler.cancel()
            loop.remove_reader(self._epoll.fileno())
            for leg in [*self._sessions, *self._taken, *self._free]:
                self._end(leg)
            await asyncio.gather(*self._ending, return_exceptions=True)
            self._control.close()
            self._epoll.close()

    # The agent

    def _ready(self) -> None:
        for fd, what in self._epoll.poll(0):
            hello = self._control.ready(fd, what)
            if hello is not None:
                self._obey_start(hello)
        self._obey_all()

    def _obey_start(self, hello: Hello) -> None:
        self._grace_s = hello.grace_s
        self._unclaimed = {*self._sessions, *self._taken}
        if isinstance(hello.settings, GatewaySettings) and hello.settings != self._settings:
            for leg in list(self._free):
                self._end(leg)
            self._settings = hello.settings
            loop = asyncio.get_running_loop()
            if isinstance(loop, PortRange):
                loop.low, loop.high = hello.settings.low, hello.settings.high
            self._stocks.configure(hello.settings)
        self._control.say({"is": "ready", "pid": os.getpid()})
        self._control.say({"is": "legs", "legs": [one.leg for one in self._free.values()]})
        self._lacking.set()

    def _lose(self) -> None:
        self._obey_all()
        self._alone_since = self._clock()

    def _short(self, notice: dict[str, object]) -> None:
        if notice["is"] == "short":
            self._control.say(notice)

    def _obey_all(self) -> None:
        commands = self._control.commands
        while commands:
            line = commands.popleft()
            try:
                command = json.loads(line)
                getattr(self, "_do_" + command.pop("do"))(**command)
            except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
                why = f"the WebRTC gateway could not obey {line[:60].decode(errors='replace')}: {error}"
                self._control.say({"is": "refused", "why": why})

    # What it can ask

    def _do_take(self, leg: str, controlling: bool = False) -> None:
        self._unclaimed.discard(leg)
        if leg in self._free:
            self._taken[leg] = self._free.pop(leg)
            self._taken[leg].ice.ice_controlling = controlling
            self._lacking.set()
        elif leg not in self._taken and leg not in self._sessions:
            self._control.say({"is": "unknown", "leg": leg})

    def _do_session(self, session: list[Any]) -> None:
        wanted = session_of(session)
        self._unclaimed -= {wanted.leg, wanted.ice}
        if wanted.leg not in self._sessions:
            prepared = self._taken.get(wanted.leg)
            pair = prepared.pair if prepared is not None else self._bound(Pair(wanted.address, wanted.port))
            self._sessions[wanted.leg] = self._session.GatewaySession(pair, self._certificate, self._failed)
            assert self._settings is not None
            self._sessions[wanted.leg].tick(self._settings.packets_per_s)
        by = self._taken.get(wanted.ice)
        if by is None:
            self._control.say({"is": "unknown", "leg": wanted.ice})
        else:
            self._given.add(wanted.ice)
        self._sessions[wanted.leg].set(wanted, None if by is None else by.ice)

    def _bound(self, pair: Pair) -> BoundPair:
        """The pair of a previous gateway process, bound again or found in the stock. Raises `OSError`."""
        stock = self._stocks.by_address.get(pair.address)
        ahead = stock.free.pop(pair, None) if stock is not None else None
        return ahead or self._stocks.bound(pair)

    def _do_release(self, leg: str) -> None:
        self._end(leg)

    def _do_audit(self) -> None:
        unclaimed, self._unclaimed = self._unclaimed, set()
        for leg in unclaimed:
            self._end(leg)

    def _do_end(self) -> None:
        self._open.set()

    def _failed(self, why: str) -> None:
        """Report that a session has no media, mostly because its browser has gone; at most once a second."""
        now = self._clock()
        if now - self._complained_at > 1.0:
            self._complained_at = now
            self._control.say({"is": "refused", "why": f"a call has no media: {why}"})

    # Legs

    def _end(self, leg: str) -> None:
        """Close a leg with its session. An ICE agent that belongs to a session is closed by that."""
        prepared = self._free.pop(leg, None) or self._taken.pop(leg, None)
        session = self._sessions.pop(leg, None)
        if session is not None:
            self._later(session.close())
        elif prepared is not None:
            prepared.pair.rtp.sock.close()
            prepared.pair.rtcp.sock.close()
        if prepared is not None and leg not in self._given:
            self._later(prepared.ice.close())
        self._given.discard(leg)
        for stock in self._stocks.by_address.values():
            stock.retry_at = 0.0
        self._lacking.set()

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _fill(self) -> None:
        """Keep the stock of prepared legs full."""
        while True:
            await self._lacking.wait()
            self._lacking.clear()
            while (settings := self._settings) is not None and (wanted := settings.ahead - self._fresh(settings)) > 0:
                used = len(self._sessions) + len(self._taken)
                if used >= settings.sessions:
                    why = (
                        f"the WebRTC gateway has its limit of {settings.sessions} sessions; raise it or add an agent"
                    )
                    self._control.say({"is": "short", "address": LIMIT, "why": why})
                    break
                prepared = (self._prepare(settings, used) for _ in range(min(wanted, TOGETHER)))
                if not all(await asyncio.gather(*prepared)):
                    break
            else:
                self._control.say({"is": "short", "address": LIMIT, "why": ""})

    def _fresh(self, settings: GatewaySettings) -> int:
        """The number of prepared legs that need not be replaced yet."""
        if not (settings.stun or settings.turn):
            return len(self._free)
        now = self._clock()
        return sum(now - one.at < RENEW_S for one in self._free.values())

    async def _prepare(self, settings: GatewaySettings, used: int) -> bool:
        """Prepare one leg; False if that is not possible now."""
        address = settings.addresses[0]
        stock = self._stocks.by_address[address]
        now = self._clock()
        if not stock.free and now >= stock.retry_at:
            self._stocks.fill(stock, 2 * used, now)
        if not stock.free:
            return False
        pair, bound = stock.free.popitem()
        ice = self._endpoint.IceAgent(settings)
        await ice.gather_candidates()
        candidates = tuple(one.to_sdp() for one in ice.local_candidates)
        if not candidates:
            stock.free[pair] = bound
            self._control.say(
                {"is": "short", "address": address, "why": f"the WebRTC gateway cannot bind {address} for ICE"}
            )
            await ice.close()
            return False
        self._numbers += 1
        id_ = f"{self._prefix}-{self._numbers}"
        leg = Leg(id_, *pair, ice.local_username, ice.local_password, self._fingerprint, candidates)
        self._free[id_] = _Prepared(leg, ice, bound, now)
        self._control.say({"is": "legs", "legs": [leg]})
        return True

    # Time

    def _tick(self, now: float) -> None:
        if not self._control.connected:
            alone = now - self._alone_since
            self._held.alone(alone)
            over = alone >= self._grace_s or (not self._sessions and alone >= IDLE_S)
            if over and not self._held and not self._stay:
                self._open.set()
        if self._settings is None:
            return
        for session in self._sessions.values():
            session.tick(self._settings.packets_per_s)
        if self._settings.stun or self._settings.turn:
            for leg in [id_ for id_, one in self._free.items() if now - one.at > STALE_S]:
                self._control.say({"is": "expired", "leg": leg})
                self._end(leg)
        self._lacking.set()


def main(argv: list[str]) -> None:
    begun = begin(argv)
    if begun is None:
        return
    listener, stay = begun

    async def work() -> None:
        await Gateway(listener, boottime, stay).run()

    ranged = type("RangedLoop", (PortRange, loop_class()), {})
    with asyncio.Runner(loop_factory=ranged) as runner:
        runner.run(work())


if __name__ == "__main__":
    main(sys.argv)
