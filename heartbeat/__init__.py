"""Who belongs to a site, who of it is alive, and who may lead.

The pure parts: ``membership`` and ``timing`` (the site), ``header`` and ``proof`` (what is said), ``handshake`` (the
first words on a connection), ``voter``, ``agent_voter`` (an agent) and ``member`` (a server), which is put together
from ``standby``, ``candidate``, ``leader`` and their neighbours (docs/heartbeat.md). ``persistence`` touches files.
"""

from functools import cache
from typing import Literal

Form = Literal["python", "compiled"]


def form() -> Form:
    """Whether the modules that handle messages run as machine code, as they were installed (docs/performance.md)."""
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
