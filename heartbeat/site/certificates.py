"""Reads and checks the certificates that a site file names. A shell: it reads files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from heartbeat.console.views.process import CertificateAge
from heartbeat.site.model import Agent, Server, Site, Tls
from sip.certificate_names import speaks_for
from sip.endpoint import SECURE
from sip.io.codecs import StreamCodecs
from sip.io.tls import Certificate, CertificateFiles, Credentials, TlsError

DAY = 86400.0


class CertificateError(Exception):
    """A program cannot start with its certificates; one sentence for each reason."""


@dataclass(frozen=True, slots=True)
class Read:
    """The certificates of one program, and their faults."""

    credentials: Credentials
    """Empty where there is no ``tls``, or it cannot be used."""
    complaints: tuple[str, ...] = ()
    """Why they cannot be used, one sentence each with its place."""
    expired: tuple[str, ...] = ()
    """Certificates that are not valid at present, one sentence each; a program starts all the same, since not all it
    does needs TLS."""
    warnings: tuple[str, ...] = ()
    """Certificates that expire soon, or do not fit all names, one sentence each with its place."""


def read(site: Site, node: str, now: float | None = None) -> Read:
    """The certificates of a server or an agent, checked for the time ``now`` (epoch seconds; default: the
    present)."""
    program = site.servers.get(node) or site.agents[node]
    place = f"{'servers' if node in site.servers else 'agents'}.{node}"
    try:
        credentials = _credentials(site, program)
    except TlsError as error:
        return Read(Credentials(()), (f"{place}.tls: {error}",))
    at = time.time() if now is None else now
    expired: list[str] = []
    found: list[str] = []
    for certificate in credentials.certificates:
        if trouble := trouble_of(certificate, program.tls, at):
            valid = certificate.not_before <= at < certificate.not_after
            (found if valid else expired).append(f"{place}.tls: {trouble}")
    return Read(credentials, (), tuple(expired), (*found, *_unfit(site, program, place, credentials)))


def trouble_of(certificate: Certificate, tls: Tls | None, now: float) -> str:
    """The fault of a certificate at the time ``now`` (epoch seconds), as half a sentence; ``""``: none."""
    left = certificate.not_after - now
    names = " and ".join(certificate.names[:3]) or "nobody"
    what = f"the certificate {certificate.path} ({names})"
    if now < certificate.not_before:
        return f"{what} is not valid before {_day(certificate.not_before)}: have another one made, or set the clock"
    if left <= 0:
        return f"{what} has expired on {_day(certificate.not_after)}: renew it, then reload"
    warn_before = tls.warn_before if tls is not None else 0.0
    if left < min(warn_before * DAY, (certificate.not_after - certificate.not_before) / 4):
        return f"{what} expires on {_day(certificate.not_after)}, in {left / DAY:.1f} days: renew it, then reload"
    if not certificate.names:
        return f"{what} has no name by which a peer could know it (RFC 5922): have one made with subjectAltName"
    return ""


class OwnCertificates:
    """The certificates in use by a running program."""

    def __init__(self, site: Site, node: str) -> None:
        """Raises :class:`CertificateError`."""
        self._node = node
        self._site = site
        read = self.read(site)
        if read.complaints:
            raise CertificateError("\n".join(read.complaints))
        self.codecs = StreamCodecs(read.credentials, _origins(site, node)) if _uses_codecs(site, node) else None
        """None for a program that does not use TLS or WebSocket; that does not change before its next start."""

    def read(self, site: Site) -> Read:
        """Read the certificates of a site file from disk; may be called in a thread."""
        return read(site, self._node) if _uses_codecs(site, self._node) else Read(Credentials(()))

    def take(self, site: Site, found: Read) -> None:
        """Use these for new connections; existing ones keep theirs."""
        self._site = site
        if self.codecs is not None:
            self.codecs.credentials = found.credentials
            self.codecs.allow(_origins(site, self._node))

    def ages(self, now: float) -> tuple[CertificateAge, ...]:
        """The ages for the status, at the time ``now`` (epoch seconds)."""
        return tuple(CertificateAge(str(one.path), one.names, round(one.not_after - now, 1)) for one in self._shown())

    def warnings(self, now: float) -> list[str]:
        """A sentence for each certificate that is not valid or expires soon."""
        tls = self._site.tls_of(self._node)
        found = [trouble_of(one, tls, now) for one in self._shown()]
        return [f"{self._node}: {trouble}" for trouble in found if trouble]

    def _shown(self) -> tuple[Certificate, ...]:
        return self.codecs.credentials.certificates if self.codecs is not None else ()


def _origins(site: Site, node: str) -> tuple[str, ...]:
    agent = site.agents.get(node)
    return agent.origins if agent is not None else ()


def _uses_codecs(site: Site, node: str) -> bool:
    program = site.servers.get(node) or site.agents[node]
    endpoints = (*program.sip, *(one for server in site.servers.values() for one in server.listen))
    return program.tls is not None or any(one.transport not in ("udp", "tcp") for one in endpoints)


def _credentials(site: Site, program: Server | Agent) -> Credentials:
    tls = program.tls
    owner = program.name if isinstance(program, Agent) else ""
    lists = {line.ca for line in site.lines_of(owner) if line.ca is not None}
    if site.identity.ca is not None:
        lists.add(site.identity.ca)
    if tls is None:
        return Credentials((), authorities=sorted(lists))
    shown = [CertificateFiles(tls.certificate, tls.key)]
    shown += [CertificateFiles(other.certificate, other.key) for other in tls.others]
    return Credentials(shown, tls.ca, tls.clients, sorted(lists))


def _unfit(site: Site, program: Server | Agent, place: str, credentials: Credentials) -> Iterator[str]:
    """Names that the program is addressed by and none of its certificates has."""
    owner = program.name if isinstance(program, Agent) else ""
    lines = [line for line in site.lines_of(owner) if line.by_tls and line.advertise]
    wanted = {line.advertise: f"lines.{line.name}.advertise" for line in lines}
    shown = {host: by for by, host in program.advertise_by.items() if by in SECURE}
    wanted |= {host: f"{place}.advertise_by.{by}" for host, by in shown.items()}
    for host, at in wanted.items():
        name = host.rpartition(":")[0] if host.count(":") == 1 else host.strip("[]")
        if credentials.certificates and not any(speaks_for(one.names, [name]) for one in credentials.certificates):
            yield f"{at}: no certificate of {program.name} is for {name}: peers by TLS will not believe it"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
