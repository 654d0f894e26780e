"""Validation of incoming requests (RFC 3261 section 8.1.1)."""

from __future__ import annotations

import re
from typing import Final

from sip.wire.errors import Malformed
from sip.wire.grammar import HOST, QUOTED, TOKEN, WS
from sip.wire.message import MAGIC, PLAIN_ADDRESS, FaultyRequest, Request, refusal, value_of
from sip.wire.uri import Uri

# RFC 3261 section 7.3.1 and 20: at most one of each of these in a message.
_SINGLE: Final = ("call-id", "cseq", "from", "to", "max-forwards", "content-length")
_NEEDED: Final = frozenset({"via", "from", "to", "call-id", "cseq"})

# For unfolded values. Linear: each quantifier that could backtrack is possessive. Display names may hold more than
# the grammar's tokens (UTF-8, dots), but nothing ambiguous. Empty parameters (`;tag=x;`, `;;rport`) are ignored, as
# other stacks do.
_PARAMS: Final = rf'(?:{WS}*+;(?:{WS}*+{TOKEN}++(?:{WS}*+={WS}*+(?:{QUOTED}|[^ \t;,"<>]*+))?)?)*+{WS}*+'
_ADDRESS: Final = (
    rf'{WS}*+(?:(?:{QUOTED}{WS}*+|[^"<>,;]*+)<[A-Za-z][A-Za-z0-9+.\-]*+:[^ \t<>"]++>'
    rf'|[A-Za-z][A-Za-z0-9+.\-]*+:[^ \t<>",;?]++){_PARAMS}'
)
_ONE_ADDRESS: Final = re.compile(rf"{_ADDRESS}\Z", re.DOTALL)
_ADDRESSES: Final = re.compile(rf"(?:{_ADDRESS}(?:,{_ADDRESS})*+|\*)\Z", re.DOTALL)
_VIAS_PART: Final = (
    rf"{TOKEN}++{WS}*+/{WS}*+{TOKEN}++{WS}*+/{WS}*+{TOKEN}++{WS}++{HOST}{WS}*+(?::{WS}*+[0-9]{{1,5}})?{_PARAMS}"
)
_VIAS: Final = re.compile(rf"{_VIAS_PART}(?:,{WS}*+{_VIAS_PART})*+\Z", re.DOTALL)
_NUMBER: Final = re.compile(r"[0-9]{1,5}\Z")
_MAX_FORWARDS: Final = re.compile(r"[^:]++:[ \t]*+[0-9]{1,5}[ \t]*+\Z")
_READABLE: Final = (("via", _VIAS), ("from", _ONE_ADDRESS), ("to", _ONE_ADDRESS))


def validate(request: Request) -> None:
    """Check the mandatory fields of a request (RFC 3261 section 8.1.1); raises :class:`FaultyRequest`.

    The fields that a response and a dialog are made of must be present, single and readable, and the Request-URI
    must be one that can be routed. All other fields are judged where they are used.
    """
    names, present = request.names, request.first.keys()
    if not present >= _NEEDED:
        raise refusal(request, f"no {' nor '.join(sorted(_NEEDED.difference(present)))} header")
    if len(present) != len(names):
        for name in _SINGLE:
            if names.count(name) > 1:
                raise refusal(request, f"more than one {name} header")
    if request.cseq_method != request.method:
        raise refusal(request, "the method of CSeq is not that of the request")
    if not request.call_id or (not request.from_tag and request.branch.startswith(MAGIC)):
        raise refusal(request, "an empty Call-ID, or a From without a tag")
    line = request.first.get("max-forwards")
    if line is not None and _MAX_FORWARDS.match(line) is None and _NUMBER.match(value_of(line)) is None:
        raise refusal(request, "Max-Forwards is no number")
    if not request.plain:
        _validate_unusual(request)
    line = request.first.get("contact")
    if line is not None and PLAIN_ADDRESS.match(line) is None and _ADDRESSES.match(value_of(line)) is None:
        raise refusal(request, "the contact header cannot be read")
    try:
        uri = Uri.parse(request.uri)
    except Malformed as error:
        raise FaultyRequest(f"the Request-URI: {error}", error.status, request) from None
    if uri.headers:
        # RFC 4475 section 3.1.2.11: whoever honoured headers in a Request-URI would let them be injected.
        raise refusal(request, "headers in the Request-URI")


def _validate_unusual(request: Request) -> None:
    """Validate the mandatory fields where one does not have the usual form."""
    for name, pattern in _READABLE:
        if pattern.match(request.get(name) or "") is None:
            raise refusal(request, f"the {name} header cannot be read")
