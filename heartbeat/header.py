"""The ``Heartbeat`` header: all that servers and agents exchange besides calls, in one signed header line.

::

    Heartbeat: site=paris; node=m1; boot=41; epoch=7; state=active; seq=1841; kind=beat; to=gw1; ...; mac=9f...

It is carried by OPTIONS and its responses (200, 403, 503). ``kind`` is the kind of message; docs/heartbeat.md has the
table. An answer repeats the kind and identifies its request in ``re``. Unknown parameters are covered by the
signature and otherwise ignored, so that versions can be mixed. ``mac`` is HMAC-SHA256 with the site key, or an
agent's own, over method, Call-ID, CSeq number and everything in front of it, and is always last.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

MOST_LENGTH: Final = 4096
"""Characters of a header value; a longer one is refused unread."""
MOST_NAME: Final = 64
MOST_NUMBER: Final = 2**53
MOST_SECONDS: Final = 1e9
MOST_INSTANT: Final = 1e12
MOST_PARAMETERS: Final = 64

BEAT: Final = "beat"
QUERY: Final = "query"
PREVOTE: Final = "prevote"
GRANT: Final = "grant"
PROOF: Final = "proof"
RELEASE: Final = "release"
HANDOVER: Final = "handover"
READY: Final = "ready"
VOTERS: Final = "voters"
OPEN: Final = "open"
PING: Final = "ping"
"""A ping of an operator (`heartbeat ping --site`), answered with the node's state; changes nothing."""
FETCH: Final = "fetch"
"""Asks for a piece of the provisioned part of the site (`heartbeat.part_exchange`)."""
CONSOLE: Final = "console"
"""A piece of a console request to another node, or of its answer (`heartbeat.console_exchange`)."""
KINDS: Final = frozenset(
    (BEAT, QUERY, PREVOTE, GRANT, PROOF, RELEASE, HANDOVER, READY, VOTERS, OPEN, PING, FETCH, CONSOLE)
)

ACTIVE: Final = "active"
STANDBY: Final = "standby"
HOLDING: Final = "holding"
LEFT: Final = "left"
AGENT: Final = "agent"
STATES: Final = frozenset((ACTIVE, STANDBY, HOLDING, LEFT, AGENT))

FIRST: Final = "first"
"""The site starts for the first time: a voter without an epoch file may adopt the list of voters in the message."""
AS_IF_RELEASED: Final = "as-if-released"
"""A pre-vote that supposes that the present leader has released its lease."""
NON_VOTING: Final = "mute"
"""The sender has no vote: it has no epoch file, or its vote was not restored."""
DRAINING: Final = "drains"
"""The sender, an agent, takes no new calls, by an operator's command."""
NO_DISK: Final = "disk"
"""Reason of a voter's refusal: its promise cannot be written to disk."""
SUPERSEDED: Final = "superseded"
"""Reason why a server no longer accepts messages of an agent: a later start of it runs."""
FAILED: Final = "failed"
"""The sender's disk cannot be written."""
START: Final = "start-"
"""Prefix of an incarnation: the message is for that start of the node only."""

MOST_CODES: Final = 8
_CODE: Final = re.compile("[a-z-]{1,24}")
_ILLEGAL: Final = frozenset(';="\\<>, \t\r\n\0')
_NO_NAME: Final = _ILLEGAL | frozenset("|:/")
_NO_LIST: Final = _ILLEGAL - {","}


class Figures(NamedTuple):
    """What a node says of its calls and its clock in all its statements; see `Beat`."""

    calls: int = 0
    load: float = 0.0
    clock: float | None = None
    unwritten: float | None = None
    carried: int = 0
    unkept: int = 0


class BeatError(ValueError):
    """A header value is invalid or not signed with this site's key; the text is a sentence."""


class Start(NamedTuple):
    """One start of a node; leases, grants and deaths are those of a start."""

    node: str
    incarnation: int
    commitment: str = ""
    """Hash of the secret that its supervisor reveals when it has died (`heartbeat.death`); empty: it has none.

    It distinguishes two processes that were started from copies of one state directory, with equal incarnations.
    """


@dataclass(frozen=True, slots=True)
class Beat:
    """One message of a node. Seconds are durations, except in ``clock``."""

    site: str
    node: str
    """The sender."""
    incarnation: int
    """Start counter of the sender, on disk."""
    epoch: int
    """Server: its own when active or holding, else the highest proved one known. Agent: that of its leader."""
    state: str
    """``active``, ``standby``, ``holding``, ``left``, or ``agent``."""
    seq: int
    """Number of the message since the start of the sender."""
    kind: str = BEAT
    to: str = ""
    """The receiver."""
    calls: int = 0
    capacity: int = 0
    """Most calls of this server; 0: not given."""
    load: float = 0.0
    """Share of one processor, 0 to 1 and over."""
    config: str = ""
    """Short hash of the site file."""
    voters: int = 0
    """Generation of the list of voters; 0: none known."""
    heard: float | None = None
    """Seconds since the sender last heard ``leader`` report that it is active; None: never."""
    leader: str = ""
    """Agent: the server that it obeys. Server: the one that it takes for active."""
    promised_epoch: int = 0
    """The highest epoch that the sender granted to any start."""
    promised_to_others: int = 0
    """The highest epoch that the sender granted to, or adopted from, another start than the receiver."""
    for_epoch: int = 0
    """The epoch of a pre-vote, vote request, grant or release."""
    wait: float | None = None
    """Refused pre-vote or vote request: seconds until the voter would grant, if it hears no leader meanwhile."""
    lease: float | None = None
    """Server: seconds of lease that an answer to this heartbeat or vote request gives."""
    no: str = ""
    """Answer: reason of a refusal, as a token; empty: there is none."""
    grant: str = ""
    """Answer to a vote request: the voter's signature of its grant (see `heartbeat.proof`)."""
    proof: str = ""
    """The grants of a quorum (see `heartbeat.proof`)."""
    list: str = ""
    """A list of voters (see `heartbeat.proof`)."""
    reach: str = ""
    """Server: bitmap, in hexadecimal, of the agents that it reaches, the site file's first agent in bit 0."""
    flags: tuple[str, ...] = ()
    """``first``, ``as-if-released``, ``mute``, ``drains``; with ``voters`` the node that gets a vote, and its
    start."""
    re: tuple[int, int] | None = None
    """Answer: incarnation and seq of the request."""
    nonce: str = ""
    """Handshake: a challenge."""
    echo: str = ""
    """Handshake: the challenge of the other side."""
    commitment: str = ""
    """Server: hash of the secret of this start."""
    deaths: tuple[str, ...] = ()
    """Pre-vote, vote request: revealed secrets, which prove that the starts they belong to have died."""
    interval: float | None = None
    """Server, in heartbeats: seconds between two of them."""
    for_incarnation: int = 0
    """The start of ``to`` that the message is for; 0: the sender knows none."""
    disk: str = ""
    """``failed`` when the sender's disk cannot be written; else empty."""
    clock: float | None = None
    """The sender's wall clock in epoch seconds, only to report differences."""
    unwritten: float | None = None
    """Server: age in seconds of the oldest call record that is not on its disk; 0: all are."""
    carried: int = 0
    """Server: calls without any agent that come back after its death, by what their devices carry."""
    unkept: int = 0
    """Server: those that do not."""
    given: str = ""
    """Version of the provisioned part of the site that the sender uses; empty: none."""
    version: str = ""
    """Version of the program that the sender runs; empty: not said."""
    warns: tuple[str, ...] = ()
    """Agent, in answers: the codes of the alerts about its own process, which only it knows of."""
    fetch: str = ""
    """``fetch``: the wanted version, and the first byte. ``console``: see `heartbeat.console_exchange`."""
    piece: str = ""
    """Answer to ``fetch``: version, first byte, size of the whole, and a piece in base64."""

    @property
    def start(self) -> Start:
        """The start of the sender."""
        return Start(self.node, self.incarnation, self.commitment)

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key: a later message of a node compares greater.

        The incarnation comes first. As neither it nor the epoch ever falls while the epoch file is kept, the order
        would be the same with the epoch first; but a node that lost its file counts its incarnation from the clock,
        and must be heard although its epoch fell.
        """
        return self.incarnation, self.epoch, self.seq


def serialize(beat: Beat, key: bytes, method: str, call_id: str, cseq: int) -> str:
    """The signed header value for a SIP message with that method, Call-ID and CSeq number."""
    b = beat
    text = (
        f"site={b.site}; node={b.node}; boot={b.incarnation}; epoch={b.epoch}; state={b.state}; seq={b.seq};"
        f" kind={b.kind}"
    )
    if b.to:
        text += f"; to={b.to}"
    if b.for_incarnation:
        text += f"; start={b.for_incarnation}"
    if b.re is not None:
        text += f"; re={b.re[0]}.{b.re[1]}"
    if b.no:
        text += f"; no={b.no}"
    text += f"; calls={b.calls}; capacity={b.capacity}; load={b.load:.2f}; config={b.config}; voters={b.voters}"
    if b.leader:
        text += f"; holder={b.leader}"
    if b.heard is not None:
        text += f"; heard={b.heard:.3f}"
    if b.promised_epoch or b.promised_to_others or b.for_epoch:
        text += f"; promise={b.promised_epoch}; floor={b.promised_to_others}; term={b.for_epoch}"
    if b.disk:
        text += f"; disk={b.disk}"
    if b.clock is not None:
        text += f"; clock={b.clock:.3f}"
    if b.unwritten is not None:
        text += f"; unwritten={b.unwritten:.3f}"
    if b.wait is not None:
        text += f"; wait={b.wait:.3f}"
    if b.lease is not None:
        text += f"; lease={b.lease:.3f}"
    if b.interval is not None:
        text += f"; interval={b.interval:.3f}"
    if b.reach:
        text += f"; reach={b.reach}"
    if b.commitment:
        text += f"; commit={b.commitment}"
    if b.carried or b.unkept:
        text += f"; carried={b.carried}; unkept={b.unkept}"
    if b.given:
        text += f"; given={b.given}"
    if b.version:
        text += f"; version={b.version}"
    if b.warns:
        text += f"; warns={'+'.join(b.warns)}"
    if b.flags or b.deaths or b.grant or b.proof or b.list or b.nonce or b.echo or b.kind in (FETCH, CONSOLE):
        text += _rare(b)
    return f"{text}; mac={mac(text, key, method, call_id, cseq)}"


def _rare(beat: Beat) -> str:
    text = f"; flags={'+'.join(beat.flags)}" if beat.flags else ""
    if beat.deaths:
        text += f"; died={'+'.join(beat.deaths)}"
    for name in ("grant", "proof", "list", "nonce", "echo", "fetch", "piece"):
        value = getattr(beat, name)
        if value:
            text += f"; {name}={value}"
    return text


def mac(text: str, key: bytes, method: str, call_id: str, cseq: int) -> str:
    """The signature of the parameters ``text`` in one SIP message, in hexadecimal."""
    return hmac.digest(key, f"{method} {call_id} {cseq}\n{text}".encode(), "sha256").hex()


def parse(value: str, keys: Sequence[bytes], method: str, call_id: str, cseq: int) -> Beat:
    """Verify the signature with each key in turn, then read the parameters.

    Raises:
        BeatError: for any fault; no other error is raised.
    """
    return parse_signed(value, keys, method, call_id, cseq)[0]


def parse_signed(value: str, keys: Sequence[bytes], method: str, call_id: str, cseq: int) -> tuple[Beat, bytes]:
    """The same, with the key that signed it. Raises `BeatError`."""
    if len(value) > MOST_LENGTH:
        raise BeatError(f"the Heartbeat header has {len(value)} characters; {MOST_LENGTH} are allowed")
    text, mark, signature = value.rpartition("mac=")
    text = text.rstrip().removesuffix(";").rstrip()
    if not mark or not value.isascii():
        raise BeatError("the Heartbeat header has no mac at its end")
    given = signature.strip().encode()
    try:
        for key in keys:
            if hmac.compare_digest(mac(text, key, method, call_id, cseq).encode(), given):
                return read(text), key
    except UnicodeEncodeError:
        raise BeatError("the Call-ID beside the Heartbeat header is not text") from None
    raise BeatError("the mac of the Heartbeat header is not that of this site's key")


def read(text: str) -> Beat:
    """Read the parameters of a header value without verifying its signature, for display and tests.

    Raises:
        BeatError: for any fault.
    """
    pieces = text.split(";")
    if len(pieces) > MOST_PARAMETERS:
        raise BeatError(f"the Heartbeat header has {len(pieces)} parameters; {MOST_PARAMETERS} are allowed")
    found: dict[str, Any] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        reader = _READERS.get(name)
        if reader is None:
            continue
        if name in found or not equals:
            raise BeatError(f"the Heartbeat header has the parameter {name} twice or without a value")
        try:
            found[name] = reader(value.strip())
        except ValueError as error:
            raise BeatError(f"the parameter {name} of the Heartbeat header {error}") from None
    if not found.keys() >= _NEEDED:
        missing = ", ".join(sorted(_NEEDED - found.keys()))
        raise BeatError(f"the Heartbeat header lacks {missing}")
    return Beat(**{_FIELDS.get(name, name): value for name, value in found.items()})


def _name(text: str) -> str:
    if not text or len(text) > MOST_NAME or not _NO_NAME.isdisjoint(text):
        raise ValueError(f"is not a name of 1 to {MOST_NAME} characters")
    return text


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 16 or (number := int(text)) > MOST_NUMBER:
        raise ValueError("is not a whole number")
    return number


def _seconds(text: str) -> float:
    number = float(text) if len(text) <= 24 and text.isascii() else -1.0
    if not 0 <= number <= MOST_SECONDS:
        raise ValueError("is not a number from 0 up")
    return number


def _instant(text: str) -> float:
    number = float(text) if len(text) <= 24 and text.isascii() else -1.0
    if not 0 <= number <= MOST_INSTANT:
        raise ValueError("is not an instant")
    return number


def _word(text: str) -> str:
    if len(text) > 1400 or not _ILLEGAL.isdisjoint(text):
        raise ValueError("is no word")
    return text


def _list(text: str) -> str:
    if len(text) > 2000 or not _NO_LIST.isdisjoint(text):
        raise ValueError("is no list")
    return text


def _state(text: str) -> str:
    if text not in STATES:
        raise ValueError(f"is none of {', '.join(sorted(STATES))}")
    return text


def _codes(text: str) -> tuple[str, ...]:
    codes = tuple(text.split("+"))
    if len(codes) > MOST_CODES or any(_CODE.fullmatch(code) is None for code in codes):
        raise ValueError("is no list of codes")
    return codes


def _flags(text: str) -> tuple[str, ...]:
    flags = tuple(_word(text).split("+"))
    if len(flags) > 8:
        raise ValueError("has too many flags")
    return flags


def _request(text: str) -> tuple[int, int]:
    incarnation, dot, seq = text.partition(".")
    if not dot:
        raise ValueError("names no request")
    return _number(incarnation), _number(seq)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "site": _name,
    "node": _name,
    "boot": _number,
    "epoch": _number,
    "state": _state,
    "seq": _number,
    "kind": _name,
    "to": _name,
    "start": _number,
    "disk": _name,
    "clock": _instant,
    "unwritten": _seconds,
    "calls": _number,
    "carried": _number,
    "unkept": _number,
    "capacity": _number,
    "load": _seconds,
    "config": _word,
    "voters": _number,
    "heard": _seconds,
    "holder": _name,
    "promise": _number,
    "floor": _number,
    "term": _number,
    "wait": _seconds,
    "lease": _seconds,
    "no": _name,
    "grant": _word,
    "proof": _list,
    "list": _list,
    "reach": _word,
    "flags": _flags,
    "re": _request,
    "nonce": _name,
    "echo": _name,
    "commit": _name,
    "died": _flags,
    "interval": _seconds,
    "given": _word,
    "version": _name,
    "warns": _codes,
    "fetch": _word,
    "piece": _word,
}
_FIELDS: Final = {
    "boot": "incarnation",
    "holder": "leader",
    "promise": "promised_epoch",
    "floor": "promised_to_others",
    "term": "for_epoch",
    "commit": "commitment",
    "died": "deaths",
    "start": "for_incarnation",
}
"""Parameters whose field has another name; the names on the wire are kept for compatibility of versions."""
_NEEDED: Final = frozenset(("site", "node", "boot", "epoch", "state", "seq"))


class ReplayWindow:
    """Replay protection: remembers the last messages of each node, so that none is accepted twice or too late.

    Reordered messages are accepted: within the last 64 of a start and epoch only repeated ones are refused.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int, int, int]] = {}

    def fresh(self, beat: Beat) -> bool:
        """Whether ``beat`` was not received before and is not older than the window; if so, it is remembered."""
        last = self._last.get(beat.node)
        if last is None or beat.order[:2] > last[:2]:
            self.start_anew(beat)
            return True
        incarnation, epoch, highest, seen = last
        back = highest - beat.seq
        if beat.order[:2] < (incarnation, epoch) or back >= _WINDOW or (back >= 0 and seen >> back & 1):
            return False
        if back < 0:
            highest, seen, back = beat.seq, (seen << min(-back, _WINDOW)) & _ALL_SEEN, 0
        self._last[beat.node] = (incarnation, epoch, highest, seen | 1 << back)
        return True

    def start_of(self, node: str) -> int:
        """The latest incarnation of ``node``; 0: none is known."""
        last = self._last.get(node)
        return last[0] if last is not None else 0

    def start_anew(self, beat: Beat) -> None:
        """Forget what came before ``beat``: it answered our challenge, so it cannot be a replay."""
        self._last[beat.node] = (*beat.order, _ALL_SEEN)


_WINDOW: Final = 64
_ALL_SEEN: Final = (1 << _WINDOW) - 1
