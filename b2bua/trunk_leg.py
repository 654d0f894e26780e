"""The device side of a call's leg with a trunk of the server's own (``sip.device``), in front of the bridge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from sip.actions import Flow
from sip.b2b.bridge import CHANGED, SETUP, Bridge, acknowledge
from sip.b2b.policy import Passed
from sip.device.header_rules import ruled
from sip.device.identity import IdentityPolicy, Numbers
from sip.device.session import REFRESH, DeviceSession, TimerSettings
from sip.device.trunk import TrunkDevice
from sip.dialog import DialogState
from sip.header_policy import ALLOW, DEVICE_HOP, crossing, max_forwards_left
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Message, Request, Response


class TrunkLeg:
    """Owns the leg, does what stays on its hop, and tells the bridge all else."""

    __slots__ = ("_again", "_offered", "_timer", "bridge", "identity", "leg", "session")

    def __init__(
        self,
        stack: Stack,
        random: Random,
        bridge: Bridge,
        device: TrunkDevice,
        identity: IdentityPolicy,
        timer: TimerSettings | None,
        flow: Flow,
        state: DialogState,
    ) -> None:
        """``timer`` is what the line wants of session timers."""
        self.bridge = bridge
        self.identity = identity
        """What is believed of the trunk, and what it is told, of who calls whom."""
        self._timer = timer
        self.leg = InviteUsage(stack, self, flow, state, reach=device.reach, digest=device.digest)
        self.session = DeviceSession(stack, random, self._hang_up)
        self._again: tuple[str, Sequence[str], bytes, int, float] | None = None
        """Its first INVITE, as long as it may have to be sent once more."""
        self._offered = False
        """Our last INVITE had an offer."""

    def offer(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """The trunk calls."""
        self.session.leg = self.leg
        self.session.calls(self._timer, request, now)
        self.session.heard(request)
        self.bridge.offer(self.leg, transaction)

    def invite(
        self, uri: str, lines: Sequence[str], request: Request, ring_for: float, within: float, now: float
    ) -> None:
        """Call the trunk with the caller's ``request``, in these lines."""
        session = self.session
        session.leg = self.leg
        session.called(self._timer, now)
        body, max_forwards = session.told(request), max_forwards_left(request)
        self._again = uri, lines, body, max_forwards, within
        self._offered = bool(body)
        self.bridge.invite(self.leg, uri, [*lines, *session.asking()], body, max_forwards, ring_for, now, within)

    def stop(self) -> None:
        """The call is over, or goes on without this leg."""
        self.session.stop()
        self._again = None

    # What crosses.

    def lines_of(self, request: Request, told: Numbers) -> list[str]:
        """The header lines of the caller's INVITE as the trunk gets them."""
        return ruled(self.identity.to_device_headers, [*crossing(request, DEVICE_HOP | told.dropped), *told.more])

    def heard(self, message: Message) -> None:
        """A message of the trunk crosses: what it describes counts, an answer in an ACK at once."""
        self.session.heard(message)
        if isinstance(message, Request) and message.method == "ACK" and message.body:
            self.session.offers.accept()

    def told(self, message: Message) -> bytes:
        """The body of a message as the trunk gets it."""
        body = self.session.told(message)
        if isinstance(message, Request):
            if message.method == "INVITE":
                self._offered = bool(body)
            elif message.method == "ACK" and body:
                self.session.offers.accept()
        return body

    def answer(self, asked: ServerTransaction, status: int, lines: Sequence[str], now: float) -> Sequence[str]:
        """The lines of a final answer to an INVITE of the trunk, which accepts its offer or refuses it."""
        if status >= 300:
            self.session.offers.refuse()
            return lines
        if asked.request is not None and asked.request.body:
            self.session.offers.accept()
        lines = [*lines, *self.session.agree(asked.request, now)]
        return lines if any(line[:6].lower() == "allow:" for line in lines) else [*lines, ALLOW]

    # What the leg says (``sip.invite.UsageOwner``).

    def recognised(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Iterable[str]:
        return ()

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        if request.method != "INVITE" or not self.session.answer_refresh(leg, transaction, request, now):
            self.bridge.requested(leg, transaction, request, now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        self.bridge.acknowledged(leg, ack, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        return self.bridge.unacknowledged(leg, now)

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        self.bridge.cancelled(leg, invite, cancel, now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, asked = response.status, transaction.context
        if transaction.method != "INVITE" or status < 200:
            self.bridge.answered(leg, transaction, response, now)
            return
        if status < 300:
            self.session.learn(response, now)
        if asked is REFRESH:
            self.session.refreshed(leg, response, now)
        elif status >= 300:
            if status == 422 and self.session.raised(leg, response) and self._once_more(asked, now):
                return
            self.session.offers.refuse()
            self.bridge.answered(leg, transaction, response, now)
        else:
            given_up = isinstance(asked, ServerTransaction) and not asked.open
            self._again = None
            self.bridge.answered(leg, transaction, response, now)
            if self._offered:
                self.session.offers.accept()
            if given_up and leg.ack.pending:  # whoever asked was told that it came to nothing
                acknowledge(self.bridge, leg, (), b"", now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        change = transaction.method == "INVITE" and leg.established
        # a transport error ends no dialog
        gone = change and transaction.failure == 408 and not leg.client_invite.cancelling
        if change:
            self.session.offers.refuse()
        self.bridge.timed_out(leg, transaction, now)
        if gone:
            self.session.gone(now)

    def _once_more(self, asked: object, now: float) -> bool:
        """The INVITE that met a 422, with the interval that it wants (RFC 4028 section 7.3)."""
        bridge, leg = self.bridge, self.leg
        if asked is SETUP and self._again is not None:
            uri, lines, body, max_forwards, within = self._again
            leg.call(uri, [*lines, *self.session.asking()], body, now, SETUP, max_forwards, within)
            return True
        if isinstance(asked, ServerTransaction) and asked.open and asked.request is not None:
            passage, call, request = bridge.passage, bridge.policy, asked.request
            passed = passage.pass_on(call, CHANGED, asked.context, leg, request, False, now)
            passage.send(call, leg, "INVITE", passed or Passed((), b""), asked, max_forwards_left(request), now)
            return True
        return False

    def _hang_up(self, reason: str, status: int, now: float) -> None:
        self.bridge.release(reason, now, "server", status)


NO_TRUNKS: Final[dict[InviteUsage, TrunkLeg]] = {}
"""The trunk legs of a call between agents; nothing is put into it."""
