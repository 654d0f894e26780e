"""The shell of `heartbeat.console_exchange`: what an operator asks this server of another one goes there, and what
another one passes on is answered here."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heartbeat.console.answers import Answers
from heartbeat.console.client import NO_ANSWER
from heartbeat.console.view import Refused
from heartbeat.console_exchange import MOST_ANSWER, ConsoleAnswered, ConsoleAsked, ConsoleExchange
from sip.io.pump import Pump

logger = logging.getLogger(__name__)

GET: Final = "GET"
POST: Final = "POST"
_MOST_TEXT: Final = 64 * 1024 * 1024
_MOST_LEVELS: Final = "nested too deeply"


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants of another server."""

    method: str
    """``GET``: the page ``name``. ``POST``: the order."""
    name: str
    params: Mapping[str, str]
    user: str
    """Who asks, as the audit log of the other server is to have it."""


class OtherServers:
    """Of one server. Made once its core is on its pump."""

    def __init__(
        self,
        node: str,
        servers: Callable[[], Mapping[str, Any]],
        exchange: ConsoleExchange,
        pump: Pump,
        answers: Answers,
        pages: frozenset[str],
        orders: frozenset[str],
    ) -> None:
        """``servers`` are those of the site by name; ``pages`` and ``orders`` what may be asked here from there."""
        self._node = node
        self._servers = servers
        self._exchange = exchange
        self._pump = pump
        self._answers = answers
        self._pages = pages
        self._orders = orders
        self._waiting: dict[int, asyncio.Future[ConsoleAnswered]] = {}
        self._early: ConsoleAnswered | None = None
        self._working: set[asyncio.Task[None]] = set()
        pump.others[ConsoleAsked] = self._asked
        pump.others[ConsoleAnswered] = self._answered

    def is_here(self, node: str) -> bool:
        """Whether that is this server. Raises :class:`Refused` where the site has none of the name."""
        if node not in self._servers():
            raise Refused(f"The site has no server {node!r}; it has {', '.join(self._servers())}.", 404)
        return node == self._node

    async def ask(self, node: str, question: Question) -> tuple[int, Any]:
        """HTTP status and JSON that ``node`` answers. Raises :class:`Refused` when it does not."""
        asked = {
            "method": question.method,
            "name": question.name,
            "params": dict(question.params),
            "user": question.user,
        }
        packed = _packed(asked)
        future: asyncio.Future[ConsoleAnswered] = asyncio.get_running_loop().create_future()
        number = self._pump.ask(self._exchange.ask, node, packed)
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
            found = await asyncio.to_thread(_read, told.answer)
            return int(found["status"]), found["body"]
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
            raise Refused(f"What {node} answered cannot be read: {error or _MOST_LEVELS}.", NO_ANSWER) from None

    def _answered(self, told: ConsoleAnswered) -> None:
        future = self._waiting.get(told.number)
        if future is None:
            self._early = told  # it failed before its number was known, or nobody waits for it any more
        elif not future.done():
            future.set_result(told)

    def _asked(self, asked: ConsoleAsked) -> None:
        task = asyncio.get_running_loop().create_task(self._work(asked))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, asked: ConsoleAsked) -> None:
        status, body = await self._answer(asked)
        packed = await asyncio.to_thread(_packed, {"status": status, "body": body})
        if len(packed) > MOST_ANSWER:
            said = f"The answer of {self._node} is too long to be passed on: ask for less."
            packed = _packed({"status": 413, "body": {"error": said}})
        self._pump.ask(self._exchange.serve, asked.node, asked.number, packed)

    async def _answer(self, asked: ConsoleAsked) -> tuple[int, Any]:
        try:
            question = _question(_read(asked.question))
            if question.method == GET and question.name in self._pages:
                return 200, await self._answers.page(question.name, question.params)
            if question.method == POST and question.name in self._orders:
                return 200, self._answers.order(question.name, question.params, question.user, f"by {asked.node}")
            said = f"There is no {question.method} {question.name} that another server may pass on to {self._node}."
            return 404, {"error": said}
        except Refused as refusal:
            return refusal.status, refusal.answer
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
            return 400, {"error": f"What {asked.node} passed on to {self._node} cannot be read."}
        except Exception:
            logger.exception("what %s passed on cannot be answered", asked.node)
            return 500, {"error": f"{self._node} failed to answer; its log says why."}


def _question(found: Any) -> Question:
    params = found["params"]
    if not isinstance(params, dict):
        raise TypeError("not a question")
    words = [found["method"], found["name"], found["user"], *params.values()]
    if not all(isinstance(word, str) for word in words):
        raise TypeError("not a question")
    return Question(found["method"], found["name"], params, found["user"][:200])


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode())


def _read(data: bytes) -> Any:
    """What was packed. Raises `zlib.error` for what is none, or too much, and `ValueError`, `RecursionError`."""
    reader = zlib.decompressobj()
    found = reader.decompress(data, _MOST_TEXT)
    if not reader.eof:
        raise zlib.error("it has no end, or is too long")
    return json.loads(found)
