"""Diversion (RFC 5806) and History-Info (RFC 7044) of forwarded calls."""

from __future__ import annotations

from typing import Final

from b2bua.plan import Plan, RouteTarget
from heartbeat.site.model import Site
from sip.device.identity import with_fields
from sip.wire.errors import Malformed
from sip.wire.headers import NameAddr
from sip.wire.message import Request, elements
from sip.wire.uri import as_user, user_of

_CAUSES: Final = {"user-busy": 486, "no-answer": 408, "unconditional": 302, "deflection": 480, "out-of-service": 503}
"""RFC 4458 section 5."""
_UNKNOWN: Final = 404
_DIVERSION: Final = frozenset({"diversion"})


def diverted(site: Site, plan: Plan, target: RouteTarget, request: Request) -> Request:
    """The caller's ``request`` with the diversions of a forwarded call, the last one first, in the site's form;
    unchanged where the call was not forwarded here.
    """
    if not target.forwarded_from:
        return request
    dialled = user_of(request.uri)
    number = dialled
    if plan.forwards > 1 and (line := site.lines.get(target.forwarded_from)) is not None:
        number = next(iter(line.numbers), line.name)
    cause = _CAUSES.get(target.reason, _UNKNOWN)
    lines = [f"Diversion: {_address(site, number)};reason={target.reason};counter={plan.forwards}"]
    if number != dialled:
        lines.append(f"Diversion: {_address(site, dialled)};reason=unknown")
    lines += [f"Diversion: {value}" for value in request.all("diversion")]
    lines += _history(site, number, target.request_number, cause, request)
    return with_fields(request, _DIVERSION, lines)


def _history(site: Site, number: str, onward: str, cause: int, request: Request) -> list[str]:
    """The History-Info entries to be added to those of the request."""
    entries = elements(request, "history-info")
    index, told = "1", []
    if entries:
        index = _index_of(entries[-1])
    else:
        told.append(f"History-Info: {_address(site, number, f'?Reason=SIP%3Bcause%3D{cause}')};index=1")
    told.append(f"History-Info: {_address(site, onward, f';cause={cause}')};index={index}.1;mp={index}")
    return told


def _index_of(entry: str) -> str:
    try:
        return NameAddr.parse(entry).get("index") or "1"
    except Malformed:
        return "1"


def _address(site: Site, number: str, more: str = "") -> str:
    return f"<sip:{as_user(number)}@{site.realm}{more}>"
