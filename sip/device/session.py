"""The session with a device in one dialog: what was described to it (RFC 3264), and its timer (RFC 4028).

Agents have one for each call, servers one for each leg with a trunk of their own. What it asks and answers by itself
never leaves the hop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final, Protocol

from sip.device.identity import POLICY_FIELDS
from sip.device.session_timer import SessionTimer, asked_by, supports
from sip.dialog import UAC
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.offer_answer import LOCAL_CHANGE, LOCAL_OFFER, OfferAnswer, description_in
from sip.transaction import ServerTransaction
from sip.wire import sdp, sdp_body
from sip.wire.message import Message, Request, Response

REFRESH: Final = "refresh"
"""The context of a re-INVITE that only refreshes the session."""
SDP: Final = "Content-Type: application/sdp"
DUE: Final = "session timer"
LONGEST_SLEEP: Final = 60.0
"""Most seconds between two checks of the timer, so that no deadline keeps the session of an ended call for hours."""
_BUSY_S: Final = 2.0
_USUAL: Final = (1800, 90)
"""Session interval and minimum, in seconds, where the device asks for a timer and its line has none."""


class TimerSettings(Protocol):
    """``session_timer`` of a line, in seconds."""

    @property
    def expires(self) -> int: ...

    @property
    def min_se(self) -> int: ...


HangUp = Callable[[str, int, float], None]
"""Ends the call on both sides, with a Reason, as of that status."""


class DeviceSession:
    """The session of one dialog with a device."""

    __slots__ = (
        "_asked",
        "_hang_up",
        "_looks_at",
        "_random",
        "_stack",
        "changed",
        "generation",
        "leg",
        "offers",
        "timer",
    )

    def __init__(self, stack: Stack, random: Random, hang_up: HangUp, offers: OfferAnswer | None = None) -> None:
        """``offers``: the dialog's offer/answer state if it is kept elsewhere, as with a media relay."""
        self._stack = stack
        self._random = random
        self._hang_up: HangUp | None = hang_up
        self.changed: Callable[[float, bool], None] | None = None
        """Called when this hop does something by itself. The flag: the message is about to be sent, so the change
        must be recorded before."""
        self._looks_at = 0.0
        self._asked = 0
        """The number of ``m=`` sections that the far side has offered, if the device was offered more (padded with
        those that it knew before); 0 if not."""
        self.generation = 0
        self.leg: InviteUsage | None = None
        """The dialog, once it is known."""
        self.offers = offers or OfferAnswer()
        self.timer: SessionTimer | None = None

    def called(self, settings: TimerSettings | None, now: float) -> None:
        """We call the device: a session timer runs if its line asks for one."""
        if settings is not None:
            self.timer = SessionTimer(settings.expires, settings.min_se, now)

    def calls(self, settings: TimerSettings | None, request: Request, now: float) -> None:
        """The device calls with this INVITE: a session timer runs if its line or the device asks for one."""
        if settings is not None:
            self.timer = SessionTimer(settings.expires, settings.min_se, now)
        elif asked_by(request) is not None and supports(request):
            self.timer = SessionTimer(*_USUAL, now)

    def stop(self) -> None:
        """The call is over for its parties: stop the timer."""
        self.generation += 1
        self.timer = self.leg = self._hang_up = self.changed = None

    # What crosses.

    def heard(self, message: Message) -> bytes:
        """Process the session description of a device's message. Returns the body for the far side; an answer in it
        has no more sections than the far side has offered (RFC 3264 section 6)."""
        where = description_in(message)
        if where is None:
            return message.body
        said, offers = message.body[where.start : where.stop], self.offers
        offers.receive(said)
        if not self._asked or offers.state not in (LOCAL_OFFER, LOCAL_CHANGE) or sdp.count(said) <= self._asked:
            return message.body
        with suppress(sdp.SdpError):
            return sdp_body.replace(message.body, where, sdp.shortened(said, self._asked))
        return message.body

    def told(self, message: Message) -> bytes:
        """The body of a message of the far side as the device gets it: always with the same origin line (o=),
        whatever is on the far side."""
        where = description_in(message)
        if where is None:
            return message.body
        said = message.body[where.start : where.stop]
        passed = self.offers.continued(said)
        self.offers.send(passed)
        if passed is not said:
            asked = sdp.count(said)
            self._asked = asked if sdp.count(passed) > asked else 0
        return message.body if passed is said else sdp_body.replace(message.body, where, passed)

    def asking(self) -> list[str]:
        """The session timer's header lines for an INVITE to the device."""
        return self.timer.asking() if self.timer is not None else []

    def agree(self, request: Request | None, now: float) -> list[str]:
        """The session timer's header lines for our 2xx to an INVITE of the device."""
        if self.timer is None or request is None:
            return []
        lines = self.timer.agree(request, now)
        self.arm(now)
        return lines

    def learn(self, response: Response, now: float) -> None:
        """Process a 2xx of the device to an INVITE of ours."""
        if self.timer is not None:
            self.timer.learn(response, now)
            self.arm(now)

    def raised(self, leg: InviteUsage, response: Response) -> bool:
        """Whether an INVITE that met a 422 is to be sent once more, with a longer interval (RFC 4028 section 7.3)."""
        return self.timer is not None and not leg.client_invite.cancelling and self.timer.raised(response)

    # What stays on the hop.

    def answer_refresh(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Answer a re-INVITE that changes nothing, or asks for too short an interval. False when it is neither.

        No 100 is sent before the answer: if we died in between, the device would wait for the answer in vain."""
        timer = self.timer
        if request.method == "UPDATE":
            return self._answer_update(leg, transaction, request, now)
        if timer is None:
            return False
        if too_little := timer.asks_too_little(request):
            leg.reply(transaction, 422, now, lines=too_little)
            return True
        where = description_in(request)
        if where is None or not self.offers.refreshes(request.body[where.start : where.stop]):
            return False
        lines = [*self.agree(request, now), ALLOW, SDP]
        leg.reply(transaction, 200, now, lines=lines, body=self.offers.local)
        self._note(now)
        return True

    def _answer_update(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Answer an UPDATE without an offer and without a new identity: it refreshes the session and the target
        only."""
        if self.timer is not None and (too_little := self.timer.asks_too_little(request)):
            leg.reply(transaction, 422, now, lines=too_little)
        elif request.body or not POLICY_FIELDS.isdisjoint(request.names):
            return False
        else:
            leg.reply(transaction, 200, now, lines=[*self.agree(request, now), ALLOW])
            self._note(now)
        return True

    def refreshed(self, leg: InviteUsage, response: Response, now: float) -> None:
        """Process the answer to our own refresh. A device that no longer knows the dialog has ended the call."""
        if 200 <= response.status < 300:
            if response.cseq_method == "INVITE":
                leg.acknowledge((), b"", now)
            else:
                self.learn(response, now)
            self._note(now)
        elif response.status in (405, 501) and self.timer is not None and self.timer.by_update and self.offers.local:
            self.timer.by_update = False
            self._refresh(self.timer, leg, now)
        elif response.status >= 300 and (timer := self.timer) is not None:
            if timer.refused(response, leg.dialog.direction == UAC, self._random, now):
                self.arm(now)
            else:
                self._end('SIP;cause=481;text="The device does not know the call"', 481, now)

    def gone(self, now: float) -> None:
        """The device has not answered a re-INVITE: end the call (RFC 3261 section 12.2.1.2)."""
        self._end('SIP;cause=408;text="The device is gone"', 408, now)

    # Time.

    def arm(self, now: float) -> None:
        """Set the deadline for the next check of the timer."""
        timer = self.timer
        if timer is not None:
            at = min(timer.next_at, now + LONGEST_SLEEP)
            if self._looks_at <= now or at < self._looks_at:
                self._looks_at = at
                self._stack.deadlines.set(at, self, DUE)

    def due(self, cause: str, now: float) -> None:
        timer, leg = self.timer, self.leg
        if timer is None or leg is None or now < self._looks_at:
            return
        if now >= timer.expires_at:
            self._end('SIP;cause=408;text="Session expired"', 408, now)
            return
        if timer.ours and now >= timer.refresh_at:
            self._refresh(timer, leg, now)
        self.arm(now)

    def _refresh(self, timer: SessionTimer, leg: InviteUsage, now: float) -> None:
        busy = leg.client_invite.pending is not None or leg.server_invite.pending is not None
        if busy or now < leg.ack.free_at or leg.server_invite.awaits_ack:
            timer.refresh_at = now + _BUSY_S
            return
        timer.refresh_at = timer.expires_at
        # a re-INVITE without an offer would ask for one, and nobody is there to answer that
        body = b"" if timer.by_update else self.offers.local
        lines = [SDP, ALLOW] if body else [ALLOW]
        leg.send("INVITE" if body else "UPDATE", [*lines, *timer.asking()], body, now, REFRESH)
        self._note(now, True)

    def _note(self, now: float, at_once: bool = False) -> None:
        if self.changed is not None:
            self.changed(now, at_once)

    def _end(self, reason: str, status: int, now: float) -> None:
        if self._hang_up is not None:
            self._hang_up(reason, status, now)


def for_device(status: int, lines: Sequence[str]) -> int:
    """The status to send to a device instead of one that would mean nothing to it: a challenge of another hop, or a
    redirection without Contact."""
    if 300 <= status < 400:
        return status if any(line.startswith("Contact:") for line in lines) else 480
    return 403 if status in (401, 407) else status
