"""The table of all transactions, and the layer below each of them."""

from __future__ import annotations

from typing import Any

from sip.actions import Action, Flow, Send
from sip.timers import Deadlines, Timers
from sip.transaction import PROCEEDING, TRANSPORT, ClientTransaction, ServerTransaction


class TransactionTable:
    """Transactions by their keys, and their :class:`sip.transaction.Layer`; ``out`` collects actions for the
    shell."""

    __slots__ = ("_out", "clients", "deadlines", "invites", "servers", "timers")

    def __init__(self, timers: Timers, deadlines: Deadlines, out: list[Action]) -> None:
        self.timers = timers
        self.deadlines = deadlines
        self.servers: dict[str, ServerTransaction] = {}
        self.clients: dict[str, ClientTransaction] = {}
        self.invites: dict[str, ServerTransaction] = {}
        """First INVITEs of devices by ``request_id``, which is the same on every flow."""
        self._out = out

    def send(self, flow: Flow, data: bytes) -> None:
        self._out.append(Send(flow, data))

    def remove(self, transaction: Any) -> None:
        """Remove a transaction that has ended; another one under the same key stays."""
        key: str = transaction.key
        if not isinstance(transaction, ServerTransaction):
            if self.clients.get(key) is transaction:
                del self.clients[key]
            return
        if self.servers.get(key) is transaction:
            del self.servers[key]
        if transaction.request_id and self.invites.get(transaction.request_id) is transaction:
            del self.invites[transaction.request_id]

    def remove_flow(self, flow: Flow) -> None:
        """Drop every transaction on a flow, without sending or reporting anything."""
        for table in (self.servers, self.clients):
            for transaction in [each for each in table.values() if each.flow == flow]:
                transaction.terminate()

    def repeated(self, transaction: ServerTransaction, repeat: ServerTransaction) -> None:
        """A request that is being answered came again under another branch (docs/wire.md): answer the
        repeat instead."""
        self.remove(transaction)
        transaction.key, transaction.flow = repeat.key, repeat.flow
        transaction.request, transaction.state = repeat.request, repeat.state
        transaction.last = b""
        transaction.generation += 1
        self.servers[transaction.key] = transaction

    def transport_failed(self, flow: Flow, now: float) -> None:
        """A stream broke, or an ICMP error came: requests that wait for a response on that flow have failed (RFC 3261
        sections 17.1.4, 18.4). Over UDP only those without any response, since an ICMP error may be forged or late.
        """
        stream = flow.transport != "udp"
        waiting = [one for one in self.clients.values() if one.flow == flow and not one.answered]
        for transaction in waiting:
            if stream or transaction.state != PROCEEDING:
                transaction.step(TRANSPORT, None, now)
