"""``status`` and ``health`` of servers and agents, with the peers of each and what an operator should know."""

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
    """Channels and phones, each counted as one line."""

    total: int
    in_service: Annotated[int, Metric("lines_in_service", "Lines in service")]
    out_of_service: Annotated[int, Metric("lines_out_of_service", "Lines out of service")]
    busy: Annotated[int, Metric("lines_busy", "Lines in service with a call on them")]
    """Lines in service with a call on them."""
    registered: Annotated[int, Metric("phones_registered", "Phones that are registered")] = 0
    """Phones."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk, for alerts: phones are too many to be told one by one."""

    name: Annotated[str, Label("line")]
    in_service: Annotated[bool, Metric("line_in_service", "1 while the trunk is in service")]
    channels: Annotated[int, Metric("line_channels", "Calls at once that the trunk carries")]
    busy: Annotated[int, Metric("line_busy", "Calls on the trunk")]
    registered: Annotated[
        bool | None, Metric("line_registered", "1 while the trunk is registered at its carrier")
    ] = None
    """None where it does not register, or it is not known here."""


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
    """What it last said of itself: a ``ServerState``; ``dead`` when its supervisor saw it end; for an agent
    ``serving``, ``draining``; ``""`` unknown."""
    obeys: Annotated[str, Column("Obeys")]
    """Agents: the server it obeys; ``""`` unknown, none, or a server."""
    epoch: Annotated[int, Column(">Epoch")]
    """The epoch it last named; for an agent the epoch it obeys."""
    reached: Annotated[bool, Column("Reached", "yes"), Metric("peer_reached", "1 while it answers")]
    """True while it answers us within the detector's bounds."""
    heard_ago: Annotated[
        float | None, Column(">Heard", "span"), Metric("peer_heard_seconds", "Seconds since its last valid message")
    ]
    """Seconds since its last valid word, None when it was never heard."""
    judged: Annotated[str, Column("~Judged", "word")]
    """The detector's word: ``alive``, ``suspect``, ``dead``, ``left``, ``unknown``."""
    voter: Annotated[bool, Column("~Vote", of=_vote)]
    boot: Annotated[int, Column("~>Boot", "boot")]
    config: Annotated[str, Column("~Config", of=_drift)]
    """Short hash of its site file, ``""`` unknown."""
    drift: Annotated[bool, Metric("peer_drift", "1 when its site file differs")]
    """True when that hash is known and is not ours."""
    calls: Annotated[int, Column(">Calls", "count")]
    capacity: int
    address: Annotated[str, Column("~At")]
    key: Annotated[str, Column("~Key")] = ""
    """Agents: by which key it proved itself here, ``own`` or ``site``; ``""`` when it did not, and for servers."""


@dataclass(frozen=True, slots=True)
class Voters:
    """Who votes, and whether a quorum does."""

    names: tuple[str, ...]
    generation: int
    quorum: Annotated[int, Metric("voters_quorum", "Number of voters that is a quorum")]
    answering: Annotated[int, Metric("voters_answering", "Voters that have answered recently enough to count")]
    """Voters whose answer counts for the lease, or for a grant, at this moment."""


def _seconds(left: float | None) -> float:
    return left or 0.0


_WARNINGS: Final = Metric("warnings", "Warnings that status shows", of=len)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an operator should know."""

    code: str
    """Which one of docs/cli.md, for programs; it does not change with the sentence."""
    text: str
    """The sentence: what, and what to do."""


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
    """Which server is active as far as this one knows, ``""`` none."""
    epoch: Annotated[int, Metric("epoch", "The epoch it is in")]
    boot: int
    config: str
    since_at: float
    """Since when it is in this state."""
    started_at: float
    lease_left: Annotated[float | None, Metric("lease_seconds", "Seconds left of the lease", of=_seconds)]
    """Seconds of the lease left; None for a server that has none."""
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
    """One sentence for each thing an operator should know; empty means healthy."""
    alerts: Annotated[tuple[Alert, ...], _ALERTS] = ()
    """The same, each with its code."""
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
    """``GET /health``: 200 when ``healthy``, otherwise 503. Cheap: load balancers ask every second."""

    healthy: bool
    """Servers: active. Agents: obeys a server and is not draining."""
    state: str


@dataclass(frozen=True, slots=True)
class Agents:
    """``agents`` of a server, in the order of the site file."""

    agents: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Relay:
    """The agent's RTP relay. The sums are of all streams since the agent started, as of some seconds ago."""

    streams: Annotated[int, Metric("relay_streams", "RTP streams through the relay")]
    """At present."""
    packets: Annotated[int, Metric("relay_packets", "RTP packets that came to the relay", COUNTER)]
    """RTP packets that came."""
    size: Annotated[int, Metric("relay_bytes", "Bytes of these packets", COUNTER)]
    """Their bytes."""
    dropped: Annotated[int, Metric("relay_dropped", "Packets that were not relayed", COUNTER)]
    """Packets not relayed: from a foreign source, beyond the rate, or while nobody was there to take them."""
    silent: Annotated[int, Metric("calls_without_media", "Answered calls without RTP for 30 s")]
    """Answered calls, not on hold, for which no RTP has come either way for 30 s."""
    lost: Annotated[
        int, Metric("relay_lost", "RTP packets that did not reach the relay, by their sequence numbers", COUNTER)
    ] = 0
    """RTP packets that should have come, by the gaps in their numbers."""


@dataclass(frozen=True, slots=True)
class WebrtcGateway:
    """The agent's gateway for calls between browsers and what is none."""

    calls: Annotated[int, Metric("webrtc_calls", "Calls through the WebRTC gateway")]
    """At present."""
    ready: Annotated[int, Metric("webrtc_ready", "Calls for which the WebRTC gateway is prepared")]
    """Calls that could begin at once."""
    why: str
    """Why none could, one sentence; ``""`` when one can."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Wrong passwords of phones and of strangers since the agent started."""

    wrong: Annotated[int, Metric("wrong_passwords", "Wrong passwords of phones and strangers", COUNTER)]
    held_back: Annotated[
        int, Metric("passwords_held_back", "Passwords not checked, because there were too many wrong ones", COUNTER)
    ]
    """Tries that were not looked at because too many before were wrong."""
    user: str
    """For whom the last wrong one was; ``""`` none yet."""
    host: str
    """From where."""
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
    """``waiting``: obeys no server that is reached."""
    obeys: str
    """The server it obeys, ``""`` none yet."""
    epoch: Annotated[int, Metric("epoch", "The epoch it is in")]
    """The epoch that it obeys."""
    since_at: float | None
    """Since when it obeys that server."""
    promised: int
    """The highest epoch that it granted; 0 none or no voter."""
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
    """None where the site has no browsers, or nothing else."""
    key: str = ""
    """``own``: its own keys alone; ``site``: the site key; ``both``: its own, and the site key beside it."""
    process: ProcessStats | None = None
    """What the program adds; a core alone has none."""
