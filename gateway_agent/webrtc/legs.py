"""The agent core's side of the WebRTC gateway: legs at hand without waiting, commands and notices as lines of JSON.

The gateway (`gateway_agent.webrtc.process`) is another process. It prepares legs ahead, each an ICE agent that has
gathered its candidates and a pair of ports for plain RTP, and announces them, so that the core can describe one at
once. What the core wants of a session is one value, `Session`, told whole each time that it changes::

    to the gateway                                              from the gateway
    {"do": "hello", "start": N, ...}     the first line         {"is": "ready", "pid": N}
    {"do": "take", "leg": L, ...}        in use from now on     {"is": "superseded"}
    {"do": "session", "session": S}                             {"is": "legs", "legs": [LEG, ...]}
    {"do": "release", "leg": L}                                 {"is": "expired", "leg": L}
    {"do": "audit"}                      what was not asked     {"is": "unknown", "leg": L}
                                         for is released        {"is": "short", "address": A, "why": "..." | ""}
    {"do": "end"}                        the gateway ends       {"is": "refused", "why": "..."}

with L = the id of a leg, LEG = the fields of `Leg`, S = those of `Session`. A leg expires in stock when what a STUN
or TURN server said of it is old. It is unknown when the process that prepared it is dead: its port is bound anew, and
the browser gets another ICE agent and DTLS association with the next offer.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from gateway_agent.media.ports import Notice, Ready, RelaySettings, Remote, Trouble

MOST_CANDIDATES: Final = 16
"""Candidates of a browser that are tried; checks are sent to whatever it names."""


class Leg(NamedTuple):
    """What the gateway has prepared."""

    id: str
    """Unique, over all processes of the gateway."""
    address: str
    port: int
    """Where plain RTP is received, RTCP at the next."""
    ufrag: str
    pwd: str
    """Of ICE (RFC 8839 section 5.4)."""
    fingerprint: str
    """Of the gateway's certificate, as in ``a=fingerprint`` (RFC 8122)."""
    candidates: tuple[str, ...]
    """As in ``a=candidate`` (RFC 8839 section 5.1), without that name."""


class Browser(NamedTuple):
    """What a browser has described of its transport."""

    ufrag: str
    pwd: str
    fingerprints: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    """With numeric addresses; a browser that hides its own is found by its checks."""


class Stream(NamedTuple):
    """The audio that goes to one side."""

    codec: str
    """``opus``, ``PCMA``, ...: an encoding name (RFC 4855)."""
    rate: int
    """Clock rate of its timestamps."""
    payload: int
    """Payload type."""
    events: int = -1
    """Payload type of telephone-event (RFC 4733); -1: that side knows none."""
    events_rate: int = 8000


class Session(NamedTuple):
    """One call's media, whole: what survives an agent."""

    leg: str
    address: str
    port: int
    """The plain side's, bound anew by a gateway that does not know the leg."""
    ice: str
    """The leg whose ICE agent speaks with the browser; another one than ``leg`` after an ICE restart."""
    controlling: bool
    """We have made the offer (RFC 8445 section 6.1.1)."""
    client: bool
    """We begin the DTLS handshake (RFC 8842)."""
    browser: Browser
    phone: Remote
    to_browser: Stream
    to_phone: Stream

    @property
    def transcodes(self) -> bool:
        """Whether audio is decoded and encoded."""
        return self.to_browser.codec.lower() != self.to_phone.codec.lower()


@dataclass(frozen=True, slots=True)
class GatewaySettings(RelaySettings):
    """What the site file says of an agent's WebRTC gateway; ``ahead`` and ``sessions`` count legs."""

    stun: str = ""
    """``host:port`` of a STUN server."""
    turn: str = ""
    """``host:port`` of a TURN server."""
    turn_transport: str = "udp"
    turn_user: str = ""
    turn_password: str = ""

    @classmethod
    def from_json(cls, text: str) -> GatewaySettings:
        fields = json.loads(text)
        return cls(**{**fields, "addresses": tuple(fields["addresses"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class WebrtcLegs:
    """Legs in stock, and in use. ``absent``: why there can be none, ``""`` where there can."""

    def __init__(self, absent: str = "", advertised: str = "") -> None:
        """``advertised``: the address to write into descriptions in place of the one that is bound."""
        self.absent = absent
        self.advertised = advertised
        self._stock: deque[Leg] = deque()
        self._uses: dict[str, Session | None] = {}
        self._out: list[str] = []
        self._running = False
        self._short: dict[str, str] = {}
        self._present: set[str] = set()
        """Legs that the process which is there has prepared, or has said nothing against."""

    def take(self, controlling: bool) -> Leg | None:
        """A leg, in use until `release`; None when there is none ready (see `shortage`). ``controlling``: we are
        about to make the offer (RFC 8445 section 6.1.1); a browser may send checks before it has answered."""
        if not self._stock:
            return None
        leg = self._stock.popleft()
        self._uses[leg.id] = None
        self._present.add(leg.id)
        self._say({"do": "take", "leg": leg.id, "controlling": controlling})
        return leg

    def adopt(self, leg: str, session: Session | None) -> None:
        """A leg that an agent before us had in use."""
        self._uses[leg] = session
        self._present.add(leg)
        if session is not None:
            self._say({"do": "session", "session": session})
        else:
            self._say({"do": "take", "leg": leg})

    def set(self, session: Session) -> None:
        """What is wanted of a session. The same again costs nothing."""
        if self._uses.get(session.leg) != session:
            self._uses[session.leg] = session
            self._say({"do": "session", "session": session})

    def release(self, leg: str) -> None:
        """Give a leg back; its session ends. One that is not in use is passed over."""
        self._present.discard(leg)
        if leg in self._uses:
            del self._uses[leg]
            self._say({"do": "release", "leg": leg})

    def is_present(self, leg: str) -> bool:
        """Whether the process has the ICE agent of this leg: not when it died since."""
        return leg in self._present

    def audit(self) -> None:
        """All is asked for again that an agent before us had: what else the gateway has in use is nobody's."""
        self._say({"do": "audit"})

    def shortage(self) -> str:
        """Why `take` gives nothing, a sentence."""
        if self.absent:
            return self.absent
        if not self._running:
            return "the WebRTC gateway is not running; it is being started"
        return next(filter(None, self._short.values()), "the WebRTC gateway has no leg ready at this moment")

    @property
    def state(self) -> str:
        """For people: why no browser can be connected with what is none, ``""`` when one can."""
        return "" if self._stock else self.shortage()

    @property
    def sessions(self) -> int:
        """Calls through it."""
        return sum(session is not None for session in self._uses.values())

    @property
    def ready(self) -> int:
        """Legs in stock."""
        return len(self._stock)

    # What runs the process asks for.

    def receive(self, line: str | bytes) -> Notice | None:
        """A line from the gateway; None when it is of no interest outside."""
        said: dict[str, Any] = json.loads(line)
        match said["is"]:
            case "legs":
                for fields in said["legs"]:
                    leg = leg_of(fields)
                    if leg.id not in self._uses:
                        self._stock.append(leg)
            case "ready":
                return self._tell_again()
            case "unknown":
                self._present.discard(said["leg"])
            case "expired":
                self._stock = deque(leg for leg in self._stock if leg.id != said["leg"])
            case "short":
                self._short[said["address"]] = said["why"]
                return Trouble(said["why"]) if said["why"] else None
            case "refused":
                return Trouble(said["why"])
            case "superseded":
                return Trouble("another start of this agent has the WebRTC gateway; this one gets none")
        return None

    def lost(self) -> None:
        """The process is gone: its stock with it. What is in use is told to the next one when it is ready."""
        self._stock.clear()
        self._out.clear()
        self._short.clear()
        self._running = False

    def to_send(self) -> list[str]:
        """The lines for the gateway, without their ends, in order; the list is handed over."""
        out, self._out = self._out, []
        return out

    @property
    def in_use(self) -> int:
        return len(self._uses)

    def in_stock(self, address: str) -> int:
        return len(self._stock)

    def complaint(self, address: str) -> str:
        """Why it cannot prepare more, a sentence; empty while it can."""
        return self._short.get(address, "")

    def _say(self, command: dict[str, object]) -> None:
        if self._running:
            self._out.append(json.dumps(command, separators=(",", ":")))

    def _tell_again(self) -> Ready:
        self.lost()
        self._running = True
        for leg, session in self._uses.items():
            self._say({"do": "take", "leg": leg} if session is None else {"do": "session", "session": session})
        return Ready(sum(session is not None for session in self._uses.values()))


def leg_of(fields: list[Any]) -> Leg:
    """The leg that these JSON values say. Raises `ValueError`, `TypeError`, `LookupError`."""
    id_, address, port, ufrag, pwd, fingerprint, candidates = fields
    return Leg(id_, address, port, ufrag, pwd, fingerprint, tuple(candidates))


def session_of(fields: list[Any]) -> Session:
    """The session that these JSON values say. Raises `ValueError`, `TypeError`, `LookupError`."""
    leg, address, port, ice, controlling, client, browser, phone, to_browser, to_phone = fields
    ufrag, pwd, fingerprints, candidates = browser
    host, rtp, rtcp, via, eager, kind, types = phone
    return Session(
        leg,
        address,
        port,
        ice,
        controlling,
        client,
        Browser(ufrag, pwd, tuple(fingerprints), tuple(candidates)),
        Remote(host, rtp, rtcp, via, eager, kind, tuple(types)),
        Stream(*to_browser),
        Stream(*to_phone),
    )
