"""The file of a supervisor in a state directory: the secrets of starts that have died, and how long they lived.

The next start sends the secrets to the voters, and waits before it begins if those before it died soon.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = "deaths"
_KEPT: Final = 8
_SOON: Final = 60.0
"""Seconds; the cause of a death within them may be present at the next start, too, such as a request that is
repeated."""
_LONGEST_WAIT: Final = 30.0


class Ended(NamedTuple):
    """A start that has died."""

    secret: str
    lived: float
    """Seconds."""
    code: int
    """Its exit status; minus the number of the signal that killed it."""


def leave(directory: Path, ended: Ended) -> None:
    """Add to the file, and drop the oldest entries. Raises OSError."""
    lines = [f"{one.secret} {one.lived:.1f} {one.code}\n" for one in (*read(directory), ended)[-_KEPT:]]
    new = directory / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, directory / FILE)


def read(directory: Path) -> list[Ended]:
    """The entries of the file, the oldest first; none where it is malformed, since it only serves to end elections
    sooner and to delay starts."""
    try:
        lines = (directory / FILE).read_text(encoding="ascii").splitlines()
        return [Ended(secret, float(lived), int(code)) for secret, lived, code in map(str.split, lines)][-_KEPT:]
    except (OSError, ValueError):
        return []


def back_off(ended: list[Ended]) -> float:
    """Seconds to wait before the next start: none after one death, doubled by each further one that came soon."""
    soon = 0
    for one in reversed(ended):
        if one.code == 0 or one.lived > _SOON:
            break
        soon += 1
    return min(_LONGEST_WAIT, 2.0 ** (soon - 1)) if soon > 1 else 0.0
