"""Redirections to other numbers (RFC 3261 sections 8.1.3.4, 21.3): how they are read and passed on."""

from __future__ import annotations

from typing import Final, NamedTuple

from sip.actions import Flow
from sip.layer import Stack
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr
from sip.wire.message import Response, elements
from sip.wire.uri import NumberParams, Uri, as_user, with_params

MOVED: Final = (300, 301, 302)
"""Statuses whose Contacts are other numbers; those of 305 and 380 are proxies and services."""
MOST_CONTACTS: Final = 16
LONGEST_PARAMS: Final = 64


class Redirect(NamedTuple):
    """A number to which a call is redirected."""

    number: str
    params: str = ""
    """Parameters of the number (RFC 4694, RFC 4904), such as ``;npdi;rn=+33177``."""
    q: float = 1.0


def redirects_of(response: Response | None) -> tuple[Redirect, ...]:
    """The numbers that a 3xx redirects to, by descending q."""
    if response is None or response.status not in MOVED:
        return ()
    found: list[Redirect] = []
    for value in elements(response, "contact")[:MOST_CONTACTS]:
        try:
            contact = NameAddr.parse(value)
            uri = Uri.parse(contact.uri)
        except SipError:
            continue
        params = uri.number_params.user
        if uri.dialled:
            found.append(Redirect(uri.dialled, params if len(params) <= LONGEST_PARAMS else "", contact.q))
    return tuple(sorted(found, key=lambda each: -each.q))


def contact_lines(response: Response, stack: Stack, flow: Flow) -> list[str]:
    """The Contact lines of a 3xx for the peer of ``flow``: the numbers at our address, since that peer may not reach
    the hosts named in the response, and what it calls through us is routed with its own rights.
    """
    return [
        f"Contact: <{with_params(stack.contact_uri(flow, as_user(number)), NumberParams(params, ''))}>;q={q:.3g}"
        for number, params, q in redirects_of(response)
    ]
