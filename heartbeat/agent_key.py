"""The key of one agent, made of the site key: who has it can speak as that agent, and as nobody else.

::

    key    HMAC-SHA256 under the site key over "holdfast agent SITE NAME", 32 bytes
    file   agent:SITE:NAME:KEY                                             KEY in base64url without padding

Servers have the site key and make each agent's of it; an agent has this form in place of the site key. No other text
that is signed with the site key begins so, and none is a name with a blank in it, so nobody can have one signed.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple

MARK: Final = b"agent:"
"""How the form in a file begins; a site key that begins so is none."""
SIZE: Final = 32
OWN: Final = "own"
SITE: Final = "site"
BOTH: Final = "both"
"""Sorts of keys that an agent has (`sort_of`)."""


class AgentKey(NamedTuple):
    """What stands in the key file of an agent with a key of its own."""

    site: str
    agent: str
    key: bytes

    @property
    def text(self) -> str:
        """As it stands in the file."""
        return f"{MARK.decode()}{self.site}:{self.agent}:{urlsafe_b64encode(self.key).rstrip(b'=').decode()}"

    @classmethod
    def parse(cls, value: bytes) -> AgentKey | None:
        """None: it is a site key. Raises ValueError where it begins as an agent's and is not whole."""
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
    """What a node signs with whose key file has ``value``, and the agent whose own key that is, empty: it is the site
    key. One that is not whole is refused with the site file (`fault_of`)."""
    try:
        own = AgentKey.parse(value)
    except ValueError:
        own = None
    return (value, "") if own is None else (own.key, own.agent)


def sort_of(values: Iterable[bytes]) -> str:
    """What the key files of an agent have: ``own``, its own keys alone; ``site``: it signs with the site key;
    ``both``: it has that still, beside its own."""
    own = [bool(signer_of(value)[1]) for value in values]
    return OWN if own and all(own) else BOTH if own and own[0] else SITE


def fault_of(value: bytes, site: str, node: str, is_server: bool) -> str:
    """Why ``node`` cannot live by what its key file has, as half a sentence; empty when it can."""
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
