"""Conversion of session descriptions of browsers (RFC 8829) to those of plain RTP devices (RFC 3264), and back.

One audio section passes through the gateway; all others are refused (port 0) and keep their position. Formats are
matched by name; codecs to which the gateway can transcode are offered in addition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final, NamedTuple

from gateway_agent.media.ports import is_numeric
from gateway_agent.webrtc.legs import MOST_CANDIDATES, Browser, Leg, Stream
from sip.wire import sdp
from sip.wire.sdp import MediaAddress, SdpError

EVENTS: Final = "telephone-event"
TRANSCODED: Final = frozenset({"opus", "pcma", "pcmu", "g722"})
"""Codecs that the gateway can decode and encode."""
MOST_FORMATS: Final = 32

_BROADCAST: Final = IPv4Address("255.255.255.255")
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT: Final = re.compile(r"sha-(?:256|384|512) [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31,63}", re.IGNORECASE)
_RTPMAP: Final = re.compile(r"a=rtpmap:(\d{1,3}) +([A-Za-z0-9.+_-]{1,32})/(\d{1,6})(?:/(\d{1,2}))?\s*")
_FMTP: Final = re.compile(r"a=fmtp:(\d{1,3}) +([\x21-\x7e ]{1,200}?)\s*")
_MID: Final = re.compile(r"a=mid:([\x21-\x7e]{1,32})\s*")
_PTIME: Final = re.compile(r"a=ptime:(\d{1,3})\s*")


class Format(NamedTuple):
    """One payload type of an audio section."""

    payload: int
    name: str
    rate: int
    channels: str = ""
    parameters: str = ""
    """The parameters of ``a=fmtp``."""

    @property
    def is_events(self) -> bool:
        return self.name.lower() == EVENTS

    @property
    def lines(self) -> list[str]:
        """Its ``a=rtpmap`` and ``a=fmtp`` lines."""
        more = f"/{self.channels}" if self.channels else ""
        mapped = f"a=rtpmap:{self.payload} {self.name}/{self.rate}{more}"
        return [mapped, f"a=fmtp:{self.payload} {self.parameters}"] if self.parameters else [mapped]


_STATIC: Final = {
    0: Format(0, "PCMU", 8000),
    8: Format(8, "PCMA", 8000),
    9: Format(9, "G722", 8000),
}
"""Static payload types (RFC 3551 section 6)."""
_OPUS: Final = Format(111, "opus", 48000, "2", "minptime=10;useinbandfec=1")
_EVENTS: Final = Format(101, EVENTS, 8000, "", "0-16")


class Section(NamedTuple):
    """An ``m=`` section of any kind."""

    place: MediaAddress
    mid: str


class Described(NamedTuple):
    """The parts of a description that are used."""

    sections: tuple[Section, ...]
    led: int
    """Index of the audio section that passes through the gateway; -1 without one."""
    formats: tuple[Format, ...] = ()
    direction: str = "sendrecv"
    ptime: str = ""
    browser: Browser | None = None
    setup: str = ""

    @property
    def audio(self) -> MediaAddress:
        """That audio section; there must be one."""
        return self.sections[self.led].place


def described(body: bytes, browser: bool) -> Described:
    """Read a description, of a browser or of a plain RTP device. Raises `SdpError`."""
    places = sdp.endpoints(body)
    head, *parts = sdp.lines(body)
    sections = tuple(Section(place, _first(_MID, part)) for place, part in zip(places, parts, strict=True))
    index = next((number for number, place in enumerate(places) if _is_led(place, browser)), -1)
    if index < 0:
        return Described(sections, -1)
    own = parts[index]
    known = Described(sections, index, _formats(places[index], own), sdp.direction(body), _first(_PTIME, own))
    if not browser:
        return known
    return known._replace(browser=_browser(head, own), setup=_value("a=setup:", own) or _value("a=setup:", head))


def _is_led(place: MediaAddress, browser: bool) -> bool:
    if place.media != "audio" or place.rejected:
        return False
    return place.is_dtls if browser else place.is_rtp and "SAVP" not in place.proto.upper()


def offered(formats: Sequence[Format], to_browser: bool) -> list[Format]:
    """The formats to offer to the other side for the offered ``formats``: these, and codecs to transcode to. Raises
    `SdpError` if none can be passed."""
    audio = [one for one in formats if one.name.lower() in TRANSCODED]
    if not audio:
        names = ", ".join(dict.fromkeys(one.name for one in formats)) or "no codec"
        raise SdpError(f"the WebRTC gateway passes Opus, G.722 and G.711, and {names} is offered")
    events = [one for one in formats if one.is_events]
    known = {one.name.lower() for one in audio}
    more = [one for one in (_STATIC[8], _STATIC[0], _OPUS) if one.name.lower() not in known]
    if events and not any(one.rate == _EVENTS.rate for one in events):
        more.append(_EVENTS)
    found = [*audio, *events]
    for one in more:
        if to_browser or one is not _OPUS:
            found.append(_free(one, {each.payload for each in found}))
    return sorted(found, key=lambda one: one.is_events)


def agreed(answer: Sequence[Format], offer: Sequence[Format]) -> tuple[Stream, Stream, list[Format]]:
    """What is agreed by an answer: the stream to the answerer, the stream to the offerer, and the formats of the
    answer to the offerer. Raises `SdpError`."""
    there = next((one for one in answer if one.name.lower() in TRANSCODED), None)
    if there is None:
        raise SdpError("the answer has none of the codecs that were offered")
    name = there.name.lower()
    same = [one for one in offer if one.name.lower() == name and one.rate == there.rate]
    here = next(iter(same or [one for one in offer if one.name.lower() in TRANSCODED]), None)
    if here is None:
        raise SdpError("the answer has none of the codecs that were offered")
    events_there, events_here = _events(answer, there.rate), _events(offer, here.rate)
    if events_there is None or events_here is None:
        return Stream(there.name, there.rate, there.payload), Stream(here.name, here.rate, here.payload), [here]
    return (
        Stream(there.name, there.rate, there.payload, events_there.payload, events_there.rate),
        Stream(here.name, here.rate, here.payload, events_here.payload, events_here.rate),
        [here, events_here],
    )


def plain(
    sections: Sequence[Section], index: int, formats: Sequence[Format], said: Described, leg: Leg, at: str
) -> bytes:
    """A plain description with the direction of ``said`` and RTP to ``leg``; ``at``: the address to write.
    ``sections``: those of the last description in this dialog; ``index``: the audio section among them."""
    payloads = " ".join(str(one.payload) for one in formats)
    audio = [f"m=audio {leg.port} RTP/AVP {payloads}", *_about(formats, said)]
    head = [*_head(leg, at), f"c={_network(at)}", "t=0 0"]
    return _joined(head, sections, index, audio, [])


def for_browser(
    sections: Sequence[Section],
    index: int,
    formats: Sequence[Format],
    said: Described,
    leg: Leg,
    at: str,
    setup: str,
) -> bytes:
    """A description for a browser (RFC 8829 section 5.2.1) with the ICE agent of ``leg``; ``at``: the address to
    write in place of ours, ``""`` for ours."""
    mid = (sections[index].mid if index < len(sections) else "") or "0"
    candidates = [_shown(one, leg.address, at) for one in leg.candidates]
    first = candidates[0].split()
    payloads = " ".join(str(one.payload) for one in formats)
    audio = [
        f"m=audio {first[5]} UDP/TLS/RTP/SAVPF {payloads}",
        f"c={_network(first[4])}",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{leg.ufrag}",
        f"a=ice-pwd:{leg.pwd}",
        f"a=fingerprint:{leg.fingerprint}",
        f"a=setup:{setup}",
        *(f"a=candidate:{one}" for one in candidates),
        "a=end-of-candidates",
        "a=rtcp-mux",
        "a=msid:- audio",
        *_about(formats, said),
    ]
    head = [*_head(leg, at or leg.address), "t=0 0", f"a=group:BUNDLE {mid}", "a=msid-semantic:WMS *"]
    return _joined(head, sections, index, audio, ["c=IN IP4 0.0.0.0", "a=inactive"])


def refused(sections: Sequence[Section], leg: Leg, at: str) -> bytes:
    """An answer that refuses all sections."""
    return _joined([*_head(leg, at), f"c={_network(at)}", "t=0 0"], sections, -1, [], [])


def _joined(head: list[str], sections: Sequence[Section], index: int, audio: list[str], more: list[str]) -> bytes:
    lines = list(head)
    for number in range(max(len(sections), index + 1)):
        if number == index:
            lines += audio
            continue
        place, mid = sections[number]
        lines.append(f"m={place.media} 0 {place.proto} {' '.join(place.formats) or '0'}")
        lines += more
        if mid:
            lines.append(f"a=mid:{mid}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _head(leg: Leg, at: str) -> list[str]:
    number = int.from_bytes(leg.id.encode()[-7:], "big")
    return ["v=0", f"o=- {number} 1 {_network(at)}", "s=-"]


def _about(formats: Sequence[Format], said: Described) -> list[str]:
    lines = [line for one in formats for line in one.lines]
    if said.ptime:
        lines.append(f"a=ptime:{said.ptime}")
    return [*lines, f"a={said.direction}"]


def _network(address: str) -> str:
    return f"IN IP{6 if ':' in address else 4} {address}"


def _shown(candidate: str, ours: str, at: str) -> str:
    """A candidate with the advertised address in place of ours, for a one-to-one NAT."""
    fields = candidate.split()
    if at and fields[4] == ours:
        fields[4] = at
    return " ".join(fields)


def _formats(place: MediaAddress, lines: Sequence[str]) -> tuple[Format, ...]:
    mapped = {int(found[1]): found for line in lines if (found := _RTPMAP.fullmatch(line))}
    parameters = {int(found[1]): found[2] for line in lines if (found := _FMTP.fullmatch(line))}
    formats = []
    for text in place.formats[:MOST_FORMATS]:
        payload = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else -1
        found = mapped.get(payload)
        if found is not None and payload < 128:
            formats.append(Format(payload, found[2], int(found[3]), found[4] or "", parameters.get(payload, "")))
        elif payload in _STATIC:
            formats.append(_STATIC[payload])
    return tuple(one for one in formats if one.rate)


def _browser(head: Sequence[str], own: Sequence[str]) -> Browser:
    ufrag = _value("a=ice-ufrag:", own) or _value("a=ice-ufrag:", head)
    pwd = _value("a=ice-pwd:", own) or _value("a=ice-pwd:", head)
    fingerprints = _values("a=fingerprint:", own) or _values("a=fingerprint:", head)
    known = tuple(one for one in fingerprints if _FINGERPRINT.fullmatch(one))[:4]
    if not (_UFRAG.fullmatch(ufrag) and _PWD.fullmatch(pwd) and known):
        raise SdpError("a browser's description has no ICE credentials, or no fingerprint by SHA-2")
    return Browser(ufrag, pwd, known, tuple(_candidates(own)))


def _candidates(lines: Sequence[str]) -> list[str]:
    """The candidates that can be tried: UDP, component 1 (RTCP is multiplexed, RFC 5761), with a numeric address."""
    found: list[str] = []
    for text in _values("a=candidate:", lines):
        fields = text.split()
        if not text.isascii() or len(fields) < 8 or len(text) > 200 or len(found) == MOST_CANDIDATES:
            continue
        if fields[1] == "1" and fields[2].lower() == "udp" and _is_place(fields[4], fields[5]):
            found.append(text)
    return found


def _is_place(host: str, port: str) -> bool:
    """Whether one host can be there. A port that no socket has would end the ICE agent that sends there, and an
    address of many would have them all asked in the browser's name."""
    if not (is_numeric(host) and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        return False
    address = ip_address(host)
    return not (address.is_multicast or address.is_unspecified or address == _BROADCAST)


def _events(formats: Sequence[Format], rate: int) -> Format | None:
    """The telephone-event format for audio of that clock rate, else any one (RFC 4733 section 2.1)."""
    events = [one for one in formats if one.is_events]
    return next((one for one in events if one.rate == rate), next(iter(events), None))


def _free(wanted: Format, taken: set[int]) -> Format:
    """The same format with a payload type that is not taken."""
    numbers = (wanted.payload, *range(96, 128))
    return wanted._replace(payload=next(one for one in numbers if one not in taken))


def _first(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    return next((found[1] for line in lines if (found := pattern.fullmatch(line))), "")


def _value(start: str, lines: Sequence[str]) -> str:
    return next(iter(_values(start, lines)), "")


def _values(start: str, lines: Sequence[str]) -> list[str]:
    return [line[len(start) :].strip() for line in lines if line.startswith(start)]
