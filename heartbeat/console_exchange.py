"""Passes operators' console requests from a server to another node, and the answers back. A sans-I/O core.

On the machine of a server only the API of that server can be reached, most often as a UNIX socket, not those of other
nodes. So the server passes a request on, to the other server or to an agent. Request and answer go in pieces, each in
a signed statement (``kind=console``) on the connections that heartbeats use::

    asks                                     answers
    fetch=7/q/0/1200/<base64>                piece=7/q/900        the next byte of question 7 that is wanted
    fetch=7/q/900/1200/<base64>              piece=7/a/0/0/       it is there whole; no answer yet
    fetch=7/a/0                              piece=7/a/0/2400/<base64>
    fetch=7/a/900 fetch=7/a/1800             ...

A request is carried out once, however often its pieces come: it names the present start of the node that is asked
(``start``), so that a replayed message is refused, and each number is accepted once for each start of the asking
server. Servers ask; agents only answer.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from heartbeat.decision import Tell
from heartbeat.header import CONSOLE, Beat
from heartbeat.participant import Participant
from sip.timers import Deadlines

PIECE: Final = 900
"""Bytes of one piece: with its header it fits into a datagram."""
WINDOW: Final = 8
"""Pieces of answers requested from one node at a time: an agent's calls use the same connection."""
MOST_QUESTION: Final = 128 * 1024
MOST_ANSWER: Final = 4 * 1024 * 1024
"""Most bytes of a question and of an answer, as they are transferred."""
MOST_TOGETHER: Final = 32 * 1024 * 1024
"""Most bytes of all pending answers."""
MOST_ASKED: Final = 16
"""Most pending questions to one node, and most questions of one server that are remembered."""
MOST_UNDER_WAY: Final = 64
"""Most pending questions to all nodes."""
LATE: Final = 256
"""A question may arrive after others whose numbers are higher by up to this."""
AGAIN: Final = 0.25
"""Seconds after which an unanswered request is repeated."""
SOON: Final = 0.01
LATEST: Final = 0.5
"""Seconds between two polls for an answer, at first and at last."""
TIMEOUT: Final = 2.0
"""Seconds without any message from the other node after which a question fails."""
LONGEST: Final = 30.0
"""Seconds that an answer may take."""
KEPT: Final = 2 * LONGEST
"""Seconds for which a question of another server is remembered, with its answer."""

_LOOK: Final = "look"


class ConsoleAsked(NamedTuple):
    """An action for the shell: answer this, by `ConsoleExchange.serve`."""

    node: str
    number: int
    question: bytes


class ConsoleAnswered(NamedTuple):
    """An action for the shell: the answer to a question of ours, or why there is none, as a sentence."""

    number: int
    answer: bytes
    fault: str


class _Question:
    """A pending question of ours."""

    def __init__(self, node: str, start: int, number: int, question: bytes, now: float) -> None:
        self.node = node
        self.start = start
        """The incarnation of the node that is asked: a later start of it does not carry the request out again."""
        self.number = number
        self.question = question
        self.sent = 0
        """Bytes of the question that the other node has confirmed."""
        self.begun_at = self.heard_at = now
        self.pause = SOON
        self.size = 0
        """Bytes of the answer; 0: not known yet."""
        self.pieces: dict[int, bytes] = {}
        self.asked: dict[int, float] = {}
        """Offset of a piece that has not come -> when it was last requested."""
        self.next = PIECE
        """The offset of the next piece to request; the first piece gives the size."""


class _Known:
    """A question of another server."""

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.begun_at = now
        self.question = b""
        self.answer: bytes | None = None


class _Asker:
    """The questions of one start of another server."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.known: OrderedDict[int, _Known] = OrderedDict()
        self._heard: set[int] = set()
        self._least = 1

    def is_new(self, number: int) -> bool:
        """Whether a question with that number is new: each is accepted once, and no more than ``LATE`` numbers
        late."""
        if number < self._least or number in self._heard:
            return False
        self._heard.add(number)
        if number - LATE >= self._least:
            self._least = number - LATE + 1
            self._heard = {one for one in self._heard if one >= self._least}
        return True


def _no_fault(node: str) -> str:
    return ""


class ConsoleExchange:
    """The exchange of one node. ``ask`` sends a statement to the node that it names, ``do`` takes actions for the
    shell. ``fault`` returns why a node cannot be asked now, as a sentence without its full stop; empty when it
    can."""

    def __init__(
        self,
        participant: Participant,
        ask: Callable[[Tell], None],
        do: Callable[[Any], None],
        deadlines: Deadlines,
        fault: Callable[[str], str] = _no_fault,
    ) -> None:
        self.generation = 0
        self._participant = participant
        self._ask = ask
        self._do = do
        self._deadlines = deadlines
        self._fault = fault
        self._number = 0
        self._questions: dict[int, _Question] = {}
        self._askers: dict[str, _Asker] = {}
        self._look = float("inf")
        """The next deadline, infinity for none."""

    # -- who asks

    def ask(self, node: str, question: bytes, now: float) -> int:
        """Send a question to another node. Returns its number, which `ConsoleAnswered` names."""
        self._number += 1
        start = self._participant.incarnation_of(node)
        to_it = sum(1 for one in self._questions.values() if one.node == node)
        if fault := self._fault(node):
            pass
        elif not start:
            fault = f"{node} has not been heard by {self._participant.name} since its start: ask on its machine"
        elif to_it >= MOST_ASKED:
            fault = f"{MOST_ASKED} questions are under way to {node}: ask again in a moment"
        elif len(self._questions) >= MOST_UNDER_WAY:
            fault = f"{MOST_UNDER_WAY} questions are under way to other nodes: ask again in a moment"
        elif len(question) > MOST_QUESTION:
            fault = f"the question has {len(question):,} bytes; {MOST_QUESTION:,} are passed on"
        if fault:
            self._do(ConsoleAnswered(self._number, b"", fault))
            return self._number
        one = self._questions[self._number] = _Question(node, start, self._number, question, now)
        self._say_more(one)
        self._look_at(now + AGAIN)
        return one.number

    def answered(self, answer: Beat, now: float) -> None:
        """Process another node's statement about a question that was sent in this start of our node."""
        if answer.re is None or answer.re[0] != self._participant.on_disk.incarnation:
            return
        number, kind, offset, size, data = _read(answer.piece)
        one = self._questions.get(number)
        if one is None or one.node != answer.node:
            return
        for other in self._questions.values():
            if other.node == answer.node:  # so that questions which wait for their turn do not fail
                other.heard_at = now
        if kind == "gone":
            self._end(one, f"{one.node} was started anew meanwhile, or has forgotten the question: ask again")
        elif kind == "q":
            if one.sent < offset < len(one.question):
                one.sent = offset
                self._say_more(one)
        elif kind == "a" and one.sent < len(one.question):
            one.sent = len(one.question)
            self._look_at(now + one.pause)
        elif kind == "a" and size > MOST_ANSWER:
            self._end(one, f"the answer has {size:,} bytes; ask for less")
        elif kind == "a" and size:
            self._take(one, offset, size, data, now)

    def _take(self, one: _Question, offset: int, size: int, data: bytes, now: float) -> None:
        if one.size not in (0, size) or offset >= size or len(data) != min(PIECE, size - offset):
            return
        if not one.size and size + sum(each.size for each in self._questions.values()) > MOST_TOGETHER:
            self._end(one, "too much is under way from other nodes: ask again in a moment")
            return
        one.size = size
        one.pieces[offset] = data
        one.asked.pop(offset, None)
        if len(one.pieces) * PIECE >= size:
            self._questions.pop(one.number)
            self._do(ConsoleAnswered(one.number, b"".join(one.pieces[at] for at in sorted(one.pieces)), ""))
        self._fill(one.node, now)

    def _fill(self, node: str, now: float) -> None:
        """Request further pieces from a node, up to ``WINDOW`` at a time, those of the first question first."""
        of_it = [one for one in self._questions.values() if one.node == node and one.size]
        under_way = sum(len(one.asked) for one in of_it)
        for one in of_it:
            while under_way < WINDOW and one.next < one.size:
                self._want(one, one.next, now)
                one.next += PIECE
                under_way += 1

    def _want(self, one: _Question, at: int, now: float) -> None:
        one.asked[at] = now
        self._say(one, f"{one.number}/a/{at}")

    def _say_more(self, one: _Question) -> None:
        data = urlsafe_b64encode(one.question[one.sent : one.sent + PIECE]).rstrip(b"=").decode()
        self._say(one, f"{one.number}/q/{one.sent}/{len(one.question)}/{data}")

    def _say(self, one: _Question, fetch: str) -> None:
        stamp = self._participant.stamp(one.node, kind=CONSOLE, fetch=fetch, for_incarnation=one.start)
        self._ask(Tell(one.node, stamp))

    def _end(self, one: _Question, fault: str) -> None:
        self._questions.pop(one.number)
        self._do(ConsoleAnswered(one.number, b"", fault))

    def _look_at(self, at: float) -> None:
        """Set the deadline to ``at``, unless it is due before."""
        if at < self._look:
            self._look = at
            self.generation += 1
            self._deadlines.set(at, self, _LOOK)

    def due(self, cause: str, now: float) -> None:
        """Repeat unanswered requests, poll for answers, and forget old questions of other servers."""
        self._look = float("inf")
        for one in list(self._questions.values()):
            if now - one.heard_at >= TIMEOUT:
                said = f"{one.node} does not answer what {self._participant.name} passes on"
                self._end(one, f"{said}: it is not there, or of an older version; ask on its machine")
            elif now - one.begun_at >= LONGEST:
                self._end(one, f"{one.node} has had no answer for {LONGEST:.0f} s")
            elif one.sent < len(one.question):
                self._say_more(one)
            elif not one.size:
                one.pause = min(LATEST, one.pause * 1.5)
                self._want(one, 0, now)
            else:
                for at, asked_at in list(one.asked.items()):
                    if now - asked_at >= AGAIN:
                        self._want(one, at, now)
                self._fill(one.node, now)
        if self._questions:
            pauses = [
                one.pause if one.sent >= len(one.question) and not one.size else AGAIN
                for one in self._questions.values()
            ]
            self._look_at(now + min(pauses))
        for asker in self._askers.values():
            for number in [number for number, known in asker.known.items() if now - known.begun_at >= KEPT]:
                del asker.known[number]
        if left := [known.begun_at for asker in self._askers.values() for known in asker.known.values()]:
            self._look_at(min(left) + KEPT)

    # -- who is asked

    def answer(self, asked: Beat, now: float) -> Beat:
        """The statement that answers one of another server."""
        re = (asked.incarnation, asked.seq)
        return self._participant.stamp(asked.node, kind=CONSOLE, re=re, piece=self._piece(asked, now))

    def serve(self, node: str, number: int, answer: bytes, now: float) -> None:
        """Set the answer of this node to a question of ``node`` (`ConsoleAsked`), to be fetched from here."""
        asker = self._askers.get(node)
        if asker is not None and (one := asker.known.get(number)) is not None:
            one.answer = answer

    def _piece(self, asked: Beat, now: float) -> str:
        number, kind, offset, size, data = _read(asked.fetch)
        gone = f"{number}/gone"
        ours, known = self._participant.on_disk.incarnation, self._participant.incarnation_of(asked.node)
        asker = self._askers.get(asked.node)
        newest = known if asker is None else max(known, asker.incarnation)
        if asked.for_incarnation != ours or asked.incarnation < newest or not number:
            return gone  # meant for an earlier start of ours, or sent by an earlier start of theirs
        if asker is None or asker.incarnation < asked.incarnation:
            asker = self._askers[asked.node] = _Asker(asked.incarnation)
        one = asker.known.get(number)
        if kind == "q" and one is None and offset == 0 and 0 < size <= MOST_QUESTION and asker.is_new(number):
            one = asker.known[number] = _Known(size, now)
            self._look_at(now + KEPT)
            if len(asker.known) > MOST_ASKED:
                asker.known.popitem(last=False)
        if one is None:
            return gone
        if kind == "q" and offset == len(one.question) and size == one.size and data:
            one.question = (one.question + data)[: one.size]
            if len(one.question) == one.size:
                self._do(ConsoleAsked(asked.node, number, one.question))
        if len(one.question) < one.size:
            return f"{number}/q/{len(one.question)}"
        if kind == "q" or one.answer is None or offset >= len(one.answer):
            return f"{number}/a/0/0/"
        piece = urlsafe_b64encode(one.answer[offset : offset + PIECE]).rstrip(b"=").decode()
        return f"{number}/a/{offset}/{len(one.answer)}/{piece}"


def _read(text: str) -> tuple[int, str, int, int, bytes]:
    """Number, kind, offset, size and data of ``number/kind/offset/size/base64``; missing parts are 0 or empty."""
    number, _, rest = text.partition("/")
    kind, _, rest = rest.partition("/")
    offset, _, rest = rest.partition("/")
    size, _, data = rest.partition("/")
    try:
        found = urlsafe_b64decode(data + "=" * (-len(data) % 4))
    except ValueError:
        return 0, "", 0, 0, b""
    return _number(number), kind, _number(offset), _number(size), found


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
