"""What a site file says, as frozen values. Each class is one table of the file; the strings are its reference.

The file is read by :mod:`heartbeat.site.load`, rules across tables are in :mod:`heartbeat.site.check`, the reference
``docs/site-file.md`` is written from here by :mod:`heartbeat.site.doc`. All times are seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from heartbeat.agent_key import signer_of
from heartbeat.membership import Membership
from heartbeat.site.lines import Group, LineSettings, Route
from heartbeat.site.provisioned import NOTHING, Provisioned
from heartbeat.site.values import (
    Api,
    Endpoint,
    Field,
    Host,
    NameOf,
    Number,
    Origin,
    Seconds,
    Secret,
    Source,
    Url,
    Within,
    split_host_port,
)
from heartbeat.timing import Timing


@dataclass(frozen=True, slots=True)
class Failover:
    """``[failover]``: who may decide, and what happens afterwards."""

    voters: tuple[NameOf, ...] = ()
    """Agents that vote, at most 7; left out: the first agents of the file. With an even number of them the stand-by
    votes too."""
    generation: Annotated[int, Within(1, 2**31 - 1)] = 1
    """The number of this list of voters. Raise it by one whenever you change the list, or the change is ignored."""
    quorum: Annotated[int, Within(0, 15)] = 0
    """How many votes decide; 0: the majority. A number that is not over half is refused."""
    takeover_without_quorum: bool = False
    """Let the stand-by take over when no majority can be reached. Two servers may then serve at once."""
    on_lost_quorum: Literal["hold", "stop"] = "hold"
    """What the active server does without its lease: go on serving and end nothing, or answer 503 to everything."""
    hold_down: Seconds = 30.0
    """Seconds after an automatic takeover before the next one, unless no voter that can be reached hears the new
    server."""
    failback: Literal["stay", "return", "manual"] = "stay"
    """After a takeover: stay with the new server, return to the main by itself, or return when an operator says
    so."""
    return_after: Annotated[float, Within(1, 86400)] = 60.0
    """With ``return``: how long the main must have been healthy."""


@dataclass(frozen=True, slots=True)
class Trace:
    """``[trace]``: what each server and agent remembers of SIP messages."""

    memory: Annotated[int, Within(0, 64)] = 16
    """Megabytes for the last messages in each process, a quarter of it for those of failed calls; 0: no message is
    kept."""
    collector: Endpoint | None = None
    """Where each process sends a copy of its messages in HEP3, with secrets blanked: a HOMER collector, by UDP."""
    collector_lines: tuple[NameOf, ...] = ()
    """Send only messages of calls on these lines; left out: all messages."""


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """``postgres`` of ``[records]``: a database in which each call has a row."""

    connect: str
    """The connection string of libpq: ``host=db.example.com dbname=calls user=holdfast sslmode=verify-full``."""
    password: Secret | None = None
    """Password for the database, where it asks for one."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """``webhook`` of ``[records]``: a URL that call records are posted to."""

    url: Url
    """The URL to which they are posted, as ``{"records": [...]}``."""
    key: Secret | None = None
    """Key that signs what is posted (HMAC-SHA256), in the same way as for ``[hooks]``."""


@dataclass(frozen=True, slots=True)
class Records:
    """``[records]``: what becomes of call records besides the files of each server."""

    keep: Annotated[int, Within(0, 36_500)] = 0
    """Days after which a server removes its own records; 0: never."""
    postgres: PostgresSettings | None = None
    """A PostgreSQL database that gets them too (needs the extra ``postgres``)."""
    webhook: WebhookSettings | None = None
    """A URL that gets them too."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``[hooks]``: who is told of takeovers, and of warnings that appear and go, by each server."""

    command: tuple[str, ...] = ()
    """A program and its arguments, run for each event, which it reads as JSON from its standard input; no shell is
    involved."""
    url: Url = ""
    """A URL to which each event is posted as JSON."""
    key: Secret | None = None
    """Key that signs what is posted (HMAC-SHA256)."""
    codes: tuple[str, ...] = ()
    """Report only events with these codes, like ``takeover``, ``trunk-out``, ``no-lease``, ``disk``; left out:
    all."""


@dataclass(frozen=True, slots=True)
class Bans:
    """``[bans]``: hosts that are not listened to for a while, for what came from them. Never banned are peers of
    lines, parties of calls, phones that are registered, and hosts where a device has proved itself within the
    hour."""

    after: Annotated[float, Within(0, 1_000_000)] = 200.0
    """How many requests of one host in quick succession lead to a ban, of those that were refused or could not be
    read. A wrong password counts as five, a challenge as a fifth. 0: nobody is banned."""
    within: Annotated[float, Within(1, 86400)] = 60.0
    """Seconds in which as many requests are forgiven."""
    time: Annotated[float, Within(1, 86400)] = 600.0
    """Seconds that a ban lasts."""
    never: tuple[Source, ...] = ()
    """Addresses and networks that are never banned: a monitor, an office."""


def _no_hosts() -> Mapping[str, str]:
    return MappingProxyType({})


def _reach(endpoint: Endpoint, advertise: str) -> Endpoint:
    if not advertise:
        return endpoint
    host, port = split_host_port(advertise)
    return Endpoint(endpoint.transport, host, port or endpoint.port)


@dataclass(frozen=True, slots=True)
class Shown:
    """One of ``others`` of ``tls``."""

    certificate: Path
    """PEM file: the certificate, followed by those that lead to its authority."""
    key: Path
    """PEM file: its private key."""


@dataclass(frozen=True, slots=True)
class Tls:
    """``tls`` of a server or an agent: who it is, and whom it believes (TLS 1.2 and newer). Read anew by a reload."""

    certificate: Path
    """PEM file: its own certificate, followed by those that lead to the authority."""
    key: Path
    """PEM file: the private key, without a passphrase, readable only by the user who runs the program."""
    ca: Path | None = None
    """PEM file: the authorities that may have signed certificates of devices and carriers; left out: those of the
    system."""
    clients: Literal["ignored", "asked", "required"] = "ignored"
    """Whether those who connect are asked for a certificate: not (``ignored``), without obligation (``asked``), or
    must have one (``required``, mutual TLS)."""
    others: tuple[Shown, ...] = ()
    """Further certificates. One is shown to clients that ask for a name in it (SNI), and to peers of lines that
    ``advertise`` such a name."""
    warn_before: Annotated[float, Within(0, 365)] = 21.0
    """Days before the end of a certificate from which on ``status`` warns; a quarter of its life where that is
    less."""


@dataclass(frozen=True, slots=True)
class Server:
    """``[servers.NAME]``: one call server, run by ``b2bua run --node NAME``."""

    name: str
    """The table's name."""
    role: Literal["main", "standby"] = "main"
    """Preferred role. A site has one main server, and one stand-by or none."""
    listen: tuple[Endpoint, ...] = ()
    """Where agents connect; TCP or TLS."""
    sip: tuple[Endpoint, ...] = ()
    """Addresses from which requests go to trunks of the servers' own, and to which their peers and direct telephones
    send."""
    beat: Endpoint | None = None
    """The address that receives the other server's heartbeats, by UDP, TCP or TLS, the same for both servers;
    required when there are two."""
    advertise: Host = ""
    """The address to write into messages when it is not the one listened at (NAT)."""
    advertise_by: Mapping[str, Host] = field(default_factory=_no_hosts)
    """The same for single transports of ``sip``, like ``{ tls = "sbc.example.com" }``."""
    tls: Tls | None = None
    """Its certificate; required for TLS."""
    capacity: Annotated[int, Within(1, 1_000_000)] = 5000
    """Calls at once; beyond that, new ones get 503 with Retry-After."""
    reserve: Annotated[float, Within(0, 0.9)] = 0.05
    """Share of the capacity that only calls with a priority may use."""
    api: Api | None = None
    """Where it answers commands; left out: the socket ``NAME.sock`` in its state directory."""
    api_token: Secret | None = None
    """Bearer token of the API; required for TCP."""
    api_view_token: Secret | None = None
    """Another token, which allows reading only."""
    api_provision_token: Secret | None = None
    """Another token, which allows reading, and putting and deleting what is provisioned."""
    api_user_header: Field = ""
    """The header field in which a reverse proxy in front of the API names the user, like ``X-Remote-User``."""
    api_operators: tuple[str, ...] = ()
    """Users named by the proxy who may change something; all others may only look."""
    state: Path = Path("state")
    """Directory for epochs, votes and boot counters; each program has a subdirectory with its own name in it."""
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
    """``rtp`` of an agent: where its RTP relay, and its WebRTC gateway, receive."""

    address: Host = ""
    """Numeric address that receives media; left out: that of the agent's first ``sip``. Media of the other family
    (IPv4 or IPv6) is received at the ``sip`` address of that family."""
    ports: tuple[Annotated[int, Within(1024, 65535)], Annotated[int, Within(1024, 65535)]] = (20000, 29999)
    """First and last port."""
    advertise: Host = ""
    """The address to write into SDP when it is another one (NAT); left out: that of the agent."""


@dataclass(frozen=True, slots=True)
class Webrtc:
    """``webrtc`` of an agent: its gateway for calls between browsers and what is none, at the addresses and ports of
    ``rtp``; it needs ``holdfast[web]``."""

    sessions: Annotated[int, Within(1, 10_000)] = 200
    """How many calls at once, at most."""
    ahead: Annotated[int, Within(1, 256)] = 8
    """For how many calls ports and ICE candidates are prepared in advance: as many can begin at the same moment."""
    stun: Host = ""
    """STUN server (default port 3478), for when browsers reach the agent at another address than those of ``rtp``."""
    turn: Host = ""
    """TURN server (default port 3478), for when browsers reach the agent only through one."""
    turn_transport: Literal["udp", "tcp"] = "udp"
    """How the agent talks to the TURN server."""
    turn_user: Number = ""
    """User name for the TURN server."""
    turn_password: Secret | None = None
    """Password for the TURN server."""


@dataclass(frozen=True, slots=True)
class Agent:
    """``[agents.NAME]``: one gateway agent, run by ``gateway-agent run --agent NAME``."""

    name: str
    """The table's name."""
    sip: tuple[Endpoint, ...] = ()
    """Addresses to which its devices send their requests."""
    advertise: Host = ""
    """The address to write into messages to devices when it is not the one listened at (NAT)."""
    advertise_by: Mapping[str, Host] = field(default_factory=_no_hosts)
    """The same for single transports of ``sip``, like ``{ tls = "sbc.example.com" }``."""
    tls: Tls | None = None
    """Its certificate; required for TLS."""
    origins: tuple[Origin, ...] = ()
    """Origins of web pages from which browsers may connect by WebSocket, like ``https://phone.example.com``; ``*``:
    all. Required for ``ws:`` and ``wss:``."""
    token_key: Secret | None = None
    """Key with which a web application signs tokens (JWT, HS256) for the users of ``web`` lines; at least 32
    bytes."""
    page: Path | None = None
    """Directory with web pages (``index.html``), served to browsers at its ``wss:`` and ``ws:`` listeners."""
    api: Api | None = None
    """Where it answers commands; left out: the socket ``NAME.sock`` in its state directory."""
    api_token: Secret | None = None
    """Bearer token of the API; required for TCP."""
    state: Path = Path("state")
    """Directory for epochs and votes; each program has a subdirectory with its own name in it."""
    rtp: Rtp = Rtp()
    """Where media is received, for lines with ``media = "relay"`` and for calls between browsers and other
    devices."""
    rtpengine: tuple[Endpoint, ...] = ()
    """NG listeners of rtpengine daemons, like ``udp:192.0.2.9:2223``, for lines with ``media = "rtpengine"``. New
    calls go to the one with the fewest; one that does not answer gets none."""
    webrtc: Webrtc = Webrtc()
    """For calls between browsers and other devices."""

    def __post_init__(self) -> None:
        address = self.rtp.address or (self.sip[0].host if self.sip else "")
        rtp = dataclasses.replace(self.rtp, address=address, advertise=self.rtp.advertise or self.advertise)
        object.__setattr__(self, "rtp", rtp)

    @property
    def state_dir(self) -> Path:
        """Where this very agent keeps its state."""
        return self.state / self.name

    @property
    def api_address(self) -> Api:
        """``api`` or its default."""
        return self.api or Api(path=str(self.state_dir / f"{self.name}.sock"))


@dataclass(frozen=True, slots=True)
class Identity:
    """``[site]``: what all nodes of the site share."""

    name: NameOf
    """The site's name, which is in every heartbeat."""
    key: Secret
    """The site key, which signs heartbeats and state tokens; at least 16 bytes. On an agent's machine the agent's own
    key can be used in its place (``b2bua agent-key``)."""
    previous_key: Secret | None = None
    """A second key that is accepted while the key is being changed."""
    realm: Host = ""
    """Realm and domain of phones; left out: the site's name."""
    ca: Path | None = None
    """PEM file: the authorities that may have signed the servers' certificates, for TLS between servers and agents
    and between servers. A server's certificate is for the address that is connected to, or for the server's name.
    Left out: the authorities for devices."""
    provisioned: Literal["no", "first", "last"] = "no"
    """Whether lines and routes can be put by API or command (``b2bua provision``), and whether such routes are looked
    at before those of this file (``first``) or after them (``last``)."""

    @property
    def keys(self) -> tuple[Secret, ...]:
        """The key, and the previous one where there is one."""
        return (self.key,) if self.previous_key is None else (self.key, self.previous_key)

    @property
    def authority(self) -> str:
        """``ca`` as a text, ``""`` without one."""
        return str(self.ca) if self.ca is not None else ""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A whole site file, checked. Mappings keep the order of the file and cannot be changed."""

    identity: Identity
    """The table ``[site]``."""
    timing: Timing
    """The table ``[timing]``."""
    failover: Failover
    """The table ``[failover]``."""
    servers: Mapping[str, Server]
    """By name."""
    agents: Mapping[str, Agent]
    """By name."""
    lines: Mapping[str, LineSettings]
    """By name."""
    groups: Mapping[str, Group]
    """By name."""
    routes: tuple[Route, ...]
    """In the order of the file."""
    digest: str
    """Eight hex digits for the meaning of the file; comments, order of keys and secrets' values do not count."""
    digest_without_keys: str
    """The same of all but ``key`` and ``previous_key``."""
    bans: Bans = Bans()
    """The table ``[bans]``."""
    trace: Trace = Trace()
    """The table ``[trace]``."""
    records: Records = Records()
    """The table ``[records]``."""
    hooks: HookSettings = HookSettings()
    """The table ``[hooks]``."""
    path: Path = Path("site.toml")
    """Where it was read."""
    provisioned: Provisioned = NOTHING
    """The part of ``lines`` and ``routes`` that was put by API."""

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

    @property
    def electors(self) -> tuple[str, ...]:
        """Who votes: the voters, and with an even number of them the stand-by, so that the number is odd."""
        return self.membership().voters

    @property
    def key_of(self) -> str:
        """The agent whose own key this machine has in place of the site key; empty: it has the site key."""
        value = self.identity.key.value
        return signer_of(value)[1] if value is not None else ""

    @property
    def quorum(self) -> int:
        """How many votes decide."""
        return self.membership().quorum

    @property
    def decision_time(self) -> float:
        """Seconds from the last heartbeat heard of the active server to the decision that another one acts."""
        timing = self.timing
        return round(max(timing.lease + timing.margin, timing.misses * timing.interval), 3)

    def membership(self, node: str = "") -> Membership:
        """The site as the votes see it; its capacity is that of the server ``node``, else of the first."""
        failover = self.failover
        # While the file is being checked there may be no main, or no server at all.
        server = self.servers.get(node) or next(iter(self.servers.values()), None)
        return Membership(
            site=self.name,
            servers=tuple(self.servers),
            standby=self.standby.name if self.standby is not None else "",
            agents=tuple(self.agents),
            chosen_voters=failover.voters,
            generation=failover.generation,
            quorum_wanted=failover.quorum,
            timing=self.timing,
            hold_down=failover.hold_down,
            return_after=failover.return_after,
            failback=failover.failback,
            on_lost_quorum=failover.on_lost_quorum,
            takeover_without_quorum=failover.takeover_without_quorum,
            config=self.digest_without_keys if self.key_of else self.digest,
            config_without_keys=self.digest_without_keys,
            given=str(self.provisioned.version) if self.provisioned.version.serial else "",
            capacity=server.capacity if server is not None else 0,
            keys=tuple(signer_of(key.value)[0] for key in self.identity.keys if key.value is not None),
        )

    def tls_of(self, node: str) -> Tls | None:
        """The ``tls`` of a server or an agent."""
        program: Server | Agent | None = self.servers.get(node) or self.agents.get(node)
        return program.tls if program is not None else None

    def joins_browsers(self, agent: str) -> bool:
        """Whether calls of an agent's lines may be between a browser and what is none."""
        kinds = {line.kind == "web" or line.webrtc for line in self.lines.values()}
        return len(kinds) == 2 and bool(self.lines_of(agent))

    def is_urgent(self, line: LineSettings, called: str, asked: int) -> bool:
        """Whether a call from a line to a number goes before others: by the line, by a route for the number, or by
        what it ``asked`` for where that is believed."""
        if line.priority or (line.trust_priority and asked):
            return True
        return any(
            route.priority and route.match.matches(called) and (not route.source or line.name in self._of(route))
            for route in self.routes
        )

    def _of(self, route: Route) -> set[str]:
        return {member for name in route.source for member in self.members(name)}

    def lines_of(self, owner: str) -> list[LineSettings]:
        """The lines of an agent; ``""`` gives those that the servers own."""
        return [line for line in self.lines.values() if line.agent == owner]

    def agent_priority(self, agent: str) -> int:
        """Highest priority among the agent's lines: agents are taken over in this order, highest first."""
        return max((line.priority for line in self.lines_of(agent)), default=0)

    def route_place(self, index: int) -> str:
        """How the route of that index is called in sentences: by its name, else by its place in the file."""
        name, before = self.routes[index].name, len(self.provisioned.routes)
        if name:
            return f"routes.{name}"
        return f"routes[{index + 1 - (before if self.identity.provisioned == 'first' else 0)}]"

    def members(self, name: str) -> tuple[str, ...]:
        """The lines that ``name`` of a route's list stands for: a group's lines, or the line itself."""
        group = self.groups.get(name)
        return group.lines if group is not None else (name,)

    def phone(self, owner: str, user: str) -> LineSettings | None:
        """The phone of ``owner`` that registers as ``user``."""
        return next((x for x in self.lines_of(owner) if x.is_phone and x.aor_user == user), None)


def digest(site: Site, with_keys: bool = True) -> str:
    """Eight hex digits for what the site means: secrets by their place, and without what is as by default, so that a
    setting which a later version adds changes nothing as long as nobody sets it.

    Directories and sockets are each machine's own affair and do not count, nor is without ``with_keys`` where the
    site's keys are.
    """
    meaning = _settings(site)
    for name in ("digest", "digest_without_keys", "path", "provisioned"):
        meaning.pop(name, None)
    if not with_keys:
        meaning["identity"] = _settings(dataclasses.replace(site.identity, key=Secret(""), previous_key=None))
    meaning["agents in order"] = list(site.agents)  # who votes, and how heartbeats count agents, depends on it
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _settings(table: Any) -> dict[str, object]:
    """What is not as by default. That is what counts, and not what the file says: a default may be spelled out."""
    found = {}
    for spec in dataclasses.fields(table):
        if not spec.compare:
            continue
        plain = _plain(getattr(table, spec.name))
        if spec.default_factory is not dataclasses.MISSING:
            default: object = _plain(spec.default_factory())
        elif spec.default is not dataclasses.MISSING:
            default = _plain(spec.default)
        else:
            default = dataclasses.MISSING
        if plain != default:
            found[spec.name] = plain
    return found


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Secret):
        return value.source
    if isinstance(value, Path) or (isinstance(value, Api) and value.path):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _settings(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value)
    return value
