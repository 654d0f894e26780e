"""The trunk of a request, by its source address or the sender's certificate. Pure; a new table is made at each load
of the site file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from heartbeat.site.lines import LineSettings
from sip.certificate_names import speaks_for

MOST_REMEMBERED = 4096
"""Addresses whose results are cached; strangers may send from any number."""


class SourceTable:
    """The trunks of one agent, or of the servers.

    >>> table = SourceTable(site.lines_of("gw1"))
    >>> table.line("192.0.2.7", 5060)       # the trunk, or None: nobody we know
    >>> table.line("192.0.2.7", 40000, stream=True)      # connections come from any port
    """

    def __init__(self, lines: Iterable[LineSettings]) -> None:
        # by IP version, prefix length and port: one look-up for each combination that the file uses
        self._by_shape: dict[tuple[int, int, int | None], dict[int, LineSettings]] = {}
        self._remembered: dict[tuple[str, int, bool], LineSettings | None] = {}
        self._by_certificate: list[LineSettings] = []
        for line in lines:
            if line.certificate and not line.source:
                self._by_certificate.append(line)
            for source in line.source:
                network = source.network
                shape = (network.version, network.max_prefixlen - network.prefixlen, source.port)
                self._by_shape.setdefault(shape, {})[int(network.network_address) >> shape[1]] = line
        self._by_shape = dict(sorted(self._by_shape.items(), key=lambda one: one[0][1]))  # the narrowest first

    def line(self, host: str, port: int, stream: bool = False) -> LineSettings | None:
        """The trunk of ``host`` (numeric) and ``port``; None: there is none. A ``stream`` may come from any port."""
        key = (host, port, stream)
        try:
            return self._remembered[key]
        except KeyError:
            found = self._look_up(host, None if stream else port)
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
            return found

    def certified(self, names: Iterable[str]) -> LineSettings | None:
        """The trunk that is identified only by its certificate, with one of these identities; None: there is none."""
        known = tuple(names)
        return next((line for line in self._by_certificate if speaks_for(known, line.certificate)), None)

    def _look_up(self, host: str, port: int | None) -> LineSettings | None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # as a dual-stack socket reports IPv4
        number = int(address)
        for (version, shift, only), lines in self._by_shape.items():
            if version != address.version or not (port is None or only in (None, port)):
                continue
            if number >> shift in lines:
                return lines[number >> shift]
        return None
