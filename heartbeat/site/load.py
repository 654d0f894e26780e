"""The site file: one TOML that servers and agents of a site all run from. The front door of ``heartbeat.site_*``.

A shell: :func:`load` reads the file, the environment and the files in which keys are kept. Everything else about the
site is pure: values (:mod:`heartbeat.site.model`), reading a table into them (:mod:`heartbeat.site.read`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from heartbeat.site.build import build, missing_secrets
from heartbeat.site.lines import (
    Forward,
    Group,
    Line,
    Numbering,
    Probe,
    Registration,
    Rewrite,
    Route,
    SessionTimer,
    rewritten,
)
from heartbeat.site.model import Agent, Failover, Identity, Rtp, Server, Site, Timing
from heartbeat.site.read import Kept, SiteError, SiteSource
from heartbeat.site.words import Api, Endpoint, Pattern, Peer, Secret, Source

__all__ = [
    "Agent",
    "Api",
    "Endpoint",
    "Failover",
    "Forward",
    "Group",
    "Identity",
    "Line",
    "Numbering",
    "Pattern",
    "Peer",
    "Probe",
    "Registration",
    "Rewrite",
    "Route",
    "Rtp",
    "Secret",
    "Server",
    "SessionTimer",
    "Site",
    "SiteError",
    "Source",
    "Timing",
    "load",
    "missing_secrets",
    "parse",
    "rewritten",
]


def load(path: str | Path, node: str | None = None) -> Site:
    """Read a site file for ``node``, a server or an agent of it.

    The secrets that the node needs must be there; without a node (``b2bua check``) none must. Raises
    :class:`SiteError` with every error that was found, one sentence each.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: cannot be read: {_reason(error)}"]) from None
    site = parse(text, path)
    if node is not None:
        if node not in site.servers and node not in site.agents:
            names = ", ".join([*site.servers, *site.agents])
            raise SiteError([f"{path}: has no server or agent {node}: it has {names}"])
        if missing := missing_secrets(site, node):
            raise SiteError(missing)
    return site


def parse(text: str, path: Path, environment: Mapping[str, str] = os.environ) -> Site:
    """The site that ``text`` says, as if read from ``path``. Raises :class:`SiteError`."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{path}: is not TOML: {error}"]) from None

    def secret(kind: Literal["env", "file"], name: str) -> Kept:
        if kind == "file":
            return _kept_in_file(Path(name))
        value = environment.get(name)
        return Kept(value.encode()) if value else Kept(None, f"the environment variable {name} is not set")

    return build(tables, SiteSource(path, secret))


def _kept_in_file(path: Path) -> Kept:
    try:
        value = path.read_bytes()
    except OSError as error:
        return Kept(None, f"the file {path} cannot be read: {_reason(error)}")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    return Kept(value) if value else Kept(None, f"the file {path} is empty")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
