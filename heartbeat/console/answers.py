"""What a process answers to pages and orders, whoever asks: its own API, or another server for an operator there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from heartbeat.console.api_socket import REFUSED, Audit
from heartbeat.console.contract import ConsoleProcess, Later, Refused
from heartbeat.console.schema import as_json

logger = logging.getLogger(__name__)

MOST_ROWS: Final = 2000
"""Rows that one page may ask for."""
LOOKS: Final = frozenset({"rehearse", "audit"})
"""Verbs that change nothing."""


class Answers:
    """Of one process. ``clock`` is the one that its core is told; ``audit`` is asked anew each time whom to tell."""

    def __init__(self, process: ConsoleProcess, clock: Callable[[], float], audit: Callable[[], Audit]) -> None:
        self._process = process
        self._clock = clock
        self._audit = audit
        self._reading = asyncio.Semaphore(1)

    async def page(self, name: str, params: Mapping[str, str]) -> Any:
        """A page as JSON, its instants on the wall clock. Raises :class:`Refused`."""
        now = self._clock()
        offset = time.time() - now  # before the view is made, which takes its time
        found = self._process.view(name, _checked(params), now)
        if isinstance(found, Later):
            async with self._reading:
                found = await asyncio.to_thread(found.work)
        return on_wall(as_json(found), offset)

    def order(self, name: str, params: Mapping[str, str], user: str, host: str) -> Any:
        """What comes of an order of ``user``, as JSON; it is in the audit log. Raises :class:`Refused`."""
        now, params = self._clock(), _checked(params)
        logger.info("%s asks for %s %s", user, name, dict(params))
        offset = time.time() - now
        try:
            answer = self._process.command(name, params, now)
        except Refused as refusal:
            self._audit()(user, host, name, params, REFUSED, refusal.sentence)
            raise
        if name not in LOOKS:
            state, sentence = getattr(answer, "state", "done"), getattr(answer, "sentence", "")
            self._audit()(user, host, name, params, state, sentence)
        return on_wall(as_json(answer), offset)


def on_wall(value: Any, offset: float) -> Any:
    """The same JSON with all instants (``at``, ``.._at``) moved by ``offset`` seconds, to the microsecond."""
    if isinstance(value, Mapping):
        return {
            key: round(item + offset, 6)
            if isinstance(item, int | float) and (key == "at" or key.endswith("_at"))
            else on_wall(item, offset)
            if isinstance(item, Mapping | list | tuple)
            else item
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [on_wall(item, offset) for item in value]
    return value


def _checked(params: Mapping[str, str]) -> Mapping[str, str]:
    limit = params.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_ROWS):
        raise Refused(f"limit is a number from 1 to {MOST_ROWS}, not {limit[:40]!r}.", 400)
    return params
