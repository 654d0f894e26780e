"""What the device side of agents and servers takes from the site file (``sip.device``)."""

from __future__ import annotations

from heartbeat.site.lines import Line
from heartbeat.site.model import Site
from sip.actions import Address
from sip.device.policy import LinePolicy


def policy_of(line: Line, advertise: str = "") -> LinePolicy:
    """How a line meets its devices; ``advertise`` is the ``host:port`` to be shown to them, where it is its own."""
    return LinePolicy(line.name, line.kind == "phone", line.nat, line.answer_within, advertise)


def site_addresses(site: Site) -> frozenset[Address]:
    """Where programs of the site listen for each other and for commands: nothing of a device's is sent there."""
    found: set[Address] = set()
    for server in site.servers.values():
        endpoints = (*server.listen, *([server.beat] if server.beat is not None else ()))
        found.update((endpoint.host, endpoint.port) for endpoint in endpoints)
    nodes = [node.api for node in site.servers.values()] + [node.api for node in site.agents.values()]
    found.update((api.host, api.port) for api in nodes if api is not None and api.host)
    return frozenset(found)
