"""What all calls of an agent share: the services that they use, and the server that has adopted the agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Protocol

from gateway_agent.deduplication import Deduplication
from gateway_agent.derivation import Derivation
from gateway_agent.line_state import SentInvite
from gateway_agent.media_relay import MediaRelay
from gateway_agent.webrtc.legs import WebrtcLegs
from sip.actions import Flow
from sip.b2b.discarded import Discarded
from sip.layer import Stack
from sip.rate_limited_logger import RateLimitedLogger
from sip.transaction import ServerTransaction
from sip.wire.message import Request

NOWHERE: Final = Flow("tcp", "nowhere", ("0.0.0.0", 0))
"""The flow of messages to servers while none is connected: they are not written, and only kept in the records."""
MOST_HELD: Final = 10_000
"""While no server is connected and the agent has that many calls, further requests of devices are refused."""


class LineStateSource(Protocol):
    """The line states of calls, which servers keep for this agent."""

    kept: bool
    """Whether the server that has adopted the agent keeps line states."""

    def lines(self, call: Any, now: float, sent: SentInvite | None = None) -> tuple[str, ...]:
        """The header line with the call's line state, for a message that goes to the servers anyway; ``()`` where
        none is wanted. ``sent``: the INVITE of which the header is to be part."""

    def changed(self, call: Any, now: float, at_once: bool = False) -> None:
        """The call has changed at the device without a message to the servers: they are to be told, soon or
        ``at_once``."""


class CallEnvironment:
    """One for each agent. `gateway_agent.obedience` keeps ``server`` and ``server_flow`` up to date."""

    __slots__ = (
        "counters",
        "deduplication",
        "derivation",
        "discarded",
        "epoch",
        "hold_attempt",
        "is_repeat",
        "line_states",
        "living",
        "log",
        "random",
        "relays",
        "server",
        "server_flow",
        "settled",
        "stack",
        "stir",
        "watched",
        "webrtc",
    )

    def __init__(
        self,
        stack: Stack,
        deduplication: Deduplication[Any],
        counters: Counter[str],
        random: Random,
        log: RateLimitedLogger,
        relays: Mapping[str, MediaRelay],
        hold_attempt: float,
        living: Callable[[], int],
        epoch: Callable[[], int],
        settled: Callable[[Any, float], None],
        is_repeat: Callable[[ServerTransaction, Request, float], bool],
        discarded: Discarded,
        derivation: Derivation,
        line_states: LineStateSource,
        webrtc: WebrtcLegs | None = None,
    ) -> None:
        """``living`` counts the agent's calls, ``epoch`` gives the epoch that it obeys. ``settled`` is called with
        each ended call that has no transaction under way any more. ``is_repeat`` returns whether a request of a
        server came before; it is then handled. ``derivation`` derives identifiers, ``line_states`` line states.
        """
        self.stack = stack
        self.deduplication = deduplication
        self.counters = counters
        self.random = random
        self.log = log
        self.relays = relays
        """Where the media of lines passes, by their ``media``."""
        self.hold_attempt = hold_attempt
        """Seconds for which a device's request waits for the first response of a server."""
        self.living = living
        self.epoch = epoch
        self.settled = settled
        self.is_repeat = is_repeat
        self.discarded = discarded
        self.derivation = derivation
        self.line_states = line_states
        self.webrtc = webrtc
        """Legs of the WebRTC gateway; None where the site has no browsers."""
        self.stir: Any = None
        """Signs and verifies caller identities (STIR); None where no line asks for that."""
        self.watched: Callable[[Any, float], None] = _nobody
        """Called with the line on which a call began, rang, was answered or ended."""
        self.server_flow = NOWHERE
        """The connection to the server that has adopted this agent."""
        self.server = ""
        """The name of that server; before there was one, that of the site's main server."""

    @property
    def connected(self) -> bool:
        """Whether the server that adopted this agent is connected."""
        return self.server_flow is not NOWHERE

    def may_hold(self) -> bool:
        """Whether one more request is accepted: a server is connected, or there are not too many calls waiting."""
        return self.connected or self.living() < MOST_HELD


def _nobody(line: Any, now: float) -> None:
    pass
