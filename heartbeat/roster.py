"""Changes of the list of voters, made by the server that holds the lease: one voter at a time, one after the other.

A change goes: new list on our disk; told to everyone; a quorum of the old list lives by it; only then does a
newcomer, or a voter that lost its file, get its vote, with a promise above every epoch so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .proof import VoterList


@dataclass(frozen=True, slots=True)
class Change:
    """One step from ``old`` to ``new``."""

    old: VoterList
    new: VoterList
    admit: str = ""
    """Who gets a vote at the end of it."""
    because: str = ""
    forced: bool = False
    """An operator vouches for it; no quorum is waited for."""

    def settled(self, generations: Mapping[str, int]) -> bool:
        """Whether a quorum of the old list lives by the new one, so that the old one can elect nobody any more.

        Who is to be admitted does not count: it may have forgotten what it granted.
        """
        moved = sum(name != self.admit and generations.get(name, 0) >= self.new.generation for name in self.old.names)
        return self.forced or moved >= self.old.quorum


def next_change(
    current: VoterList,
    wanted: tuple[str, ...],
    filed: int,
    epoch: int,
    generations: Mapping[str, int],
    lost: tuple[str, ...],
    readmit: tuple[str, ...],
) -> Change | None:
    """The change that is due, if any.

    ``wanted`` and ``filed`` are the site file's list and its number, ``lost`` the voters without a vote that never
    had one, ``readmit`` those whom an operator vouches for.
    """
    names, number, admit, because = current.names, current.filed, "", ""
    if any(generations.get(name, 0) > current.generation for name in current.names):
        because = "a voter lives by a later list that did not become the site's"
    elif again := [name for name in (*readmit, *lost) if name in current.names]:
        admit = again[0]
        because = f"{admit} votes again" if admit in readmit else f"{admit} votes for the first time"
    elif filed > current.filed:
        names = current.step_towards(wanted)
        added = [name for name in names if name not in current.names]
        admit = added[0] if added else ""
        number = filed if set(names) == set(wanted) else current.filed
        because = f"the site file's list number {filed} is {', '.join(wanted)}"
    else:
        return None
    new = current.next(epoch, names, number)
    return None if new is None else Change(current, new, admit, because)
