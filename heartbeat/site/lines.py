"""Lines, groups and routes of a site file, as frozen values. See :mod:`heartbeat.site.model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from heartbeat.site.values import (
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
    """Characters to take away at the front."""
    prefix: Number = ""
    """What to put in front then."""

    def apply(self, number: str) -> str:
        """The number changed; the caller has seen to it that the pattern matches."""
        return self.prefix + number[self.strip :]


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """One of ``headers``, carried out one after the other: it says one of ``remove``, ``add``, ``replace``."""

    remove: Field = ""
    """Take this field away, where its value matches."""
    add: HeaderLine = ""
    """Add this line, like ``X-Site: paris``, where there is no such field."""
    replace: Field = ""
    """Change the value of this field, where it matches."""
    match: Regex = ""
    """With ``remove`` or ``replace``: what part of the value matches; left out: any."""
    by: HeaderText = ""
    r"""With ``replace``: what stands there then; ``\\1`` is the first group of ``match``."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """``to_device`` or ``from_device`` of a line: how numbers and headers change on the way."""

    called: tuple[Rewrite, ...] = ()
    """For the number called."""
    caller: tuple[Rewrite, ...] = ()
    """For the number calling."""
    headers: tuple[HeaderRule, ...] = ()
    """For single header fields, which are none of the dialog's or the body's."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """``register`` of a trunk: its agent, or the server that leads, registers with the carrier (RFC 3261, 10)."""

    registrar: PeerUri
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
class ProbeSettings:
    """``options`` of a trunk: OPTIONS to the peer take the trunk out of service and back."""

    interval: Annotated[float, Within(0.1, 3600)] = 30.0
    """Between two OPTIONS."""
    misses: Annotated[int, Within(1, 100)] = 3
    """Unanswered ones in a row until the trunk is out of service."""


@dataclass(frozen=True, slots=True)
class SessionTimerSettings:
    """``session_timer`` of a line (RFC 4028), on the dialogs with its devices."""

    expires: Annotated[int, Within(90, 86400)] = 1800
    """Session-Expires asked for."""
    min_se: Annotated[int, Within(90, 86400)] = 90
    """Least Session-Expires accepted."""


@dataclass(frozen=True, slots=True)
class StirSigning:
    """``stir_sign`` of a trunk: calls to it say who calls by a signed Identity (RFC 8224, RFC 8588)."""

    key: Secret
    """The private key, in PEM, for ES256."""
    url: Https
    """Where those who verify find its certificate."""
    attest: Literal["A", "B", "C"] = "C"
    """How sure we are of callers: ``A`` full, ``B`` partial, ``C`` gateway."""
    full: tuple[Pattern, ...] = ()
    """Callers of whom we are sure (``A``) whatever ``attest`` says: the numbers that are ours."""


@dataclass(frozen=True, slots=True)
class StirVerification:
    """``stir_verify`` of a trunk: the Identity of calls from it is verified; what was found is their ``verstat``."""

    ca: Path
    """PEM file of the authorities whose certificates are believed."""
    required: bool = False
    """Refuse calls without an Identity that holds (428, 436, 437, 438, or 403 for a stale one)."""
    hosts: tuple[Host, ...] = ()
    """From which certificates are fetched; left out: all public ones."""


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
class StationSettings:
    """``station`` of a station: what it does with its calls."""

    answer: Literal["at-once", "by-order"] = "at-once"
    """Take calls at once, or when an operator says so; it rings meanwhile."""
    play: Literal["silence", "tone", "echo"] = "silence"
    """What the far end hears, until it is told to play something else: nothing, a tone of 1004 Hz, or itself."""
    file: Path | None = None
    """Instead of ``play``: a WAV file (16 bits, 8 or 16 kHz, mono), again and again."""
    sound: bool = False
    """Join calls to this machine's sound device, too: its microphone is heard, and its loudspeaker plays."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """``[lines.NAME]``: a trunk, a phone, a browser, a station or a direct telephone, with its settings."""

    name: str
    """The table's name."""
    kind: Literal["trunk", "phone", "station", "web", "direct"]
    """``trunk``: a carrier or PBX at a known address. ``phone``: devices that register with the agent. ``station``: a
    telephone that is a program of its own beside the agent; all that is said of phones holds for it, and it registers
    from this machine only. ``web``: a phone for browsers, which come by WebSocket alone. ``direct``: a telephone
    without an agent, that registers with the servers themselves; all that is said of phones holds for it, too."""
    agent: NameOf = ""
    """The agent it belongs to; left out: it is owned by the servers themselves, as a trunk may be and a direct
    telephone is."""
    peer: tuple[PeerUri, ...] = ()
    """Trunk: where its calls are sent; the next one when the first does not answer."""
    source: tuple[Source, ...] = field(default=(), metadata={"key": "from"})
    """Trunk: addresses its requests come from, others are refused; left out: the numeric addresses of ``peer``, or,
    with ``certificate``, whoever proves to be it."""
    address: Host = ""
    """Trunk of an agent with several addresses in ``sip``: the one that its requests leave from, and that is shown to
    it; left out: the first of the family, IPv4 or IPv6, that its peer needs."""
    certificate: tuple[Host, ...] = ()
    """Trunk by TLS: names one of which the certificate of its peer must have, whoever connects; left out: the host of
    the URI, where we connect."""
    ca: Path | None = None
    """Trunk by TLS: PEM file of the authorities by which its certificate is believed; left out: those of its
    agent."""
    channels: Annotated[int, Within(1, 100_000)] = 1
    """Calls at once. Must be said for a trunk; more than 1 lets calls wait at a phone."""
    answer_within: Annotated[float, Within(0, 32)] = 0.0
    """Seconds without any response until the next place of the line is tried; 0: 4 for a trunk, 5 for a phone."""
    nat: bool = False
    """Trunk behind a NAT: requests in a dialog go back over the flow that the dialog came by, not to its Contact."""
    register: RegistrationSettings | None = None
    """Trunk: register with the carrier."""
    options: ProbeSettings | None = None
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
    """``direct``: media flows between the devices. ``relay``: RTP, and fax (T.38), through the agent's own relay;
    what it cannot carry is refused."""
    media_timeout: Annotated[float, Within(0, 86400)] = 0.0
    """With ``media = "relay"``: an answered call is ended after so many seconds without RTP either way, unless it is
    on hold or has changed to fax; 5 at least. 0: it is shown only."""
    srtp: Literal["no", "sdes"] = "no"
    """With ``media = "relay"``: ``sdes``: its devices have SRTP with keys in their descriptions (RFC 4568), and never
    plain RTP. It ends at the agent's relay; the other side gets plain RTP, and a browser its own, by the WebRTC
    gateway behind that relay. Needs ``holdfast[srtp]`` at the agent."""
    webrtc: bool = False
    """Trunk: its peer takes media as browsers do (ICE, DTLS-SRTP), as Asterisk does with ``webrtc = yes``: what
    browsers send goes to it as it is. Left out: their media ends at the agent, and its peer gets plain RTP."""
    recovery: Literal["hot", "cold"] = "hot"
    """At a takeover: ``hot`` keeps its calls, ``cold`` drops them and resets the line to ``reset_state``."""
    reset_state: Literal["idle", "out-of-service"] = "idle"
    """For ``cold``: the state after the reset."""
    priority: Annotated[int, Within(0, 9)] = 0
    """Higher ones are handed over first at a takeover; calls from a line over 0 may use the reserved capacity."""
    trust: bool | None = None
    """Believe who its devices say is calling, and tell them who calls where that is withheld, too (RFC 3325). Left
    out: true for a trunk, false for a phone, which may call itself by its ``numbers`` and its user name only."""
    domain: Host = ""
    """Trunk: host of the Request-URI, From and asserted identities of its calls; left out: the peer's for the first,
    for the others that of its registration, or our own."""
    auth_user: Number = ""
    """Trunk: for digest, where that is not the user who registers, or ``user``."""
    outbound_proxy: PeerUri | None = None
    """Trunk: where all its requests go first; it stands in their Route."""
    from_user: Literal["caller", "account"] = "caller"
    """Trunk: who From names: the ``caller``, or the ``account`` (``user``, or who registers) with the caller's number
    in P-Asserted-Identity."""
    called_from: Literal["request-uri", "to", "p-called-party-id"] = "request-uri"
    """Trunk: where its calls name the number called."""
    diversion: Literal["both", "diversion", "history-info", "none"] = "both"
    """In which headers its devices are told who was called first: Diversion (RFC 5806), History-Info (RFC 7044)."""
    trust_priority: bool = False
    """Believe how urgent its calls say they are, in Priority (``emergency``, ``urgent``) or Resource-Priority (RFC
    4412: ``esnet``, ``dsn``, ``drsn``, ``q735``, ``ets``, ``wps``)."""
    transfer: Literal["pass", "serve", "refuse"] = "refuse"
    """Transfers (REFER, RFC 3515): those by its devices are made by the server (``serve``), whoever is transferred;
    or ``pass``ed on to who is to call, which calls through us then, where its line says ``pass`` too; or refused. So
    is that a call takes the place of one of its dialogs (Replaces, RFC 3891)."""
    messages: Literal["pass", "refuse"] = "refuse"
    """Messages outside calls (MESSAGE, RFC 3428) by its devices and to them: ``pass``ed on by the routes, as calls,
    between lines that both pass them; or refused (405)."""
    subscriptions: Literal["pass", "refuse"] = "refuse"
    """Subscriptions (SUBSCRIBE, RFC 6665) of its devices, and to it: busy lamps (``dialog``, RFC 4235) and waiting
    messages (``message-summary``, RFC 3842); ``pass``ed by the routes, as calls, between lines that both pass them,
    of which one at least has an agent. For a phone that is watched its agent notifies; who may watch it may pick up
    what rings there. Or refused (405)."""
    mailbox: NameOf = ""
    """Phone: the trunk that keeps its messages: it is asked for what waits under the phone's number. Left out: a
    device subscribes to a number that leads there."""
    stir_sign: StirSigning | None = None
    """Trunk: sign who calls (STIR/SHAKEN)."""
    stir_verify: StirVerification | None = None
    """Trunk: verify who calls (STIR/SHAKEN)."""
    reliable: Literal["no", "supported", "required"] = "supported"
    """Provisional responses that are acknowledged (PRACK, RFC 3262) on the dialogs with its devices: ``supported``
    where a device wants them, or ``required``, so that a call of one that does not know them is refused (421)."""
    session_id: bool = False
    """Make a Session-ID (RFC 7989) in what its devices send without, so that a call has one name in all traces."""
    session_timer: SessionTimerSettings | None = None
    """Detect devices that vanished (RFC 4028)."""
    forward: Forward = Forward()
    """Call forwarding."""
    redirects: Literal["follow", "pass"] | None = None
    """When it redirects a call (300, 301, 302): ``follow`` it with the rights of this line, or ``pass`` it to who
    calls. Left out: a phone's is followed, a trunk's is passed."""
    numbers: tuple[Number, ...] = ()
    """Numbers that reach this line; they go before all routes."""
    caller_number: Number = ""
    """Number to show for its calls, whatever the device says."""
    user: Number = ""
    """Phone: user name to register as, also for digest; left out: the line's name. Trunk that does not register: the
    account, for Contact and digest."""
    password: Secret | None = None
    """For digest, of a phone or of a trunk that does not register; of a station it may be left out: it is made from
    the site key then."""
    digest: tuple[Digest, ...] = DIGESTS
    """Phone: what its password may be hashed with, offered in this order; many phones read the
    first challenge only."""
    contacts: Annotated[int, Within(1, 32)] = 4
    """Phone: devices registered at once; all of them ring."""
    expires: Annotated[int, Within(30, 86400)] = 3600
    """Phone: longest registration granted."""
    keep_alive: Annotated[float, Within(0, 3600)] = KEEP_ALIVE
    """Phone: seconds, at most, between two OPTIONS to a device that registered over UDP, which keep the NAT before it
    open; 0: none."""
    station: StationSettings = StationSettings()
    """Station: what it does with its calls."""
    return_within: Annotated[float, Within(0, 3600)] = RETURN_WITHIN
    """Web: seconds for which an answered call waits for a browser whose connection broke; then it is ended. 0: it
    waits until the far end hangs up."""

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
    name: NameOf = ""
    """By which sentences call it; left out: its place in the file. Provisioned routes have one."""
