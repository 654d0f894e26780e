"""Requests outside dialogs that the machines of a line want sent: REGISTER, OPTIONS."""

from __future__ import annotations

from sip.actions import Flow
from sip.layer import Stack
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction, ClientUser
from sip.wire.build import request_bytes


def send_request(
    stack: Stack, request: OutgoingRequest, flow: Flow, user: ClientUser, now: float
) -> ClientTransaction:
    """Send it on ``flow``; ``user`` hears of the answer."""
    branch = stack.branch()
    lines = (stack.via(flow, branch), "Max-Forwards: 70", *request.lines)
    data = request_bytes(request.method, request.uri, lines, request.body)
    return stack.request(request.method, data, branch, flow, user, now)
