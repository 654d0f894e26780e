"""The SIP layer in one object: transactions, deadlines, legs, and the sending of messages.

Above it is one :class:`sip.receiver.Listener`, which it calls; below it one shell, which takes actions from
:meth:`Stack.to_do` (``sip.actions``). Received messages go through ``sip.receiver``, responses through
``sip.responder``.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from sip.actions import Action, Flow, Send
from sip.call_ids import CallIds
from sip.certificate_names import speaks_for
from sip.endpoint import SECURE
from sip.identifiers import Identifiers
from sip.overload.bans import Bans
from sip.overload.congestion import Congestion
from sip.rate_limited_logger import RateLimitedLogger
from sip.receiver import InDialog, Listener, Receiver
from sip.responder import Responder
from sip.timers import Deadlines, Timers
from sip.transaction import PROCEEDING, ClientTransaction, ClientUser, InviteClient, NonInviteClient
from sip.transaction_table import TransactionTable

_TRANSPORT: Final = {
    "": "",
    "udp": "",
    "tcp": ";transport=tcp",
    "tls": ";transport=tls",
    "ws": ";transport=ws",
    "wss": ";transport=ws",
}
"""The URI parameter of each transport; that of WebSocket says nothing of TLS (RFC 7118 section 5.2.3)."""


class Stack:
    """See the module. ``secret`` makes tags and branches unguessable; a fixed one makes a run repeatable."""

    def __init__(self, listener: Listener, secret: bytes, sent_by: str, timers: Timers | None = None) -> None:
        self.timers = timers or Timers()
        self.deadlines = Deadlines()
        self.sent_by: dict[str, str] = {}
        """``local`` of a flow -> ``host:port`` for Via and Contact, where it differs from the default."""
        self.advertised: dict[Flow, str] = {}
        """The same for single flows, where the address depends on the peer."""
        self.default_sent_by = sent_by
        self.unauthenticated_flows: set[Flow] = set()
        """Flows on which every message is passed to ``Listener.admits`` before it is matched to anything."""
        self.certified: dict[Flow, tuple[str, ...]] = {}
        """Flow -> the names in the verified certificate of its peer (``sip.certificate_names``)."""
        self.site_flows: set[Flow] = set()
        """Flows between agents and servers (docs/wire.md)."""
        self.legs: dict[str, InDialog] = {}
        self.call_ids = CallIds()
        """Which dialogs belong to one call, for operators."""
        self.counters: Counter[str] = Counter()
        self.limited_logger = RateLimitedLogger()
        """Logs events that strangers can cause."""
        self._out: list[Action] = []
        """Actions for the shell. All parts share this list, so it is emptied in place."""
        self.identifiers = Identifiers(secret)
        self.transactions = TransactionTable(self.timers, self.deadlines, self._out)
        self.servers = self.transactions.servers
        self.clients = self.transactions.clients
        self.bans = Bans(self.site_flows, self.unauthenticated_flows)
        self.responder = Responder(self.identifiers, self._out, self.counters, self.bans)
        self.admission = self.responder.admission
        self.congestion = Congestion()
        """Decides whether new calls are refused because the process is overloaded."""
        self.receiver = Receiver(
            listener,
            self.transactions,
            self.responder,
            self.identifiers,
            self.legs,
            self.site_flows,
            self.unauthenticated_flows,
            self.counters,
            self.limited_logger,
            self._out,
        )
        self.sips_flows = self.receiver.sips_flows
        """Secure flows whose peers use ``sips`` URIs: our Contact there is one too (RFC 3261 section 12.1.1)."""
        # Users call these methods of the parts directly.
        self.receive = self.receiver.receive
        self.receive_message = self.receiver.receive_message
        self.token = self.identifiers.token
        self.branch = self.identifiers.branch
        self.know = self.responder.know
        self.reply = self.responder.reply
        self.response = self.responder.response
        self.refuse = self.responder.refuse
        self.respond_stateless = self.responder.respond_stateless
        self.refuse_for_overload = self.responder.refuse_for_overload

    def close(self, flow: Flow) -> None:
        """Close a stream."""
        self.receiver.streams.close(flow)

    def flow_lost(self, flow: Flow) -> None:
        """A stream was lost: forget what is known about it, and a message that was received in part."""
        self.receiver.streams.remove(flow)
        self.unauthenticated_flows.discard(flow)
        self.site_flows.discard(flow)
        self.certified.pop(flow, None)
        self.sips_flows.discard(flow)

    def speaks_for(self, flow: Flow, names: tuple[str, ...]) -> bool:
        """Whether the certificate of a flow's peer names one of these hosts."""
        return speaks_for(self.certified.get(flow, ()), names)

    def handle_timer(self, now: float) -> None:
        self.deadlines.fire(now)

    def get_timer(self) -> float | None:
        return self.deadlines.next()

    def to_do(self) -> list[Action]:
        """The actions to be carried out by the shell, in order; each is returned once."""
        out = self._out[:]
        self._out.clear()
        return out

    def send(self, flow: Flow, data: bytes) -> None:
        self._out.append(Send(flow, data))

    def do(self, action: Action) -> None:
        self._out.append(action)

    def address(self, flow: Flow) -> str:
        """Our ``host:port`` towards the peer of that flow."""
        if self.advertised and (own := self.advertised.get(flow)) is not None:
            return own
        return self.sent_by.get(flow.local, self.default_sent_by)

    def contact(self, flow: Flow, user: str = "") -> str:
        """The Contact line for a dialog on that flow."""
        return f"Contact: <{self.contact_uri(flow, user)}>"

    def contact_uri(self, flow: Flow, user: str = "") -> str:
        """Our URI as the peer of that flow can reach it."""
        transport = flow.transport
        own = f"{user}{'@' if user else ''}{self.address(flow)}"
        if transport in SECURE and flow in self.sips_flows:
            return f"sips:{own}" if transport == "tls" else f"sips:{own}{_TRANSPORT[transport]}"
        return f"sip:{own}{_TRANSPORT[transport]}"

    def via(self, flow: Flow, branch: str) -> str:
        transport = flow.transport
        if transport == "tls":
            return f"Via: SIP/2.0/TLS {self.address(flow)};branch={branch};rport{self._reuse(flow)}"
        return f"Via: SIP/2.0/{transport.upper()} {self.address(flow)};branch={branch};rport"

    def _reuse(self, flow: Flow) -> str:
        """The Via parameters for a stream that we opened: the peer may send its requests on it (RFC 5923), and may
        say how long it stays open when idle (RFC 6223)."""
        return "" if "#" in flow.local or flow in self.site_flows else ";alias;keep"

    def request(
        self,
        method: str,
        data: bytes,
        branch: str,
        flow: Flow,
        user: ClientUser,
        now: float,
        context: Any = None,
        no_timeout: bool = False,
    ) -> ClientTransaction:
        """Start a client transaction for a request that was built with :meth:`via` and ``branch``."""
        transaction = self.prepare(method, branch, flow, user, context, no_timeout, data)
        self.clients[transaction.key] = transaction
        transaction.start(now)
        return transaction

    def prepare(
        self,
        method: str,
        branch: str,
        flow: Flow,
        user: ClientUser,
        context: Any = None,
        no_timeout: bool = False,
        data: bytes = b"",
    ) -> ClientTransaction:
        """Make a client transaction without sending its request, while its next hop is looked up; see
        :meth:`begin`."""
        kind = InviteClient if method == "INVITE" else NonInviteClient
        key = branch + "C" if method == "CANCEL" else branch
        return kind(
            self.transactions, key, flow, method, branch, data, user, context, flow in self.site_flows, no_timeout
        )

    def begin(self, transaction: ClientTransaction, flow: Flow, data: bytes, now: float) -> None:
        """Send the request of a prepared transaction, unless that was given up meanwhile."""
        if transaction.answered:
            return
        transaction.flow = flow
        transaction.request = data
        self.clients[transaction.key] = transaction
        transaction.start(now)

    def resume(self, transaction: ClientTransaction, flow: Flow, data: bytes) -> None:
        """Go on with a prepared transaction whose request a process before us has sent, and to which a provisional
        response has come already."""
        transaction.flow = flow
        transaction.request = data
        transaction.state = PROCEEDING
        self.clients[transaction.key] = transaction
