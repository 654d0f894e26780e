"""Who belongs to a site, who of it is alive, and who may lead.

The pure parts: ``membership`` and ``timing`` (the site), ``header`` and ``proof`` (what is said), ``handshake`` (the
first words on a connection), ``voter``, ``agent_voter`` (an agent) and ``member`` (a server), which is put together
from ``standby``, ``candidate``, ``leader`` and their neighbours (docs/heartbeat.md). ``persistence`` touches files.
"""


def version() -> str:
    """The version of the product, as installed; ``0`` where it is not."""
    from importlib import metadata  # it takes its time to load, and a program that runs has no use for it

    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "0"
