"""Who belongs to a site, who of it is alive, and who may lead.

The pure parts: ``membership`` (the site), ``beat`` (the header), ``opening`` (the first words on a connection),
``proof`` and ``vote`` (grants), ``detector``, ``fence`` (an agent), ``member`` (a server). ``store`` is the only
one of them that touches files.
"""

from importlib import metadata


def version() -> str:
    """The version of the product, as installed; ``0`` where it is not."""
    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "0"
