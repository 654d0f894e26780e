"""What devices receive twice, and whether their own timers explain it.

A device of the stories answers at once whatever it receives, so no timer of its agent runs out and nothing has to be
sent to it again. What it sends again itself, because no answer came while no server was there, may be answered again;
for no other reason does a device receive a message twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from examples.softphone_call import mark_of, word_of
from sip.wire.message import Message, Request, Response, parse
from tests.wires import Delivery

Key = tuple[str, ...]


class Timer(NamedTuple):
    """A retransmission that a device's own timer brings about."""

    name: str
    because: str
    asked_by: Callable[[Message], Key | None]
    """The message of the device that asks for this one, each time that it is sent; None: not of this kind."""


def _request_of(message: Message) -> Key | None:
    return ("request", message.branch, message.cseq_method) if isinstance(message, Response) else None


def _final_of(message: Message) -> Key | None:
    is_ack = isinstance(message, Request) and message.method == "ACK"
    return ("final", message.call_id, str(message.cseq)) if is_ack else None


TIMERS: Final = (
    Timer(
        "an answer to a request that the device sent again",
        "timers A and E of the device (RFC 3261 sections 17.1.1.2 and 17.1.2.2); 17.2.1 and 17.2.2 answer each",
        _request_of,
    ),
    Timer(
        "the ACK of a final answer that the device sent again",
        "the device's 2xx until its ACK (13.3.1.4), its timer G otherwise (17.2.1); 13.2.2.4 and 17.1.1.2 acknowledge"
        " each",
        _final_of,
    ),
)
"""All that is allowed."""


def _sent(message: Message) -> Key | None:
    """What a message of a device may ask for again."""
    if isinstance(message, Request):
        return ("request", message.branch, message.method)
    if isinstance(message, Response) and message.cseq_method == "INVITE" and message.status >= 200:
        return ("final", message.call_id, str(message.cseq))
    return None


class Repeats:
    """Listens to a world's deliveries to and from some devices."""

    def __init__(self, devices: Collection[str]) -> None:
        self.unexplained: Counter[str] = Counter()
        """What came again although no timer explains it: ``west: 180 INVITE``."""
        self.explained: Counter[str] = Counter()
        """By name of the timer."""
        self._devices = devices
        self._received: Counter[tuple[str, int]] = Counter()
        self._sent: Counter[tuple[str, Key]] = Counter()

    def note(self, delivery: Delivery) -> None:
        """A message arrives."""
        if delivery.source in self._devices:
            key = _sent(parse(delivery.data))
            if key is not None:
                self._sent[delivery.source, key] += 1
        elif delivery.target in self._devices:
            self._came(delivery.target, parse(delivery.data))

    def _came(self, device: str, message: Message) -> None:
        known = device, mark_of(message)
        self._received[known] += 1
        times = self._received[known]
        if times == 1:
            return
        for timer in TIMERS:
            asked_by = timer.asked_by(message)
            if asked_by is not None and self._sent[device, asked_by] >= times:
                self.explained[timer.name] += 1
                return
        self.unexplained[f"{device}: {word_of(message)}"] += 1
