"""Resolving SIP URIs (RFC 3263) from a cache that is refreshed before its entries expire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from sip.actions import Address
from sip.dns_cache import NameCache
from sip.endpoint import is_numeric
from sip.io.clock import boottime
from sip.location import Answer, Host, NoAnswer, Place, Question, find
from sip.wire.errors import Malformed
from sip.wire.uri import Uri

if TYPE_CHECKING:
    from sip.io.dns_client import DnsClient

logger = logging.getLogger(__name__)

TICK: Final = 1.0  # seconds between two searches for entries to refresh
_AT_ONCE: Final = 64  # concurrent questions to DNS
_HOSTS: Final = Path("/etc/hosts")
_HOSTS_TTL: Final = 60.0


class Resolver:
    """Answers from its cache and asks DNS in the background. Raises for no fault of DNS or of a URI."""

    def __init__(
        self,
        rng: Random,
        *,
        nameserver: Address | None = None,
        supported: Sequence[str] = ("udp", "tcp"),
        families: Sequence[str] = ("A", "AAAA"),
        timeout_s: float = 4.0,
        hosts: Path = _HOSTS,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """``nameserver`` replaces those of /etc/resolv.conf; ``supported``: our transports, ``families``: record
        types of our addresses, each with the preferred ones first; ``timeout_s``: limit for one question, in seconds.
        """
        self._rng = rng
        self._supported = tuple(supported)
        self._families = tuple(families)
        self._timeout = timeout_s
        self._hosts = hosts
        self._clock = clock
        self._cache = NameCache()
        self._asking: dict[Question, asyncio.Task[Answer]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._nameserver = nameserver
        self._client: DnsClient | None = None
        """Made with the first question, since loading dnspython takes time and many programs ask none."""
        self._ticking: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the running loop, to refresh entries in use before they expire."""
        self._tick()

    def close(self) -> None:
        """Stop refreshing and cancel the questions under way."""
        if self._ticking is not None:
            self._ticking.cancel()
        for task in self._asking.values():
            task.cancel()

    def look(self, uri: str, now: float) -> list[Place] | str | None:
        """The places of ``uri`` from the cache, in the order to try them; None: not cached, so `resolve` it.

        Never asks DNS: takes some µs for a numeric host, some tens for a name. An empty list: there are none; a
        string: DNS did not answer the last time, with the reason.
        """
        search = self._search(uri)
        if search is None:
            return []
        asked: list[Question] = []
        try:
            questions = next(search)
            while True:
                answers: list[Answer] = []
                for question in questions:
                    answer = self._cache.get(question, now)
                    if answer is None:
                        return None
                    answers.append(answer)
                asked += questions
                questions = search.send(answers)
        except StopIteration as end:
            return self._found(end.value, asked)

    async def resolve(self, uri: str) -> list[Place] | str:
        """As `look`, but asks DNS for what is not cached. Never raises."""
        search = self._search(uri)
        if search is None:
            return []
        asked: list[Question] = []
        try:
            questions = next(search)
            while True:
                answers = await asyncio.gather(*(self._answer(question) for question in questions))
                asked += questions
                questions = search.send(answers)
        except StopIteration as end:
            return self._found(end.value, asked)

    def refresh(self, now: float) -> None:
        """Ask again for entries that are in use and expire soon."""
        for question in self._cache.due(now):
            if question not in self._asking:
                self._ask(question)

    def _found(self, places: list[Place], asked: list[Question]) -> list[Place] | str:
        """The places; without any, the reason why a question had no answer, if one had none."""
        if not places:
            for question in asked:
                if because := self._cache.why(question):
                    return f"{question.kind} of {question.name}: {because}"
        return places

    def _tick(self) -> None:
        self.refresh(self._clock())
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _search(self, uri: str) -> Generator[list[Question], list[Answer], list[Place]] | None:
        try:
            return find(Uri.parse(uri), self._rng, self._supported, self._families)
        except Malformed as error:
            logger.info("no targets for a URI: %s", error)
            return None

    async def _answer(self, question: Question) -> Answer:
        known = self._cache.get(question, self._clock())
        if known is not None:
            return known
        # Shielded: a caller that is cancelled must not cancel the question for others.
        return await asyncio.shield(self._asking.get(question) or self._ask(question))

    def _ask(self, question: Question) -> asyncio.Task[Answer]:
        task = asyncio.get_running_loop().create_task(self._query(question))
        self._asking[question] = task
        task.add_done_callback(lambda _: self._asking.pop(question, None))
        return task

    async def _query(self, question: Question) -> Answer:
        local = self._from_hosts(question)
        if local:
            self._cache.put(question, local, _HOSTS_TTL, self._clock())
            return local
        try:
            async with self._places:
                answer, ttl = await self._from_dns(question)
        except NoAnswer as error:
            logger.warning("%s %s: %s", question.kind, question.name, error)
            self._cache.fail(question, self._clock(), str(error))
            return self._cache.get(question, self._clock()) or ()
        self._cache.put(question, answer, ttl, self._clock())
        return answer

    async def _from_dns(self, question: Question) -> tuple[Answer, float]:
        if self._client is None:
            from sip.io.dns_client import DnsClient

            self._client = DnsClient(self._nameserver, self._timeout)
        return await self._client.ask(question)

    def _from_hosts(self, question: Question) -> Answer:
        """Addresses of a name from /etc/hosts, which DNS need not know, such as ``localhost``."""
        if question.kind not in ("A", "AAAA"):
            return ()
        try:
            lines = self._hosts.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return ()
        fields = [line.partition("#")[0].split() for line in lines]
        return tuple(
            Host(address)
            for address, *names in filter(None, fields)
            if question.name in names and is_numeric(address) and (":" in address) == (question.kind == "AAAA")
        )
