"""Puts cookies (``b2bua.contact_cookie``) into our Contacts, in calls without any agent to store a state token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from b2bua.call_state import changed, party_replaced
from b2bua.contact_cookie import FORMAT, Cipher, Cookie, OwnLeg, decode, encode
from b2bua.device_leg import DeviceLeg, state_of
from b2bua.device_leg_state import Timer, is_continued, origin_of, sections_of
from b2bua.state_token import CallState
from sip.b2b.bridge import Bridge
from sip.header_policy import passable_tag
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.wire.errors import SipError
from sip.wire.uri import Uri

MakeCipher = Callable[[bytes], Cipher]


class CookieCall(Protocol):
    """What matters here of a call."""

    @property
    def state(self) -> CallState: ...

    @property
    def device_legs(self) -> dict[InviteUsage, DeviceLeg]: ...

    @property
    def bridge(self) -> Bridge: ...


class Cookies:
    """The cookies of one server."""

    def __init__(self, stack: Stack, make: MakeCipher | None) -> None:
        """``make`` makes the cipher of a key; None: it is not installed, and no cookies are used."""
        self._stack = stack
        self._make = make
        self._ciphers: list[Cipher] = []
        self._pair = False

    def load(self, keys: Sequence[bytes], pair: bool) -> None:
        """Set the site's keys, of which the first encrypts; ``pair``: the site has a second server."""
        self._ciphers = [self._make(key) for key in keys] if self._make is not None else []
        self._pair = pair

    @property
    def enabled(self) -> bool:
        """Whether cookies are used."""
        return self._pair and bool(self._ciphers)

    def put(self, call: CookieCall, dialled: InviteUsage | None = None) -> None:
        """Set the cookies for the next Contacts to the devices of a call; ``dialled``: a leg that is about to
        call."""
        if not self.enabled:
            return
        state, *sides = _legs_after_replacement(call, dialled or call.bridge.target)
        for each in call.device_legs.values():  # its cookie may be about another target, or a replaced party
            clear_cookie(each)
        origin, target = (call.device_legs.get(leg) if leg is not None else None for leg in sides)
        if origin is not None and target is not None and not (state.caller_agent or state.callee_agent):
            # a party that replaces another one has its own dialog, with a known tag
            known = origin.leg.established or call.bridge.joining is not None
            self._carry(state, origin, target, True, known)
            self._carry(state, target, origin, False, known)

    def _carry(self, state: CallState, carrier: DeviceLeg, about: DeviceLeg, calls: bool, known: bool) -> None:
        """Set the cookie of ``carrier``, which describes the leg ``about``. ``calls``: the carrier is the caller;
        ``known``: the caller has our tag already."""
        path, dialog = carrier.leg.path, carrier.leg.dialog
        if path.reach is None or path.reach.contact_user:  # the user part of our Contact is prescribed
            return
        other = state_of(about, self._stack)
        if other is None:
            return
        tag = dialog.local_tag
        if not known:  # our tag to the caller will be that of the callee's answer, "" before it
            shown = passable_tag((about if calls else carrier).leg.dialog.remote_tag)
            if calls:
                tag = shown
            else:
                other = other._replace(dialog=other.dialog._replace(local_tag=shown))
        timer = carrier.session.timer
        told = None if timer is None else Timer(timer.interval, timer.min_se, timer.ours)
        offers, origin, sections = carrier.session.offers, "", ""
        described = offers.last_local or offers.export().newest
        if described and not is_continued(described, about.session.offers.last_remote):
            origin, sections = origin_of(described), sections_of(described)
        own = OwnLeg(tag, dialog.local_cseq, dialog.route_set, carrier.takes_update, told, origin, sections)
        path.user = encode(Cookie(state, calls, own, other._replace(asked="")), self._ciphers[0])

    def read(self, uri: str) -> Cookie | None:
        """The cookie in one of our Contact URIs; None if there is none, or it is not ours."""
        if FORMAT not in uri:
            return None
        try:
            return decode(Uri.parse(uri).user, self._ciphers)
        except SipError:
            return None


def clear_cookie(device_leg: DeviceLeg) -> None:
    """Send no cookie in our next Contact to this device, since the other side is about to change."""
    path = device_leg.leg.path
    path.user = path.reach.contact_user if path.reach is not None else ""


def _legs_after_replacement(
    call: CookieCall, target: InviteUsage | None
) -> tuple[CallState, InviteUsage | None, InviteUsage | None]:
    """The state and the legs of caller and callee, as they will be if one side is being replaced."""
    state, origin, joining = call.state, call.bridge.origin, call.bridge.joining
    if joining is None:
        return state, origin, target
    joiner, called = joining.about, joining.instead_of is not origin
    if not joiner.agent and joining.leg not in call.device_legs:  # no leg to carry a cookie
        return state, origin, target
    state = changed(state, **party_replaced(called, joiner.number, joiner.line, joiner.agent, joiner.dialog))
    return (state, origin, joining.leg) if called else (state, joining.leg, target)
