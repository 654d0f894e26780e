"""Commands for the rtpengine daemons of one agent, each sent again under its cookie until it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway_agent.rtpengine import ng

AGAIN: Final = (0.25, 0.5, 1.0, 2.0)
"""Seconds until a command is sent again; after the last its daemon counts as gone."""

Answer = dict[str, Any] | None
"""What a daemon answered; None when it did not."""
Then = Callable[[Answer, float], None]


class _Asked:
    """A command without an answer."""

    __slots__ = ("data", "number", "sent_at", "then", "tries")

    def __init__(self, number: int, data: bytes, then: Then) -> None:
        self.number = number
        self.data = data
        self.then = then
        self.tries = 0
        self.sent_at: float | None = None
        """None before it was sent for the first time."""


class Commands:
    """``silent`` is called with the number of a daemon that has not answered a command."""

    def __init__(self, serial: int, silent: Callable[[int], None]) -> None:
        """``serial`` begins the cookies: other starts of the agent have others."""
        self.now = 0.0
        """The time of the last input."""
        self._serial = serial
        self._silent = silent
        self._asked: dict[str, _Asked] = {}
        self._unsent: list[str] = []

    def ask(self, number: int, words: dict[str, ng.Value], then: Then) -> None:
        """Ask that daemon; ``then`` gets its answer."""
        self._serial += 1
        cookie = f"{self._serial:x}"
        self._asked[cookie] = _Asked(number, ng.message(cookie, words), then)
        self._unsent.append(cookie)

    def to_send(self, now: float) -> list[tuple[int, bytes]]:
        """Datagrams by the number of their daemon; returned once."""
        self.now = now
        out = []
        for cookie in self._unsent:
            if (asked := self._asked.get(cookie)) is not None:
                asked.sent_at = now
                out.append((asked.number, asked.data))
        self._unsent.clear()
        return out

    def receive(self, number: int, data: bytes, now: float) -> None:
        """A datagram of that daemon."""
        self.now = now
        try:
            cookie, answer = ng.parsed(data)
        except ng.BadMessage:
            return
        asked = self._asked.get(cookie)
        if asked is not None and asked.number == number:
            del self._asked[cookie]
            asked.then(answer, now)

    def handle_timer(self, now: float) -> None:
        """To be called several times a second: send again what is due."""
        self.now = now
        gone = set()
        for cookie, asked in self._asked.items():
            if asked.sent_at is None or now < asked.sent_at + AGAIN[asked.tries]:
                continue
            if asked.tries + 1 == len(AGAIN):
                gone.add(asked.number)
                continue
            asked.tries += 1
            asked.sent_at = None
            self._unsent.append(cookie)
        for number in gone:
            self.give_up(number, now)

    def give_up(self, number: int, now: float) -> None:
        """That daemon is not there: nothing is sent to it again."""
        void = [cookie for cookie, asked in self._asked.items() if asked.number == number]
        unanswered = [self._asked.pop(cookie) for cookie in void]
        self._silent(number)
        for asked in unanswered:
            asked.then(None, now)
