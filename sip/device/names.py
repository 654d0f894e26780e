"""Resolving URIs (RFC 3263) for those who wait for the result: one question for each URI, with a time limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sip.actions import Resolve
from sip.layer import Stack
from sip.location import Place

LOOKUP_TIMEOUT: Final = 4.0
"""Seconds that a request waits for DNS at most."""

Located = Callable[[list[Place], str, float], None]
"""Called with the places in the order to try them, a sentence that says why there are none (else ``""``), and the
time."""


class Lookup:
    """One request that waits for its places."""

    __slots__ = ("generation", "names", "then", "uri")

    def __init__(self, names: NameLookups, uri: str, then: Located) -> None:
        self.names = names
        self.uri = uri
        self.then = then
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        self.generation += 1
        self.names.give_up(self)
        self.then([], f"{self.uri}: no answer from DNS within {LOOKUP_TIMEOUT:g} s", now)


class NameLookups:
    """The lookups of one program that are under way."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._waiting: dict[str, list[Lookup]] = {}

    def ask(self, uri: str, then: Located, now: float) -> None:
        """Look up the places of ``uri``; ``then`` is called once, never before this returns."""
        lookup = Lookup(self, uri, then)
        waiting = self._waiting.get(uri)
        if waiting is None:
            self._waiting[uri] = [lookup]
            self._stack.do(Resolve(uri))
        else:
            waiting.append(lookup)
        self._stack.deadlines.set(now + LOOKUP_TIMEOUT, lookup, "name")

    def resolved(self, uri: str, result: list[Place] | str, now: float) -> None:
        """The result of a :class:`~sip.actions.Resolve`."""
        places, because = ([], result) if isinstance(result, str) else (result, "")
        if not places and not because:
            because = f"{uri}: DNS knows no address for it"
        for lookup in self._waiting.pop(uri, ()):
            lookup.generation += 1
            lookup.then(places, because, now)

    def give_up(self, lookup: Lookup) -> None:
        """Remove a lookup that has waited long enough; a late answer only fills the cache."""
        waiting = self._waiting.get(lookup.uri, [])
        if lookup in waiting:
            waiting.remove(lookup)
        if not waiting:
            self._waiting.pop(lookup.uri, None)
