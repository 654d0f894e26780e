"""What supervisors leave in a state directory: the secrets of starts that have died, and how long these lived.

The next start shows the secrets to the voters, and waits before it begins when the ones before it ended soon.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = "deaths"
_KEPT: Final = 8
_SOON: Final = 60.0
"""Seconds: who ends within them was ended by what it met at once, perhaps by a request that comes again."""
_LONGEST_WAIT: Final = 30.0


class Ended(NamedTuple):
    """One start that has died."""

    secret: str
    lived: float
    """Seconds."""
    code: int
    """Its exit status; minus the number of the signal that killed it."""


def leave(directory: Path, ended: Ended) -> None:
    """Add to what the directory has, and forget the oldest. Raises OSError."""
    lines = [f"{one.secret} {one.lived:.1f} {one.code}\n" for one in (*read(directory), ended)[-_KEPT:]]
    new = directory / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, directory / FILE)


def read(directory: Path) -> list[Ended]:
    """What is there, the oldest first; a file that is none of ours is nothing: it only would spare us a wait."""
    try:
        lines = (directory / FILE).read_text(encoding="ascii").splitlines()
        return [Ended(secret, float(lived), int(code)) for secret, lived, code in map(str.split, lines)][-_KEPT:]
    except (OSError, ValueError):
        return []


def back_off(ended: list[Ended]) -> float:
    """Seconds to wait before a start after these: none after one death, doubled by each one that came soon."""
    soon = 0
    for one in reversed(ended):
        if one.code == 0 or one.lived > _SOON:
            break
        soon += 1
    return min(_LONGEST_WAIT, 2.0 ** (soon - 1)) if soon > 1 else 0.0
