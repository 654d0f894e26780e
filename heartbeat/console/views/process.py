"""Statistics that a program adds to its core's status: CPU, disks, records, bans, calls by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Final, Literal

from heartbeat.console.schema import COUNTER, HISTOGRAM, Column, Label, Metric


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory that the process writes to."""

    directory: Annotated[str, Label("directory")]
    """``state`` or ``cdr``."""
    free: Annotated[int, Metric("disk_free_bytes", "Bytes free where it writes")]
    size: Annotated[int, Metric("disk_size_bytes", "Bytes that its disk has")]


@dataclass(frozen=True, slots=True)
class CertificateAge:
    """A TLS certificate of the process."""

    file: Annotated[str, Label("file")]
    names: tuple[str, ...]
    """Its identities (RFC 5922)."""
    expires_in: Annotated[float, Metric("certificate_expires_seconds", "Seconds until the certificate expires")]
    """Seconds; negative when it has expired."""


@dataclass(frozen=True, slots=True)
class Records:
    """Call records of this server that are not on disk yet, or lost."""

    waiting: Annotated[int, Metric("cdr_waiting", "Call records that wait for the disk")]
    lost: Annotated[int, Metric("cdr_lost", "Call records lost for want of room on the disk", COUNTER)]


@dataclass(frozen=True, slots=True)
class Sink:
    """A receiver of call records besides the files."""

    name: Annotated[str, Label("sink")]
    waiting: Annotated[int, Metric("sink_waiting", "Call records on disk that the sink does not have yet")]
    sent: Annotated[int, Metric("sink_sent", "Call records that the sink has accepted", COUNTER)]
    refused: Annotated[int, Metric("sink_refused", "Call records that the sink will never accept", COUNTER)]
    lost: Annotated[int, Metric("sink_lost", "Call records removed before the sink had them", COUNTER)]
    trouble: str = ""
    """Why nothing can be sent at present, half a sentence; ``""`` if it can."""
    trouble_s: Annotated[
        float, Metric("sink_trouble_seconds", "For how long nothing could be sent to the sink; 0: all is well")
    ] = 0.0


BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets of set-up times, in seconds."""
SCORES: Final = (1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.4)
"""Upper bounds of the buckets of mean opinion scores."""
JITTERS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""Upper bounds of the buckets of jitter, in seconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of observed values by bucket."""

    counts: tuple[int, ...]
    """Count of each bucket, and of values above all of them."""
    total: float
    """Sum of all values; times in seconds."""
    ends: tuple[float, ...] = BUCKETS
    """Upper bounds of the buckets."""

    @property
    def cumulative(self) -> list[tuple[str, float]]:
        """Upper bounds with cumulative counts, as Prometheus has them."""
        ends = [*map(str, self.ends), "+Inf"]
        return [(end, float(count)) for end, count in zip(ends, accumulate(self.counts), strict=True)]


@dataclass(frozen=True, slots=True)
class LineCalls:
    """Ended calls to a line since the start."""

    line: Annotated[str, Label("line")]
    """A trunk; else ``phone``, ``web``, ``station``; ``none``: calls that reached no line."""
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
    """Pattern of the route to the line; ``numbers``: called by its own number, ``none``: there was no route."""


@dataclass(frozen=True, slots=True)
class LineMedia:
    """Media received from a line's devices by the agents' relays, in ended calls since the start."""

    line: Annotated[str, Label("line")]
    """A trunk; else ``phone``, ``station``."""
    packets: Annotated[
        int, Metric("media_packets", "RTP packets that came from the line in calls that ended", COUNTER)
    ]
    lost: Annotated[int, Metric("media_lost", "RTP packets that are missing, by their sequence numbers", COUNTER)]
    jitter: Annotated[Histogram | None, Metric("media_jitter_seconds", "Mean interarrival jitter a call", HISTOGRAM)]
    mos: Annotated[
        Histogram | None,
        Metric("media_mos", "Mean opinion score a call, estimated by the E-model (G.107)", HISTOGRAM),
    ]


@dataclass(frozen=True, slots=True)
class BanCounts:
    """Numbers of banned hosts."""

    banned: Annotated[int, Metric("banned_hosts", "Hosts that are ignored now")]
    total: Annotated[int, Metric("bans", "Bans since the start", COUNTER)]


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """``process``: statistics that the program adds to the status of its core."""

    cpu: Annotated[float, Metric("cpu_share", "Share of a processor, over ten seconds")]
    """Share of one CPU, 0.0 to 1.0 and above; like the message rate an average over about ten seconds."""
    messages_per_s: Annotated[float, Metric("messages_per_second", "SIP messages received a second")]
    """SIP messages received."""
    stall_last_minute: Annotated[float, Metric("loop_stall_seconds", "Longest stall of the loop in the last minute")]
    """Longest stall of the loop, in seconds; stalls below 0.02 s are not measured reliably."""
    stall_since_start: Annotated[
        float, Metric("loop_stall_most_seconds", "Longest stall of the loop since the start")
    ]
    messages: Annotated[int, Metric("messages", "SIP messages received", COUNTER)] = 0
    """SIP messages received since the start."""
    wait: Annotated[
        float, Metric("queue_wait_seconds", "Shortest wait of a message until it was read, in the last half second")
    ] = 0.0
    refused_share: Annotated[
        float, Metric("refused_share", "Share of new calls that is refused now because of overload")
    ] = 0.0
    refused: Annotated[int, Metric("refused_calls", "New calls refused because of overload", COUNTER)] = 0
    """Since the start."""
    bans: BanCounts | None = None
    form: Annotated[
        Literal["", "python", "compiled"],
        Metric("compiled", "1 where the modules that handle messages run as machine code", of="compiled".__eq__),
    ] = ""
    """How these modules run; ``""``: a process of an older version."""
    clock: Annotated[float, Metric("clock_seconds", "Wall clock of this machine, to be compared with others")] = 0.0
    """The machine's wall clock, epoch seconds."""
    disks: tuple[Disk, ...] = ()
    certificates: tuple[CertificateAge, ...] = ()
    """Its certificates; none without TLS."""
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
    """Counts of ``sent`` and ``dropped``; empty without a collector."""


@dataclass(frozen=True, slots=True)
class BannedHost:
    """A banned host, or IPv6 /64 network."""

    host: Annotated[str, Column("Host")]
    at: Annotated[float, Column("Since", "clock")]
    """Epoch seconds."""
    left: Annotated[float, Column(">Ends in", "span")]
    """Seconds."""
    dropped: Annotated[int, Column(">Dropped", "count")]
    """Messages dropped since."""
    because: Annotated[str, Column("For")]
    """The offence that it is banned for."""


@dataclass(frozen=True, slots=True)
class BanList:
    """``bans``: the bans of this process, oldest first."""

    banned: tuple[BannedHost, ...]
    total: int
    """Bans since the start."""
