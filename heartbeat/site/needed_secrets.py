"""The secrets that a site file names: which node needs which, and their faults. Pure."""

from __future__ import annotations

from heartbeat.agent_key import fault_of
from heartbeat.site.model import Site
from heartbeat.site.values import Secret
from sip.bearer import SHORTEST_KEY as SHORTEST_TOKEN_KEY

SITE_KEYS = ("site.key", "site.previous_key")
SHORTEST_KEY = 16
"""Bytes of a site key."""


def missing_secrets(site: Site, node: str | None = None) -> list[str]:
    """A sentence for each missing secret that ``node`` (a server or an agent; None: any node) needs."""
    needed = secrets_of(site, node)
    sentences = [f"{at}: {secret.problem}" for at, secret in needed if secret.value is None]
    for at, secret in needed:
        if secret.warning and at.endswith("key"):  # what signs is worth nothing where everybody can sign with it
            sentences.append(f"{at}: {secret.warning}, and have a new key made")
        if at in SITE_KEYS and secret.value is not None and len(secret.value) < SHORTEST_KEY:
            sentences.append(f"{at}: must have at least {SHORTEST_KEY} bytes, has {len(secret.value)}")
        elif at in SITE_KEYS and secret.value is not None and node is not None:
            fault = fault_of(secret.value, site.name, node, node in site.servers)
            sentences += [f"{at}: {fault}"] if fault else []
        elif at.endswith(".token_key") and secret.value is not None and len(secret.value) < SHORTEST_TOKEN_KEY:
            sentences.append(f"{at}: must have at least {SHORTEST_TOKEN_KEY} bytes, has {len(secret.value)}")
    return sentences


def secrets_of(site: Site, node: str | None = None) -> list[tuple[str, Secret]]:
    """The secrets that ``node`` needs, with their places."""
    owner = "" if node in site.servers else node
    found = list(zip(SITE_KEYS, (site.identity.key, site.identity.previous_key), strict=True))
    for n, server in site.servers.items():
        if node in (None, n):
            found.append((f"servers.{n}.api_token", server.api_token))
            found.append((f"servers.{n}.api_view_token", server.api_view_token))
            found.append((f"servers.{n}.api_provision_token", server.api_provision_token))
    if node is None or node in site.servers:
        found.append(("hooks.key", site.hooks.key))
        postgres, webhook = site.records.postgres, site.records.webhook
        found.append(("records.postgres.password", postgres.password if postgres is not None else None))
        found.append(("records.webhook.key", webhook.key if webhook is not None else None))
    for n, agent in site.agents.items():
        if node in (None, n):
            found += [(f"agents.{n}.token_key", agent.token_key), (f"agents.{n}.api_token", agent.api_token)]
    for line in site.lines.values():
        if node is None or line.agent == owner:
            found.append((f"lines.{line.name}.password", line.password))
            found.append((f"lines.{line.name}.stir_sign.key", line.stir_sign.key if line.stir_sign else None))
            found.append((f"lines.{line.name}.register.password", line.register.password if line.register else None))
    return [(at, secret) for at, secret in found if secret is not None]
