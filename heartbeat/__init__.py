"""Membership of a site, failure detection and leader election.

The pure parts: ``membership`` and ``timing`` (the site), ``header`` and ``proof`` (the statements of nodes),
``handshake`` (authentication of a connection), ``voter``, ``agent_voter`` (an agent) and ``member`` (a server), which
consists of ``standby``, ``candidate``, ``leader`` and others (docs/heartbeat.md). ``persistence`` reads and writes
files.
"""

from functools import cache
from typing import Literal

Form = Literal["python", "compiled"]


def form() -> Form:
    """Whether the modules that handle messages are compiled (docs/performance.md)."""
    from sip import transaction  # not before it is asked for: a supervisor does without it

    return "python" if transaction.__file__.endswith(".py") else "compiled"


@cache
def version() -> str:
    """The version of the product, as installed; ``0`` where it is not."""
    from importlib import metadata  # it takes its time to load, and a supervisor has no use for it

    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "0"
