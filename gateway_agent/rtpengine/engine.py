"""One rtpengine daemon: whether it answers, and the sessions that it has ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway_agent.media.ports import Pair
from gateway_agent.rtpengine import ng
from gateway_agent.rtpengine.commands import Answer, Commands, Then
from gateway_agent.rtpengine.words import HERE, THERE, ZERO, because, command, place_of, port_of, sdp
from sip.wire.headers import bracketed

STOCK_LIFE: Final = 1800.0
"""Seconds after which a session in stock is replaced: rtpengine deletes one without media after an hour
(``silent-timeout``)."""
_PING: Final = 1.0
"""Seconds between two questions whether the daemon is there."""
_AT_ONCE: Final = 32
"""Sessions for the stock that are being made at a time."""
_LISTED: Final = 500
"""Calls that the daemon lists in one answer, which must be one datagram."""
_PROBED: Final = {True: "2001:db8::1", False: "192.0.2.1"}
"""Addresses that belong to nobody (RFC 3849, RFC 5737), for a description of which only the answer counts."""

Families = tuple[bool, bool]
"""Whether the device's side and the servers' side are reached by IPv6."""


class Ready:
    """A session in stock."""

    __slots__ = ("id", "made_at", "pairs")

    def __init__(self, id_: str, pairs: tuple[Pair, Pair], made_at: float) -> None:
        self.id = id_
        """The Call-ID by which the daemon knows it."""
        self.pairs = pairs
        self.made_at = made_at


class Engine:
    """``new_id`` makes a Call-ID; ``returned`` is called when it answers, for the first time or again; ``trouble``
    with a sentence for the log."""

    def __init__(
        self,
        number: int,
        address: tuple[str, int],
        commands: Commands,
        ahead: int,
        new_id: Callable[[], str],
        returned: Callable[[Engine], None],
        trouble: Callable[[str], None],
    ) -> None:
        """``ahead``: sessions in stock; a quarter of that where the sides have different address families."""
        self.name = f"{bracketed(address[0])}:{address[1]}"
        self.up = False
        self.places: dict[bool, str] = {}
        """The address that it writes into descriptions, for IPv4 and IPv6 as far as it has them."""
        self.in_use = 0
        """Sessions of calls."""
        self._number = number
        self._commands = commands
        self._ahead = ahead
        self._new_id = new_id
        self._returned = returned
        self._trouble = trouble
        self._stock: dict[Families, deque[Ready]] = {}
        self._making: dict[str, Families] = {}
        """Sessions that are being made, by Call-ID."""
        self._asked_at: float | None = None
        self._complaint = ""

    @property
    def trouble(self) -> str:
        """Why it makes no sessions, a sentence; ``""`` while it does."""
        return self._complaint if self.up else f"rtpengine at {self.name} does not answer"

    @property
    def ready(self) -> int:
        """Sessions in stock."""
        return sum(map(len, self._stock.values()))

    def has(self, six: Families) -> bool:
        """Whether a session is ready."""
        return self.up and bool(self._stock.get(six))

    def take(self, six: Families) -> Ready:
        """A session out of the stock, which has one."""
        return self._stock[six].popleft()

    def ask(self, words: dict[str, ng.Value], then: Then) -> None:
        """Send a command; ``then`` gets the answer."""
        self._commands.ask(self._number, words, then)

    def delete(self, id_: str) -> None:
        """Have it forget a call."""
        self.ask({"command": "delete", "call-id": id_, "delete-delay": 0}, _forget)

    def delete_others(self, prefix: str, known: Callable[[str], bool]) -> None:
        """Have it forget all calls that begin with ``prefix``, but those in stock and those that are ``known``."""

        def listed(answer: Answer, now: float) -> None:
            calls = answer.get("calls", ()) if answer is not None else ()
            stock = {session.id for sessions in self._stock.values() for session in sessions}
            void = [
                id_
                for id_ in calls
                if isinstance(id_, str)
                and id_.startswith(prefix)
                and not (id_ in stock or id_ in self._making or known(id_))
            ]
            for id_ in void:
                self.delete(id_)
            if len(calls) >= _LISTED and void:
                self.delete_others(prefix, known)

        self.ask({"command": "list", "limit": _LISTED}, listed)

    def silent(self) -> None:
        """It does not answer: its stock is void."""
        if self.up:
            self._trouble(f"rtpengine at {self.name} does not answer; new calls get their media elsewhere")
        self.up = False
        self._stock.clear()
        self._making.clear()

    def handle_timer(self, now: float) -> None:
        """To be called several times a second."""
        if self._asked_at is None or now >= self._asked_at + _PING:
            self._asked_at = now
            self.ask({"command": "ping"}, self._pong)
        if self.up:
            for here in self.places:
                for there in self.places:
                    self._fill((here, there), now)

    def _pong(self, answer: Answer, now: float) -> None:
        if answer is not None and answer.get("result") == "pong" and not self.up:
            for six in _PROBED:
                self._probe(six)

    def _probe(self, six: bool) -> None:
        """Find out at which address it receives media of that family."""
        id_ = self._new_id()

        def answered(answer: Answer, now: float) -> None:
            if answer is None:
                return
            self.delete(id_)
            if (":" in (place := place_of(answer))) == six and place:
                self.places[six] = place
            if not six and not self.up:
                self.up, self._complaint = True, ""
                self._returned(self)

        self.ask(command("offer", id_, HERE, six, sdp(_PROBED[six], 9, "inactive")), answered)

    def _fill(self, six: Families, now: float) -> None:
        stock = self._stock.setdefault(six, deque())
        while stock and now > stock[0].made_at + STOCK_LIFE:
            self.delete(stock.popleft().id)
        wanted = self._ahead if six[HERE] == six[THERE] else max(1, self._ahead // 4)
        making = sum(each == six for each in self._making.values())
        for _ in range(min(wanted - len(stock) - making, _AT_ONCE - len(self._making))):
            id_ = self._new_id()
            self._making[id_] = six
            self._describe("offer", id_, HERE, six, partial(self._offered, id_, six))

    def _describe(self, verb: str, id_: str, side: int, six: Families, then: Then) -> None:
        """A description by which nothing is sent anywhere."""
        self.ask(command(verb, id_, side, six[1 - side], sdp(ZERO[six[side]], 9, "inactive")), then)

    def _offered(self, id_: str, six: Families, answer: Answer, now: float) -> None:
        port = self._port(id_, answer)
        if port is not None:
            self._describe("answer", id_, THERE, six, partial(self._answered, id_, six, port))

    def _answered(self, id_: str, six: Families, there: int, answer: Answer, now: float) -> None:
        here = self._port(id_, answer)
        if here is not None:
            del self._making[id_]
            self._complaint = ""
            pairs = Pair(self.places[six[HERE]], here), Pair(self.places[six[THERE]], there)
            self._stock.setdefault(six, deque()).append(Ready(id_, pairs, now))

    def _port(self, id_: str, answer: Answer) -> int | None:
        """The port that it gave a session in the making; without one that is over."""
        if id_ not in self._making or answer is None:
            return None
        port = port_of(answer)
        if port is None:
            del self._making[id_]
            self.delete(id_)
            why = f"rtpengine at {self.name} makes no session: {because(answer)}"
            if why != self._complaint:
                self._complaint = why
                self._trouble(why)
        return port


def _forget(answer: Answer, now: float) -> None:
    pass
