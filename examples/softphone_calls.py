"""What a softphone does with calls: by verbs, by policy, and by what the other side says (RFC 3261, RFC 3264)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Final
from urllib.parse import quote

from examples.softphone_call import (
    ANSWER,
    ANSWERED,
    CALLING,
    CHANGE,
    DELAYED,
    ENDED,
    FORGET,
    HANG_UP,
    INCOMING,
    OFFERED,
    RING,
    TALKING,
    Call,
    Event,
    Line,
    word_of,
)
from sip.actions import Address
from sip.device.reliability import is_reliable, supports
from sip.dialog import called_by
from sip.digest import Refusal
from sip.invite import InviteUsage
from sip.invite.reliable import RELIABLE
from sip.layer import Stack
from sip.references import DialogId, ReferTo
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request, Response
from sip.wire.sdp import Direction, MediaAddress, continued, count, direction, endpoints
from sip.wire.uri import host_port

SDP_TYPE: Final = "Content-Type: application/sdp"
CAMERA: Final = MediaAddress("", 0, 0, "RTP/AVP", "video", True, formats=("96",))
ALLOW: Final = "Allow: INVITE, ACK, BYE, CANCEL, INFO, OPTIONS, PRACK, UPDATE"


class Calls:
    """The owner of all legs of a phone."""

    stack: Stack

    def __init__(self, random: Random, place: Callable[[Line], Address]) -> None:
        self.random = random
        self.place = place
        """Where a new call of a line wants its RTP."""
        self.counters: Counter[str] = Counter()
        """What should not happen: stray messages, timeouts, merged requests."""
        self._events: deque[Event] = deque()
        self._calls: dict[str, Call] = {}
        self._words: dict[str, str] = {}

    # -- what a user does -----------------------------------------------------------------------------------------

    def ring(self, call: Call, now: float, early: bool = False) -> None:
        """180, or 183 with a description."""
        invite = call.leg.server_invite.pending
        if invite is None or call.state is not INCOMING:
            return
        able = invite.request is not None and supports(invite.request)
        lines = (RELIABLE,) if call.policy.reliable and able else ()
        if early and (call.received_sdp or lines):
            call.early_media = True
            self._answer_offer(call)
            call.leg.reply(invite, 183, now, lines=(SDP_TYPE, *lines), body=call.sent_sdp)
            call.agreed_early = bool(lines)
        else:
            call.leg.reply(invite, 180, now, lines=lines)

    def answer(self, call: Call, now: float) -> None:
        """200 with our answer, or with an offer when the INVITE had none."""
        invite = call.leg.server_invite.pending
        if invite is None or call.state is not INCOMING:
            return
        call.state = TALKING
        call.status = 200
        call.answered_at = now
        if call.agreed_early:  # the answer has gone, or come, before
            call.leg.reply(invite, 200, now, lines=(ALLOW,))
        else:
            self._answer_offer(call)
            call.leg.reply(invite, 200, now, lines=(ALLOW, SDP_TYPE), body=call.sent_sdp)
        self._plan_end(call, now)

    def reject(self, call: Call, status: int, now: float) -> None:
        """Refuse an incoming call."""
        invite = call.leg.server_invite.pending
        if invite is not None and call.state is INCOMING:
            call.status = status
            moved_to = call.policy.moved_to
            call.leg.reply(invite, status, now, lines=[f"Contact: <{moved_to}>"] if moved_to else ())
            self._end(call, now)
            self.tell("refused", call.line, call, str(status), now)

    def cancel(self, call: Call, now: float) -> None:
        """Give up a call that was not answered yet."""
        if call.state is CALLING:
            call.leg.cancel(now)

    def hold(self, call: Call, now: float) -> None:
        """Re-INVITE with ``a=sendonly``."""
        self._change(call, True, now)

    def resume(self, call: Call, now: float) -> None:
        """Re-INVITE with ``a=sendrecv``."""
        self._change(call, False, now)

    def reoffer(self, call: Call, now: float) -> None:
        """Re-INVITE without an offer: the other side makes it."""
        if (
            call.state is TALKING
            and call.leg.client_invite.pending is None
            and call.leg.server_invite.pending is None
        ):
            call.leg.send("INVITE", (), b"", now, DELAYED)

    def update(self, call: Call, held: bool, now: float) -> None:
        """UPDATE with an offer (RFC 3311), also before the call is answered."""
        call.held = held
        call.sent_sdp = self._description(call, OFFERED[held, call.held_there])
        call.leg.send("UPDATE", (ALLOW, SDP_TYPE), call.sent_sdp, now)

    def transfer(self, call: Call, number: str, instead_of: Call | None, now: float) -> None:
        """REFER the other side to a number, or to who is on another call of ours (RFC 3515, RFC 3891)."""
        headers = ""
        if instead_of is not None:
            dialog = instead_of.leg.dialog
            named = DialogId(dialog.call_id, dialog.remote_tag, dialog.local_tag)
            headers = f"?Replaces={quote(str(named), safe='')}"
        host = call.line.aor.rpartition("@")[2]
        call.leg.send("REFER", (f"Refer-To: <sip:{number}@{host}{headers}>",), b"", now)

    def info(self, call: Call, digit: str, now: float) -> None:
        """INFO with a DTMF digit."""
        if call.state is TALKING:
            body = f"Signal={digit}\r\nDuration=160\r\n".encode()
            call.leg.send("INFO", ("Content-Type: application/dtmf-relay",), body, now)

    def bye(self, call: Call, now: float) -> None:
        """Hang up."""
        if call.state is TALKING:
            call.leg.send("BYE", (), b"", now)
            self._end(call, now)
            self.tell("ended", call.line, call, "by us", now)

    def hang_up(self, call: Call, now: float) -> None:
        """Whatever ends the call in its state: BYE, CANCEL, or 603."""
        if call.state is TALKING:
            self.bye(call, now)
        elif call.state is CALLING:
            self.cancel(call, now)
        else:
            self.reject(call, 603, now)

    @property
    def calls(self) -> list[Call]:
        """All calls that have not ended."""
        return [call for call in self._calls.values() if call.state is not ENDED]

    # -- Owner of the legs -----------------------------------------------------------------------------------------

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is not None:
            if ack.body:
                call.received_sdp = ack.body
            self.tell("pracked" if ack.method == "PRACK" else "acknowledged", call.line, call, "", now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is not None and transaction.method in ("UPDATE", "PRACK") and response.status >= 200:
            if response.status < 300 and response.body:
                call.received_sdp = response.body
            kind = "updated" if transaction.method == "UPDATE" else "agreed"
            self.tell(kind, call.line, call, str(response.status), now)
        if call is None or call.leg is not leg or transaction.method != "INVITE":
            return
        if call.state is CALLING:
            self._progressed(call, response, now)
        elif response.status >= 200:
            self._changed(call, transaction, response, now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        call = self._calls.get(leg.dialog.call_id)
        if call is None or transaction.method not in ("INVITE", "BYE"):
            self.counters[f"{transaction.method} timed out"] += 1
        elif call.state is CALLING:
            self._failed(call, 408, now)
        elif call.state is TALKING:
            call.wanted = None
            self.counters["INVITE timed out"] += 1

    def unacknowledged(self, leg: InviteUsage, now: float) -> None:
        self.counters["unacknowledged"] += 1
        call = self._calls.get(leg.dialog.call_id)
        if call is not None:
            self.bye(call, now)

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> tuple[str, ...]:
        return ()

    # -- what calls do by themselves ---------------------------------------------------------------------------------

    def due(self, call: Call, cause: str, now: float) -> None:
        """A deadline of a call."""
        if cause is RING:
            self.ring(call, now, call.policy.early)
        elif cause is ANSWER:
            self.answer(call, now)
        elif cause is HANG_UP:
            self.bye(call, now)
        elif cause is CHANGE:
            if call.wanted is not None:
                self._change(call, call.wanted, now)
        elif cause is FORGET:
            call_id = call.leg.dialog.call_id
            self._calls.pop(call_id, None)
            call.line.calls.pop(call_id, None)

    def given_up(self, leg: InviteUsage, invite: ServerTransaction, now: float) -> None:
        """A CANCEL came for an INVITE that is not answered; that was answered 200 already."""
        call = self._calls.get(leg.dialog.call_id)
        if call is not None:
            leg.reply(invite, 487, now)
            if call.state is INCOMING:
                call.status = 487
                self._end(call, now)
                self.tell("cancelled", call.line, call, "", now)

    def interned(self, word: str) -> str:
        """One string for all that are equal."""
        return self._words.setdefault(word, word)

    def tell(self, kind: str, line: Line, call: Call | None, detail: str, now: float) -> None:
        self._events.append(Event(kind, line, call, detail, now))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _keep(self, call: Call) -> None:
        call_id = call.leg.dialog.call_id
        self._calls[call_id] = call
        call.line.calls[call_id] = call

    def _invite(self, call: Call, lines: tuple[str, ...], now: float) -> None:
        more = [*call.lines, *lines, ALLOW]
        if call.subject:
            more.append(f"Subject: {call.subject}")
        if call.sent_sdp:
            more.append(SDP_TYPE)
        call.leg.call(call.uri, more, call.sent_sdp, now, lines)

    def _description(self, call: Call, wanted: Direction, answers: bool = False) -> bytes:
        """Our side, in the direction given, as an offer or as an answer; its version grows when it says something new
        (RFC 3264 section 8)."""
        host, port = call.place
        family = "IP6" if ":" in host else "IP4"
        body = (
            f"v=0\r\no={call.line.user} {int(call.began_at * 1000)} 1 IN {family} {host}\r\n"
            f"s=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na={wanted}\r\n"
        ).encode()
        body += _further(call, call.received_sdp if answers else b"", wanted)
        return continued(call.sent_sdp, body) if call.sent_sdp else body

    def _answer_offer(self, call: Call) -> None:
        """Make ``sent_sdp`` the answer to what came, or an offer when nothing did."""
        wanted: Direction = "sendrecv"
        if call.received_sdp:
            try:
                offered = direction(call.received_sdp)
                wanted = ANSWERED[offered]
                call.held_there = offered in ("sendonly", "inactive")
            except SipError:
                self.counters["unreadable SDP"] += 1
        if call.held:
            wanted = "sendonly" if wanted in ("sendrecv", "sendonly") else "inactive"
        call.sent_sdp = self._description(call, wanted, bool(call.received_sdp))

    def _ring_up(self, line: Line, transaction: ServerTransaction, request: Request, now: float) -> None:
        leg = InviteUsage(self.stack, self, transaction.flow, called_by(request, self.stack.token()))
        leg.server_invite.latest = transaction
        transaction.context = leg
        self._retarget(leg)
        call = Call(self, line, leg, False, now)
        call.uri = request.uri
        call.received_sdp = request.body
        call.subject = request.get("subject") or ""
        call.heard.append(self.interned(word_of(request)))
        self._keep(call)
        self.tell("incoming", line, call, request.uri, now)
        policy = call.policy
        if policy.refuse:
            self.reject(call, policy.refuse, now)
            return
        if policy.ring_after == 0.0:
            self.ring(call, now, policy.early)
        elif policy.ring_after is not None:
            self.stack.deadlines.set(now + policy.ring_after, call, RING)
        if policy.answer_after == 0.0:
            self.answer(call, now)
        elif policy.answer_after is not None:
            self.stack.deadlines.set(now + policy.answer_after, call, ANSWER)

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in the dialog."""
        call = self._calls.get(leg.dialog.call_id)
        if call is None:
            leg.reply(transaction, 481, now)
            return
        if transaction.flow.transport != "udp":
            leg.dialogs.move(transaction.flow)  # the stream that the other side has now
        self._retarget(leg)
        if request.method == "INVITE":
            if request.body and b"m=audio " not in request.body:
                leg.reply(transaction, 488, now)  # a fax machine's, for one: all stays as it was
                self.tell("refused", call.line, call, "488", now)
                return
            if request.body:
                call.received_sdp = request.body
                self._answer_offer(call)
            else:
                call.sent_sdp = self._description(call, OFFERED[call.held, call.held_there])
            leg.reply(transaction, 200, now, lines=(ALLOW, SDP_TYPE), body=call.sent_sdp)
            self.tell("changed", call.line, call, call.media_direction, now)
        elif request.method in ("UPDATE", "PRACK"):
            body = b""
            if request.body:
                call.received_sdp = request.body
                if request.method == "UPDATE":
                    self._answer_offer(call)
                    body = call.sent_sdp
            leg.reply(transaction, 200, now, lines=(ALLOW, SDP_TYPE) if body else (ALLOW,), body=body)
            self.tell(request.method.lower(), call.line, call, call.media_direction, now)
        elif request.method == "REFER":
            leg.reply(transaction, 202, now)
            call.refer = ReferTo.of(request)
            self._report(call, "100 Trying", now)
            self.tell("refer", call.line, call, request.get("refer-to") or "", now)
        elif request.method == "NOTIFY":
            leg.reply(transaction, 200, now)
            said = request.body.decode("latin-1").strip()
            self.tell("notify", call.line, call, said, now)
            if not said.startswith("SIP/2.0 1"):
                self.tell("concluded", call.line, call, said, now)
        elif request.method == "INFO":
            leg.reply(transaction, 200, now)
            self.tell("info", call.line, call, request.body.decode("latin-1"), now)
        elif request.method == "BYE":
            leg.reply(transaction, 200, now)
            self._end(call, now)
            self.tell("ended", call.line, call, request.get("reason") or "", now)
        else:
            leg.reply(transaction, 200 if request.method == "OPTIONS" else 405, now, lines=(ALLOW,))

    def _report(self, call: Call, status: str, now: float) -> None:
        """Tell who transferred us how that goes (RFC 3515 section 2.4.5)."""
        state = "active;expires=60" if status.startswith("1") else "terminated;reason=noresource"
        lines = ("Event: refer", f"Subscription-State: {state}", "Content-Type: message/sipfrag;version=2.0")
        if call.state is TALKING:
            call.leg.send("NOTIFY", lines, f"SIP/2.0 {status}\r\n".encode(), now)

    def _progressed(self, call: Call, response: Response, now: float) -> None:
        """A response to our first INVITE."""
        status = response.status
        if status < 200:
            if response.body:
                call.received_sdp = response.body
                call.early_media = True
                if not call.sent_sdp and is_reliable(response):
                    self._answer_offer(call)
                    call.leg.send("PRACK", (SDP_TYPE,), call.sent_sdp, now)
            if status > 100:
                self.tell("progress" if response.body else "ringing", call.line, call, str(status), now)
        elif status < 300:
            self._retarget(call.leg)
            call.state = TALKING
            call.status = status
            call.answered_at = now
            self._acknowledge(call, response, not call.sent_sdp, now)
            if call.on_behalf is not None:
                self._report(call.on_behalf, f"{status} OK", now)
            self.tell("answered", call.line, call, str(status), now)
            if call.leg.client_invite.cancelling:
                self.bye(call, now)
            else:
                self._plan_end(call, now)
        elif not self._authorized(call, response, now):
            self._failed(call, status, now)

    def _acknowledge(self, call: Call, response: Response, offered: bool, now: float) -> None:
        """ACK, with our answer when the 2xx made the offer."""
        if response.body:
            call.received_sdp = response.body
        if offered:
            self._answer_offer(call)
            call.leg.acknowledge((SDP_TYPE,), call.sent_sdp, now)
        else:
            call.leg.acknowledge((), b"", now)

    def _authorized(self, call: Call, response: Response, now: float) -> bool:
        """Try again with credentials (RFC 3261 section 22.2); whether that is so."""
        if response.status not in (401, 407) or call.line.digest is None:
            return False
        answer = call.line.digest.answer(response, "INVITE", call.uri, call.tried)
        if isinstance(answer, Refusal):
            return False
        call.tried = answer
        dialog = call.leg.dialog
        state = dialog.export()._replace(remote_tag="", route_set=())
        call.leg = InviteUsage(self.stack, self, call.leg.flow, state)
        self._invite(call, tuple(one.line for one in answer), now)
        return True

    def _failed(self, call: Call, status: int, now: float) -> None:
        call.status = status
        self._end(call, now)
        if call.on_behalf is not None:
            self._report(call.on_behalf, f"{status} Failed", now)
        self.tell("failed", call.line, call, str(status), now)

    def _change(self, call: Call, held: bool, now: float) -> None:
        if call.state is not TALKING:
            return
        call.wanted = held
        if call.leg.client_invite.pending is not None or call.leg.server_invite.pending is not None:
            self.stack.deadlines.set(now + 0.5, call, CHANGE)  # section 14.1: not while another one is under way
            return
        call.sent_sdp = self._description(call, OFFERED[held, call.held_there])
        call.leg.send("INVITE", (ALLOW, SDP_TYPE), call.sent_sdp, now, held)

    def _changed(self, call: Call, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The final answer to a re-INVITE."""
        status = response.status
        if status < 300:
            if isinstance(transaction.context, bool):
                call.held = transaction.context
                if call.wanted is call.held:  # else it is to change again
                    call.wanted = None
            self._retarget(call.leg)
            self._acknowledge(call, response, transaction.context == DELAYED, now)
            if call.state is TALKING:
                self.tell("changed", call.line, call, call.media_direction, now)
            return
        if call.state is not TALKING:
            return
        if call.wanted is not None and status in (491, 500, 503):
            # section 14.1: who made the Call-ID waits longer; other failures pass when the far side says when
            wait = self.random.uniform(2.1, 4.0) if call.outgoing else self.random.uniform(0.0, 2.0)
            given = response.get("retry-after") or ""
            if status != 491:
                wait = float(given) if given.isdigit() else wait
            self.stack.deadlines.set(now + wait, call, CHANGE)
        else:
            call.wanted = None
            if status in (408, 481):  # section 12.2.1.2: the dialog is gone
                self.bye(call, now)
        self.tell("unchanged", call.line, call, str(status), now)

    def _retarget(self, leg: InviteUsage) -> None:
        """Over UDP, send to where the remote target or the first route is (section 12.2.1.1)."""
        flow = leg.flow
        if flow.transport != "udp":
            return
        route = leg.dialog.route_set
        uri = route[0].partition("<")[2].partition(">")[0] if route else leg.dialog.target
        host, port = host_port(uri)
        if (host, port or 5060) != flow.remote and host[:1].isdigit():
            leg.dialogs.move(flow._replace(remote=(host, port or 5060)))

    def _plan_end(self, call: Call, now: float) -> None:
        if call.policy.hang_up_after is not None:
            self.stack.deadlines.set(now + call.policy.hang_up_after, call, HANG_UP)

    def _end(self, call: Call, now: float) -> None:
        if call.state is not ENDED:
            call.state = ENDED
            call.generation += 1
            self.stack.deadlines.set(now + self.stack.timers.lifetime + 8.0, call, FORGET)


def _further(call: Call, offered: bytes, wanted: Direction) -> bytes:
    """The sections behind the audio: of an answer those that are offered, of an offer all that the session has."""
    places: list[MediaAddress] = []
    known = offered or max(call.received_sdp, call.sent_sdp, key=count)
    if count(known) > 1:
        places = endpoints(known)[1:]
    if not offered and call.policy.video and all(place.media != "video" for place in places):
        places.append(CAMERA)
    lines = []
    for place in places:
        taken = call.policy.video and place.media == "video" and not (offered and place.rejected)
        port = call.place[1] + 2 if taken else 0
        lines.append(f"m={place.media} {port} {place.proto} {' '.join(place.formats)}\r\n")
        if taken:
            lines.append(f"a=rtpmap:96 H264/90000\r\na={wanted}\r\n")
    return "".join(lines).encode()
