"""Agents with keys of their own, in the tests."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.agent_key import AgentKey, derive
from heartbeat.site.model import Site
from heartbeat.site.values import Secret


def text_of(site_key: bytes, site: str, agent: str) -> str:
    """What the key file of an agent has."""
    return AgentKey(site, agent, derive(site_key, site, agent)).text


def own_site(site: Site, agent: str, previous: bool = True) -> Site:
    """The site as an agent reads it whose key files have its own keys; ``previous``: the second one, too, where there
    is one, which else stays as it is."""
    identity = site.identity

    def own(secret: Secret) -> Secret:
        return replace(secret, value=text_of(secret.reveal(), site.name, agent).encode())

    second = identity.previous_key
    if second is not None and previous:
        second = own(second)
    return replace(site, identity=replace(identity, key=own(identity.key), previous_key=second))
