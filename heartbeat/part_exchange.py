"""The distribution of the provisioned part of a site from node to node, with the heartbeats. A core.

Each heartbeat, and each response to one, states the version that its sender uses (``given``). A node that learns of a
newer version requests it piece by piece (``kind=fetch``) by the same path; these messages are signed as heartbeats
are. So every node gets it that is reached by any other node that has it, whichever server leads.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from heartbeat.decision import Tell
from heartbeat.header import FETCH, Beat
from heartbeat.participant import Participant
from heartbeat.site.model import Site
from heartbeat.site.provisioned import MOST_BYTES, NEVER, Version

PIECE: Final = 900
"""Bytes of one piece, which with its header has to fit into a datagram."""
TIMEOUT: Final = 1.0
"""Seconds after which a missing piece is requested again, from the next node that is heard."""
AGAIN: Final = 30.0
"""Seconds after which a version that this node could not use is fetched once more."""


class TakePart(NamedTuple):
    """An action for the shell: use this provisioned part of the site, if it is valid."""

    packed: bytes
    agent: str = ""
    """The agent that sent it, from which only a part with a server's seal is accepted; ``""``: another node."""


class _Fetching(NamedTuple):
    """A newer part that is being fetched, piece by piece."""

    version: Version
    node: str
    asked_at: float
    began_at: float
    sealed: bool
    """The node is not trusted: only a part with a server's seal is accepted."""
    data: bytes = b""


class PartExchange:
    """The exchange at one node; ``ask`` sends a request to the node that it names, ``do`` is called with actions for
    the shell (:class:`TakePart`)."""

    def __init__(
        self, participant: Participant, ask: Callable[[Tell], None], do: Callable[[Any], None], site: Site
    ) -> None:
        self.behind: dict[str, float] = {}
        """Nodes that use an older version than this one -> since when that is known."""
        self.newest = NEVER
        """The highest version that any node has stated."""
        self.versions: dict[str, Version] = {}
        """Node -> the version that it stated last."""
        self._participant = participant
        self._ask = ask
        self._do = do
        self._fetching: _Fetching | None = None
        self._sealed_at: dict[str, float] = {}
        """Agent -> when a sealed part was last requested from it."""
        self._had: tuple[Version, float]
        self.apply(site)

    def apply(self, site: Site) -> None:
        """Use this site from now on."""
        self._part = site.provisioned
        self._wanted = site.identity.provisioned != "no"
        self._given = site.membership().given
        self._had = (NEVER, 0.0)
        self._sealed_at.clear()
        self.behind.clear()

    def learn(self, beat: Beat, now: float, sealed: bool = False) -> None:
        """Take any statement of another node; ``sealed``: from it only a part with a server's seal is accepted."""
        if beat.given == self._given:
            self.versions[beat.node] = self._part.version
            self.behind.pop(beat.node, None)
            return
        version = self.versions[beat.node] = _version(beat.given)
        if version < self._part.version:
            self.behind.setdefault(beat.node, now)
            return
        if not sealed:
            self.newest = max(self.newest, version)
        if self._wanted and (self._may_try(beat.node, now) if sealed else self._may_fetch(version, now)):
            self._fetch(_Fetching(version, beat.node, now, now, sealed))

    def _may_fetch(self, version: Version, now: float) -> bool:
        had, at = self._had
        if version == had and now - at < AGAIN:
            return False
        under_way = self._fetching
        if under_way is None or under_way.sealed or now - under_way.asked_at > TIMEOUT:
            return True
        return under_way.version < version

    def _may_try(self, agent: str, now: float) -> bool:
        """Whether a part is requested from an untrusted agent: they take turns, so that none can block the others."""
        under_way = self._fetching
        if under_way is not None and now - under_way.asked_at <= TIMEOUT:
            turn_over = under_way.sealed and now - under_way.began_at > AGAIN
        else:
            turn_over = True
        if not turn_over or now - self._sealed_at.get(agent, float("-inf")) < AGAIN:
            return False
        self._sealed_at[agent] = now
        return True

    def _fetch(self, fetching: _Fetching) -> None:
        self._fetching = fetching
        wanted = f"{fetching.version}/{len(fetching.data)}"
        self._ask(Tell(fetching.node, self._participant.stamp(fetching.node, kind=FETCH, fetch=wanted)))

    def answer(self, asked: Beat) -> Beat:
        """The response to a request for a piece; without a piece where this node uses another version."""
        version, offset = _wanted(asked.fetch)
        piece = ""
        if version == self._part.version and offset < len(self._part.packed):
            data = self._part.packed[offset : offset + PIECE]
            piece = f"{version}/{offset}/{len(self._part.packed)}/{urlsafe_b64encode(data).rstrip(b'=').decode()}"
        re = (asked.incarnation, asked.seq)
        return self._participant.stamp(asked.node, kind=FETCH, re=re, piece=piece)

    def answered(self, answer: Beat, now: float) -> None:
        """Take the response of another node: request the next piece, or use the complete part."""
        under_way = self._fetching
        if under_way is None or answer.node != under_way.node:
            return
        version, offset, size, data = _piece(answer.piece)
        if version != under_way.version or offset != len(under_way.data) or size > MOST_BYTES:
            return
        if not data or len(data) != min(PIECE, size - offset):  # in pieces of a byte it would take for ever
            return
        have = under_way.data + data
        if len(have) < size:
            self._fetch(under_way._replace(data=have, asked_at=now))
            return
        self._fetching = None
        if under_way.sealed:
            self._do(TakePart(have, answer.node))
        else:
            self._had = (version, now)
            self._do(TakePart(have))


def _version(text: str) -> Version:
    try:
        return Version.parse(text)
    except ValueError:
        return NEVER


def _wanted(text: str) -> tuple[Version, int]:
    version, _, offset = text.partition("/")
    return _version(version), int(offset) if offset.isdecimal() and len(offset) < 9 else 0


def _piece(text: str) -> tuple[Version, int, int, bytes]:
    version, _, rest = text.partition("/")
    offset, _, rest = rest.partition("/")
    size, _, data = rest.partition("/")
    try:
        return _version(version), int(offset[:9]), int(size[:9]), urlsafe_b64decode(data + "=" * (-len(data) % 4))
    except ValueError:
        return NEVER, 0, 0, b""
