"""What all calls of an agent share: capabilities, and the server that is obeyed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from gateway_agent.deduplication import Deduplication
from gateway_agent.derivation import Derivation
from gateway_agent.line_state import SentInvite
from gateway_agent.media_anchor import AgentRelay
from gateway_agent.webrtc.legs import WebrtcLegs
from sip.actions import Flow
from sip.b2b.discarded import Discarded
from sip.layer import Stack
from sip.rate_limited_logger import RateLimitedLogger
from sip.transaction import ServerTransaction
from sip.wire.message import Request

NOWHERE: Final = Flow("tcp", "nowhere", ("0.0.0.0", 0))
"""The flow of what is said while no server is there: nobody writes it, it stands in the records."""
MOST_HELD: Final = 10_000
"""Calls while which no server is there: further requests of devices are refused."""


class LineStateSource(Protocol):
    """What servers keep of a call for this agent."""

    kept: bool
    """Whether the server that is obeyed keeps anything."""

    def lines(self, call: Any, now: float, sent: SentInvite | None = None) -> tuple[str, ...]:
        """The header line that gives it to them, on a message that goes there anyway."""

    def changed(self, call: Any, now: float, at_once: bool = False) -> None:
        """It has changed at the device alone, of which no message to them tells."""


class CallEnvironment:
    """One for each agent; what it says of the servers is kept up to date by whoever follows them."""

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
        "relay",
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
        relay: AgentRelay | None,
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
        """``living`` counts the calls that the agent has, ``epoch`` is the one that is obeyed, ``settled`` is told of
        each call that has nothing under way any more, ``is_repeat`` says whether a request of a server came before,
        and was dealt with. ``derivation`` makes identifiers, ``line_states`` what servers keep of calls.
        """
        self.stack = stack
        self.deduplication = deduplication
        self.counters = counters
        self.random = random
        self.log = log
        self.relay = relay
        self.hold_attempt = hold_attempt
        """Seconds for which a device's request waits for the first word of a server."""
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
        """Signs and verifies who calls; None where no line asks for that."""
        self.watched: Callable[[Any, float], None] = _nobody
        """Told of the line on which a call began, rang, was answered or ended."""
        self.server_flow = NOWHERE
        """The connection to the server that has adopted this agent."""
        self.server = ""
        """Its name; before there was one, that of the site's main server."""

    @property
    def connected(self) -> bool:
        """Whether the server that adopted this agent is there to be spoken to."""
        return self.server_flow is not NOWHERE

    def may_hold(self) -> bool:
        """Whether one more request may wait while no server is there."""
        return self.connected or self.living() < MOST_HELD


def _nobody(line: Any, now: float) -> None:
    pass
