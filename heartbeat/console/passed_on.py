"""The answering side of `heartbeat.console_exchange`: requests that a server passes on to this node are answered as
by its own API. Also the encoding of requests and answers."""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heartbeat.console.answers import Answers
from heartbeat.console.contract import Refused
from heartbeat.console_exchange import MOST_ANSWER, ConsoleAsked, ConsoleExchange
from sip.io.pump import Pump

logger = logging.getLogger(__name__)

GET: Final = "GET"
POST: Final = "POST"
MOST_TEXT: Final = 8 * 1024 * 1024
"""Bytes of a request or an answer before compression."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request for another node."""

    method: str
    """``GET`` a page, or ``POST`` a command."""
    name: str
    """The page or command."""
    params: Mapping[str, str]
    user: str
    """The user, for the audit log of the other node."""


async def _is_ready() -> None:
    pass


class PassedOn:
    """Answers the requests that are passed on to one node; to be made when its core has its pump."""

    def __init__(
        self,
        node: str,
        exchange: ConsoleExchange,
        pump: Pump,
        answers: Answers,
        pages: frozenset[str],
        orders: frozenset[str],
        ready: Callable[[], Awaitable[None]] = _is_ready,
    ) -> None:
        """``pages`` and ``orders``: those that may be passed on to this node; ``ready`` is awaited before each."""
        self._node = node
        self._exchange = exchange
        self._pump = pump
        self._answers = answers
        self._pages = pages
        self._orders = orders
        self._ready = ready
        self._working: set[asyncio.Task[None]] = set()
        pump.others[ConsoleAsked] = self._asked

    def _asked(self, asked: ConsoleAsked) -> None:
        task = asyncio.get_running_loop().create_task(self._work(asked))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, asked: ConsoleAsked) -> None:
        status, body = await self._answer(asked)
        answer = await asyncio.to_thread(_answer, self._node, status, body)
        self._pump.ask(self._exchange.serve, asked.node, asked.number, answer)

    async def _answer(self, asked: ConsoleAsked) -> tuple[int, Any]:
        try:
            await self._ready()
            question = _question(json.loads(unpacked(asked.question)))
            if question.method == GET and question.name in self._pages:
                return 200, await self._answers.page(question.name, question.params)
            if question.method == POST and question.name in self._orders:
                return 200, self._answers.order(question.name, question.params, question.user, f"by {asked.node}")
            said = f"There is no {question.method} {question.name} that a server may pass on to {self._node}."
            return 404, {"error": said}
        except Refused as refusal:
            return refusal.status, refusal.answer
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
            return 400, {"error": f"What {asked.node} passed on to {self._node} cannot be read."}
        except Exception:
            logger.exception("what %s passed on cannot be answered", asked.node)
            return 500, {"error": f"{self._node} failed to answer; its log says why."}


def _answer(node: str, status: int, body: Any) -> bytes:
    text = _text({"status": status, "body": body})
    answer = zlib.compress(text)
    if len(text) <= MOST_TEXT and len(answer) <= MOST_ANSWER:
        return answer
    return packed(
        {"status": 413, "body": {"error": f"The answer of {node} is too long to be passed on: ask for less."}}
    )


def _question(found: Any) -> Question:
    params = found["params"]
    if not isinstance(params, dict):
        raise TypeError("not a question")
    words = [found["method"], found["name"], found["user"], *params.values()]
    if not all(isinstance(word, str) for word in words):
        raise TypeError("not a question")
    return Question(found["method"], found["name"], params, found["user"][:200])


def packed(value: Any) -> bytes:
    """The encoded form: JSON, compressed by zlib (RFC 1950)."""
    return zlib.compress(_text(value))


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


def unpacked(data: bytes) -> bytes:
    """The JSON text of packed bytes. Raises `zlib.error` if they are invalid or the text is too long."""
    reader = zlib.decompressobj()
    found = reader.decompress(data, MOST_TEXT)
    if not reader.eof:
        raise zlib.error("it has no end, or is too long")
    return found
