"""Responses: the fields copied from the request, the target, and the limit for strangers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from sip.actions import Action, Flow, Send
from sip.endpoint import is_numeric, is_private
from sip.identifiers import Identifiers
from sip.overload.address_limit import AddressLimit
from sip.overload.admission import AdmissionControl
from sip.overload.bans import Bans, Offence
from sip.overload.refused_invites import RefusedInvites
from sip.transaction import ServerTransaction
from sip.wire.build import response_bytes
from sip.wire.errors import SipError
from sip.wire.headers import Via, stamp_received
from sip.wire.message import Request
from sip.wire.reasons import REASONS

_ECHOED: Final = frozenset({"via", "from", "to", "call-id", "cseq"})
_ECHOED_BY_100: Final = _ECHOED | {"timestamp"}
_ECHOED_IN_DIALOG: Final = _ECHOED | {"record-route"}
_SELDOM: Final = frozenset({"record-route", "timestamp"})
_OFFENCES: Final[Mapping[int, Offence | None]] = MappingProxyType(
    {400: "unreadable", 401: "challenged", 407: "challenged", 481: "unknown dialog", 500: None, 503: None}
)
"""The offence of a sender that a stateless response counts as (`sip.overload.bans`); other statuses: ``refused``."""
_TRAILING: Final = " \t\r\n;"
"""What may follow a To without a tag: white space and empty parameters."""


class Responder:
    """Answers with and without a transaction; the actions are appended to ``out``."""

    __slots__ = (
        "_counters",
        "_identifiers",
        "_out",
        "admission",
        "bans",
        "now",
        "reconnect",
        "refused",
        "reply_limit",
    )

    def __init__(
        self, identifiers: Identifiers, out: list[Action], counters: Counter[str], bans: Bans | None = None
    ) -> None:
        self.now = 0.0
        """The time of the last input, by which stateless responses are limited."""
        self.admission = AdmissionControl()
        self.reply_limit = AddressLimit()
        self.bans = bans or Bans()
        self.refused = RefusedInvites()
        self.reconnect: Callable[[Flow, str], Flow] = _as_it_is
        """Returns the stream for the response to a request with that Via, when the one that it came by is broken."""
        self._identifiers = identifiers
        self._out = out
        self._counters = counters

    def response(
        self,
        request: Request,
        status: int,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> bytes:
        """The bytes of a response to ``request``; ``tag`` is added to a To that has none."""
        first, names = request.first, request.names
        to = first["to"]
        if tag and not request.to_tag:
            to = f"{to.rstrip(_TRAILING)};tag={tag}"
        if len(first) == len(names) and _SELDOM.isdisjoint(names):
            head = [first["via"], first["from"], to, first["call-id"], first["cseq"], *lines]
        else:
            echoed = _ECHOED if status >= 300 else _ECHOED_BY_100 if status == 100 else _ECHOED_IN_DIALOG
            head = [line for name, line in zip(names, request.lines, strict=True) if name in echoed]
            head[head.index(first["to"])] = to
            head += lines
        return response_bytes(status, reason, head, body)

    def reply(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        lines: Iterable[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> bytes:
        """Answer (RFC 3261 section 8.2.6) with further header ``lines``; returns the bytes sent."""
        request = transaction.request
        if request is None:
            return b""
        data = self.response(request, status, reason, lines, body, tag)
        if transaction.flow.transport != "udp" and not transaction.on_site_flow:
            self.revive(transaction)
        transaction.respond(status, data, now)
        return data

    def revive(self, transaction: ServerTransaction) -> None:
        """Where the device's stream by which a request came is broken, send its response by a new one to the sent-by
        (RFC 3261 section 18.2.2)."""
        if transaction.request is not None:
            transaction.flow = self.reconnect(transaction.flow, transaction.request.get("via") or "")

    def refuse(self, request: Request, flow: Flow, status: int, because: str = "", lines: Iterable[str] = ()) -> None:
        """Answer a faulty or a stranger's request without a transaction (RFC 3261 section 8.2.7)."""
        if request.method == "ACK" or "via" not in request:
            return
        if any(name not in request for name in ("from", "to", "call-id", "cseq")):
            return
        try:
            request.set("via", stamp_received(request.line("via"), flow.remote))
            flow = answer_flow(request, flow)
        except SipError:
            return
        host = flow.remote[0]
        if status >= 400 and (offence := _OFFENCES.get(status, "refused")) is not None:
            self.bans.offend(flow, offence, self.now)
        if flow.transport == "udp" and not self.reply_limit.allows(
            host, self.admission.name_of(host) != host, self.now
        ):
            self._counters["unanswered"] += 1
            return
        reason = REASONS.get(status, "") if status != 400 else _phrase(because)
        tag = self._identifiers.tag_of(request.call_id)
        self._out.append(Send(flow, self.response(request, status, reason, lines, b"", tag)))

    def refuse_for_overload(
        self, transaction: ServerTransaction, status: int, lines: Iterable[str], now: float
    ) -> None:
        """Refuse an INVITE at the least cost; its repeats are refused as well (`RefusedInvites`)."""
        transaction.terminate()
        request = transaction.request
        if request is None:
            return
        if transaction.flow.transport != "udp":
            self.revive(transaction)
        data = self.response(request, status, "", lines, b"", self._identifiers.tag_of(request.call_id))
        self.refused.add(transaction.key, transaction.flow, data, now)
        self._out.append(Send(transaction.flow, data))

    def is_repeat_of_refused(self, key: str, flow: Flow, method: str, now: float) -> bool:
        """Whether a request is a retransmission, which is answered again, or the ACK of an INVITE that was refused
        for overload."""
        if method not in ("INVITE", "ACK"):
            return False
        refused = self.refused.again(key, flow, method == "ACK", now)
        if refused is not None and refused.answer:
            self._out.append(Send(refused.flow, refused.answer))
        return refused is not None

    def know(self, host: str, now: float) -> None:
        """A device at ``host`` was authenticated: raise the limit of responses to it."""
        self.reply_limit.know(host, now)
        self.bans.know(host, now)

    def respond_stateless(self, transaction: ServerTransaction, status: int, lines: Iterable[str] = ()) -> None:
        """Answer a request that has just come, and keep no state for it, since its sender is not authenticated."""
        transaction.terminate()
        if transaction.request is not None:
            self.refuse(transaction.request, transaction.flow, status, lines=lines)


def answer_flow(request: Request, flow: Flow) -> Flow:
    """The flow of the response (RFC 3261 section 18.2.2, RFC 3581): for a stream that of the request."""
    if flow.transport != "udp":
        return flow
    if ";rport=" in request.first.get("via", "") or request.sent_by == f"{flow.remote[0]}:{flow.remote[1]}":
        return flow
    # only to the host that it came from, whatever maddr says: else anybody could have us send to any host, and pass
    # for that host
    via = Via.parse(request.get("via") or "")
    if is_numeric(via.host) and is_private(via.host) and not is_private(flow.remote[0]):
        return flow  # a client behind a NAT that does not support RFC 3581
    address = flow.remote[0], via.rport or via.port or 5060
    return flow if address == flow.remote else Flow("udp", flow.local, address)


def _as_it_is(flow: Flow, via: str) -> Flow:
    return flow


def _phrase(because: str) -> str:
    """An error's text as a reason phrase of one line."""
    return "Bad Request - " + "".join(c for c in because if c.isprintable())[:80] if because else "Bad Request"
