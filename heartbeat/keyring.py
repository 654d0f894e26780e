"""By which key a server believes an agent, and by which it speaks to it.

An agent has a key of its own (`heartbeat.agent_key`), or still the site key. On its connection it proves itself by
one of them; what it says there later is believed by a key of the same sort, or by one of its own in place of the site
key, never the other way round. What names another node than the agent whose key has signed it counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from heartbeat import carriage
from heartbeat.agent_key import OWN, SITE, derive
from heartbeat.header import Beat, BeatError
from sip.wire.message import Request, Response

_NODE: Final = re.compile(r"(?:^|;)\s*node=([^;\s]{1,64})\s*(?:;|$)")


class Keyring:
    """Of one server."""

    def __init__(self, site: str, agents: Iterable[str], keys: Sequence[bytes]) -> None:
        """``keys`` are those of the site; the first one signs, each verifies."""
        self.site = site
        self._last: dict[str, bytes] = {}
        """Agent -> the key by which it spoke last."""
        self._with_own: set[str] = set()
        """The agents that speak by a key of their own."""
        self._own: dict[str, tuple[bytes, ...]] = {}
        self.load(agents, keys)

    def load(self, agents: Iterable[str], keys: Sequence[bytes]) -> None:
        """These are the agents and the site's keys from now on."""
        self.keys = tuple(keys)
        self._agents = frozenset(agents)
        self._own.clear()

    def own(self, agent: str) -> tuple[bytes, ...]:
        """The keys of that agent, made of those of the site in their order; none where there is no such agent."""
        found = self._own.get(agent)
        if found is None:
            if agent not in self._agents:
                return ()
            found = self._own[agent] = tuple(derive(key, self.site, agent) for key in self.keys)
        return found

    def has_own(self, agent: str) -> bool:
        """Whether the agent speaks by a key of its own."""
        return agent in self._with_own

    def sort_of(self, agent: str) -> str:
        """By which sort of key the agent proved itself: ``own``, ``site``, or empty: it did not yet."""
        return "" if agent not in self._last else OWN if agent in self._with_own else SITE

    def towards(self, node: str) -> bytes:
        """The key to sign with what is said to a node."""
        if node not in self._with_own:
            return self.keys[0]
        own, last = self.own(node), self._last[node]
        return last if last in own or not own else own[0]

    def proved(self, agent: str, key: bytes) -> None:
        """A connection of the agent was proved by that key: nothing else is believed on it."""
        self._last[agent] = key
        (self._with_own.add if key in self.own(agent) else self._with_own.discard)(agent)

    def void(self) -> list[str]:
        """The agents that proved themselves by a key that is none any more."""
        return [agent for agent, key in self._last.items() if key not in self._accepted(agent)]

    def _accepted(self, agent: str) -> tuple[bytes, ...]:
        own = self.own(agent)
        return own if agent in self._with_own else (*own, *self.keys)

    def said_on(self, message: Request | Response, agent: str) -> Beat:
        """What the agent whose connection it is says. Raises `BeatError`."""
        accepted, last = self._accepted(agent), self._last.get(agent)
        if last in accepted:
            accepted = (last, *accepted)  # it is this one nearly always, so nothing else is tried
        beat, key = carriage.signed_in(message, accepted)
        if beat.node != agent:
            raise BeatError(f"{agent} speaks in the name of {beat.node}")
        if key != last:
            self.proved(agent, key)
        return beat

    def said_first(self, message: Request | Response) -> tuple[Beat, bytes]:
        """What somebody says of whom nothing is known yet, and the key that signed it. Raises `BeatError`."""
        named = _NODE.search(message.get("heartbeat") or "")
        agent = named.group(1) if named is not None else ""
        beat, key = carriage.signed_in(message, (*self.own(agent), *self.keys))
        if beat.node != agent:  # it is not read as it was looked up
            raise BeatError(f"{agent or 'nobody'} speaks in the name of {beat.node}")
        return beat, key
