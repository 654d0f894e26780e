"""Finding the phone that sent a request, by its digest: REGISTER, and requests that open a dialog (RFC 3261 section
22).

Answers do not reveal which users exist: a request for an unknown user is challenged like any other, and never passes.
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
    """A line that devices may register for."""

    @property
    def name(self) -> str:
        """Name of the line."""

    @property
    def user(self) -> str:
        """User part of its address of record, and digest user name."""

    def meets(self, source: Flow) -> bool:
        """Whether its devices may use that flow."""

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for it."""


Phone = TypeVar("Phone", bound=Registrant)


class Phones(Generic[Phone]):
    """The phones of one program."""

    def __init__(
        self,
        stack: Stack,
        authentication: PhoneAuthentication,
        by_user: Mapping[str, Phone],
        registered: Mapping[Flow, Collection[str]],
        stranger: Callable[[], None],
    ) -> None:
        """``registered``: the names of the phones registered by each flow; ``stranger`` is called for each request
        that is of no phone."""
        self._stack = stack
        self._authentication = authentication
        self._by_user = by_user
        self._registered = registered
        self._stranger = stranger

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER that came from ``source``, which may not be where its response is sent."""
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
        """The phone that sent a request outside a dialog; None: it was answered.

        The flow need not be one of a registration: a phone may call after its NAT binding changed, or from another
        socket, before it registers again. It is challenged, since a 403 would be final.
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
        """The user whose password is asked for: that in From, else a phone that registered by the flow."""
        user = _user_in(request, "from")
        phone = self._by_user.get(user)
        if names and (phone is None or phone.name not in names):
            phone = next((one for one in self._by_user.values() if one.name in names), None)
        return phone.user if phone is not None else user


class DigestOrders:
    """The digest algorithms of each phone, in the order in which they are offered (RFC 8760 section 2.3)."""

    def __init__(self, secret: bytes, usual: tuple[str, ...]) -> None:
        """``usual``: the algorithms offered while there are no phones."""
        self._secret = secret[:32]
        self._usual = usual
        self.by_user: Mapping[str, tuple[str, ...]] = {}

    def of(self, user: str) -> tuple[str, ...]:
        """The algorithms of a user. An unknown user gets those of one of the phones, always the same one, so that the
        order does not reveal which users exist."""
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
