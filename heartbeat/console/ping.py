"""OPTIONS pings (RFC 3261 section 11) to any SIP server: target, request, answer and statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from heartbeat.agent_key import signer_of
from heartbeat.carriage import METHOD, header
from heartbeat.header import PING, Beat, BeatError, read
from sip.endpoint import DEFAULT_PORT
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Response, parse
from sip.wire.uri import Uri

TRANSPORTS: Final = ("udp", "tcp", "tls")
_MOST_WORDS: Final = 200


@dataclass(frozen=True, slots=True)
class PingTarget:
    """A target of pings."""

    uri: str
    """The Request-URI."""
    host: str
    """Numeric without brackets, or a name."""
    port: int
    transport: str
    """``udp``, ``tcp`` or ``tls``."""
    node: str = ""
    """The node of the site, if the target was given by its name."""

    @classmethod
    def parse(cls, text: str, node: str = "") -> PingTarget:
        """Parse ``sip:host:port;transport=tcp``, ``tcp:host:port``, ``host:port`` or ``host``. Raises ValueError with
        a sentence."""
        if text.startswith(("tcp:", "udp:", "tls:")):
            text = f"{text[4:]};transport={text[:3]}"
        try:
            uri = Uri.parse(text if text.startswith(("sip:", "sips:")) else f"sip:{text}")
        except SipError as error:
            raise ValueError(f"{text!r} is no SIP address: {error}.") from None
        transport = "tls" if uri.scheme == "sips" else uri.transport.lower() or "udp"
        if uri.scheme == "tel" or transport not in TRANSPORTS:
            raise ValueError(f"{text!r} cannot be pinged: only sip: over udp, tcp or tls, and sips: can.")
        host = uri.host.removeprefix("[").removesuffix("]")
        return cls(str(uri), host, uri.port or DEFAULT_PORT[transport], transport, node)

    @property
    def address(self) -> str:
        """``192.0.2.1:5060``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.transport}:{self.address}"


Signer = Callable[[str, int], str]
"""Makes the Heartbeat header line for an OPTIONS with that Call-ID and CSeq number."""


def signer(site: str, value: bytes) -> Signer:
    """Signs pings to the nodes of a site, which report their state only to holders of the site key, or of an agent's
    own key in the name of that agent. ``value``: the content of the key file."""
    key, agent = signer_of(value)

    def sign(call_id: str, cseq: int) -> str:
        beat = Beat(site=site, node=agent or "ping", incarnation=0, epoch=0, state="agent", seq=cseq, kind=PING)
        return header(beat, key, METHOD, call_id, cseq)

    return sign


def request(
    target: PingTarget, local: tuple[str, int], call_id: str, branch: str, cseq: int, sign: Signer | None = None
) -> bytes:
    """The OPTIONS, to be sent from ``local``."""
    host = f"[{local[0]}]" if ":" in local[0] else local[0]
    here = f"{host}:{local[1]}"
    lines = (
        f"Via: SIP/2.0/{target.transport.upper()} {here};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: <sip:ping@{here}>;tag={call_id[:8]}",
        f"To: <{target.uri}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} OPTIONS",
        f"Contact: <sip:ping@{here};transport={target.transport}>",
        "Accept: application/sdp",
        "User-Agent: holdfast-ping",
        *((sign(call_id, cseq),) if sign is not None else ()),
    )
    return request_bytes("OPTIONS", target.uri, lines)


@dataclass(frozen=True, slots=True)
class PingAnswer:
    """A final response to a ping; nothing in it is authenticated."""

    status: int
    reason: str
    server: str
    allow: str
    beat: Beat | None
    """Its Heartbeat header, the signature unchecked."""

    @property
    def healthy(self) -> bool:
        return 200 <= self.status < 300


def read_answer(data: bytes, branch: str) -> PingAnswer | None:
    """The final response to the OPTIONS with that branch; None for anything else."""
    try:
        message = parse(data)
        if not isinstance(message, Response) or message.branch != branch or message.status < 200:
            return None
    except SipError:
        return None
    beat: Beat | None = None
    if (value := message.get("heartbeat")) is not None:
        try:
            beat = read(value)
        except BeatError:
            pass
    server = message.get("server") or message.get("user-agent") or ""
    allow = ", ".join(message.all("allow"))
    return PingAnswer(message.status, _clean(message.reason), _clean(server), _clean(allow), beat)


def _clean(text: str) -> str:
    """``text`` without characters that could control a terminal, shortened."""
    return "".join(letter for letter in text[:_MOST_WORDS] if letter.isprintable())


@dataclass(slots=True)
class Tally:
    """The results of the pings to one target so far."""

    target: PingTarget
    sent: int = 0
    trips: list[float] = field(default_factory=list)
    """Round trips in seconds, of the last 1000 answered."""
    answered: int = 0
    last: PingAnswer | None = None
    """The last answer."""
    trouble: str = ""
    """Why the last ping was not answered; ``""`` if it was."""

    def hit(self, answer: PingAnswer, trip: float) -> None:
        self.sent += 1
        self.answered += 1
        self.trips = [*self.trips[-999:], trip]
        self.last, self.trouble = answer, ""

    def miss(self, trouble: str) -> None:
        self.sent += 1
        self.trouble = trouble

    @property
    def lost(self) -> float:
        """Share of pings without an answer, 0 to 1."""
        return 1 - self.answered / self.sent if self.sent else 0.0

    @property
    def code(self) -> int:
        """0 all answered with 2xx, 1 some lost or another status, 2 the last said 503, 3 none answered."""
        if self.last is None:
            return 3
        if self.last.status == 503 and not self.trouble:
            return 2
        return 0 if self.last.healthy and self.answered == self.sent else 1

    def to_json(self) -> dict[str, Any]:
        last, trips = self.last, self.trips
        beat = last.beat if last else None
        said = ("site", "node", "state", "epoch", "incarnation", "calls", "capacity", "load", "config")
        return {
            "target": self.target.uri,
            "node": self.target.node or None,
            "sent": self.sent,
            "answered": self.answered,
            "lost": round(self.lost, 4),
            "rtt_ms": {
                "last": _ms(trips[-1]),
                "least": _ms(min(trips)),
                "mean": _ms(sum(trips) / len(trips)),
                "most": _ms(max(trips)),
            }
            if trips
            else None,
            "status": last.status if last else None,
            "reason": last.reason if last else None,
            "server": last.server if last else None,
            "allow": last.allow if last else None,
            "heartbeat": {_KEYS.get(name, name): getattr(beat, name) for name in said} if beat else None,
            "trouble": self.trouble,
        }


_KEYS: Final = {"incarnation": "boot"}
"""Fields whose JSON key has another name."""


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
