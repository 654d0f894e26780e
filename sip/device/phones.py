"""Which phone a request is from, by its digest: for REGISTER, and for what opens a dialog (RFC 3261 section 22).

Nobody is told who exists: a stranger is challenged like everybody, and never gets through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import blake2s
from typing import Generic, Protocol, TypeVar

from sip.actions import Flow
from sip.device.phone_authentication import PhoneAuthentication
from sip.layer import Stack
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr
from sip.wire.message import Request
from sip.wire.uri import Uri


class Registrant(Protocol):
    """One who may register."""

    @property
    def name(self) -> str:
        """The line's."""

    @property
    def user(self) -> str:
        """User part of its address of record, and user of its digest."""

    def meets(self, source: Flow) -> bool:
        """Whether its devices may be there."""

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for it."""


Phone = TypeVar("Phone", bound=Registrant)


class Phones(Generic[Phone]):
    """Those of one program."""

    def __init__(
        self,
        stack: Stack,
        authentication: PhoneAuthentication,
        by_user: Mapping[str, Phone],
        registered: Mapping[Flow, Collection[str]],
        stranger: Callable[[], None],
    ) -> None:
        """``registered`` has the names of those who registered by each flow; ``stranger`` is told of each request of
        somebody that is nobody's."""
        self._stack = stack
        self._authentication = authentication
        self._by_user = by_user
        self._registered = registered
        self._stranger = stranger

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER; ``source`` is where it came from, when its answer goes to another port."""
        authentication = self._authentication
        wrong, user = authentication.digest.throttle.wrong, _user_in(request, "to")
        phone = self._by_user.get(user)
        if phone is not None and phone.meets(source):
            phone.register(transaction, request, source, now)
        else:
            self._stranger()
            verdict = authentication.check(request, source, now)
            if verdict.accepted:
                self._stack.respond_stateless(transaction, 403)
            else:
                authentication.refuse(transaction, verdict, source, user, now)
        authentication.note(wrong, source, now)

    def sender(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> Phone | None:
        """Who sent a request that opens something; None: it was answered.

        Also from a flow that nobody registered by: a phone may call before it registers anew, from behind a NAT that
        has mapped it anew, by another socket. A 403 would be final for it; a challenge tells nobody anything.
        """
        authentication = self._authentication
        names = self._registered.get(source) or self._registered.get(transaction.flow) or ()
        wrong = authentication.digest.throttle.wrong
        verdict = authentication.check(request, source, now, proxy=True)
        phone = self._by_user.get(verdict.username) if verdict.accepted else None
        if phone is None:
            if not names:
                self._stranger()
            authentication.refuse(transaction, verdict, source, self._claimed(request, names), now, proxy=True)
            authentication.note(wrong, source, now)
            return None
        if not phone.meets(source):
            self._stack.respond_stateless(transaction, 403)
            return None
        self._stack.know(source.remote[0], now)
        return phone

    def _claimed(self, request: Request, names: Collection[str]) -> str:
        """Who has to prove his password: who From says, or any of the phones that registered by the flow."""
        user = _user_in(request, "from")
        phone = self._by_user.get(user)
        if names and (phone is None or phone.name not in names):
            phone = next((one for one in self._by_user.values() if one.name in names), None)
        return phone.user if phone is not None else user


class DigestOrders:
    """What phones' passwords may be hashed with, in the order in which that is offered."""

    def __init__(self, secret: bytes, usual: tuple[str, ...]) -> None:
        """``usual``: where there is no phone."""
        self._secret = secret[:32]
        self._usual = usual
        self.by_user: Mapping[str, tuple[str, ...]] = {}

    def of(self, user: str) -> tuple[str, ...]:
        """Those of a user. One that is nobody is treated like one of the phones, always the same one, so that no
        order tells who exists."""
        found = self.by_user.get(user)
        if found is None and self.by_user:
            orders = list(self.by_user.values())
            mark = blake2s(user.encode("utf-8", "replace"), key=self._secret, digest_size=8).digest()
            return orders[int.from_bytes(mark, "big") % len(orders)]
        return found or self._usual


def _user_in(request: Request, name: str) -> str:
    try:
        return Uri.parse(NameAddr.parse(request.get(name) or "").uri).dialled
    except SipError:
        return ""
