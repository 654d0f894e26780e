"""The RTP relay: a process of its own, so that signalling cannot stall media, nor media signalling.

Started by `gateway_agent.media.process` as ``python -m gateway_agent.media.relay FD SETTINGS``; FD is its end of a
socket pair, over which the lines described in `gateway_agent.media.ports` go. It ends when the other end closes.
"""

from __future__ import annotations

import errno
import gc
import json
import random
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway_agent.media.ports import NOWHERE, RTP, Pair, RelaySettings, Remote
from gateway_agent.media.sockets import (
    RTCP_PERIOD_S,
    BoundPair,
    Port,
    bind,
    canonical,
    drain,
    form_of,
    forward,
    is_rtcp,
)

COMMANDS_AT_ONCE = 32
"""Commands obeyed, and pairs bound, between two looks at the media: a thousand releases must not hold up a packet."""
RETRY_S = 5.0
"""After every port of the range was found taken by others."""
MAX_UNSENT = 1 << 20
"""Bytes not read by the agent, beyond which only what it needs for calls is said."""
MAX_LINE = 1 << 20


class Stock:
    """The ports of one address: which are bound ahead, and where to look for more."""

    __slots__ = ("address", "cursor", "free", "retry_at", "short", "tried")

    def __init__(self, address: str, cursor: int) -> None:
        self.address = address
        self.cursor = cursor
        self.free: dict[Pair, BoundPair] = {}
        self.tried = 0
        """Pairs found taken in a row."""
        self.retry_at = 0.0
        self.short = ""
        """What the agent was told of why there are no more."""


class Relay:
    """All pairs of one agent. ``clock`` gives seconds that go on while the machine sleeps."""

    def __init__(self, settings: RelaySettings, control: socket.socket, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._control = control
        self._clock = clock
        first = settings.low + settings.low % 2
        self._pairs_in_range = max(0, (settings.high - first + 1) // 2)
        self._first = first
        # Begun anywhere, so that two agents on one address meet seldom and a port is not soon used again.
        self._stocks = {a: Stock(a, random.randrange(self._pairs_in_range or 1)) for a in settings.addresses}
        self._used: dict[Pair, BoundPair] = {}
        self._watched: dict[Pair, BoundPair] = {}
        self._by_fd: dict[int, Port] = {}
        self._released = [0, 0, 0]
        """Packets, octets, dropped of pairs that are not in use any more."""
        self._commands: deque[bytes] = deque()
        self._heard = b""
        self._unsent = bytearray()
        self._epoll = select.epoll()
        self._open = True

    def run(self) -> None:
        """Relay until the agent is gone."""
        self._control.setblocking(False)
        control = self._control.fileno()
        self._epoll.register(control, select.EPOLLIN)
        self._say({"is": "ready"})
        buffer = bytearray(65_536)
        view = memoryview(buffer)
        ports, poll, clock = self._by_fd, self._epoll.poll, self._clock
        tick_at = clock() + 1.0
        while self._open:
            now = clock()
            lacking = self._lacking(now)
            wait = 0.0 if lacking or self._commands else max(0.0, tick_at - now)
            ready = poll(wait, 256)
            now = clock()
            for fd, what in ready:
                port = ports.get(fd)
                if port is not None:
                    forward(port, now, buffer, view)
                elif fd == control:
                    self._attend(what)
            for _ in range(min(COMMANDS_AT_ONCE, len(self._commands))):
                self._obey(self._commands.popleft(), now)
            for stock in lacking:
                self._fill(stock, now)
            if now >= tick_at:
                tick_at = max(now, tick_at + 1.0)
                self._tick(now)

    def close(self) -> None:
        for ports in [*self._used.values(), *(p for stock in self._stocks.values() for p in stock.free.values())]:
            ports.rtp.sock.close()
            ports.rtcp.sock.close()
        self._epoll.close()
        self._control.close()

    # The agent

    def _attend(self, what: int) -> None:
        if what & select.EPOLLOUT:
            self._flush()
        if not what & ~select.EPOLLOUT:
            return
        try:
            data = self._control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(self._heard) > MAX_LINE:
            self._open = False
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        self._commands.extend(lines)

    def _say(self, notice: dict[str, object]) -> None:
        if len(self._unsent) > MAX_UNSENT and notice["is"] not in ("pairs", "ready"):
            return
        self._unsent += json.dumps(notice, separators=(",", ":")).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._control.send(self._unsent)
            del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._open = False
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)
        self._epoll.modify(self._control.fileno(), events)

    def _obey(self, line: bytes, now: float) -> None:
        try:
            command = json.loads(line)
            getattr(self, "_do_" + command.pop("do"))(now, **command)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            why = f"the relay could not obey {line[:200].decode(errors='replace')}: {error}"
            self._say({"is": "refused", "why": why})

    # What it can ask

    def _do_take(self, now: float, pair: list[Any]) -> None:
        key = Pair(*pair)
        self._use(self._stocks[key.address].free.pop(key))

    def _do_bind(self, now: float, pair: list[Any]) -> None:
        key = Pair(*pair)
        if key in self._used:
            raise ValueError("it is in use")
        # The stock may have bound it by chance before the agent could say that it is in use.
        ahead = self._stocks[key.address].free.pop(key, None) if key.address in self._stocks else None
        self._use(ahead or self._bound(key))

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
        except OSError:  # it speaks by the other family than it listens at
            via = ""
        described_at = now if again else None
        ports.rtp.point((address, there.rtp), via, there.eager, described_at)
        ports.rtcp.point((address, there.rtcp), via, there.eager, described_at)
        ports.rtp.form = form_of(there.kind, there.types)

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

    def _do_count(self, now: float, pairs: list[list[Any]] | None) -> None:
        wanted = list(self._used.values()) if pairs is None else [self._used[Pair(*pair)] for pair in pairs]
        if pairs is None:
            self._tell_total()
        for start in range(0, len(wanted) or 1, 200):
            counts = [_count(ports, now) for ports in wanted[start : start + 200]]
            self._say({"is": "counts", "counts": counts})

    def _tell_total(self) -> None:
        total = list(self._released)
        for ports in self._used.values():
            _add(total, ports)
        packets, octets, dropped = total
        self._say({"is": "total", "packets": packets, "octets": octets, "dropped": dropped})

    def _do_release(self, now: float, pair: list[Any]) -> None:
        ports = self._used.pop(Pair(*pair))
        self._watched.pop(ports.pair, None)
        ports.disconnect()
        _add(self._released, ports)
        for port in (ports.rtp, ports.rtcp):
            del self._by_fd[port.sock.fileno()]
            port.sock.close()  # which takes it out of the epoll set too
        stock = self._stocks.get(ports.pair.address)
        if stock is not None:
            stock.retry_at = 0.0

    # Ports

    def _use(self, ports: BoundPair) -> None:
        """From now on its packets count; what came before belongs to an earlier call."""
        for port in (ports.rtp, ports.rtcp):
            drain(port)
            self._by_fd[port.sock.fileno()] = port
            self._epoll.register(port.sock.fileno(), select.EPOLLIN)
        self._used[ports.pair] = ports

    def _bound(self, pair: Pair) -> BoundPair:
        rtp = bind(pair.address, pair.port)
        try:
            rtcp = bind(pair.address, pair.port + 1)
        except OSError:
            rtp.close()
            raise
        rate = self._settings.packets_per_s
        return BoundPair(pair, Port(rtp, rate, form_of(RTP, ())), Port(rtcp, rate, is_rtcp, RTCP_PERIOD_S))

    def _lacking(self, now: float) -> list[Stock]:
        ahead = self._settings.ahead
        return [s for s in self._stocks.values() if len(s.free) < ahead and now >= s.retry_at]

    def _fill(self, stock: Stock, now: float) -> None:
        offered: list[Pair] = []
        why = ""
        for _ in range(COMMANDS_AT_ONCE):
            why = self._bind_one(stock, offered)
            if why or len(stock.free) >= self._settings.ahead:
                break
        if offered:
            self._say({"is": "pairs", "pairs": offered})
        if why:
            stock.tried, stock.retry_at = 0, now + RETRY_S
        # Said once, and taken back when the stock is full again: not with each port that comes and goes.
        if why != stock.short and (why or len(stock.free) >= self._settings.ahead):
            stock.short = why
            self._say({"is": "short", "address": stock.address, "why": why})

    def _bind_one(self, stock: Stock, offered: list[Pair]) -> str:
        """Try the next pair of ports; says why no further one need be tried, or nothing."""
        limit = 2 * self._settings.sessions
        if len(self._used) >= limit:
            return f"the relay has its limit of {self._settings.sessions} sessions; raise it or add an agent"
        if stock.tried >= self._pairs_in_range:
            low, high = self._settings.low, self._settings.high
            return f"all ports from {low} to {high} on {stock.address} are in use; give the relay a larger range"
        pair = Pair(stock.address, self._first + 2 * stock.cursor)
        stock.cursor = (stock.cursor + 1) % self._pairs_in_range
        stock.tried += 1
        if pair in self._used or pair in stock.free:
            return ""
        try:
            stock.free[pair] = self._bound(pair)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return ""
            return f"the relay cannot bind {stock.address}, port {pair.port}: {error.strerror}"
        stock.tried = 0
        offered.append(pair)
        return ""

    # Time

    def _tick(self, now: float) -> None:
        rate = self._settings.packets_per_s
        for port in self._by_fd.values():
            port.budget = rate
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


def _add(total: list[int], ports: BoundPair) -> None:
    port = ports.rtp
    for index, count in enumerate((port.packets, port.octets, port.dropped)):
        total[index] += count


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main(argv: list[str]) -> None:
    # Ctrl-C and a service manager's SIGTERM reach us too, but are for the agent, which may have calls to end first.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    _raise_file_limit()
    relay = Relay(RelaySettings.from_json(argv[2]), socket.socket(fileno=int(argv[1])), _boottime)
    gc.freeze()
    gc.disable()  # nothing below makes cycles that matter, and a collection would be heard
    try:
        relay.run()
    finally:
        relay.close()


if __name__ == "__main__":
    main(sys.argv)
