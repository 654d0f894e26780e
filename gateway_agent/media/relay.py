"""The RTP relay: a separate process, so that signalling and media do not delay each other.

Started by `gateway_agent.media.process` as ``python -m gateway_agent.media.relay SOCKET``, or by a systemd unit of
its own as ``… SOCKET stay``. It outlives its agent, whose next start connects at SOCKET and sends ``hello``, then the
commands described in `gateway_agent.media.ports`. Meanwhile media goes on, and the agent's listening sockets are kept
open (`gateway_agent.media.held`). Without an agent it ends when it has no session, or after the ``grace_s`` of the
last agent.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from gateway_agent.media.control import Control, begin
from gateway_agent.media.control_listener import Hello
from gateway_agent.media.held import HeldSockets
from gateway_agent.media.ports import NOWHERE, RTP, Keys, Pair, RelaySettings, Remote
from gateway_agent.media.sockets import (
    BoundPair,
    Port,
    canonical,
    drain,
    form_of,
)
from gateway_agent.media.stocks import COMMANDS_AT_ONCE, Stocks

_HAS_SRTP = find_spec("pylibsrtp") is not None
IDLE_S = 5.0
"""Seconds without an agent and without a session after which the relay ends, unless it is to stay."""


class Relay:
    """All pairs of one agent. ``clock`` counts seconds, suspension included; at ``listener`` the agent connects at
    each start. With ``stay`` the relay never ends by itself.
    """

    def __init__(self, listener: socket.socket, clock: Callable[[], float], stay: bool = False) -> None:
        self._clock = clock
        self._stay = stay
        self._grace_s = IDLE_S
        """Seconds for which sessions go on without an agent."""
        self._alone_since = clock()
        self._unclaimed: set[Pair] = set()
        """Pairs in use from before the agent connected that it has not adopted yet."""
        self._used: dict[Pair, BoundPair] = {}
        self._watched: dict[Pair, BoundPair] = {}
        self._by_fd: dict[int, Port] = {}
        self._released = [0, 0, 0, 0]
        """Sums of released pairs: packets, octets, dropped, lost."""
        self._epoll = select.epoll()
        self._held = HeldSockets()
        self._control = Control(
            listener, self._epoll, self._held, RelaySettings, self._lose, ("pairs", "ready", "figures")
        )
        self._say = self._control.say
        self._commands = self._control.commands
        self._stocks = Stocks(self._say)
        self._open = True
        self._restock = True
        """Whether more pairs may have to be bound ahead."""

    def run(self) -> None:
        """Relay until the process is to end."""
        buffer = bytearray(65_536)
        view = memoryview(buffer)
        ports, poll, clock = self._by_fd, self._epoll.poll, self._clock
        tick_at = clock() + 1.0
        while self._open:
            now = clock()
            lacking = self._stocks.lacking(now) if self._restock else []
            self._restock = bool(lacking)
            wait = 0.0 if lacking or self._commands else max(0.0, tick_at - now)
            ready = poll(wait, 256)
            now = clock()
            for fd, what in ready:
                port = ports.get(fd)
                if port is not None:
                    port.forward(port, now, buffer, view)
                elif (hello := self._control.ready(fd, what)) is not None:
                    self._obey_start(hello)
            for _ in range(min(COMMANDS_AT_ONCE, len(self._commands))):
                self._obey(self._commands.popleft(), now)
            for stock in lacking:
                self._stocks.fill(stock, len(self._used), now)
            if now >= tick_at:
                tick_at = max(now, tick_at + 1.0)
                self._tick(now)

    def close(self) -> None:
        for ports in [*self._used.values(), *self._stocks.free()]:
            ports.rtp.sock.close()
            ports.rtcp.sock.close()
        self._control.close()
        self._held.close()
        self._epoll.close()

    # The agent

    def _obey_start(self, hello: Hello) -> None:
        """A start of the agent has connected: apply its settings, and send it what is ready."""
        self._restock = True
        self._grace_s = hello.grace_s
        self._unclaimed = set(self._used)
        if hello.settings is not None:
            self._stocks.configure(hello.settings)
        self._say({"is": "ready", "pid": os.getpid(), "figures": True, "srtp": _HAS_SRTP})
        self._stocks.tell()

    def _lose(self) -> None:
        """The agent has disconnected: carry out its remaining commands; media goes on."""
        while self._commands:
            self._obey(self._commands.popleft(), self._clock())
        self._alone_since = self._clock()

    def _obey(self, line: bytes, now: float) -> None:
        self._restock = True
        try:
            command = json.loads(line)
            getattr(self, "_do_" + command.pop("do"))(now, **command)
        except (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError) as error:
            said = "an order with keys" if b'"keys"' in line else line[:200].decode(errors="replace")
            why = f"the relay could not obey {said}: {error}"
            self._say({"is": "refused", "why": why})

    # Its commands

    def _do_take(self, now: float, pair: list[Any]) -> None:
        key = Pair(*pair)
        self._use(self._stocks.by_address[key.address].free.pop(key))

    def _do_bind(self, now: float, pair: list[Any]) -> None:
        key = Pair(*pair)
        self._unclaimed.discard(key)
        if key in self._used:  # from before a restart of the agent, or a reconnection
            return
        # By chance the stock may have bound this pair already.
        stock = self._stocks.by_address.get(key.address)
        ahead = stock.free.pop(key, None) if stock is not None else None
        self._use(ahead or self._stocks.bound(key))

    def _do_remote(self, now: float, pair: list[Any], remote: list[Any] | None, again: bool = False) -> None:
        ports = self._used[Pair(*pair)]
        if remote is None:
            ports.rtp.reset()
            ports.rtcp.reset()
            return
        there = Remote(*remote)
        if not (0 <= there.rtp <= 65_535 and 0 <= there.rtcp <= 65_535):
            raise ValueError("a port is out of range")
        address, via = there.address, there.via
        if address not in NOWHERE:
            address = canonical(address, ports.rtp.sock.family)
        try:
            via = via and canonical(via, ports.rtp.sock.family)
        except OSError:  # its signalling uses the other address family than its media
            via = ""
        described_at = now if again else None
        ports.rtp.point((address, there.rtp), via, there.eager, described_at)
        ports.rtcp.point((address, there.rtcp), via, there.eager, described_at)
        ports.rtp.form = form_of(there.kind, there.types)
        ports.rtp.note = ports.rtp.reception.note if there.kind == RTP else None

    def _do_secure(self, now: float, pair: list[Any], keys: list[str]) -> None:
        ports = self._used[Pair(*pair)]
        ports.shut()  # no media rather than unencrypted media if the keys are bad
        ports.secure(Keys(*keys))

    def _do_connect(self, now: float, pair: list[Any], to: list[Any]) -> None:
        here, there = self._used[Pair(*pair)], self._used[Pair(*to)]
        if here is there:
            raise ValueError("a pair cannot be connected to itself")
        here.connect(there)

    def _do_watch(self, now: float, pair: list[Any], seconds: float | None) -> None:
        ports = self._used[Pair(*pair)]
        ports.watched_s, ports.watched_from, ports.told = seconds, now, False
        if seconds is None:
            self._watched.pop(ports.pair, None)
        else:
            self._watched[ports.pair] = ports

    def _do_audit(self, now: float) -> None:
        """Release the pairs that the agent has not adopted: no call of it uses them."""
        unclaimed, self._unclaimed = self._unclaimed, set()
        for pair in unclaimed:
            if pair in self._used:
                self._do_release(now, list(pair))

    def _do_end(self, now: float) -> None:
        """End; the agent will not come back."""
        self._open = False

    def _do_count(self, now: float, pairs: list[list[Any]] | None) -> None:
        wanted = list(self._used.values()) if pairs is None else [self._used[Pair(*pair)] for pair in pairs]
        if pairs is None:
            self._tell_total()
        for start in range(0, len(wanted) or 1, 200):
            counts = [_count(ports, now) for ports in wanted[start : start + 200]]
            self._say({"is": "counts", "counts": counts})

    def _do_clocks(self, now: float, pair: list[Any], clocks: list[list[int]]) -> None:
        self._used[Pair(*pair)].rtp.reception.clocks = {kind: hz for kind, hz in clocks if hz > 0}

    def _do_figures(self, now: float, pairs: list[list[Any]]) -> None:
        wanted = [ports for pair in pairs if (ports := self._used.get(Pair(*pair))) is not None]
        self._say({"is": "figures", "figures": [_figures(ports) for ports in wanted]})

    def _tell_total(self) -> None:
        total = list(self._released)
        for ports in self._used.values():
            _add(total, ports)
        packets, octets, dropped, lost = total
        self._say({"is": "total", "packets": packets, "octets": octets, "dropped": dropped, "lost": lost})

    def _do_release(self, now: float, pair: list[Any]) -> None:
        ports = self._used.pop(Pair(*pair))
        self._watched.pop(ports.pair, None)
        ports.disconnect()
        _add(self._released, ports)
        for port in (ports.rtp, ports.rtcp):
            del self._by_fd[port.sock.fileno()]
            port.sock.close()  # which also removes it from the epoll set
        stock = self._stocks.by_address.get(ports.pair.address)
        if stock is not None:
            stock.retry_at = 0.0

    # Ports

    def _use(self, ports: BoundPair) -> None:
        """Put a pair into use. Packets received before belong to an earlier call and are dropped."""
        for port in (ports.rtp, ports.rtcp):
            drain(port)
            self._by_fd[port.sock.fileno()] = port
            self._epoll.register(port.sock.fileno(), select.EPOLLIN)
        self._used[ports.pair] = ports

    # Time

    def _tick(self, now: float) -> None:
        self._restock = True
        if not self._control.connected:
            alone = now - self._alone_since
            self._held.alone(alone)
            over = alone >= self._grace_s or (not self._used and alone >= IDLE_S)
            if over and not self._held and not self._stay:
                self._open = False
        if self._stocks.settings is None:
            return
        rate = self._stocks.settings.packets_per_s
        for port in self._by_fd.values():
            port.allowed = port.packets + rate
        for ports in self._watched.values():
            silent = now - ports.last_at()
            if ports.watched_s is None or silent < ports.watched_s:
                ports.told = False
            elif not ports.told and ports.other is not None:
                ports.told = True
                self._say({"is": "silent", "pairs": [ports.pair, ports.other.pair], "seconds": round(silent, 1)})


def _count(ports: BoundPair, now: float) -> list[object]:
    port = ports.rtp
    silent = None if port.last_at is None else round(now - port.last_at, 3)
    return [ports.pair, port.packets, port.octets, port.dropped, silent]


def _figures(ports: BoundPair) -> list[object]:
    reception = ports.rtp.reception
    return [ports.pair, reception.packets, reception.lost, round(reception.jitter_ms, 3), reception.type]


def _add(total: list[int], ports: BoundPair) -> None:
    port = ports.rtp
    for index, count in enumerate((port.packets, port.octets, port.dropped, port.reception.lost)):
        total[index] += count


def main(argv: list[str]) -> None:
    begun = begin(argv)
    if begun is None:
        return
    listener, stay = begun
    relay = Relay(listener, partial(time.clock_gettime, time.CLOCK_BOOTTIME), stay=stay)
    gc.freeze()
    gc.disable()  # the relay makes hardly any cycles, and a collection would be audible
    try:
        relay.run()
    finally:
        relay.close()


if __name__ == "__main__":
    main(sys.argv)
