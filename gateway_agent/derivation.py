"""Identifiers that come out alike after the death of this agent: keyed hashes of what asked for them.

What an agent does because somebody asked, it does again when it is asked again after a death of its own; under the
same Call-ID, tag and branch that is a retransmission to whom it is sent, never a second ring, digit or call
(RFC 3261 section 17.2.3). Nobody can guess them without the site key.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from sip.actions import Flow
from sip.wire.message import MAGIC, Request


class Opening(NamedTuple):
    """The identifiers of a dialog that is to be opened."""

    call_id: str
    tag: str
    branches: Callable[[int], str]
    """The branch of its INVITE by the number in CSeq: challenged, it is sent once more."""


class Derivation:
    """``key`` gives the site's present key; that of an agent is made from it."""

    __slots__ = ("_agent", "_key")

    def __init__(self, agent: str, key: Callable[[], bytes]) -> None:
        self._agent = blake2b(agent.encode(), digest_size=16).digest()
        self._key = key

    def secret(self, what: str) -> bytes:
        """32 bytes for another use, the same ones at each start."""
        return blake2b(what.encode(), key=self._key()[:64], digest_size=32, salt=self._agent).digest()

    def to_device(self, origin: str, uri: str, flow: Flow) -> Opening | None:
        """For the attempt ``origin`` (its origin key) at one target; ``None`` where there is no key."""
        return self._opening(f"device {origin} {uri} {flow.transport} {flow.remote}") if origin else None

    def to_servers(self, request: Request) -> Opening | None:
        """For the INVITE of a device; ``None`` where it has no branch of its own, as of an element of RFC 2543."""
        branch = request.branch
        if not branch.startswith(MAGIC):
            return None
        return self._opening(f"servers {request.call_id} {request.from_tag} {request.cseq} {branch}")

    def branch(self, request: Request, dialog: str) -> str:
        """For a request inside a call that is passed on into the dialog with that Call-ID; ``""`` to draw one."""
        asked = request.get("call-origin") or request.branch
        if not asked:
            return ""
        text = f"{dialog} {request.method} {request.call_id} {request.from_tag} {asked}"
        return MAGIC + self._hash(text, 12)

    def _opening(self, text: str) -> Opening:
        found = self._hash(text, 32)
        branch = MAGIC + found[48:]
        return Opening(found[:32], found[32:48], lambda cseq: f"{branch}{cseq:x}")

    def _hash(self, text: str, size: int) -> str:
        data = text.encode("latin-1", "replace")
        return blake2b(data, key=self._key()[:64], digest_size=size, salt=self._agent).hexdigest()
