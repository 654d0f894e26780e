"""The key of one agent, derived from the site key: its owner can sign as that agent and as no other node.

::

    key    HMAC-SHA256 under the site key over "holdfast agent SITE NAME", 32 bytes
    file   agent:SITE:NAME:KEY                                             KEY in base64url without padding

Servers have the site key and derive each agent's key; an agent has this form instead of the site key. No other text
that is signed with the site key begins so, and names have no spaces, so no node can be made to compute such a key.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple

MARK: Final = b"agent:"
"""The beginning of an agent's key file; a site key must not begin so."""
SIZE: Final = 32
OWN: Final = "own"
SITE: Final = "site"
BOTH: Final = "both"
"""Kinds of keys that an agent has (`sort_of`)."""


class AgentKey(NamedTuple):
    """The content of the key file of an agent with its own key."""

    site: str
    agent: str
    key: bytes

    @property
    def text(self) -> str:
        """The text of the file."""
        return f"{MARK.decode()}{self.site}:{self.agent}:{urlsafe_b64encode(self.key).rstrip(b'=').decode()}"

    @classmethod
    def parse(cls, value: bytes) -> AgentKey | None:
        """The agent's key in a file; None: it is a site key. Raises ValueError where an agent's key is malformed."""
        if not value.startswith(MARK):
            return None
        pieces = value.decode("utf-8", "replace").strip().split(":")
        try:
            _, site, agent, text = pieces
            key = urlsafe_b64decode(f"{text}=")
        except ValueError:
            key = b""
        if len(key) != SIZE:
            raise ValueError("begins like the key of an agent, and is not whole")
        return cls(site, agent, key)


def derive(site_key: bytes, site: str, agent: str) -> bytes:
    """The key of an agent."""
    return hmac.digest(site_key, f"holdfast agent {site} {agent}".encode(), "sha256")


def signer_of(value: bytes) -> tuple[bytes, str]:
    """The signing key of a node whose key file has ``value``, and the agent whose own key it is; empty: the site key.
    A malformed one is refused with the site file (`fault_of`)."""
    try:
        own = AgentKey.parse(value)
    except ValueError:
        own = None
    return (value, "") if own is None else (own.key, own.agent)


def sort_of(values: Iterable[bytes]) -> str:
    """The kind of keys of an agent: ``own``: only its own; ``site``: it signs with the site key; ``both``: it signs
    with its own, and the site key is still configured as the previous one."""
    own = [bool(signer_of(value)[1]) for value in values]
    return OWN if own and all(own) else BOTH if own and own[0] else SITE


def fault_of(value: bytes, site: str, node: str, is_server: bool) -> str:
    """Why ``node`` cannot use the key in its file, as half a sentence; empty: it can."""
    try:
        own = AgentKey.parse(value)
    except ValueError as error:
        return f"{error}: make it anew where the site key is, with `b2bua agent-key NAME`"
    if own is None:
        return ""
    if is_server:
        return f"is the key of the agent {own.agent} alone: a server needs the site key itself, put that there"
    if (own.site, own.agent) != (site, node):
        return (
            f"is the key of {own.agent} of the site {own.site}, and this is {node} of {site}: put that there which"
            f" `b2bua agent-key {node}` makes where the site key is"
        )
    return ""
