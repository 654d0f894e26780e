"""What a line wants of the device side, as a plain value; both programs fill it from the site file."""

from __future__ import annotations

from dataclasses import dataclass, field

from sip.peers import ProbePlan


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """How a trunk is registered with its carrier (RFC 3261 section 10). Times in seconds."""

    registrar: str
    """Where REGISTER goes, a SIP URI without a user part."""
    aor: str
    """The address of record, a SIP URI."""
    user: str
    """User part of Contact, and user of the digest."""
    password: str = field(repr=False)
    expires: int = 600
    """Asked for."""
    retry_least: float = 2.0
    """First wait after a failure; doubled with each."""
    retry_most: float = 120.0


@dataclass(frozen=True, slots=True)
class LinePolicy:
    """How one line meets its devices. Times in seconds."""

    name: str
    """The line's."""
    phone: bool = False
    """Devices register here and are reached by the flow of their registration; else a peer at known addresses."""
    nat: bool = False
    """A peer whose Contact cannot be reached: requests go back by the flow that the dialog came by."""
    answer_within: float = 4.0
    """To the first response to an INVITE, after which the next place is tried."""
    advertise: str = ""
    """Our ``host:port`` to be written into messages to its devices, ``""``: that of the listener."""
    local: str = ""
    """Our ``host:port`` as its devices see it, for From of OPTIONS."""
    peers: tuple[str, ...] = ()
    """SIP URIs where calls go, in this order."""
    probe: ProbePlan | None = None
    """Watch the places of the peers with OPTIONS."""
    account: AccountPolicy | None = None
    """Be registered."""
    address: str = ""
    """Host of the listener that its requests leave from; ``""``: the first of the family."""
    certificate: tuple[str, ...] = ()
    """By TLS: names one of which the peer's certificate must have; none: the host of the URI."""
    authority: str = ""
    """By TLS: file of the authorities by which it is believed, ``""``: those of the program."""
    domain: str = ""
    """Host of the Request-URI and To of calls to a trunk, ``""``: the peer's."""
    proxy: str = ""
    """SIP URI of the outbound proxy: all requests go there first, and it is their Route."""
    user: str = ""
    """User part of our Contact where nothing is registered."""
    auth_user: str = ""
    """Who proves himself by digest; ``""``: the user."""
    password: str = field(default="", repr=False)
    """His, where nothing is registered."""
