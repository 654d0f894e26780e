"""Answers to requests for pages and commands, from the process's own API or passed on by another server."""

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
"""Largest ``limit`` of a page."""
LOOKS: Final = frozenset({"rehearse", "audit"})
"""Commands that change nothing and so are not written to the audit log."""


class Answers:
    """The answers of one process. ``clock`` is that of its core; ``audit`` is called for the present audit
    function."""

    def __init__(self, process: ConsoleProcess, clock: Callable[[], float], audit: Callable[[], Audit]) -> None:
        self._process = process
        self._clock = clock
        self._audit = audit
        self._reading = asyncio.Semaphore(1)

    async def page(self, name: str, params: Mapping[str, str]) -> Any:
        """A page as JSON, its instants in epoch seconds. Raises :class:`Refused`."""
        now = self._clock()
        offset = time.time() - now  # before the view is made, which takes time
        found = self._process.view(name, _checked(params), now)
        if isinstance(found, Later):
            async with self._reading:
                found = await asyncio.to_thread(found.work)
        return on_wall(as_json(found), offset)

    def order(self, name: str, params: Mapping[str, str], user: str, host: str) -> Any:
        """Carry out a command of ``user`` and write it to the audit log; its result as JSON. Raises
        :class:`Refused`."""
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
    """The same JSON with ``offset`` seconds added to all instants (``at``, ``.._at``), rounded to microseconds."""
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
