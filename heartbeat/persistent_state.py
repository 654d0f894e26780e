"""The state of a node that survives a restart, and its text on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from heartbeat.header import MOST_NUMBER, MOST_SECONDS, Start
from heartbeat.proof import VoterList


class PersistentStateError(ValueError):
    """Text that is no :class:`PersistentState`."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """A leadership: the server elected by a quorum, or forced by an operator, and its epoch."""

    epoch: int = 0
    node: str = ""
    incarnation: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """The highest epoch granted to, or adopted from, one start of a server; without a server where a vote was
    restored."""

    epoch: int
    node: str
    incarnation: int
    commitment: str = ""

    @property
    def start(self) -> Start:
        """The start of the server that it was granted to."""
        return Start(self.node, self.incarnation, self.commitment)


@dataclass(frozen=True, slots=True)
class PersistentState:
    """All that a node keeps on disk. A state is written before it is used."""

    incarnation: int
    """Counts the starts of this node."""
    serial: int = 0
    """Counts the changes of this state, so that it is known which of them are on disk."""
    first: bool = False
    """Server: an operator declared the first start of the site, and no epoch was proved since."""
    non_voting: bool = True
    """No vote: the file was missing, and no operator has declared a first start or restored the vote."""
    voters: VoterList = field(default_factory=VoterList)
    leadership: Leadership = field(default_factory=Leadership)
    """The highest proved epoch."""
    granted: tuple[Granted, ...] = ()
    """One entry for each start of a server, the latest first."""
    ended: tuple[str, ...] = ()
    """The commitments of starts that have died (their secrets were revealed), the latest first."""
    lease: float = 0.0
    """The longest lease in seconds that the present leader, or the server granted last, may have from this voter."""

    @property
    def promised_epoch(self) -> int:
        """The highest epoch granted to, or adopted from, any server."""
        return max((granted.epoch for granted in self.granted), default=0)

    def promised_to_others(self, start: Start) -> int:
        """The highest epoch granted to, or adopted from, another start than ``start``, also of the same server."""
        return max((granted.epoch for granted in self.granted if granted.start != start), default=0)


def encode(state: PersistentState) -> str:
    """One line of JSON."""
    leadership = state.leadership
    return json.dumps(
        {
            "boot": state.incarnation,
            "serial": state.serial,
            "first": state.first,
            "mute": state.non_voting,
            "voters": state.voters.text,
            "ruler": [leadership.epoch, leadership.node, leadership.incarnation, leadership.forced],
            "lease": state.lease,
            "granted": [[each.epoch, each.node, each.incarnation] for each in state.granted],
            # separate from them, so that an older version can read the file, too
            "commitments": [each.commitment for each in state.granted],
            "ended": state.ended,
        }
    )


def decode(text: str) -> PersistentState:
    """The inverse of :func:`encode`. Raises :class:`PersistentStateError`."""
    try:
        value: dict[str, Any] = json.loads(text)
        epoch, node, incarnation, forced = value["ruler"]
        granted = value["granted"]
        commitments = value.get("commitments", [""] * len(granted))
        return PersistentState(
            incarnation=_number(value["boot"]),
            serial=_number(value["serial"]),
            first=_flag(value["first"]),
            non_voting=_flag(value["mute"]),
            voters=VoterList.parse(_text(value["voters"])),
            leadership=Leadership(_number(epoch), _text(node), _number(incarnation), _flag(forced)),
            lease=_seconds(value.get("lease", 0.0)),
            granted=tuple(
                Granted(_number(e), _text(n), _number(b), _text(commitment))
                for (e, n, b), commitment in zip(granted, commitments, strict=True)
            ),
            ended=tuple(map(_text, value.get("ended", ()))),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PersistentStateError(f"it is not what a node of a site writes: {str(error)[:100]}") from None


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MOST_NUMBER:
        raise ValueError("something else stands where a number must")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MOST_SECONDS:  # type: ignore[operator]
        raise ValueError("something else stands where seconds must")
    return float(value)  # type: ignore[arg-type]


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("something else stands where true or false must")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("something else stands where a name must")
    return value
