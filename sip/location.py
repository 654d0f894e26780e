"""Where to send a request: targets in the order of RFC 3263, with the weights of RFC 2782. Pure.

`find` is a generator: it yields its DNS questions, is sent the answers, and returns the targets. So the same rules
run over a cache, over the network and in a test.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

from sip.actions import Address
from sip.endpoint import DEFAULT_PORT, is_numeric
from sip.wire.uri import Uri

MAX_TARGETS: Final = 32
_MAX_RECORDS: Final = 64  # of one answer that are used
# RFC 3263 4.1: the services of NAPTR records, and the names of SRV records.
_SERVICE: Final = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_SRV_NAME: Final = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


class Place(NamedTuple):
    """One target of a request."""

    transport: str
    """``udp``, ``tcp`` or ``tls``."""
    host: str
    """Numeric, without brackets."""
    port: int
    tls_name: str = ""
    """For TLS: the host of the URI, which the peer's certificate must name (RFC 5922 section 4)."""
    listener: str = ""
    """The ``local`` of the UDP listener to send from; ``""``: the first one of that family."""

    @property
    def address(self) -> Address:
        """Host and port, as a flow's ``remote``."""
        return self.host, self.port


class NoAnswer(Exception):
    """DNS did not answer; ``str()`` says why."""


class Question(NamedTuple):
    """A DNS question."""

    name: str
    """In lower case, without the dot at its end."""
    kind: str
    """``NAPTR``, ``SRV``, ``A`` or ``AAAA``."""


class Naptr(NamedTuple):
    """RFC 3403; only records with the flag ``s`` matter for SIP."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str
    """A name; empty when the service is not available at this domain (``.`` in DNS)."""


class Host(NamedTuple):
    """An A or AAAA record."""

    address: str


Record = Naptr | Srv | Host
Answer = Sequence[Record]
"""Empty: there is no such record."""
Search = Generator[list[Question], list[Answer], list[Place]]
"""Yields questions that can be asked in parallel; is sent their answers in the same order."""


def find(uri: Uri, rng: Random, supported: Sequence[str], families: Sequence[str] = ("A", "AAAA")) -> Search:
    """The targets of ``uri`` in the order in which to try them, at most `MAX_TARGETS`; none: there are none.

    ``supported`` lists our transports, the preferred one first; ``families`` our kinds of addresses, likewise.
    """
    name = (uri.get("maddr") or uri.host).strip("[]").rstrip(".").lower()
    secure = uri.scheme == "sips"
    wanted = uri.transport
    if wanted == "tcp" and secure:
        wanted = "tls"  # RFC 3261 26.2.2: sips goes over TLS, whatever carries it
    found: list[Place] = []
    if not name or uri.scheme == "tel":
        return found
    if is_numeric(name) or uri.port is not None:
        transport = wanted or ("tls" if secure else "udp")
        if transport in supported:
            port = uri.port if uri.port is not None else DEFAULT_PORT[transport]
            addresses = [name] if is_numeric(name) else (yield from _addresses(name, families))
            found += [_place(transport, address, port, name) for address in addresses]
        return found[:MAX_TARGETS]
    usable = [each for each in supported if each == wanted or (not wanted and (each == "tls" or not secure))]
    if not wanted:
        found += yield from _by_naptr(name, rng, usable, families)
        if found:
            return found[:MAX_TARGETS]
    if usable:
        found += yield from _by_srv(name, rng, usable, secure, families)
    return found[:MAX_TARGETS]


def _by_naptr(
    name: str, rng: Random, usable: Sequence[str], families: Sequence[str]
) -> Generator[list[Question], list[Answer], list[Place]]:
    """RFC 3263 section 4.1: transports by the domain's NAPTR records, in its order of preference."""
    (answer,) = yield [Question(name, "NAPTR")]
    records = [each for each in answer[:_MAX_RECORDS] if isinstance(each, Naptr) and each.flags.lower() == "s"]
    records.sort(key=lambda record: (record.order, record.preference))
    found: list[Place] = []
    for record in records:
        transport = _SERVICE.get(record.service.upper())
        if transport is not None and transport in usable and len(found) < MAX_TARGETS:
            (services,) = yield [Question(record.replacement, "SRV")]
            found += yield from _of_services(services, transport, name, rng, families)
    return found


def _by_srv(
    name: str, rng: Random, usable: Sequence[str], secure: bool, families: Sequence[str]
) -> Generator[list[Question], list[Answer], list[Place]]:
    """RFC 3263 sections 4.1 and 4.2: the SRV records of each transport; where there are none, A and AAAA."""
    answers = yield [Question(_SRV_NAME[transport] + name, "SRV") for transport in usable]
    found: list[Place] = []
    for transport, services in zip(usable, answers, strict=True):
        found += yield from _of_services(services, transport, name, rng, families)
    if found or any(answers):
        return found
    plain = "tls" if secure else ("udp" if "udp" in usable else usable[0])
    addresses = yield from _addresses(name, families)
    return [_place(plain, address, DEFAULT_PORT[plain], name) for address in addresses]


def _of_services(
    services: Answer, transport: str, name: str, rng: Random, families: Sequence[str]
) -> Generator[list[Question], list[Answer], list[Place]]:
    found: list[Place] = []
    for service in order_services([each for each in services if isinstance(each, Srv)], rng):
        if service.target and len(found) < MAX_TARGETS:
            addresses = yield from _addresses(service.target, families)
            found += [_place(transport, address, service.port, name) for address in addresses]
    return found


def _place(transport: str, address: str, port: int, name: str) -> Place:
    return Place(transport, address, port, name if transport == "tls" else "")


def _addresses(name: str, families: Sequence[str]) -> Generator[list[Question], list[Answer], list[str]]:
    answers = yield [Question(name, kind) for kind in families]
    return [each.address for answer in answers for each in answer[:_MAX_RECORDS] if isinstance(each, Host)]


def order_services(services: Iterable[Srv], rng: Random) -> list[Srv]:
    """By priority, and within a priority at random in proportion to the weights (RFC 2782, "Weight")."""
    # weight 0 first, so that these have a small chance, too (RFC 2782)
    rest = sorted(list(services)[:_MAX_RECORDS], key=lambda service: (service.priority, service.weight > 0))
    ordered: list[Srv] = []
    while rest:
        same = [service for service in rest if service.priority == rest[0].priority]
        mark = rng.randint(0, sum(service.weight for service in same))
        for service in same:
            mark -= service.weight
            if mark <= 0:
                break
        ordered.append(service)
        rest.remove(service)
    return ordered
