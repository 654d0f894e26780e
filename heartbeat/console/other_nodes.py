"""The requesting side of `heartbeat.console_exchange`: a server passes requests of its API on to other nodes of the
site, and their answers back unchanged."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

from heartbeat.console.client import NO_ANSWER
from heartbeat.console.contract import Refused
from heartbeat.console.passed_on import POST, Question, packed, unpacked
from heartbeat.console_exchange import ConsoleAnswered, ConsoleExchange
from sip.io.pump import Pump

MOST_NAMED: Final = 20
"""Nodes that are listed in a refusal."""
_ANSWER: Final = re.compile(rb'\{"status": (200|[45]\d\d), "body": (.*)\}', re.DOTALL)


class OtherNodes:
    """Passes the requests of one server on; to be made when its core has its pump."""

    def __init__(
        self, node: str, nodes: Callable[[], Collection[str]], exchange: ConsoleExchange, pump: Pump
    ) -> None:
        """``nodes``: the names of all servers and agents of the site."""
        self._node = node
        self._nodes = nodes
        self._exchange = exchange
        self._pump = pump
        self._waiting: dict[int, asyncio.Future[ConsoleAnswered]] = {}
        self._early: ConsoleAnswered | None = None
        pump.others[ConsoleAnswered] = self._answered

    def is_here(self, node: str) -> bool:
        """Whether ``node`` is this server. Raises :class:`Refused` if the site has no such node."""
        nodes = self._nodes()
        if node not in nodes:
            more = f" and {len(nodes) - MOST_NAMED:,} more" if len(nodes) > MOST_NAMED else ""
            raise Refused(f"The site has no node {node!r}; it has {', '.join(islice(nodes, MOST_NAMED))}{more}.", 404)
        return node == self._node

    async def ask(self, node: str, question: Question) -> tuple[int, bytes]:
        """HTTP status and JSON body of the answer of ``node``. Raises :class:`Refused` when it does not answer."""
        asked = packed(
            {
                "method": question.method,
                "name": question.name,
                "params": dict(question.params),
                "user": question.user,
            }
        )
        future: asyncio.Future[ConsoleAnswered] = asyncio.get_running_loop().create_future()
        number = self._pump.ask(self._exchange.ask, node, asked)
        early, self._early = self._early, None
        if early is not None and early.number == number:
            told = early
        else:
            self._waiting[number] = future
            try:
                told = await future
            finally:
                self._waiting.pop(number, None)
        if told.fault:
            unknown = " The order may have been carried out: look before you give it again."
            raise Refused(f"{told.fault}.{unknown if question.method == POST else ''}", NO_ANSWER)
        try:
            text = await asyncio.to_thread(unpacked, told.answer)
        except zlib.error as error:
            raise Refused(f"What {node} answered cannot be read: {error}.", NO_ANSWER) from None
        found = _ANSWER.fullmatch(text)
        if found is None:
            raise Refused(f"What {node} answered cannot be read: it is no answer.", NO_ANSWER)
        return int(found[1]), found[2]

    def _answered(self, told: ConsoleAnswered) -> None:
        future = self._waiting.get(told.number)
        if future is None:
            self._early = told  # it failed before `ask` had its number, or the client has gone
        elif not future.done():
            future.set_result(told)
