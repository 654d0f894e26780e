"""The session descriptions of one call: an offer crosses from the server dialog to the device dialog or back.

Each dialog has an offer/answer machine of its own (``sip.offer_answer``). Their states differ where the agent acts in
one dialog only: in a session refresh that never leaves the device's dialog, and when the other side accepts a change
after the device was told that it had failed. Then what the device stands by counts (docs/decisions.md, 28).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.webrtc.anchor import NoLegReady, WebrtcAnchor
from sip.offer_answer import (
    LOCAL_CHANGE,
    LOCAL_OFFER,
    REMOTE_CHANGE,
    OfferAnswer,
    OfferAnswerState,
    description_in,
)
from sip.wire import sdp, sdp_body
from sip.wire.errors import Malformed
from sip.wire.message import Message, Request, Response


class Fault(NamedTuple):
    """Why the media of a call cannot be carried."""

    status: int
    because: str


class SessionDescription:
    """The session descriptions of one call. ``device`` and ``server`` are the machines of its two dialogs."""

    __slots__ = ("_standing", "anchor", "device", "gateway", "host", "server")

    def __init__(self, anchor: MediaAnchor, gateway: WebrtcAnchor) -> None:
        """``anchor``: the relay next to the device, if there is one. ``gateway``: the WebRTC gateway, between
        the relay and the servers, used where one side is a browser."""
        self.anchor = anchor
        self.gateway = gateway
        self.device = OfferAnswer()
        self.server = OfferAnswer()
        self._standing = b""
        self.host = ""
        """The host from which the device's last description came."""

    def resume(self, device: OfferAnswerState, server: OfferAnswerState, standing: bytes, host: str) -> None:
        """Restore the states from before a restart."""
        self.device, self.server = OfferAnswer(device), OfferAnswer(server)
        self._standing, self.host = standing, host

    def from_device(self, message: Message, host: str, now: float) -> bytes:
        """The body of a device's message, which came from ``host``, as the servers get it. Raises
        :class:`Malformed`, with 488, for media that cannot be carried."""
        where = description_in(message) if message.body else None
        if where is None:
            return message.body
        said = message.body[where.start : where.stop]
        # the gateway makes descriptions of its own, with the sections that each side knows
        crossing = self.server.fitted(said) if self.device.local and not self.gateway.active else said
        passed = self._led(message, crossing, lambda: self._from_device(crossing, host, now))
        self.host = host
        self.device.receive(said)
        self.server.send(passed)
        return message.body if passed is said else sdp_body.replace(message.body, where, passed)

    def from_server(self, message: Message, now: float) -> bytes:
        """The body of a server's message as the device gets it; the same body when called again. Raises as
        `from_device`."""
        where = description_in(message) if message.body else None
        if where is None:
            return message.body
        said = message.body[where.start : where.stop]
        led = self._led(message, said, lambda: self._from_server(said, now))
        self.server.receive(said)
        passed = self.device.continued(led)
        self.device.send(passed)
        return message.body if passed is said else sdp_body.replace(message.body, where, passed)

    def reserve(self, invite: Request, now: float) -> Fault | None:
        """Reserve ports and gateway legs for a server's INVITE before the device is called. Returns why there are
        none; None when all is reserved."""
        if because := self.anchor.reserve():
            return Fault(503, because)
        where = description_in(invite) if invite.body else None
        try:
            if where is not None:
                self.gateway.decide(invite.body[where.start : where.stop])
            if where is not None and self.gateway.active:
                self.gateway.from_server(invite.body[where.start : where.stop], "", self.device, self.server, True)
        except sdp.SdpError as error:
            return Fault(503 if isinstance(error, NoLegReady) else 488, str(error)) if self.gateway.active else None
        return None

    def release(self) -> None:
        """The call is over: give back the ports and legs for its media."""
        self.anchor.release()
        self.gateway.release()

    def device_moved(self, host: str, now: float) -> None:
        """The device authenticated itself at another host: accept its media from there, and not from the former
        one."""
        said = self.device.last_remote
        if host != self.host:
            self.gateway.moved(host)
        if host != self.host and said and self.anchor.is_relayed:
            self.host = host
            with suppress(sdp.SdpError):
                self.anchor.from_device(said, host, now)

    def accept(self) -> None:
        """Offer and answer were exchanged on both sides."""
        self.device.accept()
        self.server.accept()
        if self.gateway.active or self.gateway.agreed:
            self.gateway.accept()
        self._standing = self.server.local

    def refuse(self, now: float) -> None:
        """The offer was refused: both sides return to what they had agreed (RFC 3261 section 14.1)."""
        self.refuse_device(now)
        self.server.refuse()

    def refuse_device(self, now: float) -> None:
        """The device is told that its offer was refused, while the servers' side has not answered it yet."""
        changing = self.device.state in (LOCAL_CHANGE, REMOTE_CHANGE)
        self.device.refuse()
        if changing:
            self.gateway.refuse()
        if changing and self.anchor.is_relayed:  # media is sent again to where it was sent before
            with suppress(sdp.SdpError):
                self.anchor.from_device(self.device.remote, self.host, now)
            with suppress(sdp.SdpError):
                joined = self.gateway.active
                self.anchor.from_server(self.gateway.again(self.device.local) if joined else self.server.remote, now)

    def _from_device(self, said: bytes, host: str, now: float) -> bytes:
        if not self.gateway.active:
            return self.anchor.from_device(said, host, now)
        offers = self.device.state not in (LOCAL_OFFER, LOCAL_CHANGE)
        plain = said if self.gateway.browser else self.anchor.from_device(said, host, now, to_gateway=True)
        led = self.gateway.from_device(plain, host, self.device, self.server, offers)
        return self.server.continued(led)  # the o= line must continue that of earlier descriptions to the servers

    def _from_server(self, said: bytes, now: float) -> bytes:
        offers = self.server.state not in (LOCAL_OFFER, LOCAL_CHANGE)
        if offers:
            self.gateway.decide(said)
        led = said
        if self.gateway.active:
            led = self.gateway.from_server(said, self.host, self.device, self.server, offers)
            if self.gateway.browser:
                return led
        return self.anchor.from_server(led, now, b"" if offers else self.device.last_remote)

    def _led(self, message: Message, said: bytes, anchored: Callable[[], bytes]) -> bytes:
        """The description ``said`` after ``anchored`` has put the relay's addresses into it. Where the relay cannot
        carry it, an offer, or the answer that would begin the session, raises :class:`Malformed` with 488; of any
        other description all media is refused."""
        try:
            return anchored()
        except sdp.SdpError as error:
            if b"\nm=" not in said and b"\nc=" not in said:  # cut off by its Content-Length: no media, no address
                return said
            if isinstance(message, Request) and message.method in ("INVITE", "UPDATE"):
                raise Malformed(str(error), 488) from None
            if isinstance(message, Response) and message.status >= 200 and not self.device.local:
                raise Malformed(str(error), 488) from None
            return sdp.refused(said)

    @property
    def agreed(self) -> bytes:
        """The description that the device was given and agreed to. A session refresh repeats it with the same version
        (RFC 4028 section 7.4)."""
        return self.device.local

    @property
    def standing(self) -> bytes:
        """The description that the device stands by, as the servers got it; empty when there was none yet."""
        return self._standing

    def refreshes(self, message: Message) -> bool:
        """Whether a message of the device repeats exactly the description that is agreed."""
        where = description_in(message)
        return where is not None and self.device.refreshes(message.body[where.start : where.stop])

    # Where the agent acts in one dialog only.

    def answer_device_alone(self) -> bytes:
        """The answer to an offer of the device that no server answers: the last description that the device has got,
        empty when there was none."""
        answer = self.device.local
        if answer:
            self.device.send(answer)
            self.accept()
        return answer

    def overtaken(self, response: Message) -> None:
        """The servers' side accepted an offer after the device was told that it was refused."""
        where = description_in(response)
        if where is not None:
            self.server.receive(response.body[where.start : where.stop])
        self.server.accept()

    def restore(self) -> bytes:
        """The offer that brings the servers' side back to what the device stands by."""
        offer = self.server.continued(self._standing)
        self.server.send(offer)
        return offer

    def restored(self, response: Message, now: float) -> None:
        """The servers' side accepted that offer; its answer has nothing that is new to the device."""
        where = description_in(response)
        if where is not None:
            said = response.body[where.start : where.stop]
            self.server.receive(said)
            with suppress(sdp.SdpError):
                self._from_server(said, now)
        self.server.accept()

    def answer_server_alone(self, response: Message) -> bytes:
        """The answer to the offer in a 2xx that the device does not await any more (RFC 3261 section 13.2.2.4)."""
        where = description_in(response)
        if where is not None:
            self.server.receive(response.body[where.start : where.stop])
        answer = self.server.continued(self._standing)
        self.server.send(answer)
        self.server.accept()
        return answer

    @property
    def expects_rtp(self) -> bool:
        """Whether RTP is expected by both descriptions: not after a change to T.38 fax, or for rejected media."""
        try:
            here, there = sdp.endpoints(self.server.local), sdp.endpoints(self.server.remote)
        except sdp.SdpError:
            return True
        return any(
            one.is_rtp and other.is_rtp and not (one.rejected or other.rejected)
            for one, other in zip(here, there, strict=False)
        )

    @property
    def held(self) -> str:
        """Which side holds the call, seen from the server: ``local`` (the server's side), ``remote``, ``both`` or
        ``none``."""
        local, remote = _holds(self.server.remote), _holds(self.server.local)
        return "both" if local and remote else "local" if local else "remote" if remote else "none"


def _holds(description: bytes) -> bool:
    if not description:
        return False
    try:
        return sdp.is_hold(description)
    except sdp.SdpError:
        return False
