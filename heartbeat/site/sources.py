"""Which trunk a request belongs to, by the address it came from. Pure; built anew at each load of the site file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from heartbeat.site.lines import LineSettings

MOST_REMEMBERED = 4096
"""Addresses whose answer is kept; strangers send from as many as they like."""


class SourceTable:
    """Answers for the trunks of one agent, or for those that the servers own.

    >>> table = SourceTable(site.lines_of("gw1"))
    >>> table.line("192.0.2.7", 5060)       # the trunk, or None: nobody we know
    >>> table.line("192.0.2.7", 40000, stream=True)      # connections come from any port
    """

    def __init__(self, lines: Iterable[LineSettings]) -> None:
        # By version of IP, bits and port: one look-up for each combination that the file uses.
        self._by_shape: dict[tuple[int, int, int | None], dict[int, LineSettings]] = {}
        self._remembered: dict[tuple[str, int, bool], LineSettings | None] = {}
        for line in lines:
            for source in line.source:
                network = source.network
                shape = (network.version, network.max_prefixlen - network.prefixlen, source.port)
                self._by_shape.setdefault(shape, {})[int(network.network_address) >> shape[1]] = line
        self._by_shape = dict(sorted(self._by_shape.items(), key=lambda one: one[0][1]))  # the narrowest first

    def line(self, host: str, port: int, stream: bool = False) -> LineSettings | None:
        """The trunk that ``host`` (numeric) and ``port`` belong to, or None; a ``stream`` may come from any port."""
        key = (host, port, stream)
        try:
            return self._remembered[key]
        except KeyError:
            found = self._look_up(host, None if stream else port)
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
            return found

    def _look_up(self, host: str, port: int | None) -> LineSettings | None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # a dual-stack socket spells IPv4 so
        number = int(address)
        for (version, shift, only), lines in self._by_shape.items():
            if version != address.version or not (port is None or only in (None, port)):
                continue
            if number >> shift in lines:
                return lines[number >> shift]
        return None
