"""The memory of origin keys: a request that any server sends on twice reaches the device once (docs/wire.md).

An :class:`Received` is one request of a server, by its key, until 64*T1 after its final answer. It holds all that was
answered, so that a repeat can be answered the same way again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.call import Call
    from sip.transaction import ServerTransaction

MOST_PROVISIONALS: Final = 24
"""Kept of one request; of more, the oldest after the first is given up."""
MOST_KEY: Final = 300
"""Characters of a key; a longer one is taken for none."""


class Answer(NamedTuple):
    """A response without what it takes from its request."""

    status: int
    reason: str
    lines: Sequence[str]
    body: bytes
    tag: str


class Received:
    """A request of a server at this agent."""

    __slots__ = ("call", "cancelled", "count", "final", "forget_at", "key", "method", "provisionals", "transaction")

    def __init__(self, key: str, transaction: ServerTransaction, method: str, call: Call | None) -> None:
        self.key = key
        """``""`` for a request without one, which cannot be recognised."""
        self.transaction = transaction
        """The server transaction that is to be answered: that of the last repeat."""
        self.method = method
        self.call = call
        """``None`` when nothing of the call is left, or there never was one."""
        self.provisionals: list[Answer] = []
        self.final: Answer | None = None
        self.count = 0
        """How many responses were given; the ``n`` of the last."""
        self.cancelled = False
        self.forget_at = 0.0

    def answer(self, status: int, reason: str, lines: Sequence[str], body: bytes, tag: str) -> Answer:
        """Number and keep a response."""
        self.count += 1
        if self.key:
            lines = (f"Call-Origin: {self.key};n={self.count}", *lines)
        answer = Answer(status, reason, lines, body, tag)
        if status >= 200:
            self.final = answer
        else:
            self.provisionals.append(answer)
            if len(self.provisionals) > MOST_PROVISIONALS:
                del self.provisionals[1]
        return answer


class Memory:
    """Requests by key. Those that were answered leave in the order in which they were, as all stay equally long."""

    def __init__(self, lifetime: float, most: int = 200_000) -> None:
        """``lifetime``: seconds for which a key is known after the final answer. ``most``: keys kept at all."""
        self.lifetime = lifetime
        self.most = most
        self._known: dict[str, Received] = {}
        self._answered: deque[Received] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Received | None:
        return self._known.get(key) if key else None

    def add(self, received: Received, now: float) -> None:
        """A new request. Above the limit, the oldest answered ones are given up early."""
        self.purge(now)
        if received.key:
            while len(self._known) >= self.most and self._answered:
                self._known.pop(self._answered.popleft().key, None)
            self._known[received.key] = received

    def answered(self, received: Received, now: float) -> None:
        """Its final answer was given."""
        if received.key:
            received.forget_at = now + self.lifetime
            self._answered.append(received)

    def purge(self, now: float) -> None:
        """Forget what is over."""
        answered = self._answered
        while answered and answered[0].forget_at <= now:
            self._known.pop(answered.popleft().key, None)


def key_of(request: Request) -> str:
    """The origin key of a request from a server, ``""`` without a usable one."""
    value = request.get("call-origin")
    return value if value is not None and len(value) <= MOST_KEY else ""


def place_of(response: Response) -> tuple[int, int] | None:
    """(attempt, n) of a response that a server passed on; ``None`` when it made the response itself."""
    value = response.get("call-origin")
    if value is None:
        return None
    key, mark, n = value.rpartition(";n=")
    attempt = key.rpartition(";")[2]
    if not mark or not (n.isdecimal() and attempt.isdecimal()) or len(n) > 9 or len(attempt) > 9:
        return None
    return int(attempt), int(n)
