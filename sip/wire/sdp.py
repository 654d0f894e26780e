"""Session descriptions (RFC 8866), edited line by line.

A description that passes through belongs to the two ends. We read from it what a call needs (hold, media addresses)
and replace single lines (``o=``, ``c=``, ports) in place; all else stays byte for byte. A body that cannot be read
raises `SdpError`, whose text is a sentence, and no other error.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import blake2b, blake2s
from typing import Literal, NamedTuple

from sip.wire.errors import SipError

MAX_BODY = 65_535
MAX_SECTIONS = 64

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]


class SdpError(SipError):
    """The body is no session description that can be read; the text says why."""


class Origin(NamedTuple):
    """The ``o=`` line. All but ``version`` name the session and never change within a dialog (RFC 3264 section 8)."""

    username: bytes
    session_id: bytes
    version: int
    network: bytes
    """Network and address type: ``IN IP4`` or ``IN IP6``."""
    address: bytes

    def __bytes__(self) -> bytes:
        """The line without ``o=`` and without its end; `parse_origin` reads it back."""
        return b"%b %b %d %b %b" % self


class MediaAddress(NamedTuple):
    """Where one ``m=`` section wants to receive its media, and of which kind it is."""

    address: str
    """As written in the ``c=`` line in force: a numeric address, or a name. Empty where none is given."""
    port: int
    rtcp_port: int
    """From ``a=rtcp`` (RFC 3605), or ``port`` + 1; 0 when rejected."""
    proto: str
    """``RTP/AVP``, ``RTP/SAVPF``, ``udptl``, ..."""
    media: str
    """``audio``, ``video``, ``image``, ..."""
    rejected: bool
    """Port 0: refused or ended (RFC 3264 section 6)."""
    ports: int = 1
    """Pairs of ports asked for."""
    formats: tuple[str, ...] = ()
    """The formats of ``m=``; for RTP the payload types."""
    clocks: tuple[tuple[int, int], ...] = ()
    """Payload types with a clock rate other than 8000 Hz, and that rate in Hz."""

    @property
    def is_rtp(self) -> bool:
        """Whether it is RTP over UDP, secured or not."""
        return self.proto.upper().startswith(("RTP/", "UDP/TLS/RTP/"))

    @property
    def is_datagrams(self) -> bool:
        """Whether its media are UDP datagrams of any kind (RFC 8866 section 8.2.3): RTP, UDPTL, BFCP, DTLS, …"""
        return self.proto.upper().partition("/")[0] in ("RTP", "UDP", "UDPTL")

    @property
    def is_dtls(self) -> bool:
        """Whether its keys are exchanged by DTLS (RFC 5764, RFC 8841)."""
        return "TLS" in self.proto.upper().split("/") or "DTLS" in self.proto.upper().split("/")


def origin_of(body: bytes) -> Origin:
    """The origin of a description. Raises `SdpError`."""
    start, stop = _origin_line(body)
    return parse_origin(body[start + 2 : stop])


def parse_origin(value: bytes) -> Origin:
    """Read what ``bytes(origin)`` wrote. Raises `SdpError`."""
    # From the right: some devices put spaces into the user name, or one at the end of the line.
    fields = value.rstrip(b" \t\r").rsplit(b" ", 5)
    if len(fields) != 6 or not (fields[1] and fields[3] and fields[4] and fields[5]):
        raise SdpError("the o= line has not its six fields")
    user, session, version, net, kind, address = fields
    if not version.isdigit() or len(version) > 20:
        raise SdpError("the version in the o= line is no number of at most 20 digits")
    return Origin(user, session, int(version), net + b" " + kind, address)


def with_origin(body: bytes, origin: Origin) -> bytes:
    """``body`` with another ``o=`` line and nothing else changed. Raises `SdpError`."""
    start, stop = _origin_line(body)
    return b"%bo=%b%b" % (body[:start], b"%b %b %d %b %b" % origin, body[stop:])


def same_but_origin(a: bytes, b: bytes) -> bool:
    """Whether two descriptions are equal apart from their ``o=`` lines. Never raises."""
    try:
        (a_start, a_stop), (b_start, b_stop) = _origin_line(a), _origin_line(b)
    except SdpError:
        return a == b
    return a[a_stop:] == b[b_stop:] and a[:a_start] == b[:b_start]


def continued(last: bytes, new: bytes) -> bytes:
    """``new`` with an ``o=`` line that continues ``last``, the description sent before to the same device.

    The session id stays the one that the device knows; the version grows by one if and only if anything else changed
    (RFC 3264 section 8). Raises `SdpError` when either cannot be read.
    """
    origin = origin_of(last)
    if not same_but_origin(last, new):
        origin = origin._replace(version=origin.version + 1)
    return with_origin(new, origin)


def _origin_line(body: bytes) -> tuple[int, int]:
    """Where the ``o=`` line begins and ends, its line end not included."""
    start = body.find(b"\no=") + 1
    if len(body) > MAX_BODY:
        raise SdpError(f"the description is longer than {MAX_BODY} bytes")
    if start == 0 and not body.startswith(b"o="):
        raise SdpError("the description has no o= line")
    if body.find(b"\nm=", 0, start) >= 0:
        raise SdpError("the description has its o= line after an m= line")
    stop = body.find(b"\n", start)
    if stop < 0:
        stop = len(body)
    if body[stop - 1] == 13:
        stop -= 1
    return start, stop


_DIRECTION = re.compile(rb"^a=(sendrecv|sendonly|recvonly|inactive)[ \t]*\r?$", re.MULTILINE)
_CONNECTION = re.compile(
    rb"^c=IN[ \t]{1,9}IP[46][ \t]{1,9}([0-9A-Za-z.:%_-]{1,255})(/[0-9/]{1,12})?(?=[ \t\r\n]|\Z)", re.MULTILINE
)
_MULTICAST = re.compile(rb"2(?:2[4-9]|3\d)\.|[Ff][Ff][0-9A-Fa-f]{2}:")
_MEDIA = re.compile(rb"m=([^ \r\n]{1,32}) +(\d{1,5})(?:/(\d{1,5}))? +([^ \r\n]{1,64})([^\r\n]*)")
_NOWHERE = (b"0.0.0.0", b"::")
_UFRAG = b"\na=ice-ufrag:"
_WITHOUT_SENDING_BACK: dict[Direction, Direction] = {"sendrecv": "sendonly", "recvonly": "inactive"}


def direction(body: bytes) -> Direction:
    """The direction of the first audio section, else of the first section, as the sender of ``body`` sees it.

    An address of all zeros, the hold of RFC 2543, means that the sender does not receive, unless it uses ICE: then it
    has not gathered a candidate yet (RFC 8829 section 5.2.1). A rejected section is ``inactive``. Raises `SdpError`.
    """
    first = _first_section(body)
    audio = body.find(b"\nm=audio ", first - 1) + 1 or first
    media = _MEDIA.match(body, audio)
    if media is None:
        raise SdpError("the m= line of the audio cannot be read")
    if int(media[2]) == 0:
        return "inactive"
    end = body.find(b"\nm=", audio)
    if end < 0:
        end = len(body)
    found = _DIRECTION.search(body, audio, end) or _DIRECTION.search(body, 0, first)
    stated: Direction = found[1].decode() if found else "sendrecv"  # type: ignore[assignment]
    connection = _CONNECTION.search(body, audio, end) or _CONNECTION.search(body, 0, first)
    if connection is None or connection[1] not in _NOWHERE:
        return stated
    with_ice = body.find(_UFRAG, audio, end) >= 0 or body.find(_UFRAG, 0, first) >= 0
    return stated if with_ice else _WITHOUT_SENDING_BACK.get(stated, stated)


def directions(body: bytes) -> list[Direction]:
    """The direction that each ``m=`` section states, as the sender of ``body`` sees it. Raises `SdpError`."""
    head, parts = sections(body)
    inherited = _DIRECTION.search(head)
    found = [_DIRECTION.search(part) or inherited for part in parts]
    return [one[1].decode() if one is not None else "sendrecv" for one in found]  # type: ignore[misc]


def is_hold(body: bytes) -> bool:
    """Whether the sender of this description puts the other side on hold: it does not receive. Raises `SdpError`."""
    return direction(body) in ("sendonly", "inactive")


def _first_section(body: bytes) -> int:
    if len(body) > MAX_BODY:
        raise SdpError(f"the description is longer than {MAX_BODY} bytes")
    first = body.find(b"\nm=") + 1
    if first == 0:
        raise SdpError("the description has no m= line")
    return first


_RTCP = re.compile(rb"^a=rtcp:(\d{1,5})( IN IP[46] [^ \r\n]{1,255})?(?=[ \t\r\n]|\Z)", re.MULTILINE)
_RTPMAP = re.compile(rb"^a=rtpmap:([0-9]{1,3}) [^/\s]{1,64}/([0-9]{1,7})", re.MULTILINE)
_ICE = re.compile(
    rb"^a=(?:candidate:|remote-candidates:|end-of-candidates|ice-|source-filter:)[^\n]*(?:\n|\Z)", re.MULTILINE
)
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
"""A line with its line feed, the only line end, with or without a CR before it (RFC 8866 section 9)."""
_MID = re.compile(rb"^a=mid:([^\s]+)[ \t]*\r?$", re.MULTILINE)
_GROUP = re.compile(rb"^(a=group:[^ \r\n]+)((?: +[^ \r\n]+)*)", re.MULTILINE)
_KEPT_WHEN_REFUSED = (b"m=", b"a=mid:")
_KEPT_WHEN_INACTIVE = (b"a=rtpmap:", b"a=fmtp:", b"a=mid:")
_CRYPTO = re.compile(rb"a=crypto:(\d{1,9})[ \t]+(\S+)[ \t]")
_KEY_OCTETS = {
    b"AES_CM_128_HMAC_SHA1_80": 30,
    b"AES_CM_128_HMAC_SHA1_32": 30,
    b"F8_128_HMAC_SHA1_80": 30,
    b"AES_192_CM_HMAC_SHA1_80": 38,
    b"AES_192_CM_HMAC_SHA1_32": 38,
    b"AES_256_CM_HMAC_SHA1_80": 46,
    b"AES_256_CM_HMAC_SHA1_32": 46,
    b"AEAD_AES_128_GCM": 28,
    b"AEAD_AES_256_GCM": 44,
}
"""Master key and salt of each suite (RFC 4568 section 6.2, RFC 6188 section 4, RFC 7714 section 14.2)."""


def endpoints(body: bytes) -> list[MediaAddress]:
    """The media address of each ``m=`` section, in order. Raises `SdpError`."""
    head, parts = sections(body)
    inherited = _address(head)
    return [_endpoint(part, inherited) for part in parts]


def with_endpoints(body: bytes, places: Sequence[tuple[str, int] | None], *, keep_ice: bool = False) -> bytes:
    """``body`` with other media addresses: ``places`` has an (address, RTP port) for each ``m=`` section, in order.

    ``c=``, the port in ``m=`` and ``a=rtcp`` are rewritten and, unless ``keep_ice``, all ICE attributes dropped (a
    candidate would lead the media past the new address, and ICE without candidates is a mismatch, RFC 8839); no
    other byte changes. Port 0 refuses a section (RFC 3264 section 6), of which only ``m=`` and ``a=mid`` are left.
    None leaves a section as it is; a section that is rejected already only gets another address. An address of all
    zeros stays, since it means hold. Raises `SdpError` for the body, `ValueError` for a wrong number of places.
    """
    head, parts = sections(body)
    if len(places) != len(parts):
        raise ValueError(f"{len(places)} places for {len(parts)} m= sections")
    inherited = shared = _address(head)
    first = next((place[0] for place in places if place), None)
    if inherited is not None and first is not None:
        shared = _keeping_hold(first, inherited)
        head = _CONNECTION.sub(_connection(shared), head)
    moved = [_moved(part, place, inherited, shared, first) for part, place in zip(parts, places, strict=True)]
    result = head + b"".join(moved)
    return result if keep_ice else _ICE.sub(b"", result)


def lines(body: bytes) -> list[list[str]]:
    """The lines of the session level, then of each ``m=`` section, without line ends. Raises `SdpError`."""
    head, parts = sections(body)
    return [
        [line.decode("utf-8", "replace").rstrip("\r\n") for line in _LINE.findall(part)] for part in (head, *parts)
    ]


def refused(body: bytes) -> bytes:
    """``body`` with all of its media refused and its addresses removed; empty when it cannot be read."""
    try:
        return with_endpoints(body, [("0.0.0.0", 0)] * len(sections(body)[1]))
    except SdpError:
        return b""


def inactive(offer: bytes, secret: bytes = b"") -> bytes:
    """An answer (RFC 3264 section 6) that starts no media: RTP is ``inactive`` with all offered formats, other media
    is refused. Raises `SdpError`, also when no RTP is offered that it can accept.

    Without ``secret`` only unencrypted RTP is accepted. With it, some random bytes, also RTP with keys by SDES or
    DTLS: keys, fingerprint and ICE credentials of the answer are derived from it. Nobody can use them, which does no
    harm until a later offer replaces them.
    """
    head, parts = sections(offer)
    answered: list[bytes] = []
    flows, dtls = False, []
    for index, part in enumerate(parts):
        media = _media(part)
        more = _accepted(head, part, media[4].upper(), secret and b"%d %b" % (index, secret))
        if int(media[2]) == 0 or more is None:
            answered += _LINE.findall(_refused(part, media))
            continue
        flows = True
        kept = [line for line in _LINE.findall(part) if line.startswith(_KEPT_WHEN_INACTIVE)]
        if any(line.startswith(b"a=fingerprint") for line in more):
            dtls += _MID.findall(part)
        answered += [b"m=%b 9 %b%b" % (media[1], media[4], media[5].rstrip()), *kept, *more, b"a=inactive"]
    if not flows:
        raise SdpError("no RTP is offered that can be accepted" if secret else "no unencrypted RTP is offered")
    first = b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    if dtls and any(name == b"a=group:BUNDLE" for name, _ in _GROUP.findall(head)):  # RFC 9143 section 7.3
        first += b"a=group:BUNDLE %b\r\n" % b" ".join(dtls)
    return first + b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in answered)


def _accepted(head: bytes, part: bytes, proto: bytes, secret: bytes) -> list[bytes] | None:
    """The lines that an answer to that section needs besides its formats; None if it cannot be accepted."""
    if proto in (b"RTP/AVP", b"RTP/AVPF"):
        return []
    if not secret or not proto.endswith((b"RTP/SAVP", b"RTP/SAVPF")):
        return None
    said = _LINE.findall(head) + _LINE.findall(part)
    if any(line.startswith(b"a=fingerprint:") for line in said):
        passive = any(line.startswith(b"a=setup:passive") for line in said)
        digest = blake2s(secret, digest_size=32).digest().hex(":").upper()
        lines = [b"a=setup:active" if passive else b"a=setup:passive"]  # RFC 8842 section 5.3
        lines.append(b"a=fingerprint:sha-256 " + digest.encode())
        if any(line.startswith(b"a=ice-ufrag:") for line in said):
            name = blake2s(secret, digest_size=16, person=b"ice").hexdigest().encode()
            lines += [b"a=ice-ufrag:" + name[:8], b"a=ice-pwd:" + name[8:]]
        return [*lines, *(line for line in said if line.startswith(b"a=rtcp-mux"))]
    if not proto.startswith(b"RTP/"):
        return None
    for line in said:
        # RFC 4568 section 5.1.2: one of the offered suites, with its tag and a key of ours
        if (crypto := _CRYPTO.match(line)) is not None and (octets := _KEY_OCTETS.get(crypto[2].upper())):
            key = b64encode(blake2b(secret, digest_size=octets).digest())
            return [b"a=crypto:%b %b inline:%b" % (crypto[1], crypto[2], key)]
    return None


def count(body: bytes) -> int:
    """How many ``m=`` sections a description has."""
    return body.count(b"\nm=")


def padded(body: bytes, known: bytes) -> bytes:
    """``body`` with as many ``m=`` sections as ``known``: those of ``known`` that it lacks are appended, refused
    (port 0; RFC 3264 section 8.2). Each keeps its ``a=mid`` unless a section or group of ``body`` has the same, since
    a refused section is in no group (RFC 9143 section 7.3.3). Raises `SdpError`.
    """
    head, parts = sections(body)
    named = set(_MID.findall(body))
    for _, names in _GROUP.findall(head):
        named.update(names.split())
    shared = _address(head)
    added: list[bytes] = []
    for part in sections(known)[1][len(parts) :]:
        line, *mids = [each.rstrip(b"\r\n") for each in _LINE.findall(_refused(part, _media(part)))]
        added.append(line)
        if shared is None:  # RFC 8866 section 5.7: there, or in each section
            added.append(_connection(_address(parts[0]) or "0.0.0.0"))
        added += [mid for mid in mids if mid[6:] not in named]
    return b"".join([body, *([] if body.endswith(b"\n") else [b"\r\n"]), *(line + b"\r\n" for line in added)])


def shortened(body: bytes, number: int) -> bytes:
    """``body`` with its first ``number`` ``m=`` sections; groups no longer name the others. Raises `SdpError`."""
    head, parts = sections(body)
    gone = {name for part in parts[number:] for name in _MID.findall(part)}
    if gone:
        head = _GROUP.sub(lambda found: found[1] + b"".join(_named(found[2], gone)), head)
    return head + b"".join(parts[:number])


def _named(names: bytes, gone: set[bytes]) -> list[bytes]:
    """The names of a group without those in ``gone``, each with a space before it."""
    return [b" " + name for name in names.split() if name not in gone]


def outline(body: bytes) -> bytes:
    """The ``m=`` lines alone, each refused and with one format: the least that has to be kept of a session so that a
    later offer has all of its sections, see :func:`padded`. Raises `SdpError`."""
    lines = []
    for part in sections(body)[1]:
        media = _media(part)
        lines.append(b"m=%b 0 %b %b\n" % (media[1], media[4], (media[5].split() or [b"0"])[0]))
    return b"".join(lines)


def sections(body: bytes) -> tuple[bytes, list[bytes]]:
    """The session level and the ``m=`` sections; joined they are the body. Raises `SdpError`."""
    first = _first_section(body)
    parts = body[first:].split(b"\nm=", MAX_SECTIONS)
    if len(parts) > MAX_SECTIONS:
        raise SdpError(f"the description has more than {MAX_SECTIONS} m= sections")
    last = len(parts) - 1
    return body[:first], [(b"m=" if i else b"") + part + (b"\n" if i < last else b"") for i, part in enumerate(parts)]


def _endpoint(section: bytes, inherited: str | None) -> MediaAddress:
    media = _media(section)
    own = _address(section)
    address = inherited if own is None else own
    port, proto, kind = int(media[2]), media[4].decode("latin-1"), media[1].decode("latin-1")
    formats = tuple(media[5].decode("latin-1").split())
    if port == 0:
        return MediaAddress(address or "", 0, 0, proto, kind, True, 1, formats)
    rtcp = _RTCP.search(section)
    rtcp_port = int(rtcp[1]) if rtcp else port + 1
    endpoint = MediaAddress(
        address or "", port, min(rtcp_port, 65_535), proto, kind, False, int(media[3] or 1), formats, _clocks(section)
    )
    if rtcp_port > 65_535 and endpoint.is_rtp:
        raise SdpError("the port for RTCP is above 65535")
    return endpoint


def _clocks(section: bytes) -> tuple[tuple[int, int], ...]:
    return tuple((int(kind), int(hz)) for kind, hz in _RTPMAP.findall(section) if hz != b"8000")


def _moved(
    section: bytes, place: tuple[str, int] | None, inherited: str | None, shared: str | None, ours: str | None
) -> bytes:
    """One section with ``place`` as its address. The address of the session level was ``inherited`` and is now
    ``shared``; ``ours``, the first of the new addresses, is written into rejected sections."""
    media = _media(section)
    own = _address(section)
    if place is not None and place[1] == 0 and int(media[2]) != 0:
        return _refused(section, media)
    if int(media[2]) == 0:
        return section if own is None or ours is None else _CONNECTION.sub(_connection(ours), section)
    if place is None:
        kept = own is not None or inherited is None or inherited == shared
        return section if kept else _with_connection(section, inherited or "")
    old = inherited if own is None else own
    if media[3] is not None and int(media[3]) > 1:
        raise SdpError("an m= section asks for more than one pair of ports")
    address, port = _keeping_hold(place[0], old or ""), place[1]
    rtcp = _RTCP.search(section)
    if rtcp:
        # RTCP on the RTP port (RFC 5761) stays on it.
        there = port if rtcp[1] == media[2] else port + 1
        where = b" " + _connection(place[0])[2:] if rtcp[2] else b""
        section = b"%ba=rtcp:%d%b%b" % (section[: rtcp.start()], there, where, section[rtcp.end() :])
    section = b"%b%d%b" % (section[: media.start(2)], port, section[media.end(2) :])
    if own is not None:
        return _CONNECTION.sub(_connection(address), section)
    return section if address == shared else _with_connection(section, address)


def _refused(section: bytes, media: re.Match[bytes]) -> bytes:
    section = b"%b0%b" % (section[: media.start(2)], section[media.end(3 if media[3] is not None else 2) :])
    return b"".join(line for line in _LINE.findall(section) if line.startswith(_KEPT_WHEN_REFUSED))


def _media(section: bytes) -> re.Match[bytes]:
    media = _MEDIA.match(section)
    if media is None or int(media[2]) > 65_535:
        raise SdpError("an m= line cannot be read")
    return media


def _address(part: bytes) -> str | None:
    """The address in the ``c=`` line of the session level or of one section. A repeated line counts once; a TTL,
    which some devices write after unicast addresses too, is ignored. Raises `SdpError` for multicast and for
    different addresses."""
    address = None
    at = part.find(b"\nc=") + 1
    while at > 0:
        found = _CONNECTION.match(part, at)
        if found is None:
            raise SdpError("a c= line cannot be read")
        if _MULTICAST.match(found[1]) or (found[2] or b"").count(b"/") > 1:
            raise SdpError("a c= line names a multicast group")
        if address is not None and found[1] != address:
            raise SdpError("several c= lines that differ")
        address = found[1]
        at = part.find(b"\nc=", at) + 1
    return None if address is None else address.decode("ascii")


def _connection(address: str) -> bytes:
    return b"c=IN IP%d %b" % (6 if ":" in address else 4, address.encode("ascii"))


def _keeping_hold(address: str, old: str) -> str:
    if old not in ("0.0.0.0", "::"):
        return address
    return "::" if ":" in address else "0.0.0.0"


def _with_connection(section: bytes, address: str) -> bytes:
    """The section with a ``c=`` line added after ``m=`` and ``i=`` (RFC 8866 section 5)."""
    at = section.find(b"\n") + 1
    if at == 0:
        return section + b"\r\n" + _connection(address)
    end = b"\r\n" if section[at - 2] == 13 else b"\n"
    if section.startswith(b"i=", at):
        following = section.find(b"\n", at) + 1
        if following == 0:
            return section + end + _connection(address)
        at = following
    return section[:at] + _connection(address) + end + section[at:]
