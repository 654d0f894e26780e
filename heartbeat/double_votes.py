"""Finds voters that supported two leaders at the same time.

A server that is overruled compares who supported it until then with the grants in the proof of its successor. An
honest voter is never among both: it grants an epoch only when the lease to which it contributed is over, and each
epoch to one server. So a voter among both was stolen, or runs twice, on a copy of its state directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heartbeat.header import BeatError
from heartbeat.proof import Proof


class DoubleVotes:
    """What one server knows of that, from the end of its last leadership on."""

    def __init__(self, node: str, site: str) -> None:
        self.found: dict[str, str] = {}
        """Voter -> what it did, as a sentence."""
        self._node = node
        self._site = site
        self._epoch = 0
        self._successor = 0
        self._supporters: frozenset[str] = frozenset()

    def overruled(self, epoch: int, successor: int, supporters: Iterable[str], own: Proof | None) -> None:
        """Our leadership of ``epoch`` ended, since ``successor`` was won by another server. ``supporters``: the
        voters whose answers still counted for our lease; ``own``: the proof of our epoch."""
        granted = own.grants if own is not None and epoch == successor and not own.forced else ()
        self._epoch, self._successor = epoch, successor
        self._supporters = frozenset((*supporters, *(voter for voter, _ in granted)))

    def compare(self, text: str, keys: Sequence[bytes]) -> list[str]:
        """Compare the proof of another server, as it came, with what was noted. Returns the voters found anew."""
        if not self._supporters:
            return []
        try:
            proof = Proof.parse(text)
        except BeatError:
            return []
        if proof.epoch != self._successor or proof.node == self._node or proof.forced:
            return []
        granted = {voter for voter, _ in proof.verified(keys, self._site).grants}
        twice = sorted(granted & self._supporters)
        self._supporters = frozenset()
        for voter in twice:
            self.found[voter] = (
                f"{voter} voted twice: it supported {self._node} under epoch {self._epoch} while it granted epoch"
                f" {proof.epoch} to {proof.node}: somebody has stolen its key, or it runs twice, on a copy of its"
                f" state directory; change the site key, or stop the copy"
            )
        return twice
