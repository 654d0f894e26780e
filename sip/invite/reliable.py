"""Reliable provisional responses (RFC 3262) of one INVITE usage, those that it sends and those that it receives.

Reliability concerns one hop. Between agent and server, where nothing is repeated by timer, ``Require: 100rel`` and
``RSeq`` only say that a response was reliable on the hop that it came from (docs/wire.md); a PRACK is passed on there
only when it has an offer or answer in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol
from zlib import crc32

from sip.actions import Flow
from sip.header_policy import passable_tag
from sip.layer import Stack
from sip.offer_answer import description_in
from sip.transaction import ServerTransaction
from sip.wire.headers import tokens
from sip.wire.message import Request, Response

RELIABLE: Final = "Require: 100rel"
"""A provisional response with this line is sent reliably."""
MOST_WAITING: Final = 16
"""Responses that may wait for the PRACK of one before them; further provisional ones are dropped."""
MOST_DIALOGS: Final = 16
_AGAIN: Final = "18x again"
_LOST: Final = "no PRACK"
_MASK: Final = 0x3FFF_FFFF


class ReliableState(NamedTuple):
    """The state of one early dialog that another process needs to go on with it."""

    tag: str
    """The To tag of the response, as it is passed through a call (docs/wire.md)."""
    cseq: int
    """The CSeq number of the INVITE."""
    number: int
    """The last RSeq that was sent or received."""
    acknowledged: bool
    """Whether its PRACK was received; for a response that we received: was sent."""


class OwnPrack(NamedTuple):
    """The context of a PRACK that we send by ourselves: its answer changes nothing."""

    tag: str
    """The tag of its early dialog."""


class Waiting(NamedTuple):
    """A response to an INVITE that waits for the PRACK of one before it."""

    transaction: ServerTransaction
    status: int
    reason: str
    lines: Sequence[str]
    body: bytes
    tag: str


class ReliableLeg(Protocol):
    """The part of the usage that is needed here."""

    @property
    def owner(self) -> Any: ...

    @property
    def established(self) -> bool: ...

    def reply(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> None: ...

    def send(self, method: str, lines: Iterable[str], body: bytes, now: float, context: Any = None) -> Any: ...

    def unacknowledged(self, now: float) -> float | None: ...


class Reliable:
    """See the module. One response of ours at a time waits for its PRACK (section 3); later ones wait behind it."""

    __slots__ = (
        "_asked",
        "_data",
        "_flow",
        "_heard",
        "_interval",
        "_leg",
        "_perhaps",
        "_said",
        "_stack",
        "_unheard",
        "_waiting",
        "described",
        "generation",
    )

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._said: dict[str, ReliableState] = {}
        """The last reliable response that we sent, by the tag of its early dialog."""
        self._heard: dict[str, ReliableState] = {}
        """The last one that we received, likewise."""
        self._perhaps: set[str] = set()
        """Early dialogs in which a process before us may or may not have sent the last PRACK."""
        self._unheard = ""
        """The tag of the early dialog in which our last response waits for its PRACK."""
        self.described = False
        """Whether that response, or the last acknowledged one, has an offer or an answer in it."""
        self._waiting: list[Waiting] = []
        self._leg: ReliableLeg | None = None
        self._asked: ServerTransaction | None = None
        self._data = b""
        self._flow: Flow | None = None
        self._interval = 0.0
        self.generation = 0

    def export(self) -> tuple[tuple[ReliableState, ...], tuple[ReliableState, ...]]:
        """The states of the responses sent and of those received, from which ``resume`` goes on elsewhere."""
        return tuple(self._said.values()), tuple(self._heard.values())

    def resume(self, said: Iterable[ReliableState], heard: Iterable[ReliableState]) -> None:
        """Go on from the states of the responses that a process before us has sent and received."""
        self._said = {one.tag: one for one in said}
        self._heard = {one.tag: one for one in heard}
        self._perhaps = {one.tag for one in self._heard.values() if one.acknowledged}
        self._unheard = next((one.tag for one in self._said.values() if not one.acknowledged), "")
        self.described = True

    def is_unacknowledged(self, tag: str) -> bool:
        """Whether the PRACK for the last response in that early dialog of ours is still to come."""
        return bool(tag) and self._unheard == tag

    # Responses that we send (section 3).

    def admit(self, leg: ReliableLeg, answer: Waiting) -> Sequence[str] | None:
        """The header lines with which a response to an INVITE is sent now. None: it waits for a PRACK, after which it
        is sent from here."""
        status, unheard = answer.status, self._unheard
        if status >= 300 or (status >= 200 and not (unheard and self.described and self._data)):
            self.stop()
            return answer.lines
        again = unheard == answer.tag and not self._data  # it repeats the one that a process before us has sent
        if unheard and not again:
            if status >= 200 or len(self._waiting) < MOST_WAITING:
                self._waiting.append(answer)
            return None
        request = answer.transaction.request
        if status >= 200 or RELIABLE not in answer.lines or request is None:
            return answer.lines
        tag, cseq = answer.tag, request.cseq
        last = self._said.get(tag)
        if again and last is not None:
            number = last.number
        elif last is not None and last.cseq == cseq:
            number = last.number + 1
        else:  # computed, so that a process that sends the response again after our death uses the same number
            number = 1 + (crc32(f"{request.call_id} {tag} {cseq}".encode()) & _MASK)
        self._said[tag] = ReliableState(tag, cseq, number, False)
        self._unheard, self.described, self._leg = tag, bool(answer.body), leg
        self._asked = answer.transaction
        return (*answer.lines, f"RSeq: {number}")

    def sent(self, flow: Flow, data: bytes, now: float) -> None:
        """A provisional response was sent. If it waits for its PRACK, repeat it until that comes, on streams too."""
        if self._unheard and not self._data and data:
            self.generation += 1
            self._data, self._flow, self._interval = data, flow, self._stack.timers.t1
            self._stack.deadlines.set(now + self._interval, self, _AGAIN)
            self._stack.deadlines.set(now + self._stack.timers.lifetime, self, _LOST)

    def acknowledge(self, leg: ReliableLeg, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Process a PRACK. One with an offer or answer is passed to the owner, others are answered here."""
        state = self._said.get(passable_tag(request.to_tag))
        if state is None or not _acknowledges(request, state):
            leg.reply(transaction, 481, now)
            return
        if self._unheard == state.tag:
            self._said[state.tag] = state._replace(acknowledged=True)
            self._stop_repeating()
            leg.owner.acknowledged(leg, request, now)
        if description_in(request) is not None:
            leg.owner.requested(leg, transaction, request, now)
        else:
            leg.reply(transaction, 200, now)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            leg.reply(each.transaction, each.status, now, each.reason, each.lines, each.body, each.tag)

    def stop(self) -> None:
        """Wait for no PRACK any more: drop the responses that wait."""
        self._stop_repeating()
        self._waiting = []

    def _stop_repeating(self) -> None:
        self._unheard, self._data, self._leg, self._asked = "", b"", None, None
        self.generation += 1

    def due(self, cause: str, now: float) -> None:
        stack, leg = self._stack, self._leg
        if cause is _AGAIN and self._flow is not None:
            self._interval *= 2
            stack.deadlines.set(now + self._interval, self, _AGAIN)
            stack.send(self._flow, self._data)
        elif leg is not None and self._asked is not None:
            asked = self._asked
            self.stop()
            if leg.established:
                leg.reply(asked, 500, now)
            else:
                leg.unacknowledged(now)

    # Responses that we receive (section 4).

    def hear(self, response: Response, repeats: bool) -> bool:
        """Whether a received response is in order: not reliable, or the next reliable one of its dialog. ``repeats``:
        on this hop it may come several times, or out of order."""
        tag, number = passable_tag(response.to_tag), _number(response.get("rseq") or "")
        if not number or "100rel" not in (token.lower() for token in tokens(response.all("require"))):
            return True
        last = self._heard.get(tag)
        if last is not None and last.cseq == response.cseq:
            if repeats and number != last.number + 1:
                if number == last.number and tag in self._perhaps:  # it still comes: the PRACK was not sent, or lost
                    self._perhaps.discard(tag)
                    self._heard[tag] = last._replace(acknowledged=False)
                return False
        elif last is None and len(self._heard) >= MOST_DIALOGS:
            return False
        self._heard[tag] = ReliableState(tag, response.cseq, number, False)
        return True

    def prack(self, leg: ReliableLeg, response: Response, offered: bool, now: float) -> None:
        """Send the PRACK for a received response, unless the response makes an offer: then the owner sends its PRACK,
        with the answer. ``offered``: our INVITE had an offer, so a description in the response is the answer."""
        tag = passable_tag(response.to_tag)
        state = self._heard.get(tag)
        if state is None or state.acknowledged or (not offered and description_in(response) is not None):
            return
        self._heard[tag] = state._replace(acknowledged=True)
        leg.send("PRACK", (), b"", now, OwnPrack(tag))

    def rack(self, tag: str) -> tuple[str, ...]:
        """The RAck line of a PRACK in the early dialog of ``tag``, or in that of the last response; an empty tuple
        when there was no response to acknowledge."""
        state = self._heard.get(tag) or next(reversed(self._heard.values()), None)
        if state is None:
            return ()
        self._heard[state.tag] = state._replace(acknowledged=True)
        return (f"RAck: {state.number} {state.cseq} INVITE",)


def _acknowledges(prack: Request, state: ReliableState) -> bool:
    """Whether a PRACK acknowledges that response (section 7.2)."""
    parts = (prack.get("rack") or "").split()
    return len(parts) == 3 and parts[2].upper() == "INVITE" and parts[:2] == [str(state.number), str(state.cseq)]


def _number(value: str) -> int:
    """The number in an RSeq value (section 7.1), 0 when it is not valid."""
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 11 else 0
