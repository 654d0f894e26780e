"""The settings of a line for the device side, as plain values; both programs make them from the site file."""

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
    """User part of Contact, and digest user name."""
    password: str = field(repr=False)
    expires: int = 600
    """Expires that is asked for."""
    retry_least: float = 2.0
    """Wait after a first failure; doubled with each further one."""
    retry_most: float = 120.0
    """Longest wait."""


@dataclass(frozen=True, slots=True)
class LinePolicy:
    """How one line communicates with its devices. Times in seconds."""

    name: str
    """Name of the line."""
    phone: bool = False
    """Devices register here and are reached by the flow of their registration; else a peer at known addresses."""
    nat: bool = False
    """The peer's Contact cannot be reached: requests are sent on the flow that the dialog came by."""
    answer_within: float = 4.0
    """Time to the first response to an INVITE, after which the next address is tried."""
    advertise: str = ""
    """Our ``host:port`` in messages to its devices; ``""``: that of the listener."""
    local: str = ""
    """Our ``host:port`` as its devices see it, for From of OPTIONS."""
    peers: tuple[str, ...] = ()
    """SIP URIs that calls are sent to, in the order to try them."""
    probe: ProbePlan | None = None
    """How the peers' addresses are probed with OPTIONS; None: they are not."""
    account: AccountPolicy | None = None
    """Registration with the carrier; None: there is none."""
    address: str = ""
    """Host of the listener that its requests are sent from; ``""``: the first of the address family."""
    certificate: tuple[str, ...] = ()
    """TLS: names of which the peer's certificate must have one; empty: the host of the URI."""
    authority: str = ""
    """TLS: file of the authorities that the peer is verified by; ``""``: those of the program."""
    domain: str = ""
    """Host of Request-URI and To of calls to a trunk; ``""``: the peer's."""
    proxy: str = ""
    """SIP URI of the outbound proxy: all requests are sent there, with it as their Route."""
    user: str = ""
    """User part of our Contact without an account."""
    auth_user: str = ""
    """Digest user name; ``""``: the user."""
    password: str = field(default="", repr=False)
    """Digest password without an account."""
