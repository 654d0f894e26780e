"""Single questions to DNS, by dnspython."""

from __future__ import annotations

import logging
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver

from sip.actions import Address
from sip.location import Answer, Host, Naptr, NoAnswer, Question, Record, Srv

logger = logging.getLogger(__name__)


class DnsClient:
    """Asks one name server, or those of /etc/resolv.conf."""

    def __init__(self, nameserver: Address | None, timeout_s: float) -> None:
        """``timeout_s``: limit for one question, in seconds."""
        self._resolver = _resolver(nameserver)
        self._timeout = timeout_s

    async def ask(self, question: Question) -> tuple[Answer, float]:
        """The records, perhaps none, and their TTL in seconds (without records the negative TTL, RFC 2308). Raises
        `NoAnswer`."""
        try:
            return await self._ask(question)
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswer(str(error)[:200] or type(error).__name__) from None

    async def _ask(self, question: Question) -> tuple[Answer, float]:
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(question.name),
                question.kind,
                raise_on_no_answer=False,
                lifetime=self._timeout,
                search=False,
            )
        except dns.resolver.NXDOMAIN as error:
            responses: dict[dns.name.Name, dns.message.QueryMessage] = error.kwargs["responses"]
            return (), float(min(each.resolve_chaining().minimum_ttl for each in responses.values()))
        ttl = float(answer.chaining_result.minimum_ttl)
        if answer.rrset is None:
            return (), ttl
        return tuple(_record(rdata) for rdata in answer.rrset), ttl


def _resolver(nameserver: Address | None) -> dns.asyncresolver.Resolver:
    if nameserver is None:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            logger.warning("/etc/resolv.conf names no server: only numeric hosts and /etc/hosts will do")
    resolver = dns.asyncresolver.Resolver(configure=False)
    if nameserver is not None:
        resolver.nameservers = [nameserver[0]]
        resolver.port = nameserver[1]
    return resolver


def _record(rdata: Any) -> Record:
    if rdata.rdtype == dns.rdatatype.SRV:
        return Srv(rdata.priority, rdata.weight, rdata.port, _name(rdata.target))
    if rdata.rdtype == dns.rdatatype.NAPTR:
        flags, service = rdata.flags.decode("latin-1"), rdata.service.decode("latin-1")
        return Naptr(rdata.order, rdata.preference, flags, service, _name(rdata.replacement))
    return Host(rdata.address)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).rstrip(".").lower()
