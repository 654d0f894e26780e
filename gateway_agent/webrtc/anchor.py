"""The media of one call through the WebRTC gateway, for calls between a browser and another device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway_agent.media.ports import remote_of
from gateway_agent.webrtc import description
from gateway_agent.webrtc.description import Described, described
from gateway_agent.webrtc.legs import Browser, Leg, Session, WebrtcLegs
from sip.offer_answer import OfferAnswer
from sip.wire import sdp
from sip.wire.sdp import SdpError

_OURS = {"active": "passive", "passive": "active"}
"""Our answer to each ``a=setup`` (RFC 8842 section 5.3); ``active`` where we may choose."""


class NoLegReady(SdpError):
    """The gateway has no leg ready at this moment."""


class GatewayState(NamedTuple):
    """What servers keep of it: the legs of the plain side and of the browser, and the session."""

    leg: Leg
    ice: Leg
    session: Session | None


class WebrtcAnchor:
    """The gateway's part in one call. Each offer of the servers decides whether the gateway is used: whether the
    media offered is what the device can use. Offers of the device do not change that.
    """

    __slots__ = (
        "_behind_nat",
        "_ice",
        "_leg",
        "_legs",
        "_next",
        "_relay_view",
        "_session",
        "active",
        "agreed",
        "browser",
    )

    def __init__(
        self,
        legs: WebrtcLegs | None,
        browser: bool,
        behind_nat: bool,
        relay_view: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``legs``: None where the agent has no gateway. ``browser``: whether the device is a browser.
        ``relay_view``: where a relay is between device and gateway, the function that rewrites a description for the
        gateway."""
        self._legs = legs
        self.browser = browser
        self._behind_nat = behind_nat
        self._relay_view = relay_view
        self._leg: Leg | None = None
        """The leg whose ports the plain side uses."""
        self._ice: Leg | None = None
        """The leg whose ICE agent the browser uses."""
        self._next: Leg | None = None
        """The leg with another ICE agent that the browser is being offered."""
        self._session: Session | None = None
        self.active = False
        self.agreed = False
        """Whether the gateway was active when the two sides agreed last."""

    def decide(self, said: bytes) -> None:
        """Decide by an offer of the servers whether the gateway is needed. Raises `SdpError`."""
        audio = next((one for one in sdp.endpoints(said) if one.media == "audio" and not one.rejected), None)
        if audio is not None and self._legs is not None:
            self.active = audio.is_dtls != self.browser

    def accept(self) -> None:
        """Offer and answer were exchanged; legs that are no longer needed are given back."""
        self.agreed = self.active
        if not self.active:
            self._give_back()

    def refuse(self) -> None:
        """The offer was refused: media goes the way that it went before."""
        self.active = self.agreed
        if not self.active:
            self._give_back()

    def from_device(self, said: bytes, host: str, device: OfferAnswer, server: OfferAnswer, offers: bool) -> bytes:
        """A device's description, which came from ``host``, or what a relay made of it, as the servers get it. Raises
        `SdpError`."""
        if offers:
            return self._offered(said, self.browser, server.last_local or server.last_remote)
        return self._answered(said, self.browser, server.last_remote, host)

    def from_server(self, said: bytes, host: str, device: OfferAnswer, server: OfferAnswer, offers: bool) -> bytes:
        """A server's description as the device, last heard from ``host``, gets it. Raises `SdpError`."""
        if offers:
            return self._offered(said, not self.browser, self._seen(device.last_local or device.last_remote))
        return self._answered(said, not self.browser, self._seen(device.last_remote), host)

    def again(self, told: bytes) -> bytes:
        """The description ``told`` that the device has, with the address of our leg in it, for a relay. Raises
        `SdpError`."""
        seen = self._seen(told)
        known, leg = described(seen, False), self._leg
        if leg is None:
            raise SdpError("the call has no leg")
        places = [(leg.address, leg.port) if number == known.led else None for number in range(len(known.sections))]
        return sdp.with_endpoints(seen, places)

    def moved(self, host: str) -> None:
        """The device authenticated itself at another host: accept its media from there."""
        if self._session is not None and self._legs is not None and not self.browser and self._relay_view is None:
            self._session = self._session._replace(phone=self._session.phone._replace(via=host))
            self._legs.set(self._session)

    def export(self) -> GatewayState | None:
        """The frozen value from which `resume` restores this after a restart; ``None`` without the gateway."""
        if not self.active or self._leg is None or self._ice is None:
            return None
        return GatewayState(self._leg, self._ice, self._session)

    def resume(self, known: GatewayState) -> None:
        """Go on with the legs from before a restart."""
        self.active = self.agreed = True
        self._leg, self._ice, self._session = known
        if self._legs is not None:
            self._legs.adopt(known.leg.id, known.session)
            if known.ice != known.leg:
                self._legs.adopt(known.ice.id, None)

    def release(self) -> None:
        """The call is over: give its legs back."""
        self._give_back()
        self._legs = None

    def _give_back(self) -> None:
        for leg in {self._leg, self._ice, self._next}:
            if leg is not None and self._legs is not None:
                self._legs.release(leg.id)
        self._leg = self._ice = self._next = self._session = None

    def _seen(self, body: bytes) -> bytes:
        """A description in the device's dialog as it is between the gateway and the relay."""
        return self._relay_view(body) if self._relay_view is not None and body else body

    def _offered(self, said: bytes, by_browser: bool, told: bytes) -> bytes:
        """The offer to the other side for the offer ``said``; ``told`` is the last description that side has. Raises
        `SdpError`."""
        offer = described(said, by_browser)
        if offer.led < 0:
            raise SdpError("the WebRTC gateway carries audio alone, and none is offered that it could")
        leg, ice = self._taken(not by_browser)
        # their number never shrinks (RFC 3264 section 8)
        sections, at = described(told, not by_browser) if told else Described((), -1), self._shown
        index = sections.led if sections.led >= 0 else len(sections.sections)
        formats = description.offered(offer.formats, not by_browser)
        if by_browser:
            return description.plain(sections.sections, index, formats, offer, leg, self._plain_at(leg))
        if self._legs is not None and not self._legs.is_present(ice.id):  # died with the gateway
            ice = self._next = self._next or self._fresh(True)
        return description.for_browser(sections.sections, index, formats, offer, ice, at, "actpass")

    def _answered(self, said: bytes, by_browser: bool, offer_body: bytes, host: str) -> bytes:
        """The answer to the side that has offered, for the other side's answer ``said``. The session is set to what
        both have agreed."""
        answer, offer = described(said, by_browser), described(offer_body, not by_browser)
        leg, ice = self._taken(by_browser)
        if answer.led < 0 or offer.led < 0:
            return description.refused(offer.sections, leg, self._plain_at(leg))
        to_answerer, to_offerer, formats = description.agreed(answer.formats, offer.formats)
        browser, phone = (answer, offer) if by_browser else (offer, answer)
        assert browser.browser is not None
        ice, client = self._transport(ice, browser, by_browser)
        via = "" if self.browser or self._relay_view is not None else host
        session = Session(
            leg.id,
            leg.address,
            leg.port,
            ice.id,
            by_browser,
            client,
            browser.browser,
            remote_of(phone.audio, via, eager=not via or not self._behind_nat),
            to_answerer if by_browser else to_offerer,
            to_offerer if by_browser else to_answerer,
        )
        former, self._ice, self._next, self._session = self._ice, ice, None, session
        if self._legs is not None:
            self._legs.set(session)
            if former is not None and former not in (ice, leg):
                self._legs.release(former.id)
        at = self._shown
        if by_browser:
            return description.plain(offer.sections, offer.led, formats, answer, leg, self._plain_at(leg))
        setup = "active" if client else "passive"
        return description.for_browser(offer.sections, offer.led, formats, answer, ice, at, setup)

    def _transport(self, ice: Leg, said: Described, answers: bool) -> tuple[Leg, bool]:
        """The leg whose ICE agent the browser gets, and whether we are the DTLS client."""
        assert said.browser is not None
        session = self._session
        if answers and self._next is not None:
            ice = self._next
        elif not answers and session is not None and self._must_restart(session.browser, said.browser, ice):
            ice = self._fresh(False)
        same = session is not None and session.ice == ice.id
        same = same or (session is not None and session.browser.fingerprints == said.browser.fingerprints)
        if session is not None and same and self._legs is not None and self._legs.is_present(session.ice):
            return ice, session.client
        if answers:
            return ice, said.setup == "passive"
        return ice, _OURS.get(said.setup, "active") == "active"

    def _must_restart(self, before: Browser, now: Browser, ice: Leg) -> bool:
        """Whether a browser's offer needs another ICE agent (RFC 8839 section 4.4.1.1)."""
        changed = (before.ufrag, before.pwd) != (now.ufrag, now.pwd)
        return changed or (self._legs is not None and not self._legs.is_present(ice.id))

    def _taken(self, controlling: bool) -> tuple[Leg, Leg]:
        """The legs of the plain side and of the browser, taken if there are none. Raises `SdpError` without a leg."""
        if self._leg is None or self._ice is None:
            self._leg = self._ice = self._fresh(controlling)
        return self._leg, self._ice

    def _fresh(self, controlling: bool) -> Leg:
        leg = self._legs.take(controlling) if self._legs is not None else None
        if leg is None:
            absent = self._legs is None or self._legs.absent
            because = self._legs.shortage() if self._legs is not None else "the call is over"
            raise SdpError(because) if absent else NoLegReady(because)
        return leg

    @property
    def _shown(self) -> str:
        return self._legs.advertised if self._legs is not None else ""

    def _plain_at(self, leg: Leg) -> str:
        """The address that the plain side is given; a relay gets the bound one, since it is on this machine."""
        return leg.address if self._relay_view is not None else self._shown or leg.address
