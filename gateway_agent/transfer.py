"""Transfers by REFER: how REFER, its NOTIFYs and Replaces are passed on between a device and the servers.

A dialog that a device names is named to the servers by the identifiers that they know. So a device at any agent that
is referred to that dialog names it in the same way when it calls (docs/wire.md).
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
    """Lines and body of a REFER that came on ``leg``, as the other side gets it. Raises :class:`Malformed`."""
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
    """Lines and body of a NOTIFY in a call, which reports the progress of a transfer. The ``id`` of its Event is the
    CSeq of the REFER, which differs on each hop, and is left out (RFC 3515 section 2.4.6). Raises
    :class:`Malformed`."""
    if not is_of_transfer(request):
        raise Malformed("no such subscription", 489)
    lines, body = call.passed(leg, request, now)
    return Passed([*without(lines, "event"), f"Event: {EVENT}"], body)


def naming_lines_to_servers(call: Call, invite: Request) -> list[str]:
    """The lines Replaces, Join and Target-Dialog of a device's INVITE, as the servers get them."""
    stack, passes = call.environment.stack, call.line.settings.transfer != "refuse"
    more = naming_lines(invite, partial(named_to_servers, stack)) if passes else []
    return [*_replaces_lines(stack, invite), *more] if "replaces" in invite.names else more


def naming_lines_to_device(call: Call, invite: Request) -> list[str]:
    """The lines Join and Target-Dialog of a server's INVITE, as the device gets them; they may name a dialog of its
    own."""
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
    """The dialog that the servers know for one that a device has named: if that is a device's dialog in a call here,
    the call's dialog with the servers; otherwise the same."""
    leg = stack.legs.get(dialog_key(dialog.call_id, dialog.local_tag))
    if not isinstance(leg, InviteUsage) or leg.dialog.remote_tag != dialog.remote_tag:
        return dialog
    call = leg.owner
    if not isinstance(call, Call) or leg is not call.device or call.server is None:
        return dialog
    across = call.server.dialog
    return DialogId(across.call_id, across.remote_tag, across.local_tag, dialog.early_only)


def named_to_device(stack: Stack, dialog: DialogId) -> DialogId:
    """The dialog that the device knows for one that the servers have named: if that belongs to a call here, the
    call's dialog with the device; otherwise the same."""
    leg = stack.legs.get(dialog_key(dialog.call_id, dialog.remote_tag))
    if not isinstance(leg, InviteUsage) or leg.dialog.remote_tag != dialog.local_tag:
        return dialog
    call = leg.owner
    if not isinstance(call, Call) or leg is not call.server or call.device is None:
        return dialog
    across = call.device.dialog
    return DialogId(across.call_id, across.remote_tag, across.local_tag, dialog.early_only)
