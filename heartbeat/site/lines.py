"""Lines, groups and routes of a site file, as frozen values. See :mod:`heartbeat.site.model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from heartbeat.site.values import (
    Api,
    Field,
    HeaderLine,
    HeaderText,
    Host,
    Https,
    NameOf,
    Number,
    Pattern,
    PeerUri,
    Regex,
    Secret,
    Source,
    Within,
)

Digest = Literal["SHA-512-256", "SHA-256", "MD5"]
DIGESTS: tuple[Digest, ...] = ("MD5", "SHA-256")
"""What phones are offered. MD5 first: many phones read the first challenge only, and know nothing else."""
ANSWER_WITHIN_TRUNK = 4.0
ANSWER_WITHIN_PHONE = 5.0
KEEP_ALIVE = 30.0
RETURN_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule of ``to_device`` or ``from_device``; of a list, the first whose pattern matches is used."""

    match: Pattern
    """Which numbers it changes."""
    strip: Annotated[int, Within(0, 64)] = 0
    """How many characters to remove at the front."""
    prefix: Number = ""
    """What to put in front afterwards."""

    def apply(self, number: str) -> str:
        """The number changed; the caller has seen to it that the pattern matches."""
        return self.prefix + number[self.strip :]


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """One of ``headers``, carried out one after the other: it says one of ``remove``, ``add``, ``replace``."""

    remove: Field = ""
    """Remove this field, where its value matches."""
    add: HeaderLine = ""
    """Add this line, like ``X-Site: paris``, unless the message has such a field."""
    replace: Field = ""
    """Change the value of this field, where it matches."""
    match: Regex = ""
    """With ``remove`` or ``replace``: the part of the value that must match; left out: any."""
    by: HeaderText = ""
    r"""With ``replace``: what to put in its place; ``\\1`` is the first group of ``match``."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """``to_device`` or ``from_device`` of a line: how numbers and headers change on the way."""

    called: tuple[Rewrite, ...] = ()
    """Rules for the number called."""
    caller: tuple[Rewrite, ...] = ()
    """Rules for the number calling."""
    headers: tuple[HeaderRule, ...] = ()
    """Rules for single header fields, except those of the dialog and of the body."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """``register`` of a trunk: its agent, or the server that leads, registers with the carrier (RFC 3261, 10)."""

    registrar: PeerUri
    """Where REGISTER goes."""
    user: Number
    """User name, for the address of record and for digest."""
    password: Secret
    """Password for digest."""
    expires: Annotated[int, Within(30, 86400)] = 600
    """The time asked for; registered again after four fifths of what was granted."""
    domain: Host = ""
    """Domain of the address of record; left out: the registrar's host."""
    retry_least: Annotated[float, Within(0.1, 3600)] = 2.0
    """First wait after a failure; it doubles with each further one."""
    retry_most: Annotated[float, Within(1, 86400)] = 120.0
    """Longest wait after a failure."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """``options`` of a trunk: OPTIONS to the peer take the trunk out of service and back."""

    interval: Annotated[float, Within(0.1, 3600)] = 30.0
    """Time between two OPTIONS."""
    misses: Annotated[int, Within(1, 100)] = 3
    """Unanswered OPTIONS in a row after which the trunk is out of service."""


@dataclass(frozen=True, slots=True)
class SessionTimerSettings:
    """``session_timer`` of a line (RFC 4028), on the dialogs with its devices."""

    expires: Annotated[int, Within(90, 86400)] = 1800
    """The Session-Expires that is asked for."""
    min_se: Annotated[int, Within(90, 86400)] = 90
    """The least Session-Expires that is accepted."""


@dataclass(frozen=True, slots=True)
class StirSigning:
    """``stir_sign`` of a trunk: calls to it say who calls by a signed Identity (RFC 8224, RFC 8588)."""

    key: Secret
    """The private key, in PEM, for ES256."""
    url: Https
    """Where others fetch its certificate to verify the signature."""
    attest: Literal["A", "B", "C"] = "C"
    """How sure you are of who calls: ``A`` full, ``B`` partial, ``C`` gateway attestation."""
    full: tuple[Pattern, ...] = ()
    """Callers that get full attestation (``A``) whatever ``attest`` says: your own numbers."""


@dataclass(frozen=True, slots=True)
class StirVerification:
    """``stir_verify`` of a trunk: the Identity of calls from it is verified; what was found is their ``verstat``."""

    ca: Path
    """PEM file of the authorities whose certificates are believed."""
    required: bool = False
    """Refuse calls without a valid Identity (428, 436, 437, 438, or 403 for a stale one)."""
    hosts: tuple[Host, ...] = ()
    """Hosts from which certificates are fetched; left out: all public ones."""


@dataclass(frozen=True, slots=True)
class Forward:
    """``forward`` of a line: numbers to call instead, looked up like any number called."""

    always: Number = ""
    """Called at once instead of the line."""
    busy: Number = ""
    """Called when the line is busy."""
    no_answer: Number = ""
    """Called when nobody answers within ``after``, or the line cannot be reached."""
    after: Annotated[float, Within(1, 180)] = 20.0
    """How long the line rings before ``no_answer`` is called."""


@dataclass(frozen=True, slots=True)
class StationSettings:
    """``station`` of a station: what it does with its calls."""

    answer: Literal["at-once", "by-order"] = "at-once"
    """Answer calls at once, or when an operator says so; until then it rings."""
    play: Literal["silence", "tone", "echo"] = "silence"
    """What the far end hears until another file is played to it: nothing, a tone of 1004 Hz, or itself."""
    file: Path | None = None
    """Instead of ``play``: a WAV file (16 bits, 8 or 16 kHz, mono), played again and again."""
    sound: bool = False
    """Also connect calls to this machine's sound device, with its microphone and loudspeaker."""
    probe: Number = ""
    """A number whose line echoes, like a test number of a carrier: the station probes it again and again."""
    probe_every: Annotated[float, Within(30, 86400)] = 300.0
    """Seconds between two such probes; each lasts ten seconds from the answer."""
    probe_mos: Annotated[float, Within(0, 4.5)] = 0.0
    """Mean opinion score below which such a probe has failed."""
    api: Api | None = None
    """Where Prometheus can ask for its metrics, like ``tcp:192.0.2.11:8090``, with the ``api_token`` of its agent.
    Left out: only at its UNIX socket."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """``[lines.NAME]``: a trunk, a phone, a browser, a station or a direct telephone, with its settings."""

    name: str
    """The table's name."""
    kind: Literal["trunk", "phone", "station", "web", "direct"]
    """``trunk``: a carrier or PBX at a known address. ``phone``: devices that register with the agent. ``station``: a
    telephone that is a program on the agent's machine. ``web``: a phone for browsers, which connect by WebSocket
    only. ``direct``: a telephone without an agent, which registers with the servers themselves. What is said of
    phones holds for the last three as well."""
    agent: NameOf = ""
    """The agent it belongs to. Left out: it belongs to the servers themselves, which only trunks and direct
    telephones can."""
    peer: tuple[PeerUri, ...] = ()
    """Trunk: where calls to it are sent; the next one when the first does not answer."""
    source: tuple[Source, ...] = field(default=(), metadata={"key": "from"})
    """Trunk: addresses that its requests come from; others are refused. Left out: the numeric addresses of ``peer``,
    or, with ``certificate``, any address from which a peer proves its name."""
    address: Host = ""
    """Trunk of an agent with several addresses in ``sip``: the one that its requests are sent from and that its peer
    is shown. Left out: the first of the family (IPv4 or IPv6) of its peer."""
    certificate: tuple[Host, ...] = ()
    """Trunk by TLS: names of which the peer's certificate must have one, whichever side connects. Left out: the host
    of the URI, where we connect."""
    ca: Path | None = None
    """Trunk by TLS: PEM file of the authorities that may have signed its certificate; left out: those of its
    agent."""
    channels: Annotated[int, Within(1, 100_000)] = 1
    """Calls at once; must be given for a trunk. A phone with more than 1 takes waiting calls."""
    answer_within: Annotated[float, Within(0, 32)] = 0.0
    """Seconds without any response after which the next address or contact of the line is tried; 0: 4 for a trunk, 5
    for a phone."""
    nat: bool = False
    """Trunk behind a NAT: requests in a dialog are sent back over the flow by which the dialog came, not to its
    Contact."""
    register: RegistrationSettings | None = None
    """Trunk: registers with the carrier."""
    options: ProbeSettings | None = None
    """Trunk: tests the peer with OPTIONS."""
    to_device: Numbering = Numbering()
    """How numbers and headers change on the way to the device."""
    from_device: Numbering = Numbering()
    """How numbers and headers change on the way from the device, before routing."""
    advertise: Host = ""
    """The address to write into messages to this device; left out: that of its agent."""
    cps: Annotated[float, Within(0, 10_000)] = 0.0
    """New calls a second at most, counted for each direction; 0: no limit."""
    longest_call: Annotated[float, Within(0, 31 * 86400)] = 0.0
    """Seconds after which a call is ended; 0: no limit."""
    media: Literal["direct", "relay", "rtpengine"] = "direct"
    """``direct``: media flows between the devices. ``relay``: RTP and fax (T.38) pass the agent's relay; media that
    it cannot carry is refused. ``rtpengine``: the same by the ``rtpengine`` of the agent, for more calls than one
    process relays."""
    media_timeout: Annotated[float, Within(0, 86400)] = 0.0
    """With ``media`` other than ``direct``: seconds without RTP from either side after which an answered call is
    ended, unless it is on hold or has changed to fax; at least 5. 0: silence is only shown."""
    srtp: Literal["no", "sdes"] = "no"
    """With ``media = "relay"``: ``sdes``: its devices use SRTP with keys in their SDP (RFC 4568), and never plain
    RTP. The encryption ends at the agent's relay: the other side gets plain RTP, or, when it is a browser, DTLS-SRTP
    from the WebRTC gateway behind that relay. Needs ``holdfast[srtp]`` at the agent."""
    webrtc: bool = False
    """Trunk: its peer takes media as browsers send it (ICE, DTLS-SRTP), as Asterisk does with ``webrtc = yes``, and
    gets it unchanged. Left out: media of browsers ends at the agent, and the peer gets plain RTP."""
    recovery: Literal["hot", "cold"] = "hot"
    """At a takeover: ``hot`` keeps its calls, ``cold`` drops them and resets the line to ``reset_state``."""
    reset_state: Literal["idle", "out-of-service"] = "idle"
    """With ``cold``: the state of the line afterwards."""
    priority: Annotated[int, Within(0, 9)] = 0
    """At a takeover, calls of lines with a higher number are handed over first. Calls from a line over 0 may use the
    reserved capacity."""
    trust: bool | None = None
    """Whether its devices are believed when they say who calls, and told who calls even when the caller withholds it
    (RFC 3325). Left out: true for a trunk, false for a phone, which may name only its ``numbers`` and its user name
    as caller."""
    domain: Host = ""
    """Trunk: host in the Request-URI, From and asserted identities of calls to it. Left out: in the Request-URI the
    peer's host, in the others the domain of its registration or our own address."""
    auth_user: Number = ""
    """Trunk: user name for digest, where it is not the one that registers, or ``user``."""
    outbound_proxy: PeerUri | None = None
    """Trunk: a proxy to which all its requests are sent first, by a Route."""
    from_user: Literal["caller", "account"] = "caller"
    """Trunk: whom From names: the ``caller``, or the ``account`` (``user``, or who registers), with the caller's
    number in P-Asserted-Identity."""
    called_from: Literal["request-uri", "to", "p-called-party-id"] = "request-uri"
    """Trunk: where calls from it have the number called."""
    diversion: Literal["both", "diversion", "history-info", "none"] = "both"
    """The headers that tell its devices whom a forwarded call was for: Diversion (RFC 5806), History-Info (RFC
    7044)."""
    trust_priority: bool = False
    """Whether its calls are believed when they say how urgent they are, in Priority (``emergency``, ``urgent``) or
    Resource-Priority (RFC 4412: ``esnet``, ``dsn``, ``drsn``, ``q735``, ``ets``, ``wps``)."""
    transfer: Literal["pass", "serve", "refuse"] = "refuse"
    """Transfers (REFER, RFC 3515) that its devices ask for. ``serve``: the server makes them, whatever the line of
    the other side. ``pass``: REFER is passed on to the device that shall call, which then calls through us; its line
    must say ``pass`` too. ``refuse``: refused, and so is a call that wants to take the place of one of its dialogs
    (Replaces, RFC 3891)."""
    messages: Literal["pass", "refuse"] = "refuse"
    """Messages outside calls (MESSAGE, RFC 3428) from and to its devices. ``pass``: routed as calls are, between
    lines that both say ``pass``. ``refuse``: refused (405)."""
    subscriptions: Literal["pass", "refuse"] = "refuse"
    """Subscriptions (SUBSCRIBE, RFC 6665) of its devices, and to it: busy lamps (``dialog``, RFC 4235) and waiting
    messages (``message-summary``, RFC 3842). ``pass``: routed as calls are, between lines that both say ``pass``, one
    of which must have an agent. The state of a phone is reported by its agent, and who may watch it may pick up a
    call that rings there. ``refuse``: refused (405)."""
    mailbox: NameOf = ""
    """Phone: the trunk that keeps its voice messages: it is asked what is waiting for the phone's number. Left out: a
    device has to subscribe to a number that leads there."""
    stir_sign: StirSigning | None = None
    """Trunk: signs who calls (STIR/SHAKEN)."""
    stir_verify: StirVerification | None = None
    """Trunk: verifies who calls (STIR/SHAKEN)."""
    reliable: Literal["no", "supported", "required"] = "supported"
    """Reliable provisional responses (PRACK, RFC 3262) on the dialogs with its devices: ``supported``: for devices
    that want them; ``required``: calls of a device without them are refused (421)."""
    session_id: bool = False
    """Add a Session-ID (RFC 7989) to calls of its devices that have none, so that a call has one name in all
    traces."""
    session_timer: SessionTimerSettings | None = None
    """Detects devices that have vanished (RFC 4028)."""
    forward: Forward = Forward()
    """Call forwarding."""
    redirects: Literal["follow", "pass"] | None = None
    """When a device of it redirects a call (300, 301, 302): ``follow``: call the new number with the rights of this
    line. ``pass``: tell the caller. Left out: ``follow`` for a phone, ``pass`` for a trunk."""
    numbers: tuple[Number, ...] = ()
    """Numbers that reach this line; they are looked up before all routes."""
    caller_number: Number = ""
    """The number shown for its calls, whatever the device says."""
    user: Number = ""
    """Phone: the user name to register as, also for digest; left out: the line's name. Trunk that does not register:
    the account, for Contact and digest."""
    password: Secret | None = None
    """Password for digest, of a phone or of a trunk that does not register. A station needs none: one is made from
    the site key."""
    digest: tuple[Digest, ...] = DIGESTS
    """Phone: the hash algorithms offered for digest, in this order. Many phones read the first challenge only."""
    contacts: Annotated[int, Within(1, 32)] = 4
    """Phone: how many devices may be registered at once; all of them ring."""
    expires: Annotated[int, Within(30, 86400)] = 3600
    """Phone: the longest registration that is granted."""
    keep_alive: Annotated[float, Within(0, 3600)] = KEEP_ALIVE
    """Phone: seconds between two OPTIONS to a device that registered over UDP, at most; they keep a NAT in front of
    it open. 0: none."""
    station: StationSettings = StationSettings()
    """Station: what it does with its calls."""
    return_within: Annotated[float, Within(0, 3600)] = RETURN_WITHIN
    """Web: seconds for which an answered call waits for a browser whose connection broke, before it is ended. 0:
    until the far end hangs up."""

    def __post_init__(self) -> None:
        if not self.answer_within:
            within = ANSWER_WITHIN_TRUNK if self.kind == "trunk" else ANSWER_WITHIN_PHONE
            object.__setattr__(self, "answer_within", within)
        if self.kind == "trunk" and not self.source and not self.certificate:
            networks = [network for peer in self.peer if (network := peer.network) is not None]
            object.__setattr__(self, "source", tuple(map(Source, dict.fromkeys(networks))))

    @property
    def is_phone(self) -> bool:
        """Whether its devices register with its agent or the servers: a phone, a browser, a station, a direct
        telephone."""
        return self.kind != "trunk"

    def passes(self, method: str) -> bool:
        """Whether requests outside calls cross to and from its devices."""
        return (self.messages if method == "MESSAGE" else self.subscriptions) == "pass"

    @property
    def at_servers(self) -> bool:
        """True for a trunk that the servers own, with no agent between, and for a direct telephone."""
        return not self.agent

    @property
    def by_tls(self) -> bool:
        """Whether it is a trunk that is reached by TLS."""
        first = [self.outbound_proxy] if self.outbound_proxy is not None else [*self.peer]
        first += [self.register.registrar] if self.register is not None and self.outbound_proxy is None else []
        return any(peer.is_tls for peer in first)

    @property
    def trusted(self) -> bool:
        """Whether its devices are believed; ``trust`` as it is meant."""
        return self.kind == "trunk" if self.trust is None else self.trust

    @property
    def follows_redirects(self) -> bool:
        """``redirects`` as it is meant."""
        return self.is_phone if self.redirects is None else self.redirects == "follow"

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
    """``order``: as listed. ``weight``: at random, by ``weights``. ``least-loaded``: the line with the smallest share
    of busy channels first."""
    weights: Mapping[str, Annotated[int, Within(0, 1000)]] = field(default_factory=_no_weights)
    """Weight of each line, 1 where none is given; 0: only when no other line takes the call."""


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
    """How many characters to remove at the front of the number called."""
    prefix: Number = ""
    """What to put in front of it afterwards."""
    priority: Annotated[int, Within(0, 9)] = 0
    """Calls by a route over 0 may use the reserved capacity; for emergency numbers."""
    ring: Annotated[float, Within(1, 600)] = 180.0
    """How long a target may ring before the next one is tried."""
    refuse: Annotated[int, Within(0, 699)] = 0
    """Instead of ``to``: refuse these calls with this status, 400 to 699."""
    name: NameOf = ""
    """The name by which messages mention it; left out: its place in the file. Provisioned routes must have one."""
