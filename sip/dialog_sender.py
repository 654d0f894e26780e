"""Builds and sends the requests of a dialog, and sends them to another address after a transport error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from sip.actions import UNREACHABLE, Flow
from sip.dialog import Dialog
from sip.layer import Stack
from sip.next_hop import DialogPath, hop_uri
from sip.transaction import ClientTransaction, ClientUser
from sip.wire.build import request_bytes

LARGEST_DATAGRAM: Final = 1300
"""Bytes of a request beyond which it is sent by a stream where possible (RFC 3261 section 18.1.1)."""
APART: Final = 0.01
"""Seconds between an ACK and the next INVITE over UDP, where the INVITE could overtake the ACK."""
_WITH_CONTACT: Final = ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER")
_CREDENTIALS: Final = ("Authorization:", "Proxy-Authorization:")
"""Spelled as ``sip.digest`` writes them."""


class DialogSender:
    """Sends the requests of one dialog; each early dialog has its own."""

    __slots__ = ("_datagrams", "dialog", "path", "stack")

    def __init__(self, stack: Stack, dialog: Dialog, path: DialogPath) -> None:
        self.stack = stack
        self.dialog = dialog
        self.path = path
        self._datagrams: Flow | None = None
        """The UDP flow that a stream has replaced because a request was too large for a datagram."""

    def send(
        self,
        branch: str,
        method: str,
        cseq: int,
        lines: Iterable[str],
        body: bytes,
        max_forwards: int,
        user: ClientUser,
        now: float,
        context: Any,
        no_timeout: bool,
        flow: Flow | None = None,
    ) -> ClientTransaction:
        """Send a request, by ``flow`` or to the dialog's next hop; not ACK or CANCEL."""
        stack, dialog = self.stack, self.dialog
        if flow is None:
            flow = self.path.flow_for(dialog.target, dialog.route_set, now)
            if flow is None:
                return self._send_later(
                    branch, method, cseq, tuple(lines), body, max_forwards, user, now, context, no_timeout
                )
        data = self.request(method, cseq, branch, flow, lines, body, max_forwards)
        if len(data) > LARGEST_DATAGRAM and flow.transport == "udp":
            data, flow = self._fitted(branch, flow, data, now)
        return stack.request(method, data, branch, flow, user, now, context, no_timeout)

    def _fitted(self, branch: str, flow: Flow, data: bytes, now: float) -> tuple[bytes, Flow]:
        """The bytes and the flow of a request that is too large for a datagram: by a stream where possible."""
        stack, stream = self.stack, self._stream(flow, now)
        if stream is None:
            return data, flow
        return readdressed(data, stack.via(stream, branch), stack.contact(stream, self.path.user)), stream

    def _send_later(
        self,
        branch: str,
        method: str,
        cseq: int,
        lines: tuple[str, ...],
        body: bytes,
        max_forwards: int,
        user: ClientUser,
        now: float,
        context: Any,
        no_timeout: bool,
    ) -> ClientTransaction:
        """Send a request after the DNS lookup of its next hop, behind those that wait for it already."""
        stack = self.stack
        transaction = stack.prepare(method, branch, self.path.flow, user, context, no_timeout)

        def go(flow: Flow, now: float) -> None:
            data = self.request(method, cseq, branch, flow, lines, body, max_forwards)
            if len(data) > LARGEST_DATAGRAM and flow.transport == "udp":
                data, flow = self._fitted(branch, flow, data, now)
            stack.begin(transaction, flow, data, now)

        self.path.wait(go, now)
        return transaction

    def request(
        self,
        method: str,
        cseq: int,
        branch: str,
        flow: Flow,
        lines: Iterable[str],
        body: bytes,
        max_forwards: int = 70,
    ) -> bytes:
        """The bytes of a request in the dialog, with Via and Contact for that flow."""
        stack = self.stack
        uri, head = self.dialog.head(method, cseq, stack.via(flow, branch))
        if method in _WITH_CONTACT:
            head.append(stack.contact(flow, self.path.user))
        head.append(f"Max-Forwards: {max_forwards}")
        head += lines
        return request_bytes(method, uri, head, body)

    def _stream(self, flow: Flow, now: float) -> Flow | None:
        """A stream for a request that is too large for a datagram (RFC 3261 section 18.1.1), to which the dialog
        moves; None: the request goes by UDP all the same.
        """
        path = self.path
        if path.reach is None:
            return None
        stream = path.reach.stream(hop_uri(self.dialog.target, self.dialog.route_set), flow, now)
        if stream is not None:
            self._datagrams = flow
            path.move(stream)
        return stream

    def send_elsewhere(
        self, transaction: ClientTransaction, user: ClientUser, early: bool, now: float
    ) -> ClientTransaction | None:
        """Send a request of the dialog once more after a transport error, to the next address of its hop (RFC 3263
        section 4.3), or by UDP if only its size had made it go by a stream. None when there is no other address.

        ``early``: the dialog is not established; other addresses are not tried then.
        """
        path, stack = self.path, self.stack
        datagrams, self._datagrams = self._datagrams, None
        if datagrams is not None and path.reach is not None and transaction.flow.transport != "udp":
            path.reach.streamless(datagrams, now)
            path.move(datagrams)
            flow: Flow | None = datagrams
        else:
            flow = None if early else path.again(transaction.flow, now)
        if flow is None:
            return None
        branch = stack.branch()
        data = readdressed(transaction.request, stack.via(flow, branch), stack.contact(flow, path.user))
        again = stack.prepare(transaction.method, branch, flow, user, transaction.context, transaction.no_timeout)
        stack.begin(again, flow, data, now)
        return again


class Acknowledgement:
    """Our ACK for the 2xx to our last INVITE (RFC 3261 section 13.2.2.4)."""

    __slots__ = ("_body", "_lines", "credentials", "cseq", "pending", "sender", "sent_at", "unsure")

    def __init__(self, sender: DialogSender) -> None:
        self.sender = sender
        """The sender of the dialog in which the ACK goes."""
        self.cseq = 0
        """The CSeq number of the INVITE whose 2xx was or must be acknowledged; 0 when there was none."""
        self.pending = False
        """Whether a 2xx came that we have not acknowledged."""
        self.unsure = False
        """Whether a process before us may have sent the ACK, or may have died before."""
        self.credentials: tuple[str, ...] = ()
        """The credentials of our last INVITE, which its ACK carries as well."""
        self.sent_at = -math.inf
        """When the last ACK was sent."""
        self._lines: tuple[str, ...] = ()
        self._body = b""

    @property
    def free_at(self) -> float:
        """When the next INVITE in the dialog may be sent: not before the 2xx to the last one is acknowledged, and
        over UDP ``APART`` seconds after that ACK, which it could overtake (RFC 3261 section 14.1).
        """
        if self.pending:
            return math.inf
        return self.sent_at + APART if self.sender.path.out.transport == "udp" else -math.inf

    def expect(self, cseq: int) -> None:
        """A 2xx with that CSeq number came, to us or to a process before us, and must be acknowledged."""
        self.cseq = cseq
        self.pending = True

    def note_credentials(self, lines: Iterable[str]) -> None:
        """Keep the credentials of an INVITE that is being sent."""
        self.credentials = tuple(line for line in lines if line.startswith(_CREDENTIALS))

    def send(self, lines: Iterable[str], body: bytes, now: float) -> None:
        """Send the ACK once, to the dialog's next hop; no other address is tried."""
        if not (self.cseq or self.pending):
            return
        lines = tuple(lines)
        if self.credentials and not any(line.startswith(_CREDENTIALS) for line in lines):
            lines = (*lines, *self.credentials)
        self._lines, self._body, self.pending = lines, body, False
        self.sent_at = now
        dialog, path = self.sender.dialog, self.sender.path
        flow = path.flow_for(dialog.target, dialog.route_set, now)
        if flow is None:
            path.wait(self._go, now)
        else:
            self._go(flow, now)

    def prepare(self, cseq: int, lines: Iterable[str], body: bytes) -> None:
        """A process before us may have sent the ACK for our INVITE with that CSeq number: it is sent when the 2xx is
        repeated."""
        self.cseq, self.pending, self.unsure = cseq, False, True
        self._lines, self._body = tuple(lines), body

    def again(self, cseq: int) -> None:
        """A 2xx with that CSeq number came again: repeat its ACK unchanged."""
        self.unsure = False
        path = self.sender.path
        if self.cseq == cseq and not self.pending and not path.waits:
            self.sender.stack.send(path.out, self._message(path.out))

    def message(self) -> bytes:
        """The bytes of the last ACK that we sent; empty when there is none."""
        return self._message(self.sender.path.out) if self.cseq and not self.pending else b""

    def _go(self, flow: Flow, now: float) -> None:
        if flow is not UNREACHABLE:
            self.sender.stack.send(flow, self._message(flow))

    def _message(self, flow: Flow) -> bytes:
        """The bytes of the ACK, with the same branch each time, since it is the same ACK."""
        sender = self.sender
        branch = sender.stack.identifiers.branch_of_ack(sender.dialog.key, self.cseq)
        return sender.request("ACK", self.cseq, branch, flow, self._lines, self._body)


def readdressed(request: bytes, via: str, contact: str) -> bytes:
    """The same request for another flow: with the given Via and Contact lines."""
    head, end, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines[1] = via.encode("latin-1")
    lines = [contact.encode("latin-1") if line.startswith(b"Contact: ") else line for line in lines]
    return b"\r\n".join(lines) + end + body
