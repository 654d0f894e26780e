"""Derived identifiers, which are the same again after a restart of this agent: keyed hashes of the request that
causes them.

A request that the agent passes on may come again after a restart of the agent, and is passed on again. With the same
Call-ID, tag and branch the receiver takes that for a retransmission (RFC 3261 section 17.2.3), so that nothing rings,
is dialled or is called twice. Without the site key the identifiers cannot be guessed.
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
    """The branch of its INVITE for a CSeq number: after a challenge the INVITE is sent again with the next number."""


class Derivation:
    """Derives identifiers for one agent: the hashes are keyed with the site's present key (``key``) and salted with
    the agent's name."""

    __slots__ = ("_agent", "_key")

    def __init__(self, agent: str, key: Callable[[], bytes]) -> None:
        self._agent = blake2b(agent.encode(), digest_size=16).digest()
        self._key = key

    def secret(self, what: str) -> bytes:
        """32 secret bytes for the use that ``what`` names, the same ones after each restart."""
        return blake2b(what.encode(), key=self._key()[:64], digest_size=32, salt=self._agent).digest()

    def to_device(self, origin: str, uri: str, flow: Flow) -> Opening | None:
        """Identifiers of the dialog with a device for the call attempt with origin key ``origin`` at one target;
        ``None`` where that key is empty."""
        return self._opening(f"device {origin} {uri} {flow.transport} {flow.remote}") if origin else None

    def to_servers(self, request: Request) -> Opening | None:
        """Identifiers of the dialog with the servers for the INVITE of a device; ``None`` where its branch is not
        unique, as from an element of RFC 2543."""
        branch = request.branch
        if not branch.startswith(MAGIC):
            return None
        return self._opening(f"servers {request.call_id} {request.from_tag} {request.cseq} {branch}")

    def branch(self, request: Request, dialog: str) -> str:
        """The branch for a request that is passed on into the dialog with Call-ID ``dialog``; ``""`` where none can
        be derived, so that a random one is needed."""
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
