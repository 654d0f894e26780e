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
"""Candidates of a browser that are tried; limited since checks are sent to any address that it names."""


class Leg(NamedTuple):
    """An ICE agent and a pair of ports that the gateway has prepared."""

    id: str
    """Unique, over all processes of the gateway."""
    address: str
    port: int
    """The port for plain RTP; RTCP uses the next one."""
    ufrag: str
    pwd: str
    """The ICE password (RFC 8839 section 5.4)."""
    fingerprint: str
    """The fingerprint of the gateway's certificate, as in ``a=fingerprint`` (RFC 8122)."""
    candidates: tuple[str, ...]
    """As in ``a=candidate`` (RFC 8839 section 5.1), without that name."""


class Browser(NamedTuple):
    """A browser's transport, from its session description."""

    ufrag: str
    pwd: str
    fingerprints: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    """Candidates with numeric addresses; a browser that hides its own is found by its checks."""


class Stream(NamedTuple):
    """The format of the audio that is sent to one side."""

    codec: str
    """``opus``, ``PCMA``, ...: an encoding name (RFC 4855)."""
    rate: int
    """Clock rate of its timestamps, in Hz."""
    payload: int
    """Payload type."""
    events: int = -1
    """Payload type of telephone-event (RFC 4733); -1 when that side does not have it."""
    events_rate: int = 8000


class Session(NamedTuple):
    """The whole state of one call's media; servers keep it for the agent."""

    leg: str
    address: str
    port: int
    """The port of the plain side, bound anew by a gateway that does not know the leg."""
    ice: str
    """The leg whose ICE agent is used with the browser; not ``leg`` after an ICE restart."""
    controlling: bool
    """Whether our ICE agent is controlling, since we made the offer (RFC 8445 section 6.1.1)."""
    client: bool
    """Whether we are the DTLS client, which begins the handshake (RFC 8842)."""
    browser: Browser
    phone: Remote
    to_browser: Stream
    to_phone: Stream

    @property
    def transcodes(self) -> bool:
        """Whether the audio is transcoded."""
        return self.to_browser.codec.lower() != self.to_phone.codec.lower()


@dataclass(frozen=True, slots=True)
class GatewaySettings(RelaySettings):
    """The settings of an agent's WebRTC gateway; ``ahead`` and ``sessions`` count legs."""

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
    """The gateway's legs, in stock and in use, and the commands for it. ``absent``: why there can be none, ``""``
    where there can."""

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
        """Legs whose ICE agents the running gateway process has, as far as it has not denied it."""

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
        """Use a leg from before a restart of the agent."""
        self._uses[leg] = session
        self._present.add(leg)
        if session is not None:
            self._say({"do": "session", "session": session})
        else:
            self._say({"do": "take", "leg": leg})

    def set(self, session: Session) -> None:
        """Set the state of a session; one that has not changed is not sent."""
        if self._uses.get(session.leg) != session:
            self._uses[session.leg] = session
            self._say({"do": "session", "session": session})

    def release(self, leg: str) -> None:
        """Give a leg back; its session ends. One that is not in use is ignored."""
        self._present.discard(leg)
        if leg in self._uses:
            del self._uses[leg]
            self._say({"do": "release", "leg": leg})

    def is_present(self, leg: str) -> bool:
        """Whether the gateway process still has the ICE agent of this leg; not when it has died since."""
        return leg in self._present

    def audit(self) -> None:
        """All legs from before a restart of the agent that are still needed were adopted: the gateway may release
        others."""
        self._say({"do": "audit"})

    def shortage(self) -> str:
        """Why `take` returns None, as a sentence."""
        if self.absent:
            return self.absent
        if not self._running:
            return "the WebRTC gateway is not running; it is being started"
        return next(filter(None, self._short.values()), "the WebRTC gateway has no leg ready at this moment")

    @property
    def state(self) -> str:
        """Why browsers cannot be connected with other devices, for display; ``""`` when they can."""
        return "" if self._stock else self.shortage()

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return sum(session is not None for session in self._uses.values())

    @property
    def ready(self) -> int:
        """The number of legs in stock."""
        return len(self._stock)

    # What runs the process asks for.

    def receive(self, line: str | bytes) -> Notice | None:
        """Handle a line from the gateway. Returns a notice for the core, or None."""
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
        """The gateway process is gone, with its stock. Legs in use are sent to the next one when it is ready."""
        self._stock.clear()
        self._out.clear()
        self._short.clear()
        self._running = False

    def to_send(self) -> list[str]:
        """The lines to send to the gateway, in order, without line ends; they are returned once."""
        out, self._out = self._out, []
        return out

    @property
    def in_use(self) -> int:
        return len(self._uses)

    def in_stock(self, address: str) -> int:
        return len(self._stock)

    def complaint(self, address: str) -> str:
        """Why the gateway cannot prepare more legs, as a sentence; ``""`` while it can."""
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
    """The leg in these JSON values. Raises `ValueError`, `TypeError`, `LookupError`."""
    id_, address, port, ufrag, pwd, fingerprint, candidates = fields
    return Leg(id_, address, port, ufrag, pwd, fingerprint, tuple(candidates))


def session_of(fields: list[Any]) -> Session:
    """The session in these JSON values. Raises `ValueError`, `TypeError`, `LookupError`."""
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
