"""The identities in a TLS certificate: SIP domains by RFC 5922, read from the dictionary that ``ssl`` makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sip.endpoint import is_numeric
from sip.wire.errors import SipError
from sip.wire.headers import same_address
from sip.wire.uri import Uri

_LONGEST_NAME: Final = 253


def identities(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The identities of a certificate that was verified, in lower case: SIP domains, and IP addresses.

    ``certificate`` is what ``SSLSocket.getpeercert`` returns. RFC 5922 section 7.1: a ``sip`` URI without a user in
    subjectAltName is the domain; DNS names count where there is no such URI; the common name counts only where there
    is no subjectAltName at all. Wildcards match nothing (section 7.2).
    """
    alternatives = certificate.get("subjectAltName", ())
    domains = [domain for kind, value in alternatives if kind == "URI" and (domain := _domain(value))]
    if not domains:
        domains = [value for kind, value in alternatives if kind == "DNS"]
    if not alternatives:
        pairs = (pair for names in certificate.get("subject", ()) for pair in names)
        domains = [value for kind, value in pairs if kind == "commonName"]
    addresses = [value.strip() for kind, value in alternatives if kind == "IP Address" and is_numeric(value.strip())]
    names = (domain.rstrip(".").lower() for domain in domains)
    return (*(name for name in names if _is_name(name)), *addresses)


def speaks_for(names: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether one of a certificate's identities is one of the hosts ``wanted`` (RFC 5922 section 7.2: the whole name,
    whatever its case)."""
    known = tuple(names)
    return any(_same(name, one.rstrip(".").lower()) for one in wanted for name in known)


def _same(name: str, wanted: str) -> bool:
    return name == wanted or (is_numeric(name) and is_numeric(wanted) and same_address(name, wanted))


def _domain(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except SipError:
        return ""
    return uri.host if uri.scheme == "sip" and not uri.user else ""


def _is_name(name: str) -> bool:
    return bool(name) and len(name) <= _LONGEST_NAME and "*" not in name
