"""What a node must not forget, as text: :class:`heartbeat.vote.Kept` and back."""

from __future__ import annotations

import json
from typing import Any

from heartbeat.beat import BeatError
from heartbeat.proof import VoterList
from heartbeat.vote import Granted, Kept, Ruler


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
            "granted": [[each.epoch, each.node, each.boot] for each in kept.granted],
        }
    )


def kept_of(text: str) -> Kept:
    """Read :func:`text_of` again. Raises :class:`KeepingError`."""
    try:
        value: dict[str, Any] = json.loads(text)
        epoch, node, boot, forced = value["ruler"]
        return Kept(
            boot=int(value["boot"]),
            serial=int(value["serial"]),
            first=bool(value["first"]),
            mute=bool(value["mute"]),
            voters=VoterList.parse(value["voters"]) if value["voters"] else VoterList(),
            ruler=Ruler(int(epoch), str(node), int(boot), bool(forced)),
            granted=tuple(Granted(int(e), str(n), int(b)) for e, n, b in value["granted"]),
        )
    except (ValueError, KeyError, TypeError, BeatError) as error:
        raise KeepingError(f"it is not what a node of a site writes: {error}") from None
