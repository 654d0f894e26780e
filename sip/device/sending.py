"""Sending requests outside dialogs: REGISTER and OPTIONS of a line, and requests that are passed on."""

from __future__ import annotations

from typing import Final

from sip.actions import Flow
from sip.digest import DigestClient, Refusal
from sip.layer import Stack
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction, ClientUser
from sip.wire.build import request_bytes
from sip.wire.message import Request, Response, parse

_ANEW: Final = frozenset({"via", "cseq", "content-length"})


def send_request(
    stack: Stack, request: OutgoingRequest, flow: Flow, user: ClientUser, now: float
) -> ClientTransaction:
    """Send ``request`` on ``flow`` in a transaction, whose responses go to ``user``."""
    branch = stack.branch()
    lines = (stack.via(flow, branch), "Max-Forwards: 70", *request.lines)
    data = request_bytes(request.method, request.uri, lines, request.body)
    return stack.request(request.method, data, branch, flow, user, now)


def send_with_proof(
    stack: Stack,
    data: bytes,
    digest: DigestClient,
    transaction: ClientTransaction,
    response: Response,
    user: ClientUser,
    now: float,
) -> bool:
    """Send the request ``data`` of a transaction again with credentials for the challenge in ``response`` (RFC 3261
    section 22.2). False if we have none for it."""
    asked = parse(data)
    if not isinstance(asked, Request):
        return False
    proof = digest.answer(response, asked.method, asked.uri)
    if isinstance(proof, Refusal):
        return False
    branch = stack.branch()
    kept = [line for name, line in zip(asked.names, asked.lines, strict=True) if name not in _ANEW]
    head = (stack.via(transaction.flow, branch), f"CSeq: {asked.cseq + 1} {asked.method}")
    lines = (*head, *kept, *(each.line for each in proof))
    again = request_bytes(asked.method, asked.uri, lines, asked.body)
    stack.request(asked.method, again, branch, transaction.flow, user, now)
    return True
