"""A leg with a device on an own line: does the hop's part (session timer, reliable responses, offer/answer;
``sip.device``) and passes everything else on to the bridge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, Protocol

from b2bua.destination import OwnDevice
from b2bua.device_leg_state import DeviceLegState, Timer, described, head_of, origin_of, place_of, sections_of
from b2bua.offer_crossing import OfferCrossing
from b2bua.target_refresh import TargetRefresh
from sip.actions import Flow
from sip.b2b.bridge import CHANGED, SETUP, TALKING, Bridge, acknowledge
from sip.b2b.policy import LATER, Party, Passed
from sip.device.header_rules import ruled
from sip.device.identity import AS_IT_IS, POLICY_FIELDS, IdentityPolicy, Numbers, asserted_to_device
from sip.device.reliability import SUPPORTED, Reliability, answers_reliably, asking, is_reliable
from sip.device.session import REFRESH, DeviceSession, TimerSettings
from sip.device.session_id import learned, line_of, made
from sip.device.session_timer import SessionTimer, allows_update
from sip.dialog import DialogState, dialog_key
from sip.header_policy import ALLOW, DEVICE_HOP, crossing, lines_of_body, max_forwards_left
from sip.invite import InviteUsage, UsageOwner
from sip.invite.reliable import RELIABLE
from sip.layer import Stack
from sip.offer_answer import LOCAL_CHANGE, LOCAL_OFFER, REMOTE_CHANGE, REMOTE_OFFER, OfferAnswer, description_in
from sip.references import TOLD, DialogId, naming_lines
from sip.transaction import ClientTransaction, ServerTransaction, cancel_of
from sip.wire.message import Message, Request, Response


class LegHolder(UsageOwner, Protocol):
    """What a leg with a device belongs to: a call's bridge, or a pickup before that (``b2bua.pickup``)."""

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None: ...

    def release(self, reason: str, now: float, by: Party = "server", status: int = 200) -> None: ...


class DeviceLeg:
    """Owns a leg, handles what concerns only the leg's own hop, and passes the rest to the bridge."""

    __slots__ = (
        "_again",
        "_offered",
        "_reliable",
        "_timer",
        "_transfer",
        "bridge",
        "described",
        "device",
        "eager",
        "holder",
        "identity",
        "leg",
        "refresh_pending",
        "session",
        "session_id",
        "takes_update",
    )

    def __init__(
        self,
        stack: Stack,
        random: Random,
        bridge: Bridge,
        device: OwnDevice,
        identity: IdentityPolicy,
        timer: TimerSettings | None,
        reliable: Reliability,
        transfer: str,
        names_session: bool,
        flow: Flow,
        state: DialogState,
        established: bool = False,
    ) -> None:
        """``timer``, ``reliable``, ``transfer`` and ``names_session`` (``session_id``) are settings of the line;
        ``established`` as in `InviteUsage`."""
        self.bridge = bridge
        self.holder: LegHolder = bridge
        """What is told of what happens on the leg: the bridge, unless the leg is to join it later."""
        self.device = device
        self.identity = identity
        """How caller and called numbers are verified and rewritten, from and to the device."""
        self._timer = timer
        self._reliable: Reliability = reliable
        self._transfer = transfer
        reach, digest = device.reach, device.digest
        self.leg = InviteUsage(stack, self, flow, state, established=established, reach=reach, digest=digest)
        self.session = DeviceSession(stack, random, self.hang_up)
        self._again: tuple[str, Sequence[str], bytes, int, float] | None = None
        """The first INVITE to the device, while it may have to be sent again after a 422."""
        self._offered = False
        """Whether the last INVITE to the device had an offer."""
        self.session_id = made(state.call_id) if names_session else ""
        """The Session-ID of the device's messages that have none."""
        self.eager = False
        """Provisional responses may have to go to the device reliably, even if they arrive otherwise."""
        self.described: dict[str, Passed] = {}
        """By early dialog, answers that arrived reliably but went to the device unreliably: its 2xx repeats them."""
        self.takes_update = False
        """The device supports UPDATE (its Allow says so)."""
        self.refresh_pending = False
        """The leg is restored, but its telephone is not reachable for a target refresh yet."""

    def offer(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """The device calls: take its first INVITE, and offer the call to the bridge."""
        self.take(request, now)
        if request.body:
            self.session.heard(request)
        self.bridge.offer(self.leg, transaction)

    def take(self, request: Request, now: float) -> None:
        """Read from the device's INVITE what concerns its hop: session timer, UPDATE, reliable responses."""
        self.session.leg = self.leg
        self.session.calls(self._timer, request, now)
        if self.session_id:
            self.session_id = request.get("session-id") or self.session_id
        if "allow" in request.first:
            self.takes_update = allows_update(request, False)
        self.eager = "require" in request.first or self._reliable == "required"

    def invite(
        self, uri: str, lines: Sequence[str], request: Request, ring_for: float, within: float, now: float
    ) -> None:
        """Call the device with the caller's ``request``, in these ``lines``; ``within``: seconds to any response."""
        session = self.session
        session.leg = self.leg
        session.called(self._timer, now)
        body, max_forwards = self.told(request), max_forwards_left(request)
        self._again = uri, lines, body, max_forwards, within
        self.bridge.invite(self.leg, uri, [*lines, *session.asking()], body, max_forwards, ring_for, now, within)

    def stop(self) -> None:
        """The call is over, or goes on without this leg."""
        self.session.stop()
        self._again = None

    # Messages that pass from one side to the other.

    def lines_of(self, request: Request, told: Numbers) -> list[str]:
        """The header lines of the caller's INVITE in the form that the device gets."""
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more, *TOLD[self._transfer]]
        if self._transfer != "refuse":
            lines += naming_lines(request, self._named_there)
        lines = ruled(self.identity.to_device_headers, lines)
        if self._reliable == "supported" and request.body:
            lines.append(SUPPORTED)
            return lines
        return [*lines, *asking(self._reliable, request)]

    def _named_there(self, dialog: DialogId) -> DialogId:
        """A dialog that is named in a header, with its tags in the view of the device if it is with one."""
        leg = self.leg.stack.legs.get(dialog_key(dialog.call_id, dialog.local_tag))
        if not isinstance(leg, InviteUsage) or not isinstance(leg.owner, DeviceLeg):
            return dialog
        if leg.dialog.remote_tag != dialog.remote_tag:
            return dialog
        return dialog._replace(local_tag=dialog.remote_tag, remote_tag=dialog.local_tag)

    def heard(self, message: Message) -> bytes:
        """Note the SDP in a message of the device, which is passed on; an answer in an ACK completes the exchange.
        Returns the body for the other side."""
        if not message.body:
            return b""
        body = self.session.heard(message)
        offers = self.session.offers
        if isinstance(message, Response):
            answers = "rseq" in message.first and self._offered and is_reliable(message)
        else:
            method = message.method if isinstance(message, Request) else ""
            answers = method == "ACK" or (method == "PRACK" and offers.state in (LOCAL_OFFER, LOCAL_CHANGE))
        if answers:
            offers.accept()
        return body

    def told(self, message: Message) -> bytes:
        """Note the SDP in a message that is passed on to the device, and its Session-ID; returns the body for the
        device."""
        if self.session_id:
            self.session_id = learned(self.session_id, message)
        body = self.session.told(message) if message.body else b""
        if isinstance(message, Request):
            if message.method == "INVITE":
                self._offered = bool(body)
            elif message.method in ("ACK", "PRACK") and body:  # the answer to what the device has offered
                self.session.offers.accept()
        return body

    def provisional_lines(self, response: Message, lines: list[str]) -> list[str]:
        """Header lines of a provisional response to the device, marked reliable where line and INVITE want that."""
        invite = self.leg.server_invite.pending
        if not isinstance(response, Response):
            return lines
        if invite is not None and answers_reliably(self._reliable, invite.request, response):
            lines.append(RELIABLE)
        elif response.body and is_reliable(response):
            self.described[response.to_tag] = Passed(lines_of_body(lines), response.body)
        return lines

    def answer_of(self, response: Message, lines: list[str]) -> tuple[list[str], bytes]:
        """Lines and body of a 2xx to the device, with the answer if that came in a reliable response before."""
        described = self.described.get(response.to_tag) if isinstance(response, Response) else None
        return (lines, b"") if described is None else ([*lines, *described.lines], self.session.offers.last_local)

    @property
    def offers_anew(self) -> bool:
        """Whether the device's last request made an offer in an established session."""
        return self.session.offers.state == REMOTE_CHANGE

    def answer(self, request: Request, status: int, lines: Sequence[str], now: float) -> tuple[int, Sequence[str]]:
        """Note that a final response accepts or refuses the device's offer; returns its status and header lines."""
        method, offers = request.method, self.session.offers
        if method != "INVITE" and description_in(request) is None:
            status = 200 if status in (405, 501) else status
        elif status >= 300:
            offers.refuse()
            return (488 if method != "INVITE" and status in (405, 501) else status), lines
        elif request.body:
            offers.accept()
        if method == "PRACK":
            return status, lines
        if status < 300:
            told = TOLD[self._transfer] if method == "INVITE" else ()
            lines = [*lines, *self.session.agree(request, now), *told]
        return status, lines if any(line[:6].lower() == "allow:" for line in lines) else [*lines, ALLOW]

    # What the leg calls (``sip.invite.UsageOwner``).

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Iterable[str]:
        return ()

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        if request.method in ("INVITE", "UPDATE") and self.session.answer_refresh(leg, transaction, request, now):
            return
        if request.method == "UPDATE" and (status := self.session.offers.clash(request)):
            leg.reply(transaction, status, now, lines=LATER.lines if status == 500 else ())
            return
        self.holder.requested(leg, transaction, request, now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        if ack.method != "PRACK":
            self.holder.acknowledged(leg, ack, now)
            return
        answers = leg.reliable is not None and leg.reliable.described
        if answers and self.session.offers.state in (REMOTE_OFFER, REMOTE_CHANGE):
            self.session.offers.accept()

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        return self.holder.unacknowledged(leg, now)

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        if leg is self.bridge.origin and not leg.established and self.bridge.phase is TALKING:
            # the 2xx waits for a PRACK, but for the other side the call is answered already
            self.bridge.release(cancel.get("reason") or "", now, "caller", 487)
            return
        self.holder.cancelled(leg, invite, cancel, now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, asked = response.status, transaction.context
        if status >= 200 and transaction.method == "UPDATE":
            self._updated(leg, transaction, response, now)
            return
        if transaction.method != "INVITE" or status < 200:
            self.holder.answered(leg, transaction, response, now)
            return
        if status < 300:
            self.session.learn(response, now)
            if "allow" in response.first:
                self.takes_update = allows_update(response, False)
        if isinstance(asked, (TargetRefresh, OfferCrossing)):
            asked.answered(leg, transaction, response, now)
        elif asked is REFRESH:
            self.session.refreshed(leg, response, now)
        elif status >= 300:
            if status == 422 and self.session.raised(leg, response) and _once_more(self, asked, now):
                return
            self.session.offers.refuse()
            self.holder.answered(leg, transaction, response, now)
        else:
            given_up = isinstance(asked, ServerTransaction) and (not asked.open or _updates(asked))
            self._again = None
            self.holder.answered(leg, transaction, response, now)
            if self._offered:
                self.session.offers.accept()
            if given_up and leg.ack.pending:  # the sender of the request was told that it had failed
                acknowledge(self.bridge, leg, (), b"", now)

    def _updated(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The device has answered an UPDATE, be it the server's own or one that was passed on."""
        if isinstance(asked := transaction.context, TargetRefresh):
            asked.answered(leg, transaction, response, now)
            return
        if transaction.context is REFRESH:
            self.session.refreshed(leg, response, now)
            return
        self.holder.answered(leg, transaction, response, now)
        if leg.client_invite.pending is not None:  # a re-INVITE went in its place
            return
        if response.status < 300:
            self.session.offers.accept()
        else:
            self.session.offers.refuse()

    def by_reinvite(self, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """Make the offer of an UPDATE that the device refused (405, 501) in a re-INVITE; False if not possible."""
        leg, asked = self.leg, transaction.context
        request = asked.request if isinstance(asked, ServerTransaction) and asked.open else None
        if transaction.method != "UPDATE" or response.status not in (405, 501) or request is None:
            return False
        if leg.client_invite.pending is not None or not leg.established or description_in(request) is None:
            return False
        lines = [*crossing(request, DEVICE_HOP), *self.session.asking()]
        leg.send("INVITE", lines, self.session.told(request), now, asked, max_forwards_left(request))
        self._offered = True
        return True

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        if isinstance(asked := transaction.context, (TargetRefresh, OfferCrossing)):
            asked.timed_out(leg, transaction, now)
            return
        change = (transaction.method == "INVITE" or transaction.context is REFRESH) and leg.established
        # a transport error ends no dialog
        gone = change and transaction.failure == 408 and not leg.client_invite.cancelling
        if change:
            self.session.offers.refuse()
        self.holder.timed_out(leg, transaction, now)
        if gone:
            self.session.gone(now)

    def hang_up(self, reason: str, status: int, now: float) -> None:
        """End the call on both sides, with ``reason`` as the Reason header."""
        self.holder.release(reason, now, "server", status)


def take_pickup(device_leg: DeviceLeg, request: Request, answer: bytes, now: float) -> Sequence[str]:
    """Take the INVITE by which a device picks up a call that rings elsewhere, and whose offer gets this ``answer``.
    Returns the header lines of the 2xx."""
    device_leg.take(request, now)
    device_leg.session.heard(request)
    device_leg.session.offers.send(answer)
    return device_leg.answer(request, 200, (), now)[1]


def change(device_leg: DeviceLeg, request: Request, now: float) -> None:
    """Send a device the offer of the caller's first INVITE, or ask it for one, in a re-INVITE."""
    identity, told = device_leg.identity, AS_IT_IS
    if not POLICY_FIELDS.isdisjoint(request.names):
        told = asserted_to_device(identity, request, identity.domain)
    hidden, more = told
    lines = [*ruled(identity.to_device_headers, [*crossing(request, DEVICE_HOP | hidden), *more])]
    lines += device_leg.session.asking()
    device_leg.leg.send("INVITE", lines, device_leg.told(request), now, None, max_forwards_left(request))


def session_lines(device_leg: DeviceLeg, message: Message) -> tuple[str, ...]:
    """The header line Session-ID for a message of a device that has none."""
    return line_of(device_leg.session_id, message) if device_leg.session_id else ()


def state_of(device_leg: DeviceLeg, stack: Stack) -> DeviceLegState | None:
    """The state that a new server needs to go on with a leg, or to cancel it while the device rings. None if the leg
    is over, or has no dialog yet."""
    leg, asked, called = device_leg.leg, "", ""
    if leg.ended:
        return None
    if not leg.established:
        ours, theirs = leg.client_invite.pending, leg.server_invite.pending
        if ours is not None and ours.request and leg.dialog.remote_tag:
            called = cancel_of(ours.request).decode("latin-1")
        elif theirs is not None and theirs.request is not None:
            asked = head_of(theirs.request)
        else:
            return None
    return _described(device_leg, stack, asked, called)


def state_once_answered(device_leg: DeviceLeg, stack: Stack) -> DeviceLegState:
    """The same of a leg whose INVITE is about to be answered 2xx."""
    return _described(device_leg, stack, "", "")


def _described(device_leg: DeviceLeg, stack: Stack, asked: str, called: str) -> DeviceLegState:
    leg, timer = device_leg.leg, device_leg.session.timer
    flow, offers = leg.path.flow, device_leg.session.offers
    newest = offers.export().newest
    return DeviceLegState(
        leg.dialog.export(),
        *place_of(flow),
        stack.address(flow),
        leg.ack.cseq,
        device_leg.takes_update,
        origin_of(newest),
        None if timer is None else Timer(timer.interval, timer.min_se, timer.ours),
        asked,
        called,
        sections_of(offers.last_local or newest),
    )


def resume(
    device_leg: DeviceLeg, state: DeviceLegState, local: bytes, remote: bytes, lasted: float, now: float
) -> None:
    """Restore a leg from the state that `state_of` made. ``local`` and ``remote`` are the SDP that the agent of the
    other leg last sent to the former server, and last got; ``lasted``: seconds since the answer."""
    session = device_leg.session
    session.leg = device_leg.leg
    session.offers = OfferAnswer(described(state, local, remote, lasted))
    device_leg.takes_update = state.by_update
    if (told := state.timer) is not None:
        session.timer = SessionTimer(told.interval, told.min_se, now)
        session.timer.ours, session.timer.by_update = told.ours, state.by_update
        session.arm(now)


def _once_more(device_leg: DeviceLeg, asked: object, now: float) -> bool:
    """Send an INVITE that got 422 again, with the interval asked for (RFC 4028 section 7.3); False: not
    wanted."""
    bridge, leg = device_leg.bridge, device_leg.leg
    if asked is SETUP and device_leg._again is not None:
        uri, lines, body, max_forwards, within = device_leg._again
        leg.call(uri, [*lines, *device_leg.session.asking()], body, now, SETUP, max_forwards, within)
        return True
    if isinstance(asked, ServerTransaction) and asked.open and asked.request is not None:
        passage, call, request = bridge.passage, bridge.policy, asked.request
        passed = passage.pass_on(call, CHANGED, asked.context, leg, request, False, now)
        passage.send(call, leg, "INVITE", passed or Passed((), b""), asked, max_forwards_left(request), now)
        return True
    return False


def _updates(asked: ServerTransaction) -> bool:
    return asked.request is not None and asked.request.method == "UPDATE"


NO_DEVICE_LEGS: Final[dict[InviteUsage, DeviceLeg]] = {}
"""The shared, always empty dictionary of calls without device legs."""
