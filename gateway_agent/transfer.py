"""Transfers that devices ask for: REFER, its NOTIFYs and Replaces as they cross between a device and the servers.

A dialog is named to the servers as they know it, whoever has named it: so a device that is referred to it, at any
agent, names it likewise when it calls (docs/wire.md).
"""

from __future__ import annotations

from functools import partial

from gateway_agent.call import Call
from sip.b2b.policy import Passed
from sip.device.header_rules import without
from sip.device.identity import rewritten
from sip.dialog import dialog_key
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.references import EVENT, DialogId, ReferTo, is_of_transfer, naming_lines
from sip.wire.errors import Malformed, SipError
from sip.wire.message import Request
from sip.wire.uri import as_user


def referred(call: Call, leg: InviteUsage, other: InviteUsage, request: Request, now: float) -> Passed:
    """A REFER that came on ``leg`` as the other side gets it. Raises :class:`Malformed`."""
    refer, stack, identity = ReferTo.of(request), call.environment.stack, call.line.identity
    lines, body = call.passed(leg, request, now)
    if leg is call.server:
        number = rewritten(identity.to_device_called, refer.uri.dialled)
        called = stack.contact_uri(other.flow, as_user(number))
    else:
        number = rewritten(identity.from_device_called, refer.uri.dialled)
        called = f"sip:{as_user(number)}@{call.environment.server}"
    return Passed([*without(lines, "refer-to"), refer.line(called, partial(named_to_servers, stack))], body)


def notified(call: Call, leg: InviteUsage, request: Request, now: float) -> Passed:
    """A NOTIFY in a call tells how a transfer goes. The ``id`` of its Event is the CSeq of its REFER, another one on
    each hop, and may be left out (RFC 3515 section 2.4.6). Raises :class:`Malformed`."""
    if not is_of_transfer(request):
        raise Malformed("no such subscription", 489)
    lines, body = call.passed(leg, request, now)
    return Passed([*without(lines, "event"), f"Event: {EVENT}"], body)


def naming_lines_to_servers(call: Call, invite: Request) -> list[str]:
    """The Replaces, Join and Target-Dialog of a device's INVITE as the servers get them."""
    stack, passes = call.environment.stack, call.line.settings.transfer != "refuse"
    more = naming_lines(invite, partial(named_to_servers, stack)) if passes else []
    return [*_replaces_lines(stack, invite), *more] if "replaces" in invite.names else more


def naming_lines_to_device(call: Call, invite: Request) -> list[str]:
    """The Join and Target-Dialog of a server's INVITE as the device gets them, which may name a dialog of its own."""
    if call.line.settings.transfer == "refuse":
        return []
    return naming_lines(invite, partial(named_to_device, call.environment.stack))


def _replaces_lines(stack: Stack, invite: Request) -> tuple[str, ...]:
    values = invite.all("replaces")
    try:
        return tuple(f"Replaces: {named_to_servers(stack, DialogId.parse(value))}" for value in values)
    except SipError:
        return tuple(f"Replaces: {value}" for value in values)  # the servers refuse it


def named_to_servers(stack: Stack, dialog: DialogId) -> DialogId:
    """A dialog that a device has named, as the servers know it: of a dialog of ours with a device, the one across."""
    leg = stack.legs.get(dialog_key(dialog.call_id, dialog.local_tag))
    if not isinstance(leg, InviteUsage) or leg.dialog.remote_tag != dialog.remote_tag:
        return dialog
    call = leg.owner
    if not isinstance(call, Call) or leg is not call.device or call.server is None:
        return dialog
    across = call.server.dialog
    return DialogId(across.call_id, across.remote_tag, across.local_tag, dialog.early_only)


def named_to_device(stack: Stack, dialog: DialogId) -> DialogId:
    """A dialog that is named as the servers know it, as our device knows it when it is one of ours."""
    leg = stack.legs.get(dialog_key(dialog.call_id, dialog.remote_tag))
    if not isinstance(leg, InviteUsage) or leg.dialog.remote_tag != dialog.local_tag:
        return dialog
    call = leg.owner
    if not isinstance(call, Call) or leg is not call.server or call.device is None:
        return dialog
    across = call.device.dialog
    return DialogId(across.call_id, across.remote_tag, across.local_tag, dialog.early_only)
