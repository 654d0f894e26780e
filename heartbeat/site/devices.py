"""The settings of the device side of agents and servers (``sip.device``), from the site file."""

from __future__ import annotations

from typing import Final

from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Agent, Server, Site
from sip.actions import Address
from sip.device.identity import IdentityPolicy
from sip.device.phone import PhonePolicy
from sip.device.policy import AccountPolicy, LinePolicy
from sip.peers import ProbePlan
from sip.wire.headers import bracketed


def policy_of(line: LineSettings, local: str) -> LinePolicy:
    """The policy of a line towards its devices, which see us as ``local`` (``host:port``)."""
    account = None
    if (register := line.register) is not None:
        host = register.domain or bracketed(register.registrar.host)
        account = AccountPolicy(
            registrar=register.registrar.uri,
            aor=f"sip:{register.user}@{host}",
            user=register.user,
            password=register.password.reveal().decode("utf-8", "replace"),
            expires=register.expires,
            retry_least=register.retry_least,
            retry_most=register.retry_most,
        )
    own = line.password if line.kind == "trunk" else None
    probe = None
    if line.options is not None:
        probe = ProbePlan(line.options.interval, line.options.misses)
    return LinePolicy(
        name=line.name,
        phone=line.is_phone,
        nat=line.nat,
        answer_within=line.answer_within,
        advertise=local if line.advertise else "",
        local=local,
        peers=tuple(peer.uri for peer in line.peer),
        probe=probe,
        account=account,
        domain=line.domain or (line.register.domain if line.register is not None else ""),
        proxy=line.outbound_proxy.uri if line.outbound_proxy is not None else "",
        user=line.user if line.kind == "trunk" else "",
        auth_user=line.auth_user,
        address=line.address.strip("[]"),
        certificate=line.certificate,
        authority=str(line.ca) if line.ca is not None else "",
        password=own.reveal().decode("utf-8", "replace") if own is not None else "",
    )


def phone_of(line: LineSettings) -> PhonePolicy:
    """The policy of a phone's line."""
    return PhonePolicy(line.name, line.aor_user, line.contacts, line.expires, line.keep_alive)


_HIDDEN_DIVERSIONS: Final = {
    "both": frozenset[str](),
    "diversion": frozenset({"history-info"}),
    "history-info": frozenset({"diversion"}),
    "none": frozenset({"diversion", "history-info"}),
}


def identity_of(line: LineSettings) -> IdentityPolicy:
    """The policy of a line for caller and called identities."""
    claims = (*line.numbers, line.aor_user) if line.is_phone else line.numbers
    register = line.register
    return IdentityPolicy(
        trusted=line.trusted,
        caller_number=line.caller_number,
        claims=claims,
        from_device_called=line.from_device.called,
        from_device_caller=line.from_device.caller,
        to_device_called=line.to_device.called,
        to_device_caller=line.to_device.caller,
        hidden_diversions=_HIDDEN_DIVERSIONS[line.diversion],
        from_device_headers=line.from_device.headers,
        to_device_headers=line.to_device.headers,
        domain=line.domain or ((register.domain or register.registrar.host) if register is not None else ""),
        account=(register.user if register is not None else line.user) if line.from_user == "account" else "",
        scheme="sips" if line.peer and line.peer[0].secure else "sip",
        called_from=line.called_from,
    )


def shown_to_devices(line: LineSettings, program: Server | Agent) -> str:
    """Our ``host:port`` in messages to the devices of a line of that program."""
    here = [one for one in program.sip if one.host == line.address.strip("[]")] or program.sip
    secured = [one for one in here if one.transport == "tls"] if line.by_tls else []
    first = next(iter(secured or here), None)
    shown = line.advertise or (program.advertise_by.get(first.transport) if first is not None else "")
    host = shown or program.advertise or (first.host if first is not None else "127.0.0.1")
    if ":" in host and not host.startswith("[") and host.count(":") == 1:
        return host
    return f"{bracketed(host.strip('[]'))}:{first.port if first is not None else 5060}"


def site_addresses(site: Site) -> frozenset[Address]:
    """Addresses at which programs of the site listen for each other and for commands; nothing is sent there on behalf
    of a device."""
    found: set[Address] = set()
    for server in site.servers.values():
        endpoints = (*server.listen, *([server.beat] if server.beat is not None else ()))
        hosts = [server.advertise] if server.advertise else []
        found.update((host, one.port) for one in endpoints for host in (one.host, *hosts))
    nodes = [node.api for node in site.servers.values()] + [node.api for node in site.agents.values()]
    found.update((api.host, api.port) for api in nodes if api is not None and api.host)
    return frozenset(found)


def host_of(place: str) -> str:
    """The host of ``host``, ``host:port`` or ``[host]:port``, without brackets."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] if place.count(":") == 1 else place
