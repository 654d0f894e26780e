"""What a node must not forget, and its text on disk."""

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
    """The server that a quorum, or an operator's force, put in charge."""

    epoch: int = 0
    node: str = ""
    incarnation: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """The highest epoch that was granted or adopted to one start of a server; to nobody where a vote was restored."""

    epoch: int
    node: str
    incarnation: int
    commitment: str = ""

    @property
    def start(self) -> Start:
        """To whom."""
        return Start(self.node, self.incarnation, self.commitment)


@dataclass(frozen=True, slots=True)
class PersistentState:
    """What a node keeps on disk, whole. Written before it is used."""

    incarnation: int
    """Counts the starts of this node."""
    serial: int = 0
    """Counts the changes of this value, so that whoever waits for the disk knows what has arrived there."""
    first: bool = False
    """Server: an operator said that the site starts for the first time, and no epoch was proved since."""
    non_voting: bool = True
    """No vote: this file began empty, and nobody said that this was meant."""
    voters: VoterList = field(default_factory=VoterList)
    leadership: Leadership = field(default_factory=Leadership)
    """The highest proved epoch."""
    granted: tuple[Granted, ...] = ()
    """One for each start of a server, the latest first."""
    ended: tuple[str, ...] = ()
    """The commitments of starts that have died: their secrets were revealed. The latest first."""
    lease: float = 0.0
    """The longest lease, in seconds, that the present leader or the one granted last may draw from this voter."""

    @property
    def promised_epoch(self) -> int:
        """The highest epoch that was granted or adopted to anybody."""
        return max((granted.epoch for granted in self.granted), default=0)

    def promised_to_others(self, start: Start) -> int:
        """The highest epoch that was granted or adopted to another than ``start``, be it one of the same server."""
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
            # beside them, so that an older version can read the file too
            "commitments": [each.commitment for each in state.granted],
            "ended": state.ended,
        }
    )


def decode(text: str) -> PersistentState:
    """Read :func:`encode` again. Raises :class:`PersistentStateError`."""
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
