"""A registrar (RFC 3261 section 10.3): the bindings of users, and the flows by which their devices are reached.

Pure: it takes REGISTERs and the time, and returns responses and changes. The flow by which a REGISTER came is kept
with its bindings, because a device behind a NAT can be reached by no other (RFC 5626).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sip.actions import Address, Flow
from sip.digest import DigestServer, Verdict
from sip.endpoint import DEFAULT_PORT, SECURE
from sip.requests import ResponseSpec
from sip.wire.errors import Malformed
from sip.wire.grammar import Params, number
from sip.wire.headers import NameAddr, bracketed, same_address
from sip.wire.message import Request, elements
from sip.wire.uri import Uri

ADDED: Final = "added"
REFRESHED: Final = "refreshed"
REMOVED: Final = "removed"
EXPIRED: Final = "expired"

RAN_OUT: Final = "the registration ran out"
MAX_CONTACT: Final = 1024
"""Characters of one Contact; longer ones are refused, since bindings take memory."""
MAX_PATH: Final = 1024
"""Characters of all Paths of a REGISTER; likewise."""


@dataclass(frozen=True, slots=True)
class RegistrarLimits:
    """Limits of registrations. Times in seconds."""

    contacts: int = 5
    """Bindings of one user; another one replaces the one that would expire first."""
    min_expires: int = 60
    max_expires: int = 7200
    default_expires: int = 3600


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact of one user."""

    name: str
    """The user, as returned by the registrar's ``name_of``."""
    contact: NameAddr
    """The Contact as received; its URI is the Request-URI of calls to it."""
    flow: Flow
    """The flow by which the REGISTER came; calls are sent by it."""
    expires_at: float
    call_id: str
    cseq: int
    q: float = 1.0
    user_agent: str = ""
    path: tuple[str, ...] = ()
    """The Routes of calls to it: the proxies in the Path of the REGISTER (RFC 3327)."""


@dataclass(frozen=True, slots=True)
class BindingChange:
    """A change of a binding."""

    kind: str
    """``added``, ``refreshed``, ``removed`` or ``expired``."""
    binding: Binding
    because: str
    former: Binding | None = None
    """The binding that a refresh replaced."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The response to a REGISTER, and the changes it made."""

    reply: ResponseSpec | None
    """``None``: no response, since the sender is held back for wrong passwords and has been told so."""
    changes: tuple[BindingChange, ...] = ()
    refused: Verdict | None = None
    """The verdict on its credentials where they were missing or not accepted."""


class Registrar:
    """The bindings of all users of one domain.

    ``name_of`` returns the user of an address of record, or ``None``; ``digest`` authenticates the sender (``None``:
    no authentication), and ``may(username, name)`` returns whether that username may register for the user.
    """

    def __init__(
        self,
        name_of: Callable[[Uri], str | None],
        digest: DigestServer | None = None,
        limits: RegistrarLimits | None = None,
        may: Callable[[str, str], bool] = str.__eq__,
    ) -> None:
        self.limits = limits or RegistrarLimits()
        self._name_of = name_of
        self._digest = digest
        self._may = may
        self._bindings: dict[str, tuple[Binding, ...]] = {}
        self._by_flow: dict[Flow, frozenset[str]] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._sweep_at = 64

    def register(self, request: Request, flow: Flow, now: float, source: Flow | None = None) -> Outcome:
        """Process one REGISTER, as a whole or not at all (RFC 3261 section 10.3).

        ``source``: where it came from, if the response (by ``flow``) goes to another port.
        """
        source = source or flow
        try:
            uri = Uri.parse(NameAddr.parse(request.get("to") or "").uri)
            name = self._name_of(uri)
        except Malformed as error:
            return _refused(400, f"To: {error}")
        until = math.inf
        if self._digest is not None:
            verdict = self._digest.check(request, now, flow=source)
            if not verdict.accepted:
                return Outcome(self._digest.refusal(verdict, source, uri.dialled, now), refused=verdict)
            until = verdict.until
            if name is not None and not self._may(verdict.username, name):
                return _refused(403, f"user {verdict.username!r} may not register for {name}")
        if name is None:
            return _refused(404, "nobody of that address of record is known here")
        try:
            return self._update(name, request, flow, until, now)
        except Malformed as error:
            return _refused(403 if error.status == 403 else 400, f"REGISTER of {name}: {error}")

    def bindings(self, name: str, now: float) -> list[Binding]:
        """The bindings of a user by descending q, the latest first among equals."""
        live = [binding for binding in self._bindings.get(name, ()) if binding.expires_at > now]
        return sorted(live, key=lambda binding: (-binding.q, -binding.expires_at))

    def names(self) -> list[str]:
        """The users that have bindings."""
        return list(self._bindings)

    def users(self, flow: Flow) -> frozenset[str]:
        """The users that registered by this flow: a call from it may be theirs."""
        return self._by_flow.get(flow, frozenset())

    def flow_lost(self, flow: Flow) -> list[BindingChange]:
        """A stream broke: remove its bindings (RFC 5626 section 5.3), but for devices that :func:`listens_at` says
        take connections themselves."""
        changes: list[BindingChange] = []
        for name in sorted(self.users(flow)):
            changes += self._drop(
                name, lambda binding: binding.flow == flow and listens_at(binding) is None, "the connection was lost"
            )
        return changes

    def remove(self, name: str, because: str) -> list[BindingChange]:
        """Remove all bindings of a user, for instance when a reload removed the user."""
        return self._drop(name, lambda binding: True, because)

    def resume(self, known: Binding, now: float) -> list[BindingChange]:
        """Restore a binding of an earlier process; a binding made since by the same contact stays."""
        kept = self.bindings(known.name, now)
        if known.expires_at <= now or any(_same(one.contact, known.contact) for one in kept):
            return []
        self._store(known.name, [*kept, known][-self.limits.contacts :])
        self._wake(known)
        return [BindingChange(ADDED, known, f"{known.name} is at {known.contact.uri} still")]

    def handle_timer(self, now: float) -> list[BindingChange]:
        """Remove expired bindings."""
        changes: list[BindingChange] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, name = heapq.heappop(self._deadlines)
            kept: list[Binding] = []
            for binding in self._bindings.get(name, ()):
                if binding.expires_at <= now:
                    changes.append(BindingChange(EXPIRED, binding, RAN_OUT))
                else:
                    kept.append(binding)
            self._store(name, kept)
        return changes

    def get_timer(self) -> float | None:
        return self._deadlines[0][0] if self._deadlines else None

    def _update(self, name: str, request: Request, flow: Flow, until: float, now: float) -> Outcome:
        """Apply a REGISTER; ``until``: when the credentials expire, and with them the bindings."""
        contacts = elements(request, "contact")
        kept = self.bindings(name, now)
        if not contacts:
            return self._answer(kept, f"told where {name} is", (), (), now)
        asked = self._asked(request, contacts, flow.transport in SECURE)
        over = [binding for binding in self._bindings.get(name, ()) if binding.expires_at <= now]
        changes = [BindingChange(EXPIRED, binding, RAN_OUT) for binding in over]
        new: list[Binding] = []
        for contact, seconds in asked:
            if 0 < seconds < self.limits.min_expires:
                least = f"Min-Expires: {self.limits.min_expires}"
                return Outcome(ResponseSpec(423, f"{seconds} s is too brief for {name}", (least,)))
            old = [binding for binding in kept if contact.uri == "*" or _same(binding.contact, contact)]
            if not seconds:  # a device with a new address takes the former one back in the same request
                old = [binding for binding in old if binding not in new or binding.contact.uri == contact.uri]
            if any(one.call_id == request.call_id and one.cseq >= request.cseq for one in old if one not in new):
                return _refused(500, f"a REGISTER of {name} that a later one has overtaken")
            kept = [binding for binding in kept if binding not in old]
            if seconds:
                granted = max(1, int(min(seconds, self.limits.max_expires, until - now)))
                new.append(self._bound(name, contact, granted, request, flow, now))
                kept.append(new[-1])
                where = f"{name} is at {contact.uri} by {bracketed(flow.remote[0])}:{flow.remote[1]}"
                former = old[0] if old else None
                changes.append(BindingChange(REFRESHED if old else ADDED, new[-1], where, former))
            else:
                changes += [BindingChange(REMOVED, binding, f"{name} took it back") for binding in old]
        if len(kept) > self.limits.contacts:
            kept.sort(key=lambda binding: binding.expires_at)
            spare = len(kept) - self.limits.contacts
            because = f"{name} has more than {self.limits.contacts} contacts"
            changes += [BindingChange(REMOVED, binding, because) for binding in kept[:spare]]
            kept = kept[spare:]
        self._store(name, kept)
        for binding in new:
            self._wake(binding)
        paths = tuple(f"Path: {value}" for value in request.all("path")) if new else ()
        return self._answer(kept, f"{name} has {len(kept)} contacts", paths, tuple(changes), now)

    def _asked(self, request: Request, contacts: list[str], secure: bool) -> list[tuple[NameAddr, int]]:
        """The contacts, each with the seconds asked for (RFC 3261 section 10.3 steps 6 and 7)."""
        general = _seconds(request.get("expires"), self.limits.default_expires)
        asked: list[tuple[NameAddr, int]] = []
        for value in contacts:
            contact = NameAddr.parse(value)
            if contact.uri == "*":
                if len(contacts) > 1 or request.get("expires") is None or general != 0:
                    raise Malformed("Contact * with anything but Expires: 0")
                return [(contact, 0)]
            if len(value) > MAX_CONTACT:
                raise Malformed("a Contact that is too long")
            uri = Uri.parse(contact.uri)
            if uri.scheme != "sip" and not (uri.scheme == "sips" and secure):  # it could not be called
                raise Malformed(f"a Contact with a {uri.scheme} URI, which cannot be called")
            if uri.headers:
                raise Malformed("a Contact with headers in its URI, which calls to it would carry", 403)
            asked.append((contact, _seconds(contact.get("expires"), general)))
        if len(asked) > self.limits.contacts:
            raise Malformed(f"more than {self.limits.contacts} contacts at once", 403)
        for value in (paths := elements(request, "path")):
            if Uri.parse(NameAddr.parse(value).uri).scheme not in ("sip", "sips"):
                raise Malformed("a Path by which nobody can be reached")
        if sum(map(len, paths)) > MAX_PATH:
            raise Malformed("a Path that is too long")
        return asked

    def _bound(self, name: str, contact: NameAddr, seconds: int, request: Request, flow: Flow, now: float) -> Binding:
        params: Params = tuple(pair for pair in contact.params if pair[0].lower() not in ("expires", "q"))
        return Binding(
            name,
            replace(contact, params=params),
            flow,
            now + seconds,
            request.call_id,
            request.cseq,
            contact.q,
            (request.get("user-agent") or "")[:100],
            tuple(elements(request, "path")),
        )

    def _answer(
        self,
        bindings: list[Binding],
        because: str,
        paths: tuple[str, ...],
        changes: tuple[BindingChange, ...],
        now: float,
    ) -> Outcome:
        lines = tuple(
            f"Contact: {binding.contact};expires={math.ceil(round(binding.expires_at - now, 3))}"
            + (f";q={binding.q:g}" if binding.q != 1.0 else "")
            for binding in bindings
        )
        return Outcome(ResponseSpec(200, because, (*lines, *paths)), changes)

    def _store(self, name: str, bindings: list[Binding]) -> None:
        before = {binding.flow for binding in self._bindings.get(name, ())}
        after = {binding.flow for binding in bindings}
        if bindings:
            self._bindings[name] = tuple(bindings)
        else:
            self._bindings.pop(name, None)
        for flow in after - before:
            self._by_flow[flow] = self.users(flow) | {name}
        for flow in before - after:
            self._by_flow[flow] = self.users(flow) - {name}
            if not self._by_flow[flow]:
                del self._by_flow[flow]

    def _drop(self, name: str, which: Callable[[Binding], bool], because: str) -> list[BindingChange]:
        bindings = self._bindings.get(name, ())
        self._store(name, [binding for binding in bindings if not which(binding)])
        return [BindingChange(REMOVED, binding, because) for binding in bindings if which(binding)]

    def _wake(self, binding: Binding) -> None:
        """Set the deadline of a binding. Each refresh leaves an outdated one behind; these are swept now and then."""
        heapq.heappush(self._deadlines, (binding.expires_at, binding.name))
        if len(self._deadlines) > self._sweep_at:
            live = self._bindings.values()
            self._deadlines = [(one.expires_at, one.name) for bindings in live for one in bindings]
            heapq.heapify(self._deadlines)
            self._sweep_at = 64 + 4 * len(self._deadlines)


def listens_at(binding: Binding) -> Address | None:
    """The address of the Contact at which a device that registered by TCP takes connections; None for a device that
    is reached only by its own connection: by RFC 5626, behind a NAT or a proxy, or over TLS."""
    flow = binding.flow
    if flow.transport != "tcp" or binding.path or binding.contact.get("reg-id") is not None:
        return None
    uri = Uri.parse(binding.contact.uri)
    place = uri.host, uri.port or DEFAULT_PORT["tcp"]
    here = uri.transport == "tcp" and same_address(uri.host, flow.remote[0]) and place[1] != flow.remote[1]
    return place if here else None


def connected_anew(lost: Binding, other: Binding) -> bool:
    """Whether ``other`` replaces a binding whose connection broke: from the same host, perhaps with the port of the
    new connection in its Contact.
    """
    if lost.flow.remote[0] != other.flow.remote[0] or lost.flow.transport != other.flow.transport:
        return False
    one, two = Uri.parse(lost.contact.uri), Uri.parse(other.contact.uri)
    return replace(one, port=None).matches(replace(two, port=None))


def same_device(one: Binding, other: Binding) -> bool:
    """Whether two bindings are of one device: by instance and reg-id (RFC 5626 section 6), by the Call-ID that a
    device keeps for all its REGISTERs (RFC 3261 section 10.2), or by the Contact URI if the host is the same: behind
    another NAT the same URI may be another device's.
    """
    instance = one.contact.get("+sip.instance")
    if instance is not None and instance == other.contact.get("+sip.instance"):
        return one.contact.get("reg-id") == other.contact.get("reg-id")
    same_host = one.flow.remote[0] == other.flow.remote[0]
    return one.call_id == other.call_id or (same_host and _same(one.contact, other.contact))


def _refused(status: int, because: str) -> Outcome:
    return Outcome(ResponseSpec(status, because))


def _same(one: NameAddr, other: NameAddr) -> bool:
    """Whether two Contacts are one binding: by instance and reg-id (RFC 5626 section 6), else by URI. Two instances
    with the same URI are devices behind two NATs with the same private address."""
    instance, reg_id, another = one.get("+sip.instance"), one.get("reg-id"), other.get("+sip.instance")
    if instance and another and (reg_id or instance != another):
        return instance == another and reg_id == other.get("reg-id")
    return one.uri == other.uri or Uri.parse(one.uri).matches(Uri.parse(other.uri))


def _seconds(text: str | None, default: int) -> int:
    """The seconds in ``text``, or the default where it is malformed (RFC 3261 section 10.2.1.1)."""
    found = number(text) if text is not None else None
    return default if found is None else found
