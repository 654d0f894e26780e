"""What a node must not forget, as text: :class:`heartbeat.voter.Kept` and back."""

from __future__ import annotations

import json
from typing import Any

from heartbeat.header import MOST_NUMBER, MOST_SECONDS
from heartbeat.proof import VoterList
from heartbeat.voter import Granted, Kept, Ruler


class KeepingError(ValueError):
    """Text that is no :class:`Kept`."""


def text_of(kept: Kept) -> str:
    """One line of JSON."""
    ruler = kept.ruler
    return json.dumps(
        {
            "boot": kept.boot,
            "serial": kept.serial,
            "first": kept.first,
            "mute": kept.mute,
            "voters": kept.voters.text,
            "ruler": [ruler.epoch, ruler.node, ruler.boot, ruler.forced],
            "lease": kept.lease,
            "granted": [[each.epoch, each.node, each.boot] for each in kept.granted],
        }
    )


def kept_of(text: str) -> Kept:
    """Read :func:`text_of` again. Raises :class:`KeepingError`."""
    try:
        value: dict[str, Any] = json.loads(text)
        epoch, node, boot, forced = value["ruler"]
        return Kept(
            boot=_number(value["boot"]),
            serial=_number(value["serial"]),
            first=_flag(value["first"]),
            mute=_flag(value["mute"]),
            voters=VoterList.parse(_text(value["voters"])),
            ruler=Ruler(_number(epoch), _text(node), _number(boot), _flag(forced)),
            lease=_seconds(value.get("lease", 0.0)),
            granted=tuple(Granted(_number(e), _text(n), _number(b)) for e, n, b in value["granted"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeepingError(f"it is not what a node of a site writes: {str(error)[:100]}") from None


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
