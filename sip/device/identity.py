"""The identities of caller and callee as a message passes a line: what its devices may assert, and what they get.

One policy for each line and direction, for all headers with identities: From, P-Asserted-Identity and
P-Preferred-Identity (RFC 3325), Remote-Party-ID (draft-ietf-sip-privacy-04), Diversion (RFC 5806), History-Info (RFC
7044), Referred-By (RFC 3892). Between agents and servers numbers have the site's form, and identities are asserted.
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
"""RFC 3323 section 4.1.1.3: the host of an anonymous From."""
_NOBODY: Final = f'"Anonymous" <sip:anonymous@{ANONYMOUS}>'

NOTHING: Final[frozenset[str]] = frozenset()
IDENTITIES: Final = frozenset(
    "p-asserted-identity p-preferred-identity remote-party-id diversion history-info referred-by".split()
)
"""Header fields with addresses of the caller, or of those who diverted or transferred the call."""
_REWRITTEN: Final = frozenset({"from", "to"})
_CLAIMS: Final = IDENTITIES - {"referred-by"}
_NETWORK: Final = frozenset(
    "p-charging-vector p-charging-function-addresses p-access-network-info p-visited-network-id p-called-party-id "
    "p-associated-uri p-profile-key p-served-user p-user-database".split()
)
"""Fields exchanged between networks (RFC 7315, RFC 5502), which a device may not assert."""
UNTRUSTED: Final = _CLAIMS | _NETWORK
"""Fields that only a trusted network may assert (RFC 3325 section 5, RFC 7044 section 10.3)."""
POLICY_FIELDS: Final = UNTRUSTED | IDENTITIES | {"privacy"}
"""A message inside a dialog that has none of these is passed on unchanged by every line."""
_PERSONAL: Final = frozenset("call-info organization subject reply-to in-reply-to user-agent server".split())
"""Further fields that reveal something of the user (RFC 3323 section 5.3)."""
_PERSONALLY: Final = frozenset({"user", "header"})
_HIDDEN: Final = UNTRUSTED | IDENTITIES
_HIDDEN_AND_PERSONAL: Final = _HIDDEN | _PERSONAL
_WITHHELD: Final = frozenset({"id", "user", "header"})
"""Values of Privacy that hide the caller from untrusted parties (RFC 3323 section 4.2, RFC 3325 section 9.3)."""


Asserted = tuple[frozenset[str], tuple[str, ...]]
AS_IT_IS: Final[Asserted] = (NOTHING, ())


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How one line treats identities. Number rules are those of the site file, with ``match.matches`` and
    ``apply``."""

    trusted: bool = True
    """The far side is in the trust domain (RFC 3325 section 2.3): its assertions are accepted, and it gets hidden
    identities too."""
    caller_number: str = ""
    """The caller number of all calls from its devices; ``""``: that of the device."""
    claims: tuple[str, ...] = ()
    """The numbers that an untrusted device may use as caller, in the site's form; the first one replaces any other.
    Empty: they are not checked, and the number in From is used."""
    from_device_called: tuple[Any, ...] = ()
    from_device_caller: tuple[Any, ...] = ()
    to_device_called: tuple[Any, ...] = ()
    to_device_caller: tuple[Any, ...] = ()
    domain: str = ""
    """Host of From and asserted identities towards the device; ``""``: our own."""
    account: str = ""
    """User of From towards the device, the caller's number being asserted separately; ``""``: the caller's number."""
    scheme: str = "sip"
    """Scheme of the Request-URI towards the device: ``sip`` or ``sips``."""
    called_from: str = "request-uri"
    """Where the device puts the called number: ``request-uri``, ``to``, ``p-called-party-id``."""
    hidden_diversions: frozenset[str] = frozenset()
    """Header fields of diversions that are not passed to the device."""
    from_device_headers: tuple[HeaderRule, ...] = ()
    to_device_headers: tuple[HeaderRule, ...] = ()


class Numbers(NamedTuple):
    """Caller and callee as the message to the other side has them."""

    called: str
    """The called number, escaped for a URI."""
    caller: str
    """The caller's number, not escaped."""
    sender: str
    """The From value, without tag."""
    recipient: str
    """The To value, without tag."""
    carried: NumberParams
    """Parameters of the called number in the Request-URI."""
    dropped: frozenset[str] = NOTHING
    """Header fields that are not passed on."""
    more: tuple[str, ...] = ()
    """Header lines that replace them."""
    scheme: str = "sip"
    """Scheme of the Request-URI."""

    def uri(self, host: str) -> str:
        """The Request-URI at ``host``, which may have a port and parameters."""
        return f"{self.scheme}:{self.called}{self.carried.user}@{host}{self.carried.uri}"


class Party(NamedTuple):
    """The party in a From value."""

    display: str
    """The display name as it came, quotes included."""
    number: str
    host: str
    """In lower case."""
    carried: NumberParams
    """Parameters of the number."""
    whole: str = ""
    """The whole value if its URI cannot be read (another scheme): it is passed on unchanged; else ``""``."""


def from_device(policy: IdentityPolicy, request: Request, realm: str) -> Numbers:
    """The identities of a device's INVITE for the servers; ``realm`` is the site's. Raises :class:`Malformed`."""
    uri = _called(policy, request)
    called = _number(policy, uri)
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


def called_by_device(policy: IdentityPolicy, request: Request) -> str:
    """The number that a device's INVITE is for, as `Numbers.called`. Raises :class:`Malformed`."""
    return _number(policy, _called(policy, request))


def _number(policy: IdentityPolicy, uri: Uri) -> str:
    called = as_user(rewritten(policy.from_device_called, uri.dialled))
    if not called:
        raise Malformed("a Request-URI without a number")
    return called


def _called(policy: IdentityPolicy, request: Request) -> Uri:
    """The URI with the called number, from where the line has it; the Request-URI if there is none."""
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
    """The caller for a call of an untrusted device: a number that it may use, by P-Preferred-Identity or From. A
    hidden caller is asserted to the servers, with Privacy. Returns the party and header lines."""
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
    """The identities of a server's INVITE for the device; ``wanted``: called number and its parameters, if not those
    of the Request-URI. Raises :class:`Malformed`.
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
    """The identities in any message of the device for the servers: fields to drop, and lines that replace them.

    ``realm`` becomes their host; ``""``: they keep theirs.
    """
    names = message.names
    if policy.caller_number or not policy.trusted:
        return (UNTRUSTED, ()) if not UNTRUSTED.isdisjoint(names) else AS_IT_IS
    if IDENTITIES.isdisjoint(names):
        return AS_IT_IS
    return IDENTITIES, _each(message, policy.from_device_caller, realm)


def asserted_to_device(policy: IdentityPolicy, message: Message, host: str) -> Asserted:
    """The same for any message to the device."""
    if not policy.trusted and _withholds(message, None):
        personal = not _PERSONALLY.isdisjoint(_privacy(message))
        return (_HIDDEN_AND_PERSONAL if personal else _HIDDEN), ()
    if IDENTITIES.isdisjoint(message.names):
        return AS_IT_IS
    return IDENTITIES, _each(message, policy.to_device_caller, host, policy.hidden_diversions)


def in_site_form(
    request: Request,
    told: Numbers,
    realm: str,
    rules: Sequence[HeaderRule] = (),
    dropped: frozenset[str] = NOTHING,
) -> Request:
    """The INVITE of a device as an agent would have passed it on, also without the fields ``dropped``."""
    head = (f"From: {told.sender};tag={request.from_tag}", f"To: {told.recipient}")
    names, lines = _with_fields(request, told.dropped | dropped | _REWRITTEN, (*head, *told.more))
    if rules:
        lines = ruled(rules, lines)
        names = [field_of(line) for line in lines]
    return Request(request.method, told.uri(bracketed(realm)), names, lines, request.body)


@overload
def with_fields(message: Request, dropped: frozenset[str], more: Sequence[str]) -> Request: ...


@overload
def with_fields(message: Message, dropped: frozenset[str], more: Sequence[str]) -> Message: ...


def with_fields(message: Message, dropped: frozenset[str], more: Sequence[str]) -> Message:
    """The same message without the fields ``dropped``, and with the lines ``more`` appended."""
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
    """``number`` changed by the first of the rules that matches; unchanged if none does."""
    for rule in rules:
        if rule.match.matches(number):
            changed: str = rule.apply(number)
            return changed
    return number


def _privacy(message: Message) -> set[str]:
    """The values of Privacy, in lower case (RFC 3323 section 4.2)."""
    if "privacy" not in message.first:
        return set()
    return {each.strip().lower() for value in message.all("privacy") for each in value.split(";")}


def _withholds(message: Message, party: Party | None) -> bool:
    """Whether the sender wants to be hidden from untrusted parties, by Privacy, an anonymous From or Remote-Party-ID.
    ``party``: the party in From; None: it is read only if the request has fields to hide."""
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


def _each(
    message: Message, rules: Sequence[Any], host: str, hidden_diversions: frozenset[str] = NOTHING
) -> tuple[str, ...]:
    """The header lines with identities, their numbers changed by the rules, in their order."""
    found = []
    inner = _who(message.from_untagged).host if host and isinstance(message, Request) else ""
    for name, line in zip(message.names, message.lines, strict=True):
        if name in IDENTITIES and name not in hidden_diversions:
            spelled, _, value = line.partition(":")
            others = [_other(each, rules, host, inner) for each in split_commas(value)]
            found.append(f"{spelled}: {', '.join(others)}")
    return tuple(found)


def _other(value: str, rules: Sequence[Any], host: str, inner: str) -> str:
    """One address with its number changed by the rules and ``host`` as its host. A user name that is no number gets
    the host only if it is at ``inner``, the host of the sending side. Other addresses are returned unchanged.
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
    """The party in a From value."""
    return _who_cached(value) if len(value) <= 200 else _parse_party(value)


def _parse_party(value: str) -> Party:
    try:
        uri = Uri.parse(NameAddr.parse(value).uri)
    except Malformed:  # RFC 4475 section 3.3.4: a From of an unknown scheme is no reason to refuse a call
        return Party("", "", "", NO_PARAMS, value)
    display = value.partition("<")[0].strip() if "<" in value else ""
    if value.startswith('"'):
        display = value[: value.rfind('"', 0, value.rfind("<")) + 1]
    return Party(display, uri.dialled, uri.host.lower(), uri.number_params)


_who_cached: Final = lru_cache(maxsize=2048)(_parse_party)


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
