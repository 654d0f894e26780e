"""What rtpengine is told of a session, and what it answers."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from gateway_agent.media.ports import NOWHERE, RTP, Remote, is_numeric
from gateway_agent.rtpengine import ng
from gateway_agent.rtpengine.commands import Answer
from sip.wire.sdp import Direction

HERE: Final = 0
"""The device's side, by its place in tuples of two."""
THERE: Final = 1
TAGS: Final = ("here", "there")
"""The tags of the sides."""
ZERO: Final = {False: "0.0.0.0", True: "::"}
"""No address, for IPv4 and IPv6."""
_MEDIA: Final = re.compile(r"^m=\S+ (\d{1,5})", re.MULTILINE)
_PLACE: Final = re.compile(r"^c=IN IP[46] (\S+)", re.MULTILINE)
_LATCHING: Final = "port latching"


class Described(NamedTuple):
    """What one side has said of its media."""

    remote: Remote
    direction: Direction


def described(verb: str, id_: str, side: int, six: tuple[bool, bool], said: Described) -> dict[str, ng.Value]:
    """An offer or answer of a side; ``six``: which side is reached by IPv6."""
    remote = said.remote
    address = ZERO[six[side]] if remote.address in NOWHERE else remote.address
    is_rtp = remote.kind == RTP
    text = sdp(address, remote.rtp, said.direction, is_rtp, remote.rtcp)
    words = command(verb, id_, side, six[1 - side], text)
    if remote.via and not remote.eager:  # behind NAT: media does not come from where the description says
        words["flags"] = [_LATCHING, "SIP source address"]
        words["received-from"] = ["IP6" if ":" in remote.via else "IP4", remote.via]
    return words


def command(verb: str, id_: str, side: int, towards_six: bool, text: str) -> dict[str, ng.Value]:
    """An offer or answer of a side. What rtpengine answers is for the other side, of the family ``towards_six``. An
    answer names the tag of its offer first."""
    tags = (TAGS[side], TAGS[1 - side]) if verb == "offer" else (TAGS[1 - side], TAGS[side])
    return {
        "command": verb,
        "call-id": id_,
        "from-tag": tags[0],
        "to-tag": tags[1],
        "sdp": text,
        "ICE": "remove",
        "DTLS": "off",
        "flags": [_LATCHING, "trust address"],
        "address family": "IP6" if towards_six else "IP4",
    }


def sdp(address: str, port: int, direction: Direction, is_rtp: bool = True, rtcp: int = 0) -> str:
    """A description of one section. Which codecs it names does not matter: all payload types pass."""
    kind, media = (
        "IP6" if ":" in address else "IP4",
        f"audio {port} RTP/AVP 0" if is_rtp else f"image {port} udptl t38",
    )
    lines = ["v=0", f"o=- 1 1 IN {kind} {address}", "s=-", f"c=IN {kind} {address}", "t=0 0"]
    lines += [f"m={media}", f"a={direction}"]
    if is_rtp and rtcp not in (0, port + 1):
        lines.append(f"a=rtcp:{rtcp}")
    return "\r\n".join([*lines, ""])


def port_of(answer: Answer) -> int | None:
    """The port in the description that rtpengine answered with; None where there is none."""
    found = _MEDIA.search(str(answer.get("sdp", ""))) if answer is not None and answer.get("result") == "ok" else None
    port = int(found[1]) if found is not None else 0
    return port if 0 < port < 65536 else None


def place_of(answer: Answer) -> str:
    """The numeric address in that description; ``""`` where there is none."""
    found = _PLACE.search(str(answer.get("sdp", ""))) if answer is not None else None
    return found[1] if found is not None and is_numeric(found[1]) else ""


def because(answer: dict[str, Any]) -> str:
    """Why it gave no port."""
    return str(answer.get("error-reason") or "it gives no port")


def received(answer: dict[str, Any], side: int) -> tuple[int, int, int]:
    """Packets, octets and errors of the RTP that came from a side, as far as the answer to a query says it."""
    try:
        stats = answer["tags"][TAGS[side]]["medias"][0]["streams"][0]["stats"]
        return int(stats["packets"]), int(stats["bytes"]), int(stats["errors"])
    except (KeyError, IndexError, TypeError, ValueError):
        return 0, 0, 0
