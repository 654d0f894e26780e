"""UNIX sockets whose path is longer than a socket address has room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ROOM: Final = 107
"""``sun_path`` of unix(7) has 108 bytes, the last of them zero."""


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path by which ``path`` can be bound or connected to, however long it is, while the context lasts."""
    if len(os.fsencode(path)) <= _ROOM:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
