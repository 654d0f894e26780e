"""Who calls whom, on the way through a line: what is believed of its devices, and what they are told.

One policy a line and direction for every header that says so: From, P-Asserted-Identity and P-Preferred-Identity
(RFC 3325), Remote-Party-ID (the draft before it), Diversion (RFC 5806), History-Info (RFC 7044), Referred-By (RFC
3892). Between agents and servers numbers have the site's form, and identities are asserted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, overload

from sip.device.header_rules import HeaderRule, field_of, ruled
from sip.wire.errors import Malformed
from sip.wire.headers import NameAddr, bracketed
from sip.wire.message import Message, Request, Response, split_commas
from sip.wire.uri import NO_PARAMS, NumberParams, Uri, as_user

ANONYMOUS: Final = "anonymous.invalid"
"""RFC 3323 section 4.1.1.3: the host of a From that tells nothing."""
_NOBODY: Final = f'"Anonymous" <sip:anonymous@{ANONYMOUS}>'

NOTHING: Final[frozenset[str]] = frozenset()
IDENTITIES: Final = frozenset(
    "p-asserted-identity p-preferred-identity remote-party-id diversion history-info referred-by".split()
)
"""Header fields with addresses of who calls, or called before."""
_TOLD_ANEW: Final = frozenset({"from", "to"})
_CLAIMS: Final = IDENTITIES - {"referred-by"}
_NETWORK: Final = frozenset(
    "p-charging-vector p-charging-function-addresses p-access-network-info p-visited-network-id p-called-party-id "
    "p-associated-uri p-profile-key p-served-user p-user-database".split()
)
"""What networks tell each other (RFC 7315, RFC 5502): from a device it is worth nothing."""
UNTRUSTED: Final = _CLAIMS | _NETWORK
"""What only a trusted network may assert (RFC 3325 section 5, RFC 7044 section 10.3)."""
TELLING: Final = UNTRUSTED | IDENTITIES | {"privacy"}
"""A message inside a dialog that has none of these crosses as it is, whatever the line."""
_PERSONAL: Final = frozenset("call-info organization subject reply-to in-reply-to user-agent server".split())
"""What tells of its user besides (RFC 3323 section 5.3)."""
_PERSONALLY: Final = frozenset({"user", "header"})
_HIDDEN: Final = UNTRUSTED | IDENTITIES
_HIDDEN_AND_PERSONAL: Final = _HIDDEN | _PERSONAL
_WITHHELD: Final = frozenset({"id", "user", "header"})
"""Values of Privacy that keep the caller from whoever is not trusted (RFC 3323 section 4.2, RFC 3325 section 9.3)."""


Asserted = tuple[frozenset[str], tuple[str, ...]]
AS_IT_IS: Final[Asserted] = (NOTHING, ())


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How one line treats identities. Rules are those of the site file: ``match.matches`` and ``apply``."""

    trusted: bool = True
    """The far side is in the trust domain (RFC 3325 section 2.3): what it asserts is believed, and it is told all."""
    caller_number: str = ""
    """The only number that calls of its devices show."""
    claims: tuple[str, ...] = ()
    """What a device that is not trusted may call itself, in the site's form; the first one is shown for any other.
    Nothing: it cannot be checked, and From is all that is believed."""
    from_device_called: tuple[Any, ...] = ()
    from_device_caller: tuple[Any, ...] = ()
    to_device_called: tuple[Any, ...] = ()
    to_device_caller: tuple[Any, ...] = ()
    domain: str = ""
    """Host of From and asserted identities towards the device, ``""`` for our own."""
    account: str = ""
    """The user that From names towards the device, the caller's number being asserted; ``""``: the caller himself."""
    scheme: str = "sip"
    """Of the Request-URI towards the device; ``sips``: nobody is to listen in."""
    called_from: str = "request-uri"
    """Where the device names the number called: ``request-uri``, ``to``, ``p-called-party-id``."""
    untold: frozenset[str] = frozenset()
    """Header fields of diversions that the device is not told."""
    from_device_headers: tuple[HeaderRule, ...] = ()
    to_device_headers: tuple[HeaderRule, ...] = ()


class Numbers(NamedTuple):
    """Who calls whom, as the message of the other side is to say it."""

    called: str
    """The number called, escaped for a URI."""
    caller: str
    """The number calling, as people read it."""
    sender: str
    """The From value, without tag."""
    recipient: str
    """The To value, without tag."""
    carried: NumberParams
    """What the Request-URI says of the number called besides its digits."""
    dropped: frozenset[str] = NOTHING
    """Header fields that do not cross."""
    more: tuple[str, ...] = ()
    """Header lines in their place."""
    scheme: str = "sip"
    """Of the Request-URI."""

    def uri(self, host: str) -> str:
        """The Request-URI at ``host``, which may have a port and parameters."""
        return f"{self.scheme}:{self.called}{self.carried.user}@{host}{self.carried.uri}"


class Party(NamedTuple):
    """Who a From names."""

    display: str
    """The display name as it came, quotes included."""
    number: str
    host: str
    """In lower case."""
    carried: NumberParams
    """What is said of the number besides its digits."""
    whole: str = ""
    """The value as it came, where nothing else is known of it: a URI of another scheme crosses as it is."""


def from_device(policy: IdentityPolicy, request: Request, realm: str) -> Numbers:
    """An INVITE of a device, as the servers get it. Raises :class:`Malformed`."""
    uri = _called(policy, request)
    called = as_user(rewritten(policy.from_device_called, uri.dialled))
    if not called:
        raise Malformed("a Request-URI without a number")
    party = _who(request.from_untagged)
    dropped, more = asserted_by_device(policy, request, realm)
    if policy.caller_number:
        party = Party(party.display, policy.caller_number, realm, NO_PARAMS)
    elif not policy.trusted:
        party, more = _claimed(policy, request, party, realm)
    elif party.host != ANONYMOUS and not party.whole:
        party = Party(party.display, rewritten(policy.from_device_caller, party.number), realm, party.carried)
    recipient = f"<sip:{called}@{bracketed(realm)}>"
    return Numbers(called, party.number, _from(party), recipient, uri.number_params, dropped, more)


def _called(policy: IdentityPolicy, request: Request) -> Uri:
    """The URI that names the number called; the Request-URI where the line's own place for it has none."""
    value = None
    if policy.called_from == "to":
        value = request.to_untagged
    elif policy.called_from == "p-called-party-id":
        value = request.get("p-called-party-id")
    if value:
        with suppress(Malformed):
            uri = Uri.parse(NameAddr.parse(value).uri)
            if uri.dialled:
                return uri
    return Uri.parse(request.uri)


def _claimed(policy: IdentityPolicy, request: Request, party: Party, realm: str) -> tuple[Party, tuple[str, ...]]:
    """Who a device that is not trusted is, whatever it says; one that hides is known to the site."""
    claims = policy.claims
    preferred = request.get("p-preferred-identity")
    said = [each for each in (_who(preferred) if preferred else None, party) if each and each.host != ANONYMOUS]
    number, carried = claims[0] if claims else "", NO_PARAMS
    for each in said:
        for claimed in (rewritten(policy.from_device_caller, each.number), each.number):
            if claimed in claims or not claims:
                number, carried = claimed, each.carried if claimed == each.number else NO_PARAMS
                break
        else:
            continue
        break
    if _withholds(request, party):
        hidden = party if party.host == ANONYMOUS else Party(party.display, number, realm, NO_PARAMS)
        more = [f"P-Asserted-Identity: {_address(number, realm)}"] if claims else []
        return hidden, (*more, *([] if "privacy" in request.first else ["Privacy: id"]))
    if party.whole and not claims:
        return party, ()
    return Party(party.display, number, realm, carried), ()


def to_device(
    policy: IdentityPolicy,
    request: Request,
    own_host: str,
    peer_host: str,
    wanted: tuple[str, NumberParams] | None = None,
) -> Numbers:
    """An INVITE of a server, as the device gets it; ``wanted``: the number called, and what else is said of it, where
    the Request-URI names another one. Raises :class:`Malformed`.
    """
    if wanted is None:
        uri = Uri.parse(request.uri)
        wanted = uri.dialled, uri.number_params
    called = as_user(rewritten(policy.to_device_called, wanted[0]))
    party = _who(request.from_untagged)
    host = policy.domain or own_host
    if not policy.trusted and _withholds(request, party):
        sender, number = _NOBODY, ""
    else:
        if party.host != ANONYMOUS:
            number = rewritten(policy.to_device_caller, party.number)
            party = Party(party.display, number, host, party.carried, party.whole)
        sender, number = _from(party), party.number
    dropped, more = asserted_to_device(policy, request, host)
    if policy.account and party.host != ANONYMOUS:
        sender = _from(Party(party.display, policy.account, host, NO_PARAMS))
        if policy.trusted and number and "p-asserted-identity" not in request.first:
            more = (*more, f"P-Asserted-Identity: {_address(number, host)}")
    recipient = f"<sip:{called}@{bracketed(peer_host)}>" if called else f"<sip:{bracketed(peer_host)}>"
    return Numbers(called, number, sender, recipient, wanted[1], dropped, more, policy.scheme)


def asserted_by_device(policy: IdentityPolicy, message: Message, realm: str) -> Asserted:
    """What becomes of the identities in any message of the device: fields that do not cross, lines in their place.

    ``realm`` is their host then; ``""``: they keep theirs.
    """
    names = message.names
    if policy.caller_number or not policy.trusted:
        return (UNTRUSTED, ()) if not UNTRUSTED.isdisjoint(names) else AS_IT_IS
    if IDENTITIES.isdisjoint(names):
        return AS_IT_IS
    return IDENTITIES, _each(message, policy.from_device_caller, realm)


def asserted_to_device(policy: IdentityPolicy, message: Message, host: str) -> Asserted:
    """The same of any message to the device."""
    if not policy.trusted and _withholds(message, None):
        personal = not _PERSONALLY.isdisjoint(_privacy(message))
        return (_HIDDEN_AND_PERSONAL if personal else _HIDDEN), ()
    if IDENTITIES.isdisjoint(message.names):
        return AS_IT_IS
    return IDENTITIES, _each(message, policy.to_device_caller, host, policy.untold)


def told_by(
    request: Request,
    told: Numbers,
    realm: str,
    rules: Sequence[HeaderRule] = (),
    dropped: frozenset[str] = NOTHING,
) -> Request:
    """The INVITE of a device as if an agent had passed it on, without the fields ``dropped`` besides."""
    head = (f"From: {told.sender};tag={request.from_tag}", f"To: {told.recipient}")
    names, lines = _with_fields(request, told.dropped | dropped | _TOLD_ANEW, (*head, *told.more))
    if rules:
        lines = ruled(rules, lines)
        names = [field_of(line) for line in lines]
    return Request(request.method, told.uri(bracketed(realm)), names, lines, request.body)


@overload
def with_fields(message: Request, dropped: frozenset[str], more: Sequence[str]) -> Request: ...


@overload
def with_fields(message: Message, dropped: frozenset[str], more: Sequence[str]) -> Message: ...


def with_fields(message: Message, dropped: frozenset[str], more: Sequence[str]) -> Message:
    """The same message without some fields, and with further ones."""
    names, lines = _with_fields(message, dropped, more)
    if isinstance(message, Request):
        return Request(message.method, message.uri, names, lines, message.body)
    assert isinstance(message, Response)
    return Response(message.status, message.reason, names, lines, message.body)


def _with_fields(message: Message, dropped: frozenset[str], more: Sequence[str]) -> tuple[list[str], list[str]]:
    names, lines = [], []
    for name, line in zip(message.names, message.lines, strict=True):
        if name not in dropped:
            names.append(name)
            lines.append(line)
    names += map(field_of, more)
    lines += more
    return names, lines


def rewritten(rules: Sequence[Any], number: str) -> str:
    """``number`` changed by the first of the rules that matches; without one, as it is."""
    for rule in rules:
        if rule.match.matches(number):
            changed: str = rule.apply(number)
            return changed
    return number


def _privacy(message: Message) -> set[str]:
    """What its sender wants withheld."""
    if "privacy" not in message.first:
        return set()
    return {each.strip().lower() for value in message.all("privacy") for each in value.split(";")}


def _withholds(message: Message, party: Party | None) -> bool:
    """Whether its sender wants to be known to nobody who is not trusted. ``party`` is who From names; of what crosses
    in a dialog it is read only where there is something to withhold."""
    names = message.names
    if "privacy" in names:
        wanted = _privacy(message)
        if not _WITHHELD.isdisjoint(wanted):
            return True
        if "none" in wanted:
            return False
    if party is None:
        if not isinstance(message, Request) or UNTRUSTED.isdisjoint(names):
            return False
        party = _who(message.from_untagged)
    if party.host == ANONYMOUS:
        return True
    return "remote-party-id" in names and any("privacy=full" in one.lower() for one in message.all("remote-party-id"))


def _each(message: Message, rules: Sequence[Any], host: str, untold: frozenset[str] = NOTHING) -> tuple[str, ...]:
    """The identities of a message with their numbers in another form, in their order and lines."""
    found = []
    inner = _who(message.from_untagged).host if host and isinstance(message, Request) else ""
    for name, line in zip(message.names, message.lines, strict=True):
        if name in IDENTITIES and name not in untold:
            spelled, _, value = line.partition(":")
            others = [_other(each, rules, host, inner) for each in split_commas(value)]
            found.append(f"{spelled}: {', '.join(others)}")
    return tuple(found)


def _other(value: str, rules: Sequence[Any], host: str, inner: str) -> str:
    """One address with its number in another form, at ``host``; so is a name of the side that it comes from, whose
    host is ``inner``. What cannot be read, and who is elsewhere, is as it was.
    """
    value = value.strip()
    try:
        address = NameAddr.parse(value)
        uri = Uri.parse(address.uri)
    except Malformed:
        return value
    if uri.host.lower() == ANONYMOUS or not uri.user:
        return value
    number = rewritten(rules, uri.dialled)
    if not number.lstrip("+").isdigit() and uri.host.lower() != inner:
        return value
    user = uri.user if number == uri.dialled else as_user(number) + uri.number_params.user
    if uri.scheme == "tel":
        local = not number.startswith("+") and host
        told = f"sip:{user}@{bracketed(host)};user=phone" if local else str(replace(uri, user=user))
    else:
        told = str(replace(uri, user=user, host=host, port=None) if host else replace(uri, user=user))
    return value.replace(address.uri, told, 1) if "<" in value else f"<{told}>{value[len(address.uri) :]}"


def _who(value: str) -> Party:
    """Who a From value names."""
    return _who_cached(value) if len(value) <= 200 else _read_who(value)


def _read_who(value: str) -> Party:
    try:
        uri = Uri.parse(NameAddr.parse(value).uri)
    except Malformed:  # RFC 4475 section 3.3.4: a From of a scheme that nobody knows is no reason to refuse a call
        return Party("", "", "", NO_PARAMS, value)
    display = value.partition("<")[0].strip() if "<" in value else ""
    if value.startswith('"'):
        display = value[: value.rfind('"', 0, value.rfind("<")) + 1]
    return Party(display, uri.dialled, uri.host.lower(), uri.number_params)


_who_cached: Final = lru_cache(maxsize=2048)(_read_who)


def _from(party: Party) -> str:
    if party.whole:
        return party.whole
    address = _address(party.number, party.host, party.carried)
    return f"{party.display} {address}" if party.display else address


def _address(number: str, host: str, carried: NumberParams = NO_PARAMS) -> str:
    user = f"{as_user(number)}{carried.user}@" if number else ""
    return f"<sip:{user}{bracketed(host)}{carried.uri}>"


def line_parameter(uri: str) -> str:
    """The line that a server names in a Request-URI, ``""`` when it does not."""
    try:
        return Uri.parse(uri).get("line") or ""
    except Malformed:
        return ""
