"""Proofs of leadership: lists of voters, signed grants, and the proof that a quorum has granted an epoch.

::

    list    701:2:gw1,gw2,m2                                    generation : number of the file's list : names
    proof   8|m2|13|701:2:gw1,gw2,m2|gw1:<mac>,m2:<mac>         epoch | server | its incarnation | list | grants
    proof   8|m2|13|701:2:gw1,gw2,m2|!:<mac>                    forced by an operator: signed by the server alone

A grant is the voter's HMAC-SHA256 (first 128 bits) over its own name, the epoch, the server, its incarnation and the
whole list of voters. So every holder of the site key can verify a proof, and grants by different lists never add up.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from heartbeat.header import MOST_NAME, BeatError
from heartbeat.membership import majority

MOST_LIST: Final = 16
"""Names in a list of voters; more is refused."""
FORCED: Final = "!"
_PER_EPOCH: Final = 100


class ListRank(NamedTuple):
    """The rank of a list of voters. Of two lists the site's is that of the later leadership; under the same
    leadership, the later list.

    As with the logs of Raft (sections 5.4.1 and 4.1 of Ongaro's dissertation): a list that was made under an earlier
    epoch and was not known to the quorum that gave the later one did not become the site's, though its number is
    higher than that of the list by which they gave it.
    """

    epoch: int
    generation: int


@dataclass(frozen=True, slots=True)
class VoterList:
    """A list of voters. A generation identifies one list only: it is derived from the epoch of the change."""

    generation: int = 0
    """0: none known; 1: the first start of the site."""
    names: tuple[str, ...] = ()
    filed: int = 0
    """The number of the list in the site file that this one implements."""

    @property
    def quorum(self) -> int:
        """How many of the voters make a majority."""
        return majority(len(self.names))

    @property
    def made_under(self) -> int:
        """The epoch under which it was made; 0: at the first start of the site."""
        return self.generation // _PER_EPOCH

    def rank(self, epoch: int) -> ListRank:
        """The rank of this list at a node that uses it and follows the leadership of ``epoch``."""
        return ListRank(max(epoch, self.made_under), self.generation)

    @property
    def text(self) -> str:
        """The list as it is written in the header."""
        return f"{self.generation}:{self.filed}:{','.join(self.names)}"

    @classmethod
    def parse(cls, text: str) -> VoterList:
        """Read the text form. Raises BeatError."""
        generation, _, rest = text.partition(":")
        filed, _, names = rest.partition(":")
        found = tuple(names.split(",")) if names else ()
        if len(found) > MOST_LIST or len(set(found)) != len(found) or not all(map(_is_name, found)):
            raise BeatError("a list of voters must name up to 16 different nodes")
        return cls(_number(generation), found, _number(filed))

    def next(self, epoch: int, names: tuple[str, ...], filed: int) -> VoterList | None:
        """The next list, made under ``epoch``; None when no generation is left under this epoch."""
        generation = max(self.generation, epoch * _PER_EPOCH) + 1
        if self.generation and generation >= (epoch + 1) * _PER_EPOCH:
            return None
        return VoterList(generation, names, filed)

    def step_towards(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The names after one change towards ``wanted``. One name is added or removed at a time, so that any majority
        before and any after it share a voter; additions come first, so that the list never gets shorter than needed.
        """
        for name in wanted:
            if name not in self.names:
                return (*self.names, name)
        for name in self.names:
            if name not in wanted:
                return tuple(other for other in self.names if other != name)
        return wanted


def sign_grant(key: bytes, site: str, voter: str, epoch: int, node: str, incarnation: int, voters: VoterList) -> str:
    """The voter's signature that it granted ``epoch`` to start number ``incarnation`` of server ``node``."""
    text = f"grant {site} {voter} {epoch} {node} {incarnation} {voters.text}"
    return hmac.digest(key, text.encode(), "sha256")[:16].hex()


@dataclass(frozen=True, slots=True)
class Proof:
    """The grants of a quorum: server ``node`` in its start ``incarnation`` leads under ``epoch``."""

    epoch: int
    node: str
    incarnation: int
    voters: VoterList
    grants: tuple[tuple[str, str], ...]
    """(voter, signature); one pair named ``!`` when an operator forced it."""

    @property
    def forced(self) -> bool:
        """Whether an operator forced the epoch, without a quorum."""
        return len(self.grants) == 1 and self.grants[0][0] == FORCED

    @property
    def text(self) -> str:
        """The proof as it is written in the header and in the body of a SUBSCRIBE."""
        grants = ",".join(f"{voter}:{signature}" for voter, signature in self.grants)
        return f"{self.epoch}|{self.node}|{self.incarnation}|{self.voters.text}|{grants}"

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Read the text form, without verifying it (see `fault`). Raises BeatError."""
        pieces = text.split("|")
        if len(text) > 2000 or not text.isascii() or len(pieces) != 5 or not _is_name(pieces[1]):
            raise BeatError("a proof must read epoch|server|boot|list|grants")
        grants = tuple((voter, mark) for voter, _, mark in (pair.partition(":") for pair in pieces[4].split(",")))
        if len(grants) > MOST_LIST:
            raise BeatError(f"a proof has {len(grants)} grants; {MOST_LIST} are allowed")
        return cls(_number(pieces[0]), pieces[1], _number(pieces[2]), VoterList.parse(pieces[3]), grants)

    def fault(self, keys: Sequence[bytes], site: str) -> str:
        """Why the proof is not valid, as a sentence; empty when it is."""
        good = {voter for voter, mark in self.grants if self._is_signed(keys, site, voter, mark)}
        if self.forced:
            return "" if good else "the proof was forced by nobody who holds the site key"
        good.intersection_update(self.voters.names)
        if not self.voters.names or len(good) < self.voters.quorum:
            return f"the proof has {len(good)} good grants of {len(self.voters.names)} voters, no quorum"
        return ""

    def verified(self, keys: Sequence[bytes], site: str) -> Proof:
        """The same proof without the grants that are not signed with one of ``keys``."""
        good = tuple(grant for grant in self.grants if self._is_signed(keys, site, *grant))
        return replace(self, grants=good)

    def signed_for(self, site: str, key: bytes) -> Proof:
        """The same proof with its grants signed with ``key``, for a node that verifies by that key only. Only to be
        called on a verified proof."""
        again = ((voter, sign_grant(key, site, voter, *self._led, self.voters)) for voter, _ in self.grants)
        return replace(self, grants=tuple(again))

    @property
    def _led(self) -> tuple[int, str, int]:
        return self.epoch, self.node, self.incarnation

    def _is_signed(self, keys: Sequence[bytes], site: str, voter: str, mark: str) -> bool:
        return any(
            hmac.compare_digest(
                sign_grant(key, site, voter, *self._led, self.voters).encode(),
                mark.encode(),
            )
            for key in keys
        )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise BeatError("a list of voters or a proof has something else where a number must stand")
    return int(text)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MOST_NAME and not set(text) & set(" ,:;|=\t\r\n")
