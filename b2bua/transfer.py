"""Transfers that the server makes itself, ``transfer = "serve"`` (RFC 3515, RFC 5589; docs/wire.md, "Transfers").

Until the target has answered, the call with the referrer goes on. The target is called without an offer; the offer in
its 2xx goes to the party that stays, in a re-INVITE, and the answer of that party to the target, in the ACK. In an
attended transfer the target is the other side of the call that Refer-To names (RFC 3891); a re-INVITE asks it for its
offer.

A transfer survives its server. The REFER stays in its agent's list, unanswered, until the transfer is over, so the
next server begins it anew. All requests of a transfer have origin keys derived from that of the REFER, so no party
gets one twice. The new call begins with the ACK to the target: the state token in it names the new parties, and a
server that finds such a token only has to notify the referrer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from b2bua.call import Call, CallServices
from b2bua.call_state import held_after
from b2bua.cookies import clear_cookie
from b2bua.device_leg import NO_DEVICE_LEGS
from b2bua.former_calls import FormerCalls
from b2bua.refer_notices import ReferNotices, notice_of
from b2bua.state_token import MOST_CHARACTERS, CallState, call_id_of, origin_of
from b2bua.transfer_parts import call_of, invite_for, joined_state, side_of, take_from, take_target
from sip.b2b.bridge import ENDED, REPLACED, TALKING, set_legs, take_back
from sip.b2b.policy import Party
from sip.device.header_rules import field_of
from sip.dialog import UAC, dialog_key
from sip.header_policy import ALLOW, crossing, lines_of_body
from sip.invite import InviteUsage
from sip.references import ReferTo, accepted_by
from sip.reinvite_retry import TEMPORARY_REFUSALS, wait_after
from sip.transaction import ServerTransaction
from sip.wire.errors import Malformed
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

REFUSED: Final = 603
"""Status of a transfer that a line does not allow."""

# States.
CALLING: Final = "calling"
"""The target has not answered."""
ASKING: Final = "asking"
"""The target has made an offer, which the party that stays is to answer."""
JOINED: Final = "joined"
"""The two parties are connected; the referrer gets a NOTIFY, and is to hang up."""
FAILED: Final = "failed"
"""The transfer has failed; the referrer gets a NOTIFY, and its call goes on."""
OVER: Final = "over"

# Events.
PROGRESSED: Final = "the target says something"
OFFERED: Final = "the target answered"
TARGET_FAILED: Final = "the target failed"
BUSY: Final = "to be asked again"
AGREED: Final = "the party that stays agreed"
DECLINED: Final = "the party that stays declined"
FOUND: Final = "it was joined by another server"
TOLD: Final = "the referrer was told"
HUNG_UP: Final = "the referrer hung up"
WAITED: Final = "the referrer does not hang up"
CALL_ENDED: Final = "the call ended"

# Kinds of requests that a transfer sends; causes of its deadlines.
OFFER: Final = "offer"
"""A re-INVITE that asks the target of an attended transfer for an offer."""
STAYS: Final = "stays"
"""A re-INVITE that offers the target's session to the party that stays."""
RENEW: Final = "renew"
"""A re-INVITE that asks the referrer for an offer, after the party that stays has agreed on a session with a target
that is gone."""
BACK: Final = "back"
"""A re-INVITE to the party that the target talked with before, to answer the offer that the target has made."""
NOTIFY: Final = "notify"
LOOK: Final = "look"
LONGEST: Final = "longest"
PARTING: Final = "parting"

LOOK_S: Final = 0.1
"""Seconds until the transfer looks again at a leg that is not known yet, or is busy."""
PARTING_S: Final = 4.0
"""Seconds that a referrer has for its BYE after the last NOTIFY."""
LONGEST_S: Final = 180.0
"""Seconds that a target may take (RFC 3261 section 16.6, timer C)."""
MOST_TRIES: Final = 5
"""Times that a re-INVITE is sent again after a refusal for the moment."""
KEYS: Final = {RENEW: 700, BACK: 750, OFFER: 800, STAYS: 900}
"""First attempt number in the origin keys of each kind of request. Attempts of calls are below 100; a NOTIFY has the
status that it reports."""


class Ask(NamedTuple):
    """The context of a client transaction that a transfer has started: the transfer, and the kind of request."""

    transfer: Transfer
    what: str


class Transfers:
    """Begins transfers. A server has one instance for its whole life."""

    def __init__(self, services: CallServices, node: str, former: FormerCalls) -> None:
        self.services = services
        self.node = node
        self.former = former
        self.ending: set[str] = set()
        """Keys of replaced dialogs that are ended as soon as an agent reports them."""

    def refer(
        self, call: Call, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> bool:
        """Handle a REFER on a leg; False: it is to be passed on to the other side."""
        begun = call.transfer
        if isinstance(begun, Transfer):
            if begun.referrer is leg and begun.state is JOINED and begun.refer is None:
                begun.take(transaction, request, now)
            else:
                leg.reply(transaction, 491, now)
            return True
        if not self._serves(call, leg):
            status = self._refusal(call, leg, request)
            if status:
                leg.reply(transaction, status, now)
                _note_refusal(self.services, _line_of(call, leg), status, now)
            return status != 0
        if not leg.established or call.target_of is not None or call.bridge.joining is not None:
            leg.reply(transaction, 491 if leg.established else 403, now)
            return True
        transfer = Transfer(self, call, leg, call.agent_of(leg), _line_of(call, leg))
        try:
            transfer.take(transaction, request, now)
        except Malformed as error:
            leg.reply(transaction, error.status, now)
            return True
        call.transfer = transfer
        transfer.begin(now)
        return True

    def left(self, call: Call, leg: InviteUsage, agent: str, former: CallState | None, now: float) -> None:
        """Finish a transfer whose parties a former server has joined. ``leg`` is the referrer's, ``former`` the state
        of the call in the token of the referrer's agent.
        """
        leg.owner, call.bridge.leaving = call.bridge, leg
        stays = call.bridge.origin
        if stays is not None and stays.ack.pending:  # the former server died before it sent the ACK
            stays.acknowledge(self.services.site_headers, b"", now)
        records, part = self.services.records, former.part or former.call_id if former is not None else ""
        if former is not None and part not in records.ended:
            by: Party = "caller" if former.caller_dialog == leg.dialog.call_id else "callee"
            records.write(former, call.wall_offset, 200, by, now, TRANSFERRED)
        asked, begun = take_back(call.bridge, leg), call.transfer
        if isinstance(begun, Transfer):
            begun.referrer, begun.agent = leg, agent
            begun.step(FOUND, None, now)
        else:
            begun = call.transfer = Transfer(self, call, leg, agent, call.state.transferred_by, JOINED)
            self.services.stack.deadlines.set(now + PARTING_S, begun, PARTING)
        for transaction, request in asked:
            if request.method != "BYE" or not begun.hangs_up(leg, transaction, request, now):
                leg.reply(transaction, 481, now)

    def _refusal(self, call: Call, leg: InviteUsage, request: Request) -> int:
        """The status that refuses to pass on a REFER from or to an own line; 0: it is passed on. Agents refuse REFERs
        of their lines themselves.
        """
        if call.device_legs == NO_DEVICE_LEGS:
            return 0
        lines = self.services.site.lines
        names = [_line_of(call, each).partition("/")[0] for each in call.device_legs]
        if any((line := lines.get(name)) is None or line.transfer != "pass" for name in names):
            return REFUSED
        try:
            ReferTo.of(request)
        except Malformed as error:
            return error.status
        return 0

    def _serves(self, call: Call, leg: InviteUsage) -> bool:
        """Whether this server makes the transfers of a leg: the leg's line has ``transfer = "serve"``, or it has
        ``pass`` and the other leg's line has ``serve``."""
        lines, other = self.services.site.lines, call.bridge.other(leg)
        own = lines.get(_line_of(call, leg).partition("/")[0])
        if own is not None and own.transfer == "pass" and other is not None:
            across = lines.get(_line_of(call, other).partition("/")[0])
            return across is not None and across.transfer == "serve"
        return own is not None and own.transfer == "serve"


class Transfer:
    """One transfer. See the module."""

    __slots__ = (
        "agent",
        "bye",
        "call",
        "generation",
        "line",
        "notices",
        "offer",
        "part",
        "refer",
        "referrer",
        "request",
        "state",
        "target",
        "target_call",
        "transfers",
        "tries",
        "until",
        "wanted",
    )

    def __init__(
        self, transfers: Transfers, call: Call, referrer: InviteUsage, agent: str, line: str, state: str = CALLING
    ) -> None:
        self.transfers = transfers
        self.call = call
        self.referrer = referrer
        self.agent = agent
        """The referrer's agent; ``""`` if the referrer is on an own line."""
        self.line = line
        self.state = state
        self.generation = 0
        self.refer: ServerTransaction | None = None
        """The transaction of the REFER, until its final answer."""
        self.request: Request | None = None
        """The REFER itself."""
        self.wanted: ReferTo | None = None
        self.part = ""
        """The call id of the part that begins with this transfer."""
        self.notices = ReferNotices()
        self.target_call: Call | None = None
        """The call to the target, while that is being called."""
        self.target: InviteUsage | None = None
        """The target's leg: once it has answered, or, in an attended transfer, in the referrer's other call."""
        self.offer: Response | None = None
        """The target's 2xx with the offer."""
        self.bye: tuple[ServerTransaction, Request] | None = None
        """The referrer's BYE, which waits for the outcome."""
        self.tries = 0
        self.until = 0.0
        """Until when to wait for dialogs that agents have not reported yet, on the core's clock."""

    def step(self, event: str, subject: Any, now: float) -> None:
        """Step the state machine; the state changes here, and in `stop`."""
        entry = TABLE.get((self.state, event))
        if entry is None:
            logger.debug("transfer %s is %s: %s is of no interest", self.part, self.state, event)
            return
        following, action = entry
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("transfer %s: %s, %s -> %s", self.part, event, self.state, following)
        self.state = following
        action(self, subject, now)

    def take(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Accept the REFER. Towards an agent it gets only a provisional response, so that it stays in the agent's
        list. Raises :class:`Malformed` for a Refer-To that cannot be used.
        """
        self.wanted = ReferTo.of(request)
        self.refer, self.request = transaction, request
        accepted = accepted_by(request)
        self.notices.silent = accepted == 200 or _declines_notify(request)
        self.part = _part_of(origin_of(self.agent or self.transfers.node, request.branch))
        self.until = now + self.transfers.services.site.timing.replay_wait
        self.referrer.reply(transaction, 183 if self.agent else accepted, now, lines=_granted(self))
        if self.state is JOINED:  # a former server has joined the parties
            self.generation += 1
            _end_replaced(self, now)
            _tell(self, 200, now)

    def begin(self, now: float) -> None:
        """Call the target, or find its leg in an attended transfer."""
        self.transfers.services.stack.deadlines.set(now + LONGEST_S, self, LONGEST)
        _tell(self, 100, now)
        if self.wanted is not None and self.wanted.replaces is not None:
            _find_target(self, now)
        else:
            _call_target(self, now)

    # What its calls invoke (``b2bua.call.TransferOf``).

    def hangs_up(self, leg: InviteUsage, transaction: ServerTransaction, bye: Request, now: float) -> bool:
        if leg is self.call.bridge.leaving and self.state is OVER:  # the call of the joined parties has ended already
            leg.reply(transaction, 200, now)
            return True
        if leg is not self.referrer or self.state is OVER:
            return False
        if self.state is FAILED:
            self.step(HUNG_UP, None, now)
            return False
        self.bye = transaction, bye
        if not self.agent:
            leg.reply(transaction, 200, now)
        self.step(HUNG_UP, None, now)
        return True

    def progressed(self, status: int, now: float) -> None:
        self.step(PROGRESSED, status, now)

    def answered(self, target: InviteUsage, response: Response, now: float) -> bool:
        self.step(OFFERED, (target, response), now)
        return self.state is ASKING

    def failed(self, status: int, now: float) -> None:
        self.target_call = None
        self.step(TARGET_FAILED, status, now)

    def call_ended(self, now: float) -> None:
        self.step(CALL_ENDED, None, now)

    def stop(self) -> None:
        self.generation += 1
        self.state = OVER

    # Answers to its requests.

    def heard(self, what: str, response: Response | None, now: float) -> None:
        """The final response to a request of kind ``what``; None: it timed out."""
        status = 408 if response is None else response.status
        if what is NOTIFY:
            self.notices.answered()
            _continue_notifying(self, now)
        elif what in (RENEW, BACK) or self.state not in (CALLING, ASKING):
            _restore(self, what, response if status < 300 else None, now)
        elif status in TEMPORARY_REFUSALS and self.tries < MOST_TRIES:
            self.tries += 1
            self.step(BUSY, (what, response), now)
        elif response is None or status >= 300:
            self.step(DECLINED if what is STAYS else TARGET_FAILED, status, now)
        elif what is STAYS:
            self.step(AGREED, response, now)
        else:
            self.tries = 0
            self.step(OFFERED, (self.target, response), now)

    def again(self, what: str, now: float) -> None:
        """Send a request of kind ``what`` again, which an agent's fence had refused before it adopted this server."""
        if what is NOTIFY:
            _notify(self, self.notices.last, now)
        else:
            self.step(BUSY, (what, None), now)

    def due(self, cause: str, now: float) -> None:
        if cause is LONGEST:
            self.step(TARGET_FAILED, 408, now)
        elif cause is PARTING:
            self.step(WAITED, None, now)
        elif cause is STAYS:
            _offer_to_remaining(self, now)
        elif self.state is JOINED:
            _end_replaced(self, now)
        elif self.state is CALLING:
            _find_target(self, now)


def _part_of(origin: str) -> str:
    """The call id of the part that begins with the REFER of an origin key."""
    agent, _, branch = origin.partition(";")
    return call_id_of(agent, branch)


def is_acknowledged_by_transfer(state: CallState, key: str) -> bool:
    """Whether the ACK for the INVITE of an origin key is left to a transfer: the INVITE was sent by a transfer that
    had not joined its parties yet, and so will be begun anew.
    """
    origin, _, number = key.rpartition(";")
    return number.isdecimal() and int(number) >= min(KEYS.values()) and _part_of(origin) != state.part


def _line_of(call: Call, leg: InviteUsage) -> str:
    return side_of(call.state, leg is call.bridge.origin).line


def _wake(transfer: Transfer, after: float, cause: str, now: float) -> None:
    transfer.transfers.services.stack.deadlines.set(now + after, transfer, cause)


# The target.


def _call_target(transfer: Transfer, now: float) -> None:
    """Call the target, by the routes and with the rights of the referrer's line, with the number of the party that
    stays as the caller."""
    transfers, call, wanted, refer = transfer.transfers, transfer.call, transfer.wanted, transfer.request
    assert wanted is not None and refer is not None
    services, records = transfers.services, transfers.services.records
    called = transfer.referrer is not call.bridge.origin
    caller, referrer = side_of(call.state, called).number, side_of(call.state, not called).number
    request = invite_for(services.site, refer, wanted, caller, referrer, transfer.line)
    known = services.calls.get(transfer.part)  # after a takeover, if the target's leg was reported before the REFER
    target = known or Call(
        services,
        CallState(
            transfer.part,
            origin=origin_of(transfer.agent or transfers.node, refer.branch),
            caller=caller[:MOST_CHARACTERS],
            callee=wanted.uri.dialled[:MOST_CHARACTERS],
            caller_line=transfer.line[:MOST_CHARACTERS],
            caller_agent=transfer.agent,
            started=now + records.wall_offset,
            epochs=(records.epoch,),
            transferred_by=transfer.line[:MOST_CHARACTERS],
        ),
        records.wall_offset,
    )
    services.calls[transfer.part] = transfer.target_call = target
    target.target_of = transfer

    def admit(now: float) -> None:
        target.request = request

    if known is not None:
        if not transfers.former.adopt(target, admit, now):
            transfer.step(TARGET_FAILED, 482, now)
        return
    admit(now)
    if transfer.agent and transfers.former.is_expected(transfer.agent, transfer.part):
        transfers.former.resume(target, now)
    else:
        target.start(now)


def _find_target(transfer: Transfer, now: float) -> None:
    """Find the target of an attended transfer, the other side of the call that Refer-To names, and ask it for an
    offer."""
    found = _named(transfer, now)
    if isinstance(found, InviteUsage):
        transfer.target = found
        _ask(transfer, OFFER, found, (), b"", now)
    elif found:
        transfer.step(TARGET_FAILED, found, now)
    else:
        _wake(transfer, LOOK_S, LOOK, now)


def _named(transfer: Transfer, now: float) -> InviteUsage | int:
    """The leg across from the one that Refer-To names; or the status that refuses the transfer, 0 to look again
    later."""
    services = transfer.transfers.services
    leg, told = _replaced(transfer, now)
    if leg is None:
        return 0 if not told and now < transfer.until else 481
    call, dialog = call_of(leg), transfer.wanted.replaces if transfer.wanted is not None else None
    if call is None or call is transfer.call or leg.ended:
        return 481
    line = services.site.lines.get(_line_of(call, leg).partition("/")[0])
    if line is None or line.transfer == "refuse":
        return REFUSED
    if call.bridge.phase is not TALKING or call.transfer is not None or (dialog is not None and dialog.early_only):
        return 486
    other = call.bridge.other(leg)
    if not call.bridge.complete or other is None or _is_busy(call, other):
        return 0 if now < transfer.until else 491
    return other


def _replaced(transfer: Transfer, now: float) -> tuple[InviteUsage | None, bool]:
    """The leg whose dialog Refer-To names, None if unknown; and whether agents have reported all they have of it."""
    dialog = transfer.wanted.replaces if transfer.wanted is not None else None
    if dialog is None:
        return None, True
    services, key = transfer.transfers.services, dialog_key(dialog.call_id, dialog.local_tag)
    told = key in services.stack.legs or transfer.transfers.former.find(key, now)
    leg = services.stack.legs.get(key)
    known = isinstance(leg, InviteUsage) and leg.dialog.remote_tag == dialog.remote_tag
    return (leg if isinstance(leg, InviteUsage) and known else None), told


def _end_replaced(transfer: Transfer, now: float) -> None:
    """End the referrer's other call, whose other side was joined with the party that stays."""
    (leg, told), ending = _replaced(transfer, now), transfer.transfers.ending
    dialog = transfer.wanted.replaces if transfer.wanted is not None else None
    key = dialog_key(dialog.call_id, dialog.local_tag) if dialog is not None else ""
    ending.discard(key)
    call = call_of(leg) if leg is not None else None
    if call is not None and call is not transfer.call:
        call.bridge.release(REPLACED, now, "caller" if leg is call.bridge.origin else "callee")
    elif not told and now < transfer.until:
        ending.add(key)
        _wake(transfer, LOOK_S, LOOK, now)


def _is_busy(call: Call, leg: InviteUsage) -> bool:
    """Whether the session of a leg is being changed by anything but this transfer. An ACK that is due from the same
    transfer under a former server does not count."""
    bridge = call.bridge
    pending = leg.client_invite.pending or leg.server_invite.pending or bridge.joining
    return bool(pending) or leg.server_invite.awaits_ack or (leg.ack.pending and not bridge.carried_out)


# Requests to the parties.


def _site_lines(transfer: Transfer, leg: InviteUsage, number: int) -> tuple[str, ...]:
    """The site's header lines for a request to a leg, with ``number`` as its attempt; none towards an own line."""
    if leg.path.reach is not None:
        return ()
    branch = transfer.request.branch if transfer.request is not None else ""
    origin = origin_of(transfer.agent or transfer.transfers.node, branch)
    return (f"Call-Origin: {origin};{number}", *transfer.transfers.services.site_headers)


def _ask(transfer: Transfer, what: str, leg: InviteUsage, lines: tuple[str, ...], body: bytes, now: float) -> None:
    """Send a re-INVITE of kind ``what``."""
    call = call_of(leg)
    device_leg = call.device_legs.get(leg) if call is not None else None
    if call is not None and device_leg is not None:
        call.services.cookies.put(call)
        if what in (OFFER, STAYS):
            clear_cookie(device_leg)
        body, lines = device_leg.told(_request("INVITE", lines, body)), (*lines, *device_leg.session.asking())
    lines = (ALLOW, *lines, *_site_lines(transfer, leg, KEYS[what] + transfer.tries))
    leg.send("INVITE", lines, body, now, Ask(transfer, what), no_timeout=device_leg is None)


def _offer_to_remaining(transfer: Transfer, now: float) -> None:
    """Send the target's offer to the party that stays; if its session is being changed, try again in a moment."""
    call, offer = transfer.call, transfer.offer
    stays = call.bridge.other(transfer.referrer)
    if transfer.state is not ASKING or offer is None:
        return
    if not call.bridge.complete or stays is None or _is_busy(call, stays):
        _wake(transfer, LOOK_S, STAYS, now)
    else:
        _ask(transfer, STAYS, stays, _content(offer), offer.body, now)


def _request(method: str, lines: Sequence[str], body: bytes) -> Request:
    """A request with these header lines and body, as input for a device leg's offer/answer."""
    return Request(method, "", [field_of(line) for line in lines], list(lines), body)


def _content(response: Response) -> tuple[str, ...]:
    """The header lines of a response that describe its body."""
    return tuple(lines_of_body(crossing(response)))


def _acknowledge(
    transfer: Transfer, call: Call, leg: InviteUsage, agent: str, answer: Response | None, now: float
) -> None:
    """Send the ACK for a re-INVITE or for the target's INVITE, with the SDP of ``answer`` if the 2xx had an offer."""
    services = transfer.transfers.services
    lines, body = (_content(answer), answer.body) if answer is not None else ((), b"")
    if (device_leg := call.device_legs.get(leg)) is not None:
        leg.acknowledge(lines, device_leg.told(_request("ACK", lines, body)), now)
    else:
        leg.acknowledge((*lines, *services.site_headers, *services.token_lines(call, agent)), body, now)


# NOTIFYs to the referrer (RFC 3515 section 2.4.4).


def _tell(transfer: Transfer, status: int, now: float) -> None:
    """Notify the referrer of a status."""
    if transfer.notices.add(status):
        _continue_notifying(transfer, now)


def _continue_notifying(transfer: Transfer, now: float) -> None:
    hears = transfer.bye is None and not transfer.referrer.ended
    if status := transfer.notices.next(hears):
        _notify(transfer, status, now)
    elif transfer.notices.is_over(hears):
        transfer.step(TOLD, None, now)


def _notify(transfer: Transfer, status: int, now: float) -> None:
    lines, body = notice_of(status, LONGEST_S)
    lines = (*lines, *_site_lines(transfer, transfer.referrer, status))
    transfer.referrer.send("NOTIFY", lines, body, now, Ask(transfer, NOTIFY))


def _conclude(transfer: Transfer, now: float) -> None:
    """Answer the REFER finally, as all parties know the outcome: the agent need not keep it any more."""
    refer, transfer.refer = transfer.refer, None
    if refer is not None and transfer.request is not None:
        transfer.referrer.reply(refer, accepted_by(transfer.request), now, lines=_granted(transfer))


def _granted(transfer: Transfer) -> tuple[str, ...]:
    """The header lines of the answer to the REFER."""
    asked = transfer.request
    return ("Refer-Sub: false",) if asked is not None and _declines_notify(asked) else ()


def _note_refusal(services: CallServices, line: str, status: int, now: float) -> None:
    """Say why a user cannot transfer calls, where the site file is the reason: a device shows at most that it was
    declined."""
    if status == REFUSED:
        said = (
            "%s asks for a transfer (REFER), and a line that has to do with it refuses transfers: let its transfer be"
            ' "serve" (or "pass", where the other side may be told of it)'
        )
        services.stack.limited_logger.warning(logger, now, said, line or "a device", line=line)


def _declines_notify(refer: Request) -> bool:
    """Whether the referrer wants no NOTIFYs: Refer-Sub (RFC 4488 section 4)."""
    return (refer.get("refer-sub") or "").strip().lower() == "false"


# Actions of the table: (transfer, subject, now).


def _notify_progress(transfer: Transfer, status: int, now: float) -> None:
    if status in (180, 183):
        _tell(transfer, status, now)


def _ask_stays(transfer: Transfer, subject: tuple[InviteUsage, Response], now: float) -> None:
    transfer.target, transfer.offer = subject
    if transfer.offer.body:
        _offer_to_remaining(transfer, now)
    else:
        transfer.step(DECLINED, 488, now)


def _ask_later(transfer: Transfer, subject: tuple[str, Response | None], now: float) -> None:
    """Send a request again later, which was refused for the moment or by an agent's fence."""
    what, response = subject
    leg = transfer.target if what is OFFER else transfer.call.bridge.other(transfer.referrer)
    ours = leg is not None and leg.dialog.direction == UAC
    wait = LOOK_S if response is None else wait_after(response, ours, transfer.transfers.services.chance)
    _wake(transfer, wait, STAYS if what is STAYS else LOOK, now)


def _join(transfer: Transfer, answer: Response, now: float) -> None:
    """The party that stays has answered: join it with the target. The new call begins with the ACK to the target."""
    call, referrer, target, offer = transfer.call, transfer.referrer, transfer.target, transfer.offer
    bridge, former = call.bridge, call.state
    stays = bridge.other(referrer)
    assert target is not None and offer is not None and stays is not None
    called = referrer is not bridge.origin
    services = transfer.transfers.services
    services.records.write(
        former, call.wall_offset, 200, "callee" if called else "caller", now, TRANSFERRED, call.because
    )
    made, other = transfer.target_call, call_of(target)
    if made is not None:
        side, state = side_of(made.state, False), made.state
        take_target(call, made, target)
        transfer.target_call = None
        call.state = joined_state(
            former, side_of(former, called), side, state, transfer.part, transfer.line, now + call.wall_offset
        )
    elif other is not None:
        side = side_of(other.state, target is other.bridge.origin)
        take_from(call, other, target)
        call.state = joined_state(
            former, side_of(former, called), side, None, transfer.part, transfer.line, now + call.wall_offset
        )
    call.give_line(transfer.line)
    set_legs(bridge, stays, target, referrer)
    call.services.cookies.put(call)
    call.held = held_after("", "b", offer.body, answer.body)
    _acknowledge(transfer, call, target, call.state.callee_agent, answer, now)
    _acknowledge(transfer, call, stays, call.state.caller_agent, None, now)
    if made is None and other is not None:
        other.bridge.release(REPLACED, now, "callee" if other.bridge.origin is None else "caller")
    transfer.generation += 1
    _tell(transfer, 200, now)


def _go_on_joined(transfer: Transfer, _: None, now: float) -> None:
    """A former server has joined the parties already: drop the call to the target, and notify the referrer."""
    transfer.generation += 1
    target, transfer.target_call = transfer.target_call, None
    if target is not None:
        target.target_of = None
        target.bridge.drop()
    _end_replaced(transfer, now)
    _tell(transfer, 200, now)


def _await_bye(transfer: Transfer, _: None, now: float) -> None:
    _conclude(transfer, now)
    if transfer.bye is not None:
        transfer.step(HUNG_UP, None, now)
    else:
        _wake(transfer, PARTING_S, PARTING, now)


def _part(transfer: Transfer, _: None, now: float) -> None:
    """End the referrer's leg: answer its BYE, or hang up."""
    _conclude(transfer, now)
    if transfer.bye is not None:
        transfer.referrer.reply(transfer.bye[0], 200, now)
    elif not transfer.referrer.ended:
        transfer.transfers.services.discarded.hang_up(transfer.referrer, REPLACED, now)
    call = transfer.call
    call.bridge.leaving = call.transfer = None
    if transfer.referrer in call.device_legs:
        call.device_legs[transfer.referrer].stop()


def _fail(transfer: Transfer, status: int, now: float) -> None:
    transfer.generation += 1
    _note_refusal(transfer.transfers.services, transfer.line, status, now)
    _give_target_up(transfer, now)
    _tell(transfer, status if status >= 300 else 480, now)


def _give_target_up(transfer: Transfer, now: float) -> None:
    """Release the target. A call that was made to it ends. In an attended transfer it goes on in its own call, whose
    other side is asked to answer the offer that the target has made."""
    made, transfer.target_call = transfer.target_call, None
    target, offer = transfer.target, transfer.offer
    if made is not None:
        made.target_of = None
        made.bridge.release("SIP;cause=487", now, "caller", 200 if made.state.answered else 487)
    elif target is not None and offer is not None and (other := call_of(target)) is not None and target.ack.pending:
        across = other.bridge.other(target)
        if across is None or across.client_invite.pending or across.server_invite.pending:
            _acknowledge(transfer, other, target, other.agent_of(target), None, now)
        else:
            transfer.tries = 0
            _ask(transfer, BACK, across, _content(offer), offer.body, now)


def _restore(transfer: Transfer, what: str, accepted: Response | None, now: float) -> None:
    """Go on undoing a failed transfer, with the 2xx to a request of kind ``what`` (None: it was refused). Both sides
    of a call are to have a session with each other again, the one answering the other's offer.
    """
    call = transfer.call
    if what is STAYS:
        stays, referrer = call.bridge.other(transfer.referrer), transfer.referrer
        if accepted is None or stays is None or not stays.ack.pending:
            return
        _acknowledge(transfer, call, stays, call.agent_of(stays), None, now)
        if call.bridge.phase is TALKING and not referrer.ended and not _is_busy(call, referrer):
            transfer.target = referrer
            _ask(transfer, RENEW, referrer, (), b"", now)
    elif what in (OFFER, RENEW):
        if accepted is not None:
            transfer.offer = accepted
            _give_target_up(transfer, now)
    elif (target := transfer.target) is not None and (asked := call_of(target)) is not None and target.ack.pending:
        across = asked.bridge.other(target)
        _acknowledge(transfer, asked, target, asked.agent_of(target), accepted, now)
        if accepted is not None and across is not None:
            _acknowledge(transfer, asked, across, asked.agent_of(across), None, now)


def _return_to_call(transfer: Transfer, _: None, now: float) -> None:
    """The transfer has failed and the call goes on, unless the referrer has hung up meanwhile."""
    _conclude(transfer, now)
    call, bye = transfer.call, transfer.bye
    call.transfer = None
    if bye is not None:
        call.bridge.step(ENDED, transfer.referrer, bye[0], bye[1], now)


def _give_up(transfer: Transfer, _: None, now: float) -> None:
    """The call has ended, as the party that stays has hung up."""
    _give_target_up(transfer, now)
    _conclude(transfer, now)
    if transfer.bye is not None:
        transfer.referrer.reply(transfer.bye[0], 200, now)


def _let_be(transfer: Transfer, _: None, now: float) -> None:
    """Do nothing: the referrer's BYE waits for the outcome."""


TRANSFERRED: Final = "transferred"
"""The reason in the call record of a part that ended with a transfer."""

Action = Callable[[Any, Any, float], None]

TABLE: Final[dict[tuple[str, str], tuple[str, Action]]] = {
    (CALLING, PROGRESSED): (CALLING, _notify_progress),
    (CALLING, OFFERED): (ASKING, _ask_stays),
    (CALLING, BUSY): (CALLING, _ask_later),
    (CALLING, TARGET_FAILED): (FAILED, _fail),
    (CALLING, FOUND): (JOINED, _go_on_joined),
    (CALLING, HUNG_UP): (CALLING, _let_be),
    (CALLING, CALL_ENDED): (OVER, _give_up),
    (ASKING, BUSY): (ASKING, _ask_later),
    (ASKING, AGREED): (JOINED, _join),
    (ASKING, DECLINED): (FAILED, _fail),
    (ASKING, TARGET_FAILED): (FAILED, _fail),
    (ASKING, FOUND): (JOINED, _go_on_joined),
    (ASKING, HUNG_UP): (ASKING, _let_be),
    (ASKING, CALL_ENDED): (OVER, _give_up),
    (JOINED, TOLD): (JOINED, _await_bye),
    (JOINED, HUNG_UP): (OVER, _part),
    (JOINED, WAITED): (OVER, _part),
    (JOINED, CALL_ENDED): (OVER, _give_up),
    (FAILED, TOLD): (OVER, _return_to_call),
    (FAILED, HUNG_UP): (OVER, _return_to_call),
    (FAILED, CALL_ENDED): (OVER, _give_up),
}
"""``(state, event) -> (next, action)``; other events are ignored."""
