"""The pairs of ports that a relay has bound ahead, by address."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from gateway_agent.media.ports import RTP, Pair, RelaySettings
from gateway_agent.media.sockets import RTCP_PERIOD_S, BoundPair, Port, bind, form_of, is_rtcp

COMMANDS_AT_ONCE = 32
"""Commands obeyed, and pairs bound, between two looks at the media: a thousand releases must not hold up a packet."""
RETRY_S = 5.0
"""After every port of the range was found taken by others."""


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


class Stocks:
    """All of a relay; ``say`` tells its agent."""

    def __init__(self, say: Callable[[dict[str, object]], None]) -> None:
        self._say = say
        self.settings: RelaySettings | None = None
        """None until an agent said how it wants its relay."""
        self.by_address: dict[str, Stock] = {}
        self._pairs_in_range = 0
        self._first = 0

    def configure(self, settings: RelaySettings) -> None:
        """Bind by these settings from now on; what is bound ahead by others is given up."""
        if settings == self.settings:
            return
        for ports in self.free():
            ports.rtp.sock.close()
            ports.rtcp.sock.close()
        self.settings = settings
        self._first = settings.low + settings.low % 2
        self._pairs_in_range = max(0, (settings.high - self._first + 1) // 2)
        # Begun anywhere, so that two agents on one address meet seldom and a port is not soon used again.
        self.by_address = {a: Stock(a, random.randrange(self._pairs_in_range or 1)) for a in settings.addresses}

    def free(self) -> list[BoundPair]:
        """All that is bound ahead."""
        return [ports for stock in self.by_address.values() for ports in stock.free.values()]

    def tell(self) -> None:
        """Say to an agent that has just come what is bound ahead."""
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
        """Bind some more; ``used`` pairs are in use."""
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
        # Said once, and taken back when the stock is full again: not with each port that comes and goes.
        if why != stock.short and (why or len(stock.free) >= self.settings.ahead):
            stock.short = why
            self._say({"is": "short", "address": stock.address, "why": why})

    def _bind_one(self, stock: Stock, used: int, offered: list[Pair]) -> str:
        """Try the next pair of ports; says why no further one need be tried, or nothing."""
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
