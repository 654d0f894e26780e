"""Changes of the list of voters, made by the server that holds the lease: one voter at a time, one after the other.

A change goes: new list on our disk; told to everyone; a quorum of the old list lives by it; only then does a
newcomer, or a voter that lost its file, get its vote, with a promise to nobody that covers every epoch which it may
have forgotten. Where that quorum granted nothing above the present epoch, the present epoch is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from heartbeat.proof import VoterList


class Word(NamedTuple):
    """What a voter with a vote said of itself, in one message."""

    list: int
    """The generation of the list of voters that it lives by."""
    promised_to_others: int
    """The highest epoch that it granted or adopted to another server than us."""


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

    def settled(self, words: Mapping[str, Word]) -> bool:
        """Whether a quorum of the old list lives by the new one, so that the old one can elect nobody any more.

        Who is to be admitted does not count: it may have forgotten what it granted.
        """
        return self.forced or len(self._moved(words)) >= self.old.quorum

    def spent(self, words: Mapping[str, Word], epoch: int) -> bool:
        """Whether the old list can elect nobody above ``epoch``, whatever the admitted one forgot that it granted.

        Every quorum of the old list shares a voter with those that moved, and that one had granted nothing above
        ``epoch`` to another when it moved, nor can it on the old list since.
        """
        clean = [name for name in self._moved(words) if words[name].promised_to_others <= epoch]
        return not self.forced and len(clean) >= self.old.quorum

    def _moved(self, words: Mapping[str, Word]) -> list[str]:
        new = self.new.generation
        return [name for name in self.old.names if name != self.admit and name in words and words[name].list >= new]


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
        because = f"{admit} votes again" if admit in readmit else f"{admit} starts to vote"
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
