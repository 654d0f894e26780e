"""The keys by which a server verifies the statements of its agents, and signs its own to them.

An agent has a key of its own (`heartbeat.agent_key`), or still the site key. It authenticates its connection by one
of them. Later statements on the connection must be signed with a key of the same kind; an agent may change from the
site key to its own, never back. A statement that names another node than the agent whose key has signed it is
refused.
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
    """The keys of one server's agents."""

    def __init__(self, site: str, agents: Iterable[str], keys: Sequence[bytes]) -> None:
        """``keys``: the site's keys; the first one signs, any of them verifies."""
        self.site = site
        self._last: dict[str, bytes] = {}
        """Agent -> the key with which it last signed."""
        self._with_own: set[str] = set()
        """The agents that sign with a key of their own."""
        self._own: dict[str, tuple[bytes, ...]] = {}
        self.load(agents, keys)

    def load(self, agents: Iterable[str], keys: Sequence[bytes]) -> None:
        """Replace the agents and the site's keys."""
        self.keys = tuple(keys)
        self._agents = frozenset(agents)
        self._own.clear()

    def own(self, agent: str) -> tuple[bytes, ...]:
        """The agent's own keys, derived from the site's keys, in their order; empty for an unknown agent."""
        found = self._own.get(agent)
        if found is None:
            if agent not in self._agents:
                return ()
            found = self._own[agent] = tuple(derive(key, self.site, agent) for key in self.keys)
        return found

    def has_own(self, agent: str) -> bool:
        """Whether the agent signs with a key of its own."""
        return agent in self._with_own

    def sort_of(self, agent: str) -> str:
        """The kind of key by which the agent has authenticated: ``own``, ``site``, or empty when it has not yet."""
        return "" if agent not in self._last else OWN if agent in self._with_own else SITE

    def towards(self, node: str) -> bytes:
        """The key with which statements to a node are signed."""
        if node not in self._with_own:
            return self.keys[0]
        own, last = self.own(node), self._last[node]
        return last if last in own or not own else own[0]

    def proved(self, agent: str, key: bytes) -> None:
        """The agent has authenticated by that key: from now on only keys of that kind are accepted from it."""
        self._last[agent] = key
        (self._with_own.add if key in self.own(agent) else self._with_own.discard)(agent)

    def void(self) -> list[str]:
        """The agents that have authenticated by a key that is no longer accepted."""
        return [agent for agent, key in self._last.items() if key not in self._accepted(agent)]

    def _accepted(self, agent: str) -> tuple[bytes, ...]:
        own = self.own(agent)
        return own if agent in self._with_own else (*own, *self.keys)

    def statement_on(self, message: Request | Response, agent: str) -> Beat:
        """The verified statement in a message on the connection of that agent. Raises `BeatError`."""
        accepted, last = self._accepted(agent), self._last.get(agent)
        if last in accepted:
            accepted = (last, *accepted)  # tried first, since it is nearly always this one
        beat, key = carriage.signed_in(message, accepted)
        if beat.node != agent:
            raise BeatError(f"{agent} speaks in the name of {beat.node}")
        if key != last:
            self.proved(agent, key)
        return beat

    def first_statement(self, message: Request | Response) -> tuple[Beat, bytes]:
        """The verified statement in the first message on a connection, and the key that signed it. Raises
        `BeatError`."""
        named = _NODE.search(message.get("heartbeat") or "")
        agent = named.group(1) if named is not None else ""
        beat, key = carriage.signed_in(message, (*self.own(agent), *self.keys))
        if beat.node != agent:  # the parser and the search for the name have read different names
            raise BeatError(f"{agent or 'nobody'} speaks in the name of {beat.node}")
        return beat, key
