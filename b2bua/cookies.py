"""Puts cookies (``b2bua.contact_cookie``) into our Contacts, in calls of which no agent keeps a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from b2bua.contact_cookie import FORMAT, Cipher, Cookie, OwnLeg, decode, encode
from b2bua.state_token import CallState
from b2bua.trunk_leg import TrunkLeg, state_of
from b2bua.trunk_state import Timer
from sip.b2b.bridge import Bridge
from sip.header_policy import passable_tag
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.wire.errors import SipError
from sip.wire.uri import Uri

MakeCipher = Callable[[bytes], Cipher]


class CookieCall(Protocol):
    """A call, as far as its Contacts are concerned."""

    @property
    def state(self) -> CallState: ...

    @property
    def trunk_legs(self) -> dict[InviteUsage, TrunkLeg]: ...

    @property
    def bridge(self) -> Bridge: ...


class Cookies:
    """One for the life of a server."""

    def __init__(self, stack: Stack, make: MakeCipher | None) -> None:
        """``make`` makes the cipher of a key; None: there is none here, so no Contact carries anything."""
        self._stack = stack
        self._make = make
        self._ciphers: list[Cipher] = []
        self._pair = False

    def load(self, keys: Sequence[bytes], pair: bool) -> None:
        """The site's keys, by the first of which is sealed; ``pair``: there is a server that could go on."""
        self._ciphers = [self._make(key) for key in keys] if self._make is not None else []
        self._pair = pair

    @property
    def on(self) -> bool:
        """Whether devices carry anything."""
        return self._pair and bool(self._ciphers)

    def put(self, call: CookieCall, dialled: InviteUsage | None = None) -> None:
        """What the devices of a call are told from now on carries it; ``dialled`` is a leg that is about to call."""
        state = call.state
        if not self.on or state.caller_agent or state.callee_agent:
            return
        sides = call.bridge.origin, dialled or call.bridge.target
        origin, target = (call.trunk_legs.get(leg) if leg is not None else None for leg in sides)
        if origin is not None and target is not None:
            self._carry(state, origin, target, True)
            self._carry(state, target, origin, False)

    def _carry(self, state: CallState, carrier: TrunkLeg, about: TrunkLeg, calls: bool) -> None:
        path, dialog = carrier.leg.path, carrier.leg.dialog
        if path.reach is None or path.reach.contact_user:  # its peer wants to be called by that
            return
        other = state_of(about, self._stack)
        if other is None:
            return
        tag = dialog.local_tag
        if calls and not carrier.leg.established:  # it gets the tag of who answers
            tag = passable_tag(about.leg.dialog.remote_tag)
        timer = carrier.session.timer
        told = None if timer is None else Timer(timer.interval, timer.min_se, timer.ours)
        own = OwnLeg(tag, dialog.local_cseq, dialog.route_set, carrier.takes_update, told)
        path.user = encode(Cookie(state, calls, own, other._replace(asked="")), self._ciphers[0])

    def read(self, uri: str) -> Cookie | None:
        """What one of our Contacts carries; None where it carries nothing, or it is none of ours."""
        if FORMAT not in uri:
            return None
        try:
            return decode(Uri.parse(uri).user, self._ciphers)
        except SipError:
            return None
