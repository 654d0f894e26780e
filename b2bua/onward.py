"""The INVITE for a target, made from the caller's: the number in the target's form, and the identities."""

from __future__ import annotations

from b2bua.caller_identity import CallerIdentity
from b2bua.destination import Destination
from b2bua.diversion import diverted
from b2bua.plan import Plan, RouteTarget
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.device.identity import Numbers
from sip.dialog import DialogState
from sip.layer import Stack
from sip.wire.message import Request
from sip.wire.uri import NumberParams, Uri, plain_number, with_params


def onward_of(
    site: Site,
    identity: CallerIdentity,
    plan: Plan,
    target: RouteTarget,
    place: Destination,
    flow: Flow,
    request: Request,
) -> tuple[Request, str, Numbers | None]:
    """The request for the target by that flow, and its Request-URI; for a line of the servers' own also the converted
    identities, else None.
    """
    # a forwarded call has the parameters of its redirection, not those of the number dialled
    if plan.forwards or target.forwarded_from:
        carried = NumberParams(target.params, "")
    else:
        carried = Uri.parse(request.uri).number_params
    onward = diverted(site, plan, target, request)
    if place.device is None:
        return onward, with_params(place.uri, carried), None
    wanted = plain_number(target.request_number), carried
    told = identity.told(target.line, place, flow, onward, wanted)
    return onward, told.uri(place.uri.partition(":")[2]) if place.place is not None else place.uri, told


def new_dialog(stack: Stack, onward: Request, told: Numbers | None, place: Destination) -> DialogState:
    """The dialog of that request to ``place``; ``told``: the identities as returned by `onward_of`."""
    call_id, tag = stack.token() + stack.token(), stack.token()
    sender, recipient = onward.from_untagged, onward.to_untagged
    if told is not None:
        sender, recipient = told.sender, told.recipient
    return DialogState(call_id, tag, "", sender, recipient, route_set=place.route)
