"""Peers: which addresses count as one sender, and whether a peer answers (OPTIONS probing)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar, Final

from sip.requests import OutgoingRequest
from sip.wire import headers
from sip.wire.message import Response

UNKNOWN: Final = "unknown"
UP: Final = "up"
DOUBTFUL: Final = "doubtful"
DOWN: Final = "down"

ALIVE: Final = "alive"
MISS: Final = "miss"
GONE: Final = "gone"

MAX_RETRY_AFTER: Final = 3600
"""Seconds; a longer Retry-After counts as this one."""


def network_of(host: str) -> str:
    """The unit that one subscriber has: an IPv4 address, or an IPv6 /64 (RFC 6177)."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or int(address) >> 64)


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """How a peer is probed. Times in seconds."""

    interval: float = 30.0
    """Between two OPTIONS; after a miss at least ``timeout``."""
    misses: int = 3
    """So many misses in a row take the peer out of service."""
    timeout: float = 2.0
    """After this time an OPTIONS without an answer is a miss."""


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """A peer went out of service or came back."""

    in_service: bool
    because: str
    at: float


class Probe:
    """Probes one peer with OPTIONS (RFC 3261 section 11). Until the first result the peer is in service.

    A timeout, a transport error and a 503 are misses; any other final answer proves that the peer is there. A 503
    with Retry-After takes the peer out of service at once, for that time.
    """

    __slots__ = (
        "_asked_at", "_cseq", "_due_at", "_events", "_lines", "_misses", "_out", "_waiting",
        "because", "plan", "state", "uri",
    )  # fmt: skip

    TRANSITIONS: ClassVar[dict[tuple[str, str], tuple[str, Callable[[Probe, float], None]]]]

    def __init__(self, uri: str, local: str, call_id: str, tag: str, plan: ProbePlan | None = None) -> None:
        """``uri`` is asked, ``local`` is our own URI for From."""
        self.uri = uri
        self.plan = plan or ProbePlan()
        self.state = UNKNOWN
        self.because = "not asked yet"
        """The reason for the state, in a sentence."""
        self._lines = (f"From: <{local}>;tag={tag}", f"To: <{uri}>", f"Call-ID: {call_id}", "Accept: application/sdp")
        self._cseq = 0
        self._asked_at = 0.0
        self._misses = 0
        self._waiting = False
        self._due_at: float | None = None
        self._out: list[OutgoingRequest] = []
        self._events: deque[PeerChanged] = deque()

    @property
    def in_service(self) -> bool:
        return self.state != DOWN

    @property
    def waiting(self) -> bool:
        """Whether an OPTIONS may still be answered."""
        return self._waiting

    def start(self, now: float) -> None:
        """Begin, with an OPTIONS at once."""
        if self._due_at is None:
            self._ask(now)

    def stop(self) -> None:
        """Stop probing; the state stays as it is."""
        self._due_at = None
        self._waiting = False

    def answered(self, response: Response, now: float) -> None:
        """A response to the last OPTIONS; provisional ones and those to earlier ones change nothing."""
        if not self._waiting or response.status < 200 or response.cseq != self._cseq:
            return
        if response.status != 503:
            self._learn(ALIVE, f"{self.uri} answered {response.status}", now, self._asked_at + self.plan.interval)
            return
        seconds = headers.retry_after(response.get("retry-after"))
        if seconds:
            self.turned_away(seconds, now)
        else:
            self._miss(f"{self.uri} answered 503", now)

    def failed(self, because: str, now: float) -> None:
        """The last OPTIONS had no answer, or could not be sent."""
        if self._waiting:
            self._miss(f"{self.uri}: {because}", now)

    def turned_away(self, seconds: int, now: float) -> None:
        """The peer answered any request with 503 and Retry-After ``seconds`` (RFC 3261 section 21.5.4)."""
        seconds = min(seconds, MAX_RETRY_AFTER)
        self._learn(GONE, f"{self.uri} wants to be left alone for {seconds} s", now, now + max(1.0, float(seconds)))

    def handle_timer(self, now: float) -> None:
        if self._due_at is None or now < self._due_at:
            return
        if self._waiting:
            self._miss(f"{self.uri}: no answer", now)
        else:
            self._ask(now)

    def get_timer(self) -> float | None:
        return self._due_at

    def to_do(self) -> list[OutgoingRequest]:
        """The requests to send now; handed over."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> PeerChanged | None:
        return self._events.popleft() if self._events else None

    def _ask(self, now: float) -> None:
        self._cseq += 1
        self._waiting = True
        self._asked_at = now
        self._due_at = now + self.plan.timeout
        self._out.append(OutgoingRequest("OPTIONS", self.uri, (*self._lines, f"CSeq: {self._cseq} OPTIONS")))

    def _miss(self, because: str, now: float) -> None:
        self._misses += 1
        last = self._misses >= self.plan.misses
        count = "" if self._misses == 1 else f", {self._misses} times in a row"
        self._learn(GONE if last else MISS, because + count, now, max(now, self._asked_at + self.plan.interval))

    def _learn(self, cause: str, because: str, now: float, due_at: float) -> None:
        self._waiting = False
        self._due_at = due_at
        self.because = because
        self.state, action = self.TRANSITIONS[self.state, cause]
        action(self, now)

    def _forgive(self, now: float) -> None:
        self._misses = 0

    def _doubt(self, now: float) -> None:
        """Count a miss; so many as ``ProbePlan.misses`` take the peer out of service."""

    def _give_up(self, now: float) -> None:
        self._events.append(PeerChanged(False, self.because, now))

    def _welcome(self, now: float) -> None:
        self._misses = 0
        self._events.append(PeerChanged(True, self.because, now))


Probe.TRANSITIONS = {
    (UNKNOWN, ALIVE): (UP, Probe._welcome),
    (UNKNOWN, MISS): (UNKNOWN, Probe._doubt),
    (UNKNOWN, GONE): (DOWN, Probe._give_up),
    (UP, ALIVE): (UP, Probe._forgive),
    (UP, MISS): (DOUBTFUL, Probe._doubt),
    (UP, GONE): (DOWN, Probe._give_up),
    (DOUBTFUL, ALIVE): (UP, Probe._forgive),
    (DOUBTFUL, MISS): (DOUBTFUL, Probe._doubt),
    (DOUBTFUL, GONE): (DOWN, Probe._give_up),
    (DOWN, ALIVE): (UP, Probe._welcome),
    (DOWN, MISS): (DOWN, Probe._doubt),
    (DOWN, GONE): (DOWN, Probe._doubt),
}
