"""What a site file says, as frozen values. Each class is one table of the file; the strings are its reference.

Readers of the file are in :mod:`heartbeat.site_read`, rules across tables in :mod:`heartbeat.site_check`, the
reference ``docs/site-file.md`` is written from here by :mod:`heartbeat.site_doc`. All times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from heartbeat.site_words import Api, Endpoint, Pattern, Peer, Secret, Source, split_host_port


class Within(NamedTuple):
    """Limits of a number, both included; ``None`` for no limit."""

    least: float | None = None
    most: float | None = None


Seconds = Annotated[float, Within(0, 86400)]
Host = Annotated[str, "host"]
"""A host, with or without a port."""
NameOf = Annotated[str, "name"]
"""The name of another table of the file."""
Number = Annotated[str, "number"]
"""A telephone number or user name, as in the user part of a SIP URI."""


@dataclass(frozen=True, slots=True)
class Timing:
    """``[timing]``: all may be left out. A file whose times do not fit each other is refused."""

    interval: Annotated[float, Within(0.05, 60)] = 0.5
    """Between two heartbeats of the active server to the stand-by and to each voter."""
    other_interval: Annotated[float, Within(0.05, 600)] = 2.0
    """Between two heartbeats to an agent that has no vote."""
    misses: Annotated[int, Within(1, 100)] = 3
    """Heartbeats missed in a row until a server counts as dead."""
    lease: Annotated[float, Within(0, 3600)] = 0.0
    """How long the answers to a heartbeat let the active server decide; 0 means 4 intervals."""
    margin: Annotated[float, Within(0, 3600)] = 0.0
    """What a voter waits beyond the lease before it votes for another; 0 means 0.1 s + 10 % of the lease."""
    drift: Annotated[float, Within(0, 0.2)] = 0.01
    """By which share the clocks of two machines may run apart; ``margin`` must cover it."""
    round_trip: Annotated[float, Within(0, 10)] = 0.2
    """The longest usual time from a heartbeat to its answer; ``lease`` must cover it."""
    hold_attempt: Annotated[float, Within(0, 30)] = 8.0
    """How long an agent holds a new call while no server is there, before 503."""
    replay_wait: Annotated[float, Within(0, 30)] = 2.0
    """How long a replayed INVITE waits for the lists of agents at which it may be ringing already."""
    agent_grace: Seconds = 300.0
    """How long an agent may be silent until its calls are released on the other side."""
    hand_over_after: Seconds = 5.0
    """A main that reaches fewer agents than the stand-by for so long hands over."""
    t1: Annotated[float, Within(0.01, 5)] = 0.5
    """RFC 3261's T1, the estimate of the round trip to a device."""
    t2: Annotated[float, Within(0.01, 60)] = 4.0
    """RFC 3261's T2, the longest retransmission interval."""
    t4: Annotated[float, Within(0.01, 60)] = 5.0
    """RFC 3261's T4, how long a message may stay in the network."""

    def __post_init__(self) -> None:
        if not self.lease:
            object.__setattr__(self, "lease", round(4 * self.interval, 6))
        if not self.margin:
            object.__setattr__(self, "margin", round(0.1 + 0.1 * self.lease, 6))


@dataclass(frozen=True, slots=True)
class Failover:
    """``[failover]``: who may decide, and what happens afterwards."""

    voters: tuple[NameOf, ...] = ()
    """Agents that vote, at most 7; left out: the first of the file. With an even number the stand-by votes too."""
    quorum: Annotated[int, Within(0, 15)] = 0
    """Votes that decide; 0 means the majority. A number that is not over half is refused."""
    takeover_without_quorum: bool = False
    """Let the stand-by take over when no majority can be reached. Two servers may then serve at once."""
    on_lost_quorum: Literal["hold", "stop"] = "hold"
    """What a server without its lease does: go on serving and end nothing, or answer 503 to all."""
    hold_down: Seconds = 30.0
    """After an automatic takeover the next waits so long, unless the new server is silent at all voters."""
    failback: Literal["stay", "return", "manual"] = "stay"
    """After a takeover: stay with the new server, return to the main, or return when an operator says so."""
    return_after: Annotated[float, Within(1, 86400)] = 60.0
    """For ``return``: how long the main must have been healthy."""


def _reach(endpoint: Endpoint, advertise: str) -> Endpoint:
    if not advertise:
        return endpoint
    host, port = split_host_port(advertise)
    return Endpoint(endpoint.transport, host, port or endpoint.port)


@dataclass(frozen=True, slots=True)
class Server:
    """``[servers.NAME]``: one call server, run by ``b2bua run --node NAME``."""

    name: str
    """The table's name."""
    role: Literal["main", "standby"] = "main"
    """Preferred role. A site has one main, and one stand-by or none."""
    listen: tuple[Endpoint, ...] = ()
    """Where agents connect; TCP only."""
    sip: tuple[Endpoint, ...] = ()
    """Where the trunks that the servers own send their requests."""
    beat: Endpoint | None = None
    """Where heartbeats of the other server come in; needed when there are two servers."""
    advertise: Host = ""
    """Address to write into messages, when it is not the one listened at (NAT)."""
    capacity: Annotated[int, Within(1, 1_000_000)] = 5000
    """Calls at once; beyond, new ones get 503 with Retry-After."""
    reserve: Annotated[float, Within(0, 0.9)] = 0.05
    """Share of the capacity that only calls with a priority may use."""
    api: Api | None = None
    """Where it answers commands; left out: the socket ``NAME.sock`` in its state directory."""
    api_token: Secret | None = None
    """Bearer token of the API; needed for TCP."""
    state: Path = Path("state")
    """Directory for epochs, grants and boot counters; each program has a subdirectory of its own name in it."""
    cdr: Path | None = None
    """Directory for call records; left out: ``cdr`` in its state directory."""

    @property
    def reach(self) -> Endpoint:
        """Where agents connect to: the first of ``listen``, at the advertised host if there is one."""
        return _reach(self.listen[0], self.advertise)

    @property
    def beat_reach(self) -> Endpoint | None:
        """Where the other server sends its heartbeats to."""
        return _reach(self.beat, self.advertise) if self.beat is not None else None

    @property
    def state_dir(self) -> Path:
        """Where this very server keeps its state."""
        return self.state / self.name

    @property
    def cdr_dir(self) -> Path:
        """Where this very server writes its call records."""
        return self.cdr if self.cdr is not None else self.state_dir / "cdr"

    @property
    def api_address(self) -> Api:
        """``api`` or its default."""
        return self.api or Api(path=str(self.state_dir / f"{self.name}.sock"))


@dataclass(frozen=True, slots=True)
class Rtp:
    """``rtp`` of an agent: where its RTP relay receives."""

    address: Host = "127.0.0.1"
    """Numeric address to receive RTP at."""
    ports: tuple[Annotated[int, Within(1024, 65535)], Annotated[int, Within(1024, 65535)]] = (20000, 29999)
    """First and last port."""
    advertise: Host = ""
    """Address to write into SDP, when it is another one (NAT)."""


@dataclass(frozen=True, slots=True)
class Agent:
    """``[agents.NAME]``: one gateway agent, run by ``gateway-agent run --agent NAME``."""

    name: str
    """The table's name."""
    sip: tuple[Endpoint, ...] = ()
    """Where its devices send their requests."""
    advertise: Host = ""
    """Address to write into messages to devices, when it is not the one listened at (NAT)."""
    api: Api | None = None
    """Where it answers commands; left out: the socket ``NAME.sock`` in its state directory."""
    api_token: Secret | None = None
    """Bearer token of the API; needed for TCP."""
    state: Path = Path("state")
    """Directory for epochs and grants; each program has a subdirectory of its own name in it."""
    rtp: Rtp = Rtp()
    """For lines with ``media = "relay"``."""

    @property
    def state_dir(self) -> Path:
        """Where this very agent keeps its state."""
        return self.state / self.name

    @property
    def api_address(self) -> Api:
        """``api`` or its default."""
        return self.api or Api(path=str(self.state_dir / f"{self.name}.sock"))


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule of ``to_device`` or ``from_device``; of a list, the first whose pattern matches is used."""

    match: Pattern
    """Which numbers it changes."""
    strip: Annotated[int, Within(0, 64)] = 0
    """Characters to take away at the front."""
    prefix: Number = ""
    """What to put in front then."""

    def apply(self, number: str) -> str:
        """The number changed; the caller has seen to it that the pattern matches."""
        return self.prefix + number[self.strip :]


@dataclass(frozen=True, slots=True)
class Numbering:
    """``to_device`` or ``from_device`` of a line: how numbers change on the way."""

    called: tuple[Rewrite, ...] = ()
    """For the number called."""
    caller: tuple[Rewrite, ...] = ()
    """For the number calling."""


def rewritten(rules: tuple[Rewrite, ...], number: str) -> str:
    """``number`` changed by the first of the rules that matches; without one, as it is."""
    for rule in rules:
        if rule.match.matches(number):
            return rule.apply(number)
    return number


@dataclass(frozen=True, slots=True)
class Registration:
    """``register`` of a trunk: the agent registers with the carrier (RFC 3261 section 10)."""

    registrar: Peer
    """Where REGISTER goes."""
    user: Number
    """User name, also for digest."""
    password: Secret
    """For digest."""
    expires: Annotated[int, Within(30, 86400)] = 600
    """Asked for; refreshed at four fifths of what was granted."""
    domain: Host = ""
    """Domain of the address of record; left out: the registrar's host."""
    retry_least: Annotated[float, Within(0.1, 3600)] = 2.0
    """First wait after a failure; doubled with each."""
    retry_most: Annotated[float, Within(1, 86400)] = 120.0
    """Longest wait after a failure."""


@dataclass(frozen=True, slots=True)
class Probe:
    """``options`` of a trunk: OPTIONS to the peer take the trunk out of service and back."""

    interval: Annotated[float, Within(0.1, 3600)] = 30.0
    """Between two OPTIONS."""
    misses: Annotated[int, Within(1, 100)] = 3
    """Unanswered ones in a row until the trunk is out of service."""


@dataclass(frozen=True, slots=True)
class SessionTimer:
    """``session_timer`` of a line (RFC 4028), on the dialogs with its devices."""

    expires: Annotated[int, Within(90, 86400)] = 1800
    """Session-Expires asked for."""
    min_se: Annotated[int, Within(90, 86400)] = 90
    """Least Session-Expires accepted."""


@dataclass(frozen=True, slots=True)
class Forward:
    """``forward`` of a line: numbers to call instead, looked up like any number called."""

    always: Number = ""
    """Instead of the line, at once."""
    busy: Number = ""
    """When the line is busy."""
    no_answer: Number = ""
    """When nobody answers within ``after``, or the line cannot be reached."""
    after: Annotated[float, Within(1, 180)] = 20.0
    """How long it rings before ``no_answer``."""


@dataclass(frozen=True, slots=True)
class Line:
    """``[lines.NAME]``: a trunk or a phone, with its settings."""

    name: str
    """The table's name."""
    kind: Literal["trunk", "phone"]
    """``trunk``: a carrier or PBX at a known address. ``phone``: devices that register with the agent."""
    agent: NameOf = ""
    """The agent it belongs to; left out, for a trunk only: it is owned by the servers themselves."""
    peer: tuple[Peer, ...] = ()
    """Trunk: where its calls are sent; the next one when the first does not answer."""
    source: tuple[Source, ...] = field(default=(), metadata={"key": "from"})
    """Trunk: addresses its requests come from, others are refused; left out: the numeric addresses of ``peer``."""
    channels: Annotated[int, Within(1, 100_000)] = 1
    """Calls at once. Must be said for a trunk; more than 1 lets calls wait at a phone."""
    register: Registration | None = None
    """Trunk: register with the carrier."""
    options: Probe | None = None
    """Trunk: probe the peer with OPTIONS."""
    to_device: Numbering = Numbering()
    """How numbers change on the way to the device."""
    from_device: Numbering = Numbering()
    """How numbers change on the way from the device, before routing."""
    advertise: Host = ""
    """Address to write into messages to this device; left out: that of its agent."""
    cps: Annotated[float, Within(0, 10_000)] = 0.0
    """Most new calls a second, each way together; 0 means no limit."""
    longest_call: Annotated[float, Within(0, 31 * 86400)] = 0.0
    """A call is ended after so many seconds; 0 means no limit."""
    media: Literal["direct", "relay"] = "direct"
    """``direct``: RTP flows between the devices. ``relay``: through the agent's own relay."""
    recovery: Literal["hot", "cold"] = "hot"
    """At a takeover: ``hot`` keeps its calls, ``cold`` drops them and resets the line to ``reset_state``."""
    reset_state: Literal["idle", "out-of-service"] = "idle"
    """For ``cold``: the state after the reset."""
    priority: Annotated[int, Within(0, 9)] = 0
    """Higher ones are handed over first at a takeover; calls from a line over 0 may use the reserved capacity."""
    trust_priority: bool = False
    """Believe the Priority header of its requests (``emergency``, ``urgent``)."""
    session_timer: SessionTimer | None = None
    """Detect devices that vanished (RFC 4028)."""
    forward: Forward = Forward()
    """Call forwarding."""
    numbers: tuple[Number, ...] = ()
    """Numbers that reach this line; they go before all routes."""
    caller_number: Number = ""
    """Number to show for its calls, whatever the device says."""
    user: Number = ""
    """Phone: user name to register as, also for digest; left out: the line's name."""
    password: Secret | None = None
    """Phone: for digest."""
    contacts: Annotated[int, Within(1, 32)] = 4
    """Phone: devices registered at once; all of them ring."""
    expires: Annotated[int, Within(30, 86400)] = 3600
    """Phone: longest registration granted."""

    @property
    def at_servers(self) -> bool:
        """True for a trunk that the servers own, with no agent between."""
        return not self.agent

    @property
    def aor_user(self) -> str:
        """The user part of a phone's address of record."""
        return self.user or self.name


def _no_weights() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Group:
    """``[groups.NAME]``: lines among which a call is hunted."""

    name: str
    """The table's name."""
    lines: tuple[NameOf, ...]
    """The lines."""
    hunt: Literal["order", "weight", "least-loaded"] = "order"
    """``order``: as listed. ``weight``: at random by ``weights``. ``least-loaded``: fewest of its channels busy."""
    weights: Mapping[str, Annotated[int, Within(0, 1000)]] = field(default_factory=_no_weights)
    """Line to weight, 1 where not said; 0: only when no other takes the call."""


@dataclass(frozen=True, slots=True)
class Route:
    """``[[routes]]``: where calls to a number go. The first route that matches is used."""

    match: Pattern
    """The numbers called."""
    to: tuple[NameOf, ...] = ()
    """Lines and groups, tried in this order."""
    source: tuple[NameOf, ...] = field(default=(), metadata={"key": "from"})
    """Only for calls from these lines and groups; left out: from all."""
    strip: Annotated[int, Within(0, 64)] = 0
    """Characters to take away at the front of the number called."""
    prefix: Number = ""
    """What to put in front of it then."""
    priority: Annotated[int, Within(0, 9)] = 0
    """Calls over 0 may use the reserved capacity; for emergency numbers."""
    ring: Annotated[float, Within(1, 600)] = 180.0
    """How long a target may ring before the next one is tried."""
    refuse: Annotated[int, Within(0, 699)] = 0
    """Instead of ``to``: refuse these calls with this status, 400 to 699."""


@dataclass(frozen=True, slots=True)
class Identity:
    """``[site]``: what all nodes of the site share."""

    name: str
    """The site's name, in every heartbeat."""
    key: Secret
    """The site key: signs heartbeats and state tokens. At least 16 bytes."""
    previous_key: Secret | None = None
    """Still accepted while a key is changed."""
    realm: Host = ""
    """Realm and domain of phones; left out: the site's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A whole site file, checked. Mappings keep the order of the file and cannot be changed."""

    identity: Identity
    """The table ``[site]``."""
    timing: Timing
    """The table ``[timing]``."""
    failover: Failover
    """The table ``[failover]``, with ``voters`` and ``quorum`` filled in."""
    servers: Mapping[str, Server]
    """By name."""
    agents: Mapping[str, Agent]
    """By name."""
    lines: Mapping[str, Line]
    """By name."""
    groups: Mapping[str, Group]
    """By name."""
    routes: tuple[Route, ...]
    """In the order of the file."""
    digest: str
    """Eight hex digits for the meaning of the file; comments, order of keys and secrets' values do not count."""
    path: Path = Path("site.toml")
    """Where it was read."""

    @property
    def name(self) -> str:
        """The site's name."""
        return self.identity.name

    @property
    def realm(self) -> str:
        """Realm and domain of the site's phones."""
        return self.identity.realm or self.identity.name

    @property
    def main(self) -> Server:
        """The preferred active server."""
        return next(s for s in self.servers.values() if s.role == "main")

    @property
    def standby(self) -> Server | None:
        """The other server, if there is one."""
        return next((s for s in self.servers.values() if s.role == "standby"), None)

    def other_server(self, node: str) -> Server | None:
        """The server that is not ``node``, if there is one."""
        return next((s for s in self.servers.values() if s.name != node), None)

    @property
    def electors(self) -> tuple[str, ...]:
        """Who votes: the voters, and with an even number of them the stand-by, so that the number is odd."""
        voters, standby = self.failover.voters, self.standby
        return (*voters, standby.name) if len(voters) % 2 == 0 and standby is not None else voters

    @property
    def quorum(self) -> int:
        """How many votes decide."""
        return self.failover.quorum or len(self.electors) // 2 + 1

    def lines_of(self, owner: str) -> list[Line]:
        """The lines of an agent; ``""`` gives those that the servers own."""
        return [line for line in self.lines.values() if line.agent == owner]

    def agent_priority(self, agent: str) -> int:
        """Highest priority among the agent's lines: agents are taken over in this order, highest first."""
        return max((line.priority for line in self.lines_of(agent)), default=0)

    def members(self, name: str) -> tuple[str, ...]:
        """The lines that ``name`` of a route's list stands for: a group's lines, or the line itself."""
        group = self.groups.get(name)
        return group.lines if group is not None else (name,)

    def phone(self, owner: str, user: str) -> Line | None:
        """The phone of ``owner`` that registers as ``user``."""
        return next((x for x in self.lines_of(owner) if x.kind == "phone" and x.aor_user == user), None)
