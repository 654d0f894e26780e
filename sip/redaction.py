"""A SIP message as it may be shown: what would let somebody speak in another's name, or listen in, is blanked.

Blanked are the values that prove or make keys: of digest authentication (RFC 3261 section 22, RFC 8760) and other
schemes, of SRTP in SDP (RFC 4568, RFC 3830), of ICE (RFC 8839), passwords in URIs (RFC 3261 section 19.1.1), digits
(RFC 2976: a PIN), and what the site signs for itself (docs/wire.md). Each keeps its length: lengths stay true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_FOLDED: Final = r"(?:[^\r\n]|\r\n[ \t])*"
_HEADERS: Final = re.compile(
    r"(?im)^((?:Proxy-)?Authorization|(?:WWW|Proxy)-Authenticate|(?:Proxy-)?Authentication-Info|Line-State|Call-State|"
    rf"Heartbeat|Death)([ \t]*:[ \t]*)({_FOLDED})"
)
_PROOFS: Final = re.compile(
    r'(?i)\b(response|c?nonce|nextnonce|rspauth|opaque|auts)([ \t]*=[ \t]*)("(?:[^"\\]|\\.)*+"?|[^\s,;]+)'
)
_SIGNED: Final = re.compile(r"(?i)\b(mac|nonce|echo|proof|grants?|secret)(=)([^;\s]+)")
_STATE: Final = re.compile(r"((?:[^.\s]*\.){3})(.*)", re.DOTALL)
_KEYS: Final = re.compile(r"(?im)^(a=crypto:[^\r\n]*?\binline:|a=ice-pwd:|a=key-mgmt:|k=)([^\r\n]+)")
_PASSWORD: Final = re.compile(r"(?i)(\bsips?:[^@:;?<>\s\"]{1,200}:)([^@<>\s\"]{1,200})(?=@)")
_DIGITS: Final = re.compile(r"(?im)^(Signal[ \t]*=[ \t]*)([^\r\n]+)")
_RECORDS: Final = re.compile(r"(?im)^(?:Content-Type|c)[ \t]*:[ \t]*application/line-dialog")
_DTMF: Final = re.compile(r"(?im)^(?:Content-Type|c)[ \t]*:[ \t]*application/dtmf(?!-relay)")
_MARK: Final = "*"


def redacted(text: str) -> str:
    """The same message, a character a byte, with its secrets blanked."""
    head, end, body = text.partition("\r\n\r\n")
    head = _PASSWORD.sub(_second, _HEADERS.sub(_header, head))
    if not body:
        return head + end
    if _RECORDS.search(head) or _DTMF.search(head):
        return head + end + _MARK * len(body)
    # a body may have a message in it (message/sipfrag, multipart)
    body = _PASSWORD.sub(_second, _HEADERS.sub(_header, body))
    return head + end + _DIGITS.sub(_second, _KEYS.sub(_second, body))


def _second(found: re.Match[str]) -> str:
    return found[1] + _MARK * len(found[2])


def _third(found: re.Match[str]) -> str:
    quoted = found[3][:1] == '"'
    return found[1] + found[2] + (f'"{_MARK * (len(found[3]) - 2)}"' if quoted else _MARK * len(found[3]))


def _header(found: re.Match[str]) -> str:
    name, value = found[1].lower(), found[3]
    return found[1] + found[2] + _BY_NAME.get(name, _credentials)(value)


def _credentials(value: str) -> str:
    """Of a scheme that is not known all is blanked."""
    scheme, space, rest = value.partition(" ")
    if scheme.lower() == "digest":
        return scheme + space + _PROOFS.sub(_third, rest)
    return scheme + space + _MARK * len(rest)


def _info(value: str) -> str:
    return _PROOFS.sub(_third, value)


def _signed(value: str) -> str:
    return _SIGNED.sub(_third, value)


def _state(value: str) -> str:
    """Version, counter and id stay."""
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
