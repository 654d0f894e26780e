"""Caller and called identities on the servers' own lines: trust and conversion (`sip.device.identity`), and
signatures (`sip.device.stir`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from b2bua.destination import Destination
from heartbeat.site.devices import host_of, identity_of
from heartbeat.site.lines import LineSettings
from sip.actions import Flow
from sip.device.header_rules import ruled
from sip.device.identity import (
    NOTHING,
    IdentityPolicy,
    Numbers,
    asserted_by_device,
    asserted_to_device,
    called_by_device,
    from_device,
    in_site_form,
    to_device,
)
from sip.device.stir import Stir
from sip.header_policy import DEVICE_HOP, crossing
from sip.layer import Stack
from sip.priority import FIELDS
from sip.wire.message import Message, Request
from sip.wire.uri import NumberParams, host_port

GONE: Final = IdentityPolicy(trusted=False)
"""The policy of a line that a reload removed while a message of it was processed."""


class CallerIdentity:
    """The identity policies of all lines of this server."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.stir: Stir | None = None
        """Verifies and signs for lines that are configured so; set after construction."""
        self._lines: Mapping[str, LineSettings] = {}
        self._realm = ""
        self.policies: dict[str, IdentityPolicy] = {}
        """By line."""

    def load(self, lines: Mapping[str, LineSettings], realm: str) -> None:
        """Apply these settings, at the start and at a reload."""
        self._lines, self._realm = lines, realm
        self.policies = {name: identity_of(line) for name, line in lines.items()}
        if self.stir is not None:
            self.stir.load(lines.values())

    def believed(self, line: str, request: Request) -> Request:
        """The INVITE of a line in the site's form, in which an agent passes on those of its devices. Raises
        :class:`~sip.wire.errors.SipError`."""
        return self._believed(line, request, from_device(self.policies[line], request, self._realm))

    def called(self, line: str, request: Request) -> str:
        """The number that an INVITE of a line is for, escaped as in the site's form. Raises as `believed`."""
        return called_by_device(self.policies[line], request)

    def _believed(self, line: str, request: Request, told: Numbers) -> Request:
        dropped = NOTHING if self._lines[line].trust_priority else FIELDS
        return in_site_form(request, told, self._realm, self.policies[line].from_device_headers, dropped)

    def verify(self, line: str, request: Request, then: Callable[[Request, int, float], None], now: float) -> None:
        """Call ``then`` with the INVITE of a line in the site's form, with the result of its verification, and with
        the status that refuses it (0: none); at once, or after a certificate was fetched. Raises as `believed`."""
        if self.stir is None or self._lines[line].stir_verify is None:
            then(self.believed(line, request), 0, now)
            return

        def verified(told: Numbers, status: int, now: float) -> None:
            if line in self._lines:
                then(self._believed(line, request, told), status, now)
            else:  # a reload removed the line meanwhile
                then(request, 403, now)

        told = from_device(self.policies[line], request, self._realm)
        self.stir.verify(self._lines[line], request, told, verified, now)

    def told(
        self,
        line: str,
        to: Destination,
        flow: Flow,
        request: Request,
        wanted: tuple[str, NumberParams] | None = None,
    ) -> Numbers:
        """The identities of an INVITE in the site's form, as sent to that line by ``flow``; ``wanted``: see
        `sip.device.identity.to_device`."""
        own = self._lines[line].advertise or self._stack.address(flow)
        there = host_port(to.uri)[0] if to.place is not None else self._realm
        return to_device(self.policies[line], request, host_of(own), there, wanted)

    def headers(self, line: str, request: Request, told: Numbers) -> list[str]:
        """The header lines of a request outside calls, converted from the site's form for the line."""
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
        return ruled(self.policies[line].to_device_headers, lines)

    def heard(self, line: str, message: Message) -> list[str]:
        """The header lines of a line's request in a dialog, or response, converted to the site's form."""
        dropped, more = asserted_by_device(self.policies.get(line, GONE), message, "")
        return [*crossing(message, DEVICE_HOP | dropped), *more]

    def said(self, line: str, message: Message) -> list[str]:
        """The header lines of a request in a dialog, or response, converted from the site's form for the line."""
        identity = self.policies.get(line, GONE)
        dropped, more = asserted_to_device(identity, message, identity.domain)
        return ruled(identity.to_device_headers, [*crossing(message, DEVICE_HOP | dropped), *more])

    def signed(self, line: str, request: Request, told: Numbers, now: float) -> list[str]:
        """The Identity header line (RFC 8224) of a call to a line that is to be signed; else none."""
        return self.stir.signed(self._lines[line], request, told, now) if self.stir is not None else []
