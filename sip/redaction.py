"""SIP messages as they may be shown: credentials, keys and other secrets are blanked.

Blanked are the values that prove or make keys: of digest authentication (RFC 3261 section 22, RFC 8760) and other
schemes, of SRTP in SDP (RFC 4568, RFC 3830), of ICE (RFC 8839), passwords in URIs (RFC 3261 section 19.1.1), digits
(RFC 2976: a PIN), and what the site signs for itself (docs/wire.md). Each keeps its length: lengths stay true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_FOLDED: Final = r"(?:[^\r\n]++|\r\n[ \t])*+"
_HEADERS: Final = re.compile(
    r"(?im)^((?:Proxy-)?Authorization|(?:WWW|Proxy)-Authenticate|(?:Proxy-)?Authentication-Info|Line-State|Call-State|"
    rf"Heartbeat|Death)([ \t]*:[ \t]*)({_FOLDED})"
)
_SCHEME: Final = re.compile(r"([^\s,=\"]+)\s+(?=\S)")
_PROOFS: Final = re.compile(
    r'(?i)\b(response|c?nonce|nextnonce|rspauth|opaque|auts)([ \t]*=[ \t]*)("(?:[^"\\]|\\.)*+"?|[^\s,;]+)'
)
_SIGNED: Final = re.compile(r"(?i)\b(mac|nonce|echo|proof|grants?|secret)(=)([^;\s]+)")
_STATE: Final = re.compile(r"((?:[^.\s]*\.){3})(.*)", re.DOTALL)
_KEYS: Final = re.compile(r"(?im)^(a=crypto:[^\r\n]*?\binline:|a=ice-pwd:|a=key-mgmt:|k=)([^\r\n]+)")
_USERINFO: Final = re.compile(r"(?i)\b(sips?:)([^@<>\s\"]++)(@?)")
"""Matches possessively, also without an ``@`` behind it, so that the time is linear in the text."""
_DIGITS: Final = re.compile(r"(?im)^(Signal[ \t]*=[ \t]*)([^\r\n]+)")
_RECORDS: Final = re.compile(r"(?im)^(?:Content-Type|c)[ \t]*:[ \t]*application/line-dialog")
_DTMF: Final = re.compile(r"(?im)^(?:Content-Type|c)[ \t]*:[ \t]*application/dtmf(?!-relay)")
_MARK: Final = "*"


def redacted(text: str) -> str:
    """The message (ISO 8859-1, one character for each byte) with its secrets blanked."""
    head, end, body = text.partition("\r\n\r\n")
    if not end:  # truncated or no message: where its body begins is not known
        return _with_body(head)
    head = _with_headers(head)
    if not body:
        return head + end
    if _RECORDS.search(head) or _DTMF.search(head):
        return head + end + _MARK * len(body)
    return head + end + _with_body(body)


def _with_headers(text: str) -> str:
    return _USERINFO.sub(_userinfo, _HEADERS.sub(_header, text))


def _with_body(text: str) -> str:
    """Blank secrets as in a body, which may hold a message, too (message/sipfrag, multipart)."""
    return _DIGITS.sub(_second, _KEYS.sub(_second, _with_headers(text)))


def _userinfo(found: re.Match[str]) -> str:
    if not found[3]:
        return found[0]
    user, colon, password = found[2].partition(":")
    return found[1] + user + colon + _MARK * len(password) + "@"


def _second(found: re.Match[str]) -> str:
    return found[1] + _MARK * len(found[2])


def _third(found: re.Match[str]) -> str:
    quoted = found[3][:1] == '"'
    return found[1] + found[2] + (f'"{_MARK * (len(found[3]) - 2)}"' if quoted else _MARK * len(found[3]))


def _header(found: re.Match[str]) -> str:
    name, value = found[1].lower(), found[3]
    return found[1] + found[2] + _BY_NAME.get(name, _credentials)(value)


def _credentials(value: str) -> str:
    """Blank all of an unknown scheme, and also a value without a scheme, which may be a token."""
    found = _SCHEME.match(value)
    if found is None:
        return _MARK * len(value)
    scheme, rest = found[0], value[found.end() :]
    return scheme + (_PROOFS.sub(_third, rest) if found[1].lower() == "digest" else _MARK * len(rest))


def _info(value: str) -> str:
    return _PROOFS.sub(_third, value)


def _signed(value: str) -> str:
    return _SIGNED.sub(_third, value)


def _state(value: str) -> str:
    """Blank a state token but for its version, counter and id."""
    found = _STATE.fullmatch(value)
    return found[1] + _MARK * len(found[2]) if found is not None else _MARK * len(value)


_BY_NAME: Final[dict[str, Callable[[str], str]]] = {
    "authentication-info": _info,
    "proxy-authentication-info": _info,
    "line-state": _state,
    "call-state": _state,
    "heartbeat": _signed,
    "death": _signed,
}
