"""What sends the requests of a dialog: its head, its way, and a way round what cannot be reached."""

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
"""Bytes of a request beyond which it goes by a stream where it may (RFC 3261 section 18.1.1)."""
APART: Final = 0.01
"""Seconds between an ACK and an INVITE over UDP, where the second might overtake the first."""
_WITH_CONTACT: Final = ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER")
_CREDENTIALS: Final = ("Authorization:", "Proxy-Authorization:")
"""As they are written here (``sip.digest``)."""


class DialogSender:
    """One for each dialog, early ones too."""

    __slots__ = ("_datagrams", "dialog", "path", "stack")

    def __init__(self, stack: Stack, dialog: Dialog, path: DialogPath) -> None:
        self.stack = stack
        self.dialog = dialog
        self.path = path
        self._datagrams: Flow | None = None
        """Where a request went that was too large for a datagram, before a stream was opened for it."""

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
        """A request that is too large for a datagram goes by a stream where it may."""
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
        """The next hop is a name that is looked up; the request goes behind those that wait already."""
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
        """A request in the dialog, as it goes by that flow."""
        stack = self.stack
        uri, head = self.dialog.head(method, cseq, stack.via(flow, branch))
        if method in _WITH_CONTACT:
            head.append(stack.contact(flow, self.path.user))
        head.append(f"Max-Forwards: {max_forwards}")
        head += lines
        return request_bytes(method, uri, head, body)

    def _stream(self, flow: Flow, now: float) -> Flow | None:
        """For a request that is too large for a datagram (RFC 3261 section 18.1.1); when none comes about, it goes by
        UDP all the same.
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
        """After a transport error a request in the dialog is sent to the next place of its hop, one that was too
        large for UDP by UDP all the same (RFC 3263 section 4.3). None where there is nowhere else to send it.

        ``early``: the dialog is not established, and its INVITE no concern of the hop.
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
        """The dialog that it is sent in."""
        self.cseq = 0
        """The number of the INVITE whose 2xx is, or is to be, acknowledged; 0 when there was none."""
        self.pending = False
        """A 2xx came that we have not acknowledged."""
        self.unsure = False
        """A process before us has acknowledged it, perhaps."""
        self.credentials: tuple[str, ...] = ()
        """Those of our last INVITE, which its ACK carries as well."""
        self.sent_at = -math.inf
        """When it was sent."""
        self._lines: tuple[str, ...] = ()
        self._body = b""

    @property
    def free_at(self) -> float:
        """When the next INVITE in the dialog may go: not as long as the 2xx to the last one is not acknowledged, and
        over UDP not so soon after its ACK that it might overtake it (RFC 3261 section 14.1).
        """
        if self.pending:
            return math.inf
        return self.sent_at + APART if self.sender.path.out.transport == "udp" else -math.inf

    def expect(self, cseq: int) -> None:
        """A 2xx with that number came, perhaps to another process before us."""
        self.cseq = cseq
        self.pending = True

    def note_credentials(self, lines: Iterable[str]) -> None:
        """Keep the credentials of an INVITE that is being sent."""
        self.credentials = tuple(line for line in lines if line.startswith(_CREDENTIALS))

    def send(self, lines: Iterable[str], body: bytes, now: float) -> None:
        """Send it, once and to the dialog's next hop; it is not tried elsewhere."""
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
        """A process before us has sent the ACK for our INVITE with that number, perhaps: it goes out when its 2xx
        comes again."""
        self.cseq, self.pending, self.unsure = cseq, False, True
        self._lines, self._body = tuple(lines), body

    def again(self, cseq: int) -> None:
        """The ACK for our INVITE with that number may have been lost: send it as it was."""
        self.unsure = False
        path = self.sender.path
        if self.cseq == cseq and not self.pending and not path.waits:
            self.sender.stack.send(path.out, self._message(path.out))

    def message(self) -> bytes:
        """The last ACK that we sent, whole; empty when there is none."""
        return self._message(self.sender.path.out) if self.cseq and not self.pending else b""

    def _go(self, flow: Flow, now: float) -> None:
        if flow is not UNREACHABLE:
            self.sender.stack.send(flow, self._message(flow))

    def _message(self, flow: Flow) -> bytes:
        """The same branch each time: it is the same ACK."""
        sender = self.sender
        branch = sender.stack.identifiers.branch_of_ack(sender.dialog.key, self.cseq)
        return sender.request("ACK", self.cseq, branch, flow, self._lines, self._body)


def readdressed(request: bytes, via: str, contact: str) -> bytes:
    """The same request for another place, with our address as it is seen there."""
    head, end, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lines[1] = via.encode("latin-1")
    lines = [contact.encode("latin-1") if line.startswith(b"Contact: ") else line for line in lines]
    return b"\r\n".join(lines) + end + body
