"""``status`` and ``health`` of servers and agents, with their peers and alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from heartbeat.console.schema import COUNTER, Column, Label, Metric, Styled
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.takeovers import TakeoverSummary

ServerState = Literal["active", "standby", "holding"]


def _calls_in(state: str) -> Metric:
    return Metric("calls", "Calls by state", labels={"state": state})


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Calls by state; ``total`` is their sum."""

    total: int
    talking: Annotated[int, _calls_in("talking")]
    held: Annotated[int, _calls_in("held")]
    ringing: Annotated[int, _calls_in("ringing")]
    dialing: Annotated[int, _calls_in("dialing")]
    """In set-up, nothing ringing yet."""
    ending: Annotated[int, _calls_in("ending")]


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Counts of lines; each channel and each phone is one."""

    total: int
    in_service: Annotated[int, Metric("lines_in_service", "Lines in service")]
    out_of_service: Annotated[int, Metric("lines_out_of_service", "Lines out of service")]
    busy: Annotated[int, Metric("lines_busy", "Lines in service with a call on them")]
    """Lines in service with a call on them."""
    registered: Annotated[int, Metric("phones_registered", "Phones that are registered")] = 0
    """Phones."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk, for metrics and alerts; phones are too many to be listed one by one."""

    name: Annotated[str, Label("line")]
    in_service: Annotated[bool, Metric("line_in_service", "1 while the trunk is in service")]
    channels: Annotated[int, Metric("line_channels", "Calls at once that the trunk carries")]
    busy: Annotated[int, Metric("line_busy", "Calls on the trunk")]
    registered: Annotated[
        bool | None, Metric("line_registered", "1 while the trunk is registered at its carrier")
    ] = None
    """None if it does not register, or its state is not known here."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Averages over about the last ten seconds."""

    calls_per_s: Annotated[float, Metric("calls_per_second", "New calls a second")]
    messages_per_s: float
    """SIP messages received."""


def _drift(peer: Any) -> Styled:
    return Styled(f"{peer.config or '-'}{' drift' if peer.drift else ''}", "bold yellow" if peer.drift else "")


def _vote(peer: Any) -> str:
    return "voter" if peer.voter else ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server or an agent of the site, as this process knows it."""

    name: Annotated[str, Column("Name"), Label("peer")]
    kind: Literal["server", "agent"]
    role: str
    """``main`` or ``standby`` for a server, ``""`` for an agent."""
    state: Annotated[str, Column("State", "state")]
    """Its state by its last message: a ``ServerState``; ``dead`` if its supervisor reported its end; for an agent
    ``serving`` or ``draining``; ``""`` if unknown."""
    obeys: Annotated[str, Column("Obeys")]
    """For an agent the server that it obeys; ``""`` if unknown or none, and for servers."""
    epoch: Annotated[int, Column(">Epoch")]
    """The epoch of its last message; for an agent that of its leader."""
    reached: Annotated[bool, Column("Reached", "yes"), Metric("peer_reached", "1 while it answers")]
    """Whether it answers us within the detector's limits."""
    heard_ago: Annotated[
        float | None, Column(">Heard", "span"), Metric("peer_heard_seconds", "Seconds since its last valid message")
    ]
    """Seconds since its last valid message; None if there was none."""
    judged: Annotated[str, Column("~Judged", "word")]
    """State by the failure detector: ``alive``, ``suspect``, ``dead``, ``left``, ``unknown``."""
    voter: Annotated[bool, Column("~Vote", of=_vote)]
    boot: Annotated[int, Column("~>Boot", "boot")]
    config: Annotated[str, Column("~Config", of=_drift)]
    """Short hash of its site file, ``""`` unknown."""
    drift: Annotated[bool, Metric("peer_drift", "1 when its site file differs")]
    """Whether that hash is known and differs from ours."""
    calls: Annotated[int, Column(">Calls", "count")]
    capacity: int
    address: Annotated[str, Column("~At")]
    key: Annotated[str, Column("~Key")] = ""
    """For an agent the key by which it authenticated here, ``own`` or ``site``; ``""`` if it has not, and for
    servers."""
    version: Annotated[str, Column("~Version")] = ""
    """Version of the program; ``""``: not known."""


@dataclass(frozen=True, slots=True)
class Voters:
    """The voters and their quorum."""

    names: tuple[str, ...]
    generation: int
    quorum: Annotated[int, Metric("voters_quorum", "Number of voters that is a quorum")]
    answering: Annotated[int, Metric("voters_answering", "Voters that have answered recently enough to count")]
    """Voters whose answers count for the lease, or for a grant, now."""


def _seconds(left: float | None) -> float:
    return left or 0.0


_WARNINGS: Final = Metric("warnings", "Warnings that status shows", of=len)


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that an operator should know of."""

    code: str
    """Code of docs/cli.md, for programs; it stays when the sentence is changed."""
    text: str
    """A sentence: the condition, and what to do."""


def _by_code(alerts: Iterable[Alert]) -> Mapping[str, int]:
    return Counter(alert.code for alert in alerts)


_ALERTS: Final = Metric("alerts", "Warnings that status shows, by code", of=_by_code, label="code")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """``GET /v1/status`` of a server."""

    kind: Literal["server"]
    version: str
    site: str
    node: str
    role: Literal["main", "standby"]
    """The preferred role, from the site file."""
    state: Annotated[
        ServerState,
        Metric("active", "1 while this server is the active one", of="active".__eq__),
        Metric("holding", "1 while it has no lease and ends nothing", of="holding".__eq__),
    ]
    active: str
    """The active server as far as this one knows; ``""`` without one."""
    epoch: Annotated[int, Metric("epoch", "The epoch it is in")]
    boot: int
    config: str
    since_at: float
    """When it entered this state."""
    started_at: float
    lease_left: Annotated[float | None, Metric("lease_seconds", "Seconds left of the lease", of=_seconds)]
    """Seconds left of its lease; None without one."""
    paused: Annotated[bool, Metric("paused", "1 while automatic takeovers are paused")]
    """Automatic takeovers and failbacks are off (``b2bua pause``)."""
    voters: Voters
    peers: tuple[Peer, ...]
    calls: CallCounts
    capacity: Annotated[int, Metric("capacity", "Calls that it takes at once")]
    load: Annotated[float, Metric("load", "Load from 0 to 1")]
    """0.0 to 1.0."""
    rates: Rates
    lines: LineCounts
    last_takeover: TakeoverSummary | None
    warnings: Annotated[tuple[str, ...], _WARNINGS]
    """The sentences of ``alerts``; empty means healthy."""
    alerts: Annotated[tuple[Alert, ...], _ALERTS] = ()
    """The warnings with their codes."""
    trunks: tuple[Trunk, ...] = ()
    takeovers: Annotated[
        Mapping[str, int],
        Metric(
            "takeovers",
            "Times it became the active server, by kind; the first start of a site is not counted",
            COUNTER,
            label="kind",
        ),
    ] = field(default_factory=dict)
    """How often this server became the active one since it started, by kind."""
    process: ProcessStats | None = None
    """What the program adds; a core alone has none."""


@dataclass(frozen=True, slots=True)
class Health:
    """``GET /health``: 200 when ``healthy``, otherwise 503. Cheap, since load balancers ask every second."""

    healthy: bool
    """Servers: active. Agents: obeys a server and is not draining."""
    state: str


@dataclass(frozen=True, slots=True)
class Agents:
    """``agents`` of a server, in the order of the site file."""

    agents: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class MediaEngine:
    """An rtpengine daemon that an agent uses."""

    name: Annotated[str, Label("rtpengine")]
    """Host and port of its NG listener."""
    up: Annotated[bool, Metric("rtpengine_up", "1 while the rtpengine answers")]
    calls: Annotated[int, Metric("rtpengine_sessions", "Sections of media of calls that pass the rtpengine")]
    """Sections of media of present calls."""
    ready: Annotated[int, Metric("rtpengine_ready", "Sessions that the rtpengine has ready for new calls")]
    """Sessions made in advance: as many calls can begin at the same moment."""
    why: str
    """Why new calls cannot use it, a sentence; ``""`` if they can."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Media that passes the agent's RTP relay and its rtpengine daemons. Counters are of all streams since the agent
    started, and some seconds old."""

    streams: Annotated[int, Metric("relay_streams", "RTP streams through the relay")]
    """Present streams."""
    packets: Annotated[int, Metric("relay_packets", "RTP packets that came to the relay", COUNTER)]
    """RTP packets received."""
    size: Annotated[int, Metric("relay_bytes", "Bytes of these packets", COUNTER)]
    """Bytes of these packets."""
    dropped: Annotated[int, Metric("relay_dropped", "Packets that were not relayed", COUNTER)]
    """Packets not relayed: from another source, above the rate limit, or while the other side had no address yet."""
    silent: Annotated[int, Metric("calls_without_media", "Answered calls without RTP for 30 s")]
    """Answered calls, not on hold, for which no RTP has come either way for 30 s."""
    lost: Annotated[
        int, Metric("relay_lost", "RTP packets that did not reach the relay, by their sequence numbers", COUNTER)
    ] = 0
    """RTP packets lost before the relay, by gaps in their sequence numbers."""


@dataclass(frozen=True, slots=True)
class WebrtcGateway:
    """The agent's WebRTC gateway, for calls between browsers and other devices."""

    calls: Annotated[int, Metric("webrtc_calls", "Calls through the WebRTC gateway")]
    """Present calls."""
    ready: Annotated[int, Metric("webrtc_ready", "Calls for which the WebRTC gateway is prepared")]
    """Calls that it could take at once."""
    why: str
    """Why it can take none, a sentence; ``""`` if it can."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Wrong passwords of phones and of strangers since the agent started."""

    wrong: Annotated[int, Metric("wrong_passwords", "Wrong passwords of phones and strangers", COUNTER)]
    held_back: Annotated[
        int, Metric("passwords_held_back", "Passwords not checked, because there were too many wrong ones", COUNTER)
    ]
    """Attempts that were not checked because of too many wrong ones before."""
    user: str
    """User of the last wrong one; ``""`` without one."""
    host: str
    """Address that it came from."""
    last_at: float | None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """``GET /v1/status`` of an agent."""

    kind: Literal["agent"]
    version: str
    site: str
    agent: str
    state: Annotated[
        Literal["serving", "waiting", "draining", "drained"],
        Metric("serving", "1 while it obeys a server that it reaches", of="serving".__eq__),
        Metric("draining", "1 while it refuses new calls", of=("draining", "drained").__contains__),
    ]
    """``waiting``: it obeys no server that it reaches."""
    obeys: str
    """The server that it obeys; ``""`` without one."""
    epoch: Annotated[int, Metric("epoch", "The epoch it is in")]
    """The epoch of that server."""
    since_at: float | None
    """When it began to obey that server."""
    promised: int
    """The highest epoch that it granted; 0 without one, or if it is no voter."""
    voter: bool
    boot: int
    config: str
    started_at: float
    servers: tuple[Peer, ...]
    calls: CallCounts
    held_attempts: Annotated[int, Metric("held_attempts", "Requests of devices that wait for a server")]
    """Requests of devices that wait for a server."""
    lines: LineCounts
    relay: Relay | None
    passwords: Passwords
    warnings: Annotated[tuple[str, ...], _WARNINGS]
    alerts: Annotated[tuple[Alert, ...], _ALERTS] = ()
    """The same, each with its code."""
    trunks: tuple[Trunk, ...] = ()
    webrtc: WebrtcGateway | None = None
    """None if the site has only browsers, or none."""
    rtpengines: tuple[MediaEngine, ...] = ()
    key: str = ""
    """Keys that it has: ``own``, ``site``, or ``both``."""
    process: ProcessStats | None = None
    """What the program adds; a core alone has none."""
