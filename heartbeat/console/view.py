"""What a running process shows and does for its operator: the boundary between cores and the console.

A process offers two synchronous methods, called inside the event loop, so that neither side needs a lock::

    view(name, params, now)       a read-only view, one of the dataclasses below
    command(name, params, now)    a verb; what takes time returns ``Progress`` at once

Each view is described here once: its members as JSON, the columns of its table, and its metrics stand at its fields
(:mod:`heartbeat.console.schema`).

* Instants are members named ``at`` or ending in ``_at``: seconds of the clock that the core is told (``now``), or
  ``None``. The API turns every one of them into wall-clock epoch seconds on its way out, so cores need no wall clock.
* Durations are plain seconds: ``_ago``, ``_left``, ``took``, ``lasted``.
* Members with a default are younger than the others: a process of an older version does not say them.
* A process refuses by raising ``Refused`` with one sentence; an unknown name of a view or verb is one of those.

Server views: ``status health calls lines agents history explain call-ids trace report rehearsal audit audit-log route
bans cdrs trend ladder provisioned test progress``.
Server verbs: ``switchover reset hangup busyout pause resume readmit init rehearse audit reload log-level unban
provision test``.
Agent views: ``status health lines calls call-ids trace history bans audit-log test
progress``.
Agent verbs: ``drain resume stop reload log-level unban test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol

from heartbeat.console.schema import COUNTER, HISTOGRAM, Column, Label, Metric, Styled


class Refused(Exception):
    """The process will not, or cannot, answer; its text is the sentence that the operator reads."""

    def __init__(self, sentence: str, status: int = 409) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        """HTTP status: 400 a parameter is wrong, 404 no such view, call, line or agent, 409 not in this state."""

    @property
    def answer(self) -> dict[str, Any]:
        """As the API says it."""
        return {"error": self.sentence}


class RefusedChange(Refused):
    """What was to be provisioned is wrong: all that is, a sentence each."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("\n".join(complaints), 422)
        self._complaints = tuple(complaints)

    @property
    def answer(self) -> dict[str, Any]:
        return {"error": self.sentence, "errors": list(self._complaints)}


class Later(NamedTuple):
    """A view that is made in a thread, since it reads the disk."""

    work: Callable[[], Any]


class ConsoleProcess(Protocol):
    """What the API asks of a process. Both methods return at once, without waiting for anything; what a view cannot
    say at once it returns as :class:`Later`."""

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any: ...

    def command(self, name: str, params: Mapping[str, str], now: float) -> Any: ...


ServerState = Literal["active", "standby", "holding"]
CallState = Literal["dialing", "ringing", "talking", "held", "transferring", "ending"]
LineState = Literal["idle", "dialing", "ringing", "active", "held", "transferring", "draining", "out of service"]
Kind = Literal["takeover", "switchover", "failback", "restart", "force"]


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


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory that the process writes to."""

    directory: Annotated[str, Label("directory")]
    """``state`` or ``cdr``."""
    free: Annotated[int, Metric("disk_free_bytes", "Bytes free where it writes")]
    size: Annotated[int, Metric("disk_size_bytes", "Bytes that its disk has")]


@dataclass(frozen=True, slots=True)
class CertificateAge:
    """A certificate that the process shows to its peers by TLS."""

    file: Annotated[str, Label("file")]
    names: tuple[str, ...]
    """For whom it speaks."""
    expires_in: Annotated[float, Metric("certificate_expires_seconds", "Seconds until the certificate expires")]
    """Seconds; negative when it has expired."""


@dataclass(frozen=True, slots=True)
class Records:
    """Call records of this server that are not on disk."""

    waiting: Annotated[int, Metric("cdr_waiting", "Call records that wait for the disk")]
    lost: Annotated[int, Metric("cdr_lost", "Call records lost for want of room on the disk", COUNTER)]


@dataclass(frozen=True, slots=True)
class Sink:
    """Where call records go besides the files."""

    name: Annotated[str, Label("sink")]
    waiting: Annotated[int, Metric("sink_waiting", "Call records on the disk that are not there yet")]
    sent: Annotated[int, Metric("sink_sent", "Call records that it took", COUNTER)]
    refused: Annotated[int, Metric("sink_refused", "Call records that it will never take", COUNTER)]
    lost: Annotated[int, Metric("sink_lost", "Call records that were removed before they were there", COUNTER)]
    trouble: str = ""
    """Why nothing goes there at present, half a sentence."""
    trouble_s: Annotated[
        float, Metric("sink_trouble_seconds", "For how long nothing has gone there; 0: all is well")
    ] = 0.0


BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0)
"""Upper ends of the buckets of a set-up, in seconds."""
SCORES: Final = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.4)
"""The same of a mean opinion score."""
JITTERS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""The same of jitter, in seconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a figure was within each of its buckets."""

    counts: tuple[int, ...]
    """One for each bucket, and one for what is above all."""
    total: float
    """The sum of all figures; of times in seconds."""
    ends: tuple[float, ...] = BUCKETS
    """The upper ends of the buckets."""

    @property
    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus counts: each bucket with all below it."""
        ends = [*map(str, self.ends), "+Inf"]
        return [(end, float(count)) for end, count in zip(ends, accumulate(self.counts), strict=True)]


@dataclass(frozen=True, slots=True)
class LineCalls:
    """Calls to a line that ended, since the start."""

    line: Annotated[str, Label("line")]
    """A trunk; else ``phone``, ``web``, ``station``; ``none``: they came to no line."""
    results: Annotated[
        Mapping[str, int],
        Metric("line_calls_ended", "Calls that ended, by line, route and result", COUNTER, label="result"),
    ]
    post_dial: Annotated[
        Histogram | None,
        Metric("post_dial_seconds", "From the INVITE to the first ringing, or the answer", HISTOGRAM),
    ]
    set_up: Annotated[Histogram | None, Metric("set_up_seconds", "From the INVITE to the answer", HISTOGRAM)]
    route: Annotated[str, Label("route")] = ""
    """The pattern of the route that led there; ``numbers``: it was called by its own, ``none``: no route led."""


@dataclass(frozen=True, slots=True)
class LineMedia:
    """What came from a line's devices in calls that ended, by the agents' relays, since the start."""

    line: Annotated[str, Label("line")]
    """A trunk; else ``phone``, ``station``."""
    packets: Annotated[
        int, Metric("media_packets", "RTP packets that came from the line in calls that ended", COUNTER)
    ]
    lost: Annotated[int, Metric("media_lost", "Those that should have come besides, by their numbers", COUNTER)]
    jitter: Annotated[Histogram | None, Metric("media_jitter_seconds", "Mean interarrival jitter a call", HISTOGRAM)]
    mos: Annotated[
        Histogram | None,
        Metric("media_mos", "Mean opinion score a call, estimated by the E-model (G.107)", HISTOGRAM),
    ]


@dataclass(frozen=True, slots=True)
class BanCounts:
    """How many hosts are not listened to."""

    banned: Annotated[int, Metric("banned_hosts", "Hosts that are not listened to now")]
    total: Annotated[int, Metric("bans", "Bans since the start", COUNTER)]


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """``process``: what the program that runs a core adds to its status."""

    cpu: Annotated[float, Metric("cpu_share", "Share of a processor, over ten seconds")]
    """Share of a processor, 0.0 to 1.0 and above; like the rate an average over about ten seconds."""
    messages_per_s: Annotated[float, Metric("messages_per_second", "SIP messages received a second")]
    """SIP messages received."""
    stall_last_minute: Annotated[float, Metric("loop_stall_seconds", "Longest stall of the loop in the last minute")]
    """Longest time that the loop stood still, in seconds; what is shorter than 0.02 s is not seen reliably."""
    stall_since_start: Annotated[
        float, Metric("loop_stall_most_seconds", "Longest stall of the loop since the start")
    ]
    messages: Annotated[int, Metric("messages", "SIP messages received", COUNTER)] = 0
    """SIP messages received since the start."""
    wait: Annotated[
        float, Metric("queue_wait_seconds", "Least wait of what comes until it is read, in the last half second")
    ] = 0.0
    refused_share: Annotated[
        float, Metric("refused_share", "Share of new calls that is refused now for want of time")
    ] = 0.0
    refused: Annotated[int, Metric("refused_calls", "New calls refused for want of time", COUNTER)] = 0
    """Since the start."""
    bans: BanCounts | None = None
    form: Annotated[
        Literal["", "python", "compiled"],
        Metric("compiled", "1 where the modules that handle messages run as machine code", of="compiled".__eq__),
    ] = ""
    """How these modules run; a process of an older version does not say it."""
    clock: Annotated[float, Metric("clock_seconds", "Wall clock of this machine, to be compared with others")] = 0.0
    """The machine's wall clock, epoch seconds."""
    disks: tuple[Disk, ...] = ()
    certificates: tuple[CertificateAge, ...] = ()
    """Those that it shows; none without TLS."""
    records: Records | None = None
    """Servers only."""
    decisions: Annotated[
        Mapping[str, int],
        Metric("decisions", "Decisions since the start, by their word in history", COUNTER, label="code"),
    ] = field(default_factory=dict)
    """Number of decisions since the start, by code."""
    results: Annotated[
        Mapping[str, int],
        Metric("calls_ended", "Calls that ended since the start, by result", COUNTER, label="result"),
    ] = field(default_factory=dict)
    """Servers only: number of call records written since the start, by result."""
    line_calls: tuple[LineCalls, ...] = ()
    line_media: tuple[LineMedia, ...] = ()
    sinks: tuple[Sink, ...] = ()
    """Servers only."""
    collected: Annotated[
        Mapping[str, int],
        Metric("collector_messages", "SIP messages for the collector since it was set", COUNTER, label="result"),
    ] = field(default_factory=dict)
    """``sent`` and ``dropped``; none without a collector."""


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
        float | None, Column(">Heard", "span"), Metric("peer_heard_seconds", "Seconds since its last valid word")
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
    quorum: Annotated[int, Metric("voters_quorum", "Voters that decide")]
    answering: Annotated[int, Metric("voters_answering", "Voters whose answer counts now")]
    """Voters whose answer counts for the lease, or for a grant, at this moment."""


@dataclass(frozen=True, slots=True)
class TakeoverSummary:
    """One change of the active server, in short."""

    at: float
    """When it was decided."""
    kind: Kind
    old: str
    """The active server before, ``""`` when none is known."""
    new: str
    epoch: int
    because: str
    took: Annotated[float, Metric("takeover_seconds", "How long the last takeover took")]
    """Seconds from the decision until every reached agent's list was complete."""
    kept: Annotated[int, Metric("takeover_calls_kept", "Calls that the last takeover kept")]
    lost: Annotated[int, Metric("takeover_calls_lost", "Calls that the last takeover lost")]
    """Calls released by the takeover's verdicts."""


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
    paused: Annotated[bool, Metric("paused", "1 while it takes nothing over by itself")]
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
            "Times it became the active server, by kind; the first start of a site is none",
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


def _both_lines(call: Any) -> str:
    return f"{call.caller_line or '?'} → {call.callee_line or '?'}"


def _both_agents(call: Any) -> str:
    return " → ".join(dict.fromkeys(name for name in (call.caller_agent, call.callee_agent) if name))


def _lived_in(call: Any) -> Styled:
    """The epochs that a call lived in; more than one: it survived a takeover."""
    return Styled("→".join(map(str, call.epochs)), "bold green" if len(call.epochs) > 1 else "")


def _since(call: Any) -> float:
    return float(call.answered_at or call.started_at)


@dataclass(frozen=True, slots=True)
class Call:
    """A call at a server."""

    id: Annotated[str, Column("Call")]
    """The call id that the server made."""
    session_id: str
    state: Annotated[CallState, Column("State", "state")]
    caller: Annotated[str, Column("From")]
    """Number or user of the caller."""
    callee: Annotated[str, Column("To")]
    caller_line: Annotated[str, Column("Lines", of=_both_lines)]
    """``trunk1/7``; ``""`` not known yet."""
    callee_line: str
    caller_agent: Annotated[str, Column("~Agents", of=_both_agents)]
    callee_agent: str
    answered_at: Annotated[float | None, Column(">Lasts", "age", of=_since)]
    started_at: Annotated[float, Column("~>Since", "clock")]
    epochs: Annotated[tuple[int, ...], Column("~Epochs", of=_lived_in)]
    """The epochs it lived in, oldest first; more than one: it survived a takeover."""
    priority: int


@dataclass(frozen=True, slots=True)
class Calls:
    """``calls``: parameters ``limit`` (default 200), ``state``, ``number`` (part of caller or callee), ``line`` (a
    line or trunk), ``agent``, ``id`` (prefix). Newest first."""

    calls: tuple[Call, ...]
    matched: int
    """How many calls match, listed or not."""


def _agent(line: Any) -> str:
    return line.agent or "servers"


def _trouble(line: Any) -> Styled:
    found: Styled = line.trouble
    return found


def _line_state(line: Any) -> str:
    return str(line.state) if line.in_service else "out of service"


def _forwarding(line: Any) -> str:
    return ", ".join(f"{when.replace('_', ' ')} {number}" for when, number in line.forward.items())


def _recovery(line: Any) -> Styled:
    return Styled(line.recovery, "" if line.recovery == "hot" else "yellow")


def _registered(line: Any) -> Styled:
    if line.registered is None:
        return Styled("")
    more = f" ({line.contacts})" if line.contacts > 1 else ""
    return Styled(f"yes{more}", "green") if line.registered else Styled(f"no{more}", "bold red")


@dataclass(frozen=True, slots=True)
class Line:
    """A trunk with its channels, a phone, a browser or a station."""

    name: Annotated[str, Column("Line")]
    agent: Annotated[str, Column("~Agent", of=_agent)]
    """``""`` for a trunk of the server's own."""
    kind: Annotated[Literal["trunk", "phone", "station", "web", "direct"], Column("~Kind")]
    state: Annotated[LineState, Column("State", "state", of=_line_state)]
    """A trunk is ``active`` while any channel is busy; ``draining``: nobody speaks on it, and its agent refuses new
    calls."""
    in_service: bool
    channels: int
    busy: Annotated[int, Column(">Busy", of=lambda line: f"{line.busy:,}/{line.channels:,}")]
    address: Annotated[str, Column("~Address")]
    """The trunk's peer, or the phone's first contact; ``""`` none."""
    registered: Annotated[bool | None, Column("~Registered", of=_registered)]
    """A registering trunk or a phone; None where nothing registers."""
    contacts: int
    forward: Annotated[
        Mapping[str, str],
        Column("~Forward", of=_forwarding),
    ]
    """Any of ``always``, ``busy``, ``no_answer`` to a number; empty without forwarding."""
    priority: Annotated[int, Column("~>Prio", "count")]
    recovery: Annotated[
        Literal["hot", "cold"],
        Column("~Recovery", of=_recovery),
    ]
    why: Annotated[str, Column("Why", "sentence", of=_trouble)]
    """Why it takes no new calls, one sentence; ``""`` when it does."""

    @property
    def trouble(self) -> Styled:
        """All that is wrong with it."""
        return Styled(self.why, "red")


@dataclass(frozen=True, slots=True)
class Lines:
    """``lines``: parameters ``agent``, ``line``, ``state``."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class AgentLine(Line):
    """What an agent knows beyond it."""

    guesses: int
    """Wrong passwords for a phone since the agent started."""
    guessed_from: str
    """The address of the last one; ``""`` none."""

    @property
    def trouble(self) -> Styled:
        """Why it is out of service, and who guesses its password."""
        if not self.guesses:
            return Styled(self.why, "red")
        wrong = (
            f"{self.guesses:,} wrong password{'' if self.guesses == 1 else 's'}, the last from {self.guessed_from}"
        )
        return Styled(f"{self.why}; {wrong}", "red") if self.why else Styled(wrong, "yellow")


@dataclass(frozen=True, slots=True)
class AgentLines:
    """``lines`` of an agent: the parameters of a server's ``lines``."""

    lines: tuple[AgentLine, ...]


@dataclass(frozen=True, slots=True)
class RouteStep:
    """A line that a call would be tried on."""

    line: Annotated[str, Column("Line")]
    agent: Annotated[str, Column("~Agent", of=_agent)]
    number: Annotated[str, Column("Number")]
    """The number to call there."""
    ring_for: Annotated[float, Column("~>Rings", "span")]
    """Seconds after which the next one is tried."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class RouteTrial:
    """``route``: parameters ``from``, a line or a number of one, and ``to``, the number called, in the site's own
    form. What would become of such a call now; nothing is called, and nothing changes."""

    line: str
    """The line it would come from."""
    called: str
    steps: tuple[RouteStep, ...]
    """In the order in which they would be tried; empty: the call is refused."""
    status: int
    """The SIP status of the refusal; 0: it goes somewhere."""
    because: str
    """Why it is refused; ``""`` when it is not."""


@dataclass(frozen=True, slots=True)
class Agents:
    """``agents`` of a server, in the order of the site file."""

    agents: tuple[Peer, ...]


def _what(row: Any) -> Styled:
    return Styled(row.what, "bold")


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """Something that a node decided."""

    at: Annotated[float, Column("At", "instant")]
    node: Annotated[str, Column("Node")]
    what: Annotated[str, Column("What", of=_what)]
    because: Annotated[str, Column("Why", "sentence")]
    code: str
    """The decision's enum word, for machines."""


@dataclass(frozen=True, slots=True)
class History:
    """``history``: parameter ``limit`` (default 50). Newest first."""

    decisions: tuple[DecisionRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class BannedHost:
    """A host, or an IPv6 network of 64 bits, that is not listened to."""

    host: Annotated[str, Column("Host")]
    at: Annotated[float, Column("Since", "clock")]
    """Epoch seconds."""
    left: Annotated[float, Column(">Ends in", "span")]
    """Seconds."""
    dropped: Annotated[int, Column(">Dropped", "count")]
    """Messages since."""
    because: Annotated[str, Column("For")]
    """What came from there before."""


@dataclass(frozen=True, slots=True)
class BanList:
    """``bans``: whom this process does not listen to, the oldest first."""

    banned: tuple[BannedHost, ...]
    total: int
    """Bans since the start."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that happened; ``at`` None: at no instant of its own."""

    at: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``explain``: parameter ``id``, a call id (or an unambiguous prefix), ``takeover`` (the last), or an epoch."""

    about: str
    """``call 4f2a..`` or ``takeover to epoch 8``."""
    sentences: tuple[Sentence, ...]
    """In the order of time."""


@dataclass(frozen=True, slots=True)
class CallLeg:
    """A dialog of a call, as one process knows it."""

    call_id: Annotated[str, Column("Call-ID")]
    """Its Call-ID (RFC 3261 section 8.1.1.4)."""
    node: Annotated[str, Column("At")]
    """The server or agent that knows it."""
    towards: Annotated[str, Column("Towards")]
    """Who has the other end: an agent, a line, ``servers``."""


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call and the dialogs that a process knows of it."""

    id: str
    """The servers' id of the call; ``""`` at an agent."""
    legs: tuple[CallLeg, ...]
    caller: str = ""
    callee: str = ""
    state: str = ""
    """Its state, or how it ended."""
    started_at: float | None = None
    names: tuple[str, ...] = ()
    """What else it is called: the id of its record, its Session-ID."""


@dataclass(frozen=True, slots=True)
class KnownCalls:
    """``call-ids``: parameters ``id`` (ids of calls, Call-IDs, ids of records, Session-IDs, set apart by commas), or
    ``line``, or ``failed``, and ``limit``. Calls that are not known here are no error."""

    calls: tuple[KnownCall, ...]
    """The last one first."""


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """A SIP message as it was on the wire, its secrets blanked."""

    at: float
    sent: bool
    """By this process; else it came."""
    transport: str
    local: str
    """``host:port`` of this end, as far as it is known."""
    remote: str
    """``host:port`` of the other end."""
    peer: str
    """Who that is: a server, an agent, a trunk; ``""`` where it is not known by its address."""
    call_id: str
    text: str
    """A character a byte (ISO 8859-1)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """``trace``: parameter ``id`` as for ``call-ids``. The messages with these Call-IDs, and of these calls."""

    node: str
    memory: int
    """Bytes for messages; 0: none are remembered."""
    oldest_at: float | None
    """Since when all messages are there; None: there are none."""
    messages: tuple[TracedMessage, ...]
    """In the order of time."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What led to a takeover."""

    at: float
    by: str
    """Who saw it: this node, or an agent."""
    text: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """How the hand-over of one agent went."""

    agent: str
    asked_at: float | None
    complete_at: float | None
    """None: its list is not complete (yet)."""
    parts: int
    size: int
    """Bytes of NOTIFY bodies."""
    calls: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a call at a takeover."""

    id: Annotated[str, Column("Call")]
    verdict: Annotated[str, Column("Verdict", "state")]
    """``kept``, ``replayed``, ``released``, ``waiting`` or ``reset``."""
    state: Annotated[str, Column("State", "word")]
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class Report:
    """``report``: the takeover report; parameters ``epoch`` (default the last), ``limit`` of calls (default 200)."""

    epoch: int
    kind: str
    old: str
    new: str
    suspected_at: float | None
    decided_at: float
    granted_at: float | None
    active_at: float | None
    """When it could serve: every reached agent complete."""
    because: str
    evidence: tuple[Evidence, ...]
    grants: tuple[str, ...]
    """Who granted."""
    agents: tuple[AgentReport, ...]
    not_reached: tuple[str, ...]
    messages: int
    """SIP messages between servers and agents for this takeover."""
    replayed: int
    verdicts: Mapping[str, int]
    """Number of calls by verdict."""
    calls: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """``rehearsal``: what a takeover by this server would have kept and lost when it was rehearsed last; parameter
    ``limit`` of calls (default 200)."""

    at: float
    node: str
    active: str
    """Who led, as far as this server knew; ``""`` nobody."""
    kept: int
    """Calls that go on: kept and replayed."""
    lost: int
    """Calls that would be dropped or parted."""
    waiting: int
    """Calls whose other side is at an agent that was not heard: dropped when it stays away for ``agent_grace``."""
    verdicts: Mapping[str, int]
    """Number of calls by verdict: ``kept replayed released reset alone waiting``."""
    decision: float
    """Seconds from the last heartbeat of a server that dies to the decision, at the most."""
    took: float
    """Seconds until all agents had told what they have: from the decision until all calls are known."""
    agents: tuple[AgentReport, ...]
    obstacles: tuple[str, ...]
    """Why this server could not take over, or not all; a sentence each."""
    calls: tuple[Verdict, ...]
    """Those that would not be kept."""

    @property
    def good(self) -> bool:
        """Nothing stands against a takeover, and it would lose nothing."""
        return not (self.lost or self.waiting or self.obstacles)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in which a server and an agent do not agree."""

    id: Annotated[str, Column("Call")]
    agent: Annotated[str, Column("Agent")]
    what: Annotated[str, Column("What", "word")]
    """``missing``: the agent has no such dialog; ``orphan``: the server has no such call; ``ended``: the agent says
    that it has ended; ``unrecorded``: it has ended, and its record is not found."""
    because: Annotated[str, Column("Why", "sentence")]


@dataclass(frozen=True, slots=True)
class Audit:
    """``audit``: the active server's calls against what agents have, when it was asked last; parameter ``limit``."""

    at: float
    node: str
    calls: int
    """Calls of the server."""
    dialogs: int
    """Living dialogs that agents told."""
    ended: int
    """Ended ones that they told, whose call records are looked for."""
    took: float
    not_checked: tuple[str, ...]
    """Agents that did not tell what they have."""
    faults: tuple[Fault, ...]
    matched: int
    """How many faults there are, listed or not."""
    unrecorded: tuple[str, ...]
    """Ids of ended calls whose records this server does not remember: to be looked for on disk."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What ``command`` returns, and the view ``progress`` (parameter ``id``) until ``state`` is not ``running``."""

    id: str
    verb: str
    state: str
    """``running``, ``done`` or ``failed``."""
    sentence: str
    """What is being waited for, what came true, or why it failed."""
    done: int
    total: int
    """For a bar: agents moved of agents to move, calls left...; 0 of 0 when there is nothing to count."""


def _good(step: TrialStep) -> Styled:
    return Styled("yes", "green") if step.good else Styled("no", "bold red")


@dataclass(frozen=True, slots=True)
class TrialStep:
    """Something of a line that was tried."""

    name: Annotated[str, Column("Step")]
    """``names``, ``options``, ``registration``, ``call``, ``end``."""
    good: Annotated[bool, Column("Works", of=_good)]
    said: Annotated[str, Column("What came of it", "sentence")]
    took: Annotated[float, Column(">Took", "span")]


@dataclass(frozen=True, slots=True)
class LineTrial:
    """``test``: parameter ``id``, what the verb answered. How far a test of a line is."""

    line: str
    state: str
    """``running``, ``done``, or ``failed``: something of it does not work."""
    steps: tuple[TrialStep, ...]


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
        int, Metric("relay_lost", "RTP packets that should have come to the relay, by their numbers", COUNTER)
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
    held_back: Annotated[int, Metric("passwords_held_back", "Passwords not looked at", COUNTER)]
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
    epoch: Annotated[int, Metric("epoch", "The epoch it obeys")]
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


NOTABLE: Final = 30.0
"""Seconds without media that are shown."""


def _media(call: Any) -> Styled:
    if call.silent_s is None or call.silent_s < NOTABLE:
        return Styled(call.media)
    return Styled(f"{call.media}, silent {call.silent_s:.0f} s", "yellow")


@dataclass(frozen=True, slots=True)
class AgentCall:
    """A call at an agent: one device dialog and one server dialog."""

    id: Annotated[str, Column("Call")]
    """The call id in the agent's own words."""
    line: Annotated[str, Column("Line")]
    direction: Annotated[Literal["in", "out"], Column("Way")]
    """``in``: the device called."""
    state: Annotated[CallState, Column("State", "state")]
    number: Annotated[str, Column("Number")]
    """The far end's number."""
    answered_at: Annotated[float | None, Column(">Lasts", "age", of=_since)]
    started_at: Annotated[float, Column("~>Since", "clock")]
    server: Annotated[str, Column("~Server")]
    """The server that has the other side, ``""`` while none is obeyed."""
    epochs: Annotated[tuple[int, ...], Column("~Epochs", of=_lived_in)]
    kept_requests: Annotated[int, Column("~>Kept")]
    """Requests sent to a server without a final answer yet."""
    media: Annotated[str, Column("~Media", of=_media)]
    """``direct``, ``relay`` or ``webrtc``."""
    silent_s: float | None
    """Seconds for which the relay has seen no RTP of an answered call; None: on hold, or not relayed."""
    session_id: str


@dataclass(frozen=True, slots=True)
class AgentCalls:
    """``calls`` of an agent: the parameters of a server's ``calls``."""

    calls: tuple[AgentCall, ...]
    matched: int


# Parameters of the verbs, all strings:
#   switchover  to: node (default: the other server); force: "yes". Without force it is sent to the active server,
#               which releases; with force to the server that shall be active. A Progress that ends when the new
#               server is active and every reached agent obeys it.
#   reset       lines: names with commas, or "all" (trunk, trunk/channel or phone); state: "idle" (default) or
#               "out of service". Sent to the active server. Calls on these lines end in good order.
#   hangup      call: its id, or enough of the beginning. Sent to the active server: BYE to both sides, or 480 to the
#               caller of one that is not answered.
#   busyout     line: a trunk or phone; end: "yes". No new calls on it, in neither direction, and no harm to those
#               that stand; or new ones again. Sent to the active server, or to each for a trunk of the servers' own.
#   pause       no automatic takeover or failback at this server until resume.
#   resume      ends a pause; at an agent ends a drain.
#   readmit     agent: a voter (agent or server) that lost its epoch file. Sent to the active server: a new
#               generation. force: "yes" where none is active.
#   init        the first start of a site, said to a server that runs already.
#   rehearse    asks all agents what they have, which changes nothing; the view ``rehearsal`` has what came of it.
#   audit       the same, at the active server; the view ``audit``.
#   reload      reads the site file again, as SIGHUP does; the sentences of its Progress are what is new, or all that
#               keeps the file from being taken, a line each.
#   log-level   package: ``sip heartbeat b2bua gateway_agent``, a part of one, or ``all``; level: ``debug info warning
#               error``, or ``default``.
#   unban       host: an address that is banned, or "all". Done at once.
#   drain       agent: refuses new calls; done when its last call has ended.
