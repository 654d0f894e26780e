"""The pairs of ports that a relay has bound ahead, by address."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from gateway_agent.media.ports import RTP, Pair, RelaySettings
from gateway_agent.media.sockets import RTCP_PERIOD_S, BoundPair, Port, bind, form_of, is_rtcp

COMMANDS_AT_ONCE = 32
"""Commands carried out, and pairs bound, between two polls of the media sockets, so that many do not delay
packets."""
RETRY_S = 5.0
"""Seconds before binding is tried again after a failure, or when all ports of the range are in use."""


class Stock:
    """The ports of one address: those bound ahead, and the position of the search for more."""

    __slots__ = ("address", "cursor", "free", "retry_at", "short", "tried")

    def __init__(self, address: str, cursor: int) -> None:
        self.address = address
        self.cursor = cursor
        self.free: dict[Pair, BoundPair] = {}
        self.tried = 0
        """Consecutive pairs found in use."""
        self.retry_at = 0.0
        self.short = ""
        """The reason for a shortage that was last sent to the agent."""


class Stocks:
    """The stocks of a relay; ``say`` sends a notice to its agent."""

    def __init__(self, say: Callable[[dict[str, object]], None]) -> None:
        self._say = say
        self.settings: RelaySettings | None = None
        """None before an agent has connected."""
        self.by_address: dict[str, Stock] = {}
        self._pairs_in_range = 0
        self._first = 0

    def configure(self, settings: RelaySettings) -> None:
        """Use these settings from now on; if they are new, pairs bound ahead are closed."""
        if settings == self.settings:
            return
        for ports in self.free():
            ports.rtp.sock.close()
            ports.rtcp.sock.close()
        self.settings = settings
        self._first = settings.low + settings.low % 2
        self._pairs_in_range = max(0, (settings.high - self._first + 1) // 2)
        # Begun at random, so that two agents on one address rarely collide and ports are not reused soon.
        self.by_address = {a: Stock(a, random.randrange(self._pairs_in_range or 1)) for a in settings.addresses}

    def free(self) -> list[BoundPair]:
        """All pairs bound ahead."""
        return [ports for stock in self.by_address.values() for ports in stock.free.values()]

    def tell(self) -> None:
        """Send the pairs bound ahead to an agent that has just connected."""
        for stock in self.by_address.values():
            stock.short = ""
            if stock.free:
                self._say({"is": "pairs", "pairs": list(stock.free)})

    def bound(self, pair: Pair) -> BoundPair:
        rtp = bind(pair.address, pair.port)
        try:
            rtcp = bind(pair.address, pair.port + 1)
        except OSError:
            rtp.close()
            raise
        assert self.settings is not None
        rate = self.settings.packets_per_s
        return BoundPair(pair, Port(rtp, rate, form_of(RTP, ())), Port(rtcp, rate, is_rtcp, RTCP_PERIOD_S))

    def lacking(self, now: float) -> list[Stock]:
        if self.settings is None:
            return []
        ahead = self.settings.ahead
        return [s for s in self.by_address.values() if len(s.free) < ahead and now >= s.retry_at]

    def fill(self, stock: Stock, used: int, now: float) -> None:
        """Bind more pairs; ``used``: number of pairs in use."""
        assert self.settings is not None
        offered: list[Pair] = []
        why = ""
        for _ in range(COMMANDS_AT_ONCE):
            why = self._bind_one(stock, used, offered)
            if why or len(stock.free) >= self.settings.ahead:
                break
        if offered:
            self._say({"is": "pairs", "pairs": offered})
        if why:
            stock.tried, stock.retry_at = 0, now + RETRY_S
        # Sent once, and withdrawn only when the stock is full again, not with each port that becomes free.
        if why != stock.short and (why or len(stock.free) >= self.settings.ahead):
            stock.short = why
            self._say({"is": "short", "address": stock.address, "why": why})

    def _bind_one(self, stock: Stock, used: int, offered: list[Pair]) -> str:
        """Try to bind the next pair of ports. Returns why no further one need be tried, or ``""``."""
        assert self.settings is not None
        limit = 2 * self.settings.sessions
        if used >= limit:
            return f"the relay has its limit of {self.settings.sessions} sessions; raise it or add an agent"
        if stock.tried >= self._pairs_in_range:
            low, high = self.settings.low, self.settings.high
            return f"all ports from {low} to {high} on {stock.address} are in use; give the relay a larger range"
        pair = Pair(stock.address, self._first + 2 * stock.cursor)
        stock.cursor = (stock.cursor + 1) % self._pairs_in_range
        stock.tried += 1
        if pair in stock.free:
            return ""
        try:
            stock.free[pair] = self.bound(pair)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return ""
            return f"the relay cannot bind {stock.address}, port {pair.port}: {error.strerror}"
        stock.tried = 0
        offered.append(pair)
        return ""
