"""A SIP message, split but hardly parsed (RFC 3261 section 7).

The head is kept as the lines in which it came, one character a byte (ISO 8859-1), so that what nobody changes leaves
byte for byte as it came: ``Identity``, unknown headers, odd spacing, compact names. Only the fields that routing a
message needs are read, each on its first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sip.errors import Malformed, Unanswerable

MAX_HEADERS: Final = 400
"""More header lines than this in one message are refused with 400; real messages have some thirty."""

_KNOWN: Final = (
    "Via From To Call-ID CSeq Contact Max-Forwards Record-Route Route Content-Type Content-Length Expires Allow "
    "Supported Require Proxy-Require Unsupported User-Agent Server Accept Accept-Encoding Accept-Language "
    "Authorization Proxy-Authorization WWW-Authenticate Proxy-Authenticate Authentication-Info Event "
    "Subscription-State Allow-Events Reason Retry-After Warning Date Subject Session-Expires Min-SE Refer-To "
    "Referred-By Replaces RSeq RAck Identity P-Asserted-Identity P-Preferred-Identity Privacy Diversion "
    "History-Info Session-ID Content-Disposition Content-Encoding MIME-Version Timestamp Min-Expires Path "
    "Service-Route Organization Priority Resource-Priority Alert-Info Call-Info Error-Info In-Reply-To Reply-To "
    "Heartbeat Call-State Call-Origin Line P-Early-Media P-Charging-Vector Accept-Contact Reject-Contact"
).split()

# RFC 3261 section 7.3.3 and the registry of compact forms.
_COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_NAMES: Final[dict[str, str]] = {
    spelling: name.lower() for name in _KNOWN for spelling in (name, name.lower(), name.upper())
}
_NAMES.update({letter.upper(): name for letter, name in _COMPACT.items()})
_NAMES.update(_COMPACT)

# RFC 3261 section 7.3.1 and 20: at most one of each of these in a message.
_SINGLE: Final = ("call-id", "cseq", "from", "to", "max-forwards", "content-length")

_END: Final = re.compile("[;,> \t]")

_TOKEN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of RFC 3261 section 25.1."""
    return bool(text) and _TOKEN.issuperset(text)


def canonical(name: str) -> str:
    """The lower-case long form of a header name, compact forms and white space before the colon included."""
    known = _NAMES.get(name)
    if known is not None:
        return known
    name = name.rstrip(" \t").lower()
    return _COMPACT.get(name, name)


class Message:
    """What requests and responses share. Make one with :func:`parse`, or by the constructors of the subclasses."""

    __slots__ = ("_branch", "_call_id", "_cseq", "_from_tag", "_to_tag", "body", "lines", "names")

    names: list[str]
    """The canonical name of each header line."""
    lines: list[str]
    """Each header line as it came, folds included, without its end."""
    body: bytes

    def __init__(self, names: list[str], lines: list[str], body: bytes) -> None:
        self.names = names
        self.lines = lines
        self.body = body
        self._branch: str | None = None
        self._call_id: str | None = None
        self._cseq: tuple[int, str] | None = None
        self._from_tag: str | None = None
        self._to_tag: str | None = None

    @property
    def start(self) -> str:
        """The start line."""
        raise NotImplementedError  # pragma: no cover

    def get(self, name: str) -> str | None:
        """The value of the first header of that canonical name, unfolded and trimmed; ``None`` without one."""
        try:
            line = self.lines[self.names.index(name)]
        except ValueError:
            return None
        return _value(line)

    def all(self, name: str) -> list[str]:
        """The values of every header of that canonical name, a line each, in order."""
        return [_value(line) for key, line in zip(self.names, self.lines, strict=True) if key == name]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def set(self, name: str, line: str) -> None:
        """Put the header line ``line`` in the place of the first one of that name, or at the end."""
        try:
            self.lines[self.names.index(name)] = line
        except ValueError:
            self.names.append(name)
            self.lines.append(line)

    def add(self, name: str, line: str) -> None:
        """Append the header line ``line`` (``Name: value``) under its canonical name."""
        self.names.append(name)
        self.lines.append(line)

    def remove(self, *gone: str) -> None:
        """Drop every header of those canonical names."""
        if any(name in self.names for name in gone):
            kept = [pair for pair in zip(self.names, self.lines, strict=True) if pair[0] not in gone]
            self.names = [pair[0] for pair in kept]
            self.lines = [pair[1] for pair in kept]

    @property
    def branch(self) -> str:
        """The branch of the topmost Via, ``""`` when it has none (RFC 2543 elements)."""
        if self._branch is None:
            self._branch = _parameter(top(self.get("via") or ""), "branch")
        return self._branch

    @property
    def call_id(self) -> str:
        if self._call_id is None:
            self._call_id = self.get("call-id") or ""
        return self._call_id

    @property
    def cseq(self) -> int:
        """The number of the CSeq header (RFC 3261 section 8.1.1.5: below 2**31; up to 2**32-1 is read)."""
        return self._read_cseq()[0]

    @property
    def cseq_method(self) -> str:
        return self._read_cseq()[1]

    @property
    def from_tag(self) -> str:
        """The tag of From, ``""`` without one (RFC 2543)."""
        if self._from_tag is None:
            self._from_tag = tag_of(self.get("from") or "")
        return self._from_tag

    @property
    def to_tag(self) -> str:
        """The tag of To, ``""`` without one."""
        if self._to_tag is None:
            self._to_tag = tag_of(self.get("to") or "")
        return self._to_tag

    def to_bytes(self) -> bytes:
        """The message as it goes on the wire. Content-Length is the caller's to keep true (see :meth:`set_body`)."""
        return ("\r\n".join([self.start, *self.lines]) + "\r\n\r\n").encode("latin-1") + self.body

    def set_body(self, body: bytes, content_type: str | None = None) -> None:
        """Replace the body, with Content-Length and, when given, Content-Type."""
        self.body = body
        self.set("content-length", f"Content-Length: {len(body)}")
        if content_type is not None:
            self.set("content-type", f"Content-Type: {content_type}")

    def _read_cseq(self) -> tuple[int, str]:
        if self._cseq is None:
            number, _, method = (self.get("cseq") or "").partition(" ")
            if not (number.isascii() and number.isdigit()) or len(number) > 40:
                raise Malformed("the CSeq header has no number")
            value = int(number)
            if value > 0xFFFFFFFF:
                raise Malformed("the CSeq number is over 2**32-1")
            self._cseq = (value, method.strip(" \t"))
        return self._cseq


class Request(Message):
    """A request: ``method``, ``uri`` (the Request-URI, untouched) and headers."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, names: list[str], lines: list[str], body: bytes = b"") -> None:
        super().__init__(names, lines, body)
        self.method = method
        self.uri = uri

    @property
    def start(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def __repr__(self) -> str:
        return f"<{self.method} {self.uri}>"


class Response(Message):
    """A response: ``status``, ``reason`` and headers."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, names: list[str], lines: list[str], body: bytes = b"") -> None:
        super().__init__(names, lines, body)
        self.status = status
        self.reason = reason

    @property
    def start(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason}>"


def parse(data: bytes) -> Request | Response:
    """Split one whole message: a datagram, or what a framer cut from a stream.

    Raises:
        Unanswerable: garbage, or nothing that an answer could be sent to.
        Malformed: a request that is to be answered with the error's status.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    start = lines.pop(0)
    if b"\r\n " in head or b"\r\n\t" in head:
        lines = _unfolded(lines)
    if len(lines) > MAX_HEADERS:
        raise Unanswerable(f"more than {MAX_HEADERS} header lines")
    names = []
    known = _NAMES.get
    for line in lines:
        name, colon, _ = line.partition(":")
        if not colon:
            raise Unanswerable("a header line without a colon")
        names.append(known(name) or canonical(name))
    message = _started(start, names, lines, body)
    length = message.get("content-length")
    if length is not None:
        _cut_body(message, length)
    return message


def head_of(data: bytes) -> str:
    """The start line of raw bytes, for a log line: at most 100 printable characters."""
    line = data[:100].partition(b"\r\n")[0].decode("latin-1")
    return "".join(c if c.isprintable() else "." for c in line)


def validate(request: Request) -> None:
    """Check what RFC 3261 section 8.1.1 demands of every request; raises :class:`Malformed`.

    The fields that an answer needs (Via, From, To, Call-ID, CSeq) are looked at first and for all messages.
    """
    names = request.names
    for name in ("via", "from", "to", "call-id", "cseq"):
        if name not in names:
            raise Malformed(f"no {name} header")
    for name in _SINGLE:
        if names.count(name) > 1:
            raise Malformed(f"more than one {name} header")
    if request.cseq_method != request.method:
        raise Malformed("the method of CSeq is not that of the request")
    if not request.call_id or (not request.from_tag and request.branch.startswith("z9hG4bK")):
        raise Malformed("an empty Call-ID, or a From without a tag")
    hops = request.get("max-forwards")
    if hops is not None and not (hops.isascii() and hops.isdigit() and len(hops) < 6):
        raise Malformed("Max-Forwards is no number")
    if _odd_address(request.get("from") or "") or _odd_address(request.get("to") or ""):
        raise Malformed("From or To cannot be read")


def tag_of(value: str) -> str:
    """The tag parameter of a From or To value (RFC 3261 section 20.20), ``""`` without one."""
    end = value.rfind(">")
    at = value.find(";tag=", end + 1)
    if at >= 0:
        return _until_end(value, at + 5)
    return _parameter(value[end + 1 :] if end >= 0 else value, "tag")


def top(value: str) -> str:
    """The first element of a comma-separated header value; commas in quotes or angle brackets do not count."""
    if "," not in value:
        return value
    for element in split_commas(value):
        return element
    return value


def split_commas(value: str) -> Iterator[str]:
    """The elements of a comma-separated header value, trimmed; quoted strings and ``<...>`` are kept whole."""
    if "," not in value:
        yield value.strip()
        return
    start = 0
    quoted = bracketed = escaped = False
    for at, c in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = c == "\\"
            quoted = c != '"'
        elif c == '"':
            quoted = not bracketed
        elif c in "<>":
            bracketed = c == "<"
        elif c == "," and not bracketed:
            yield value[start:at].strip()
            start = at + 1
    yield value[start:].strip()


def elements(message: Message, name: str) -> list[str]:
    """All elements of a header that may come in several lines or with commas, in order."""
    return [element for value in message.all(name) for element in split_commas(value) if element]


def copied(message: Message, wanted: Callable[[str], bool]) -> Iterable[tuple[str, str]]:
    """The (name, line) pairs whose canonical name is wanted, in order."""
    return [pair for pair in zip(message.names, message.lines, strict=True) if wanted(pair[0])]


def _value(line: str) -> str:
    value = line[line.index(":") + 1 :].strip(" \t\r\n")
    if "\r\n" in value:
        return " ".join(part.strip(" \t") for part in value.split("\r\n"))
    return value


def _unfolded(lines: list[str]) -> list[str]:
    """Join folded lines (RFC 3261 section 7.3.1) to the line they continue, keeping every byte."""
    joined: list[list[str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):
            if not joined:
                raise Unanswerable("the first header line is a continuation")
            joined[-1].append(line)
        else:
            joined.append([line])
    return ["\r\n".join(parts) for parts in joined]


def _started(start: str, names: list[str], lines: list[str], body: bytes) -> Request | Response:
    if start.startswith("SIP/2.0 "):
        code, _, reason = start[8:].partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit()) or not "100" <= code <= "699":
            raise Unanswerable("a status line without a status")
        return Response(int(code), reason, names, lines, body)
    method, _, rest = start.partition(" ")
    uri, _, version = rest.rpartition(" ")
    if not is_token(method) or not version:
        raise Unanswerable("neither a request line nor a status line")
    request = Request(method, uri, names, lines, body)
    if version != "SIP/2.0":
        if version.upper() == "SIP/2.0":
            return request
        if not version.upper().startswith("SIP/"):
            raise Unanswerable("neither a request line nor a status line")
        raise Malformed("only SIP/2.0 is spoken here", 505, request)
    if not uri or " " in uri or "\t" in uri or uri[0] == "<":
        raise Malformed("the Request-URI cannot be read", 400, request)
    return request


def _cut_body(message: Request | Response, length: str) -> None:
    """RFC 3261 section 18.3: bytes beyond Content-Length are dropped, fewer than that are an error."""
    if not (length.isascii() and length.isdigit()) or len(length) > 12:
        raise _refusal(message, "Content-Length is no number")
    size = int(length)
    if size < len(message.body):
        message.body = message.body[:size]
    elif size > len(message.body):
        raise _refusal(message, "Content-Length is larger than the body")


def _refusal(message: Request | Response, because: str) -> Malformed:
    if isinstance(message, Request):
        return Malformed(because, 400, message)
    return Unanswerable(because)


def _odd_address(value: str) -> bool:
    """Whether a From or To value can surely not be read: quotes or brackets that do not close."""
    if '"' not in value:
        return value.count("<") != value.count(">")
    plain = value.replace("\\\\", "").replace('\\"', "")
    if plain.count('"') % 2:
        return True
    return "<" not in plain.rpartition('"')[2] and "<" in plain


def _parameter(value: str, name: str) -> str:
    """The value of a parameter behind ``;``, name in any case, white space allowed (RFC 3261 section 7.3.1)."""
    at = value.find(f";{name}=")
    if at >= 0:
        return _until_end(value, at + len(name) + 2)
    for part in value.split(";")[1:]:
        key, equals, text = part.partition("=")
        if equals and key.strip().lower() == name:
            return text.strip()
    return ""


def _until_end(value: str, start: int) -> str:
    return _END.split(value[start:], 1)[0]
