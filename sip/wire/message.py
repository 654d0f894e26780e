"""A SIP message, split into lines but parsed only as far as routing needs (RFC 3261 section 7).

The head is kept as the lines in which it came, one character a byte (ISO 8859-1), so that whatever is not changed is
sent on byte for byte: ``Identity``, unknown headers, odd spacing, compact names. Only the fields that routing a
message needs are read, once, when it is made.
"""

from __future__ import annotations

import re
from typing import Final

from sip.wire.errors import Malformed, Unanswerable
from sip.wire.grammar import QUOTED_OR_OPEN, TOKEN
from sip.wire.grammar import is_token as is_token
from sip.wire.grammar import split_commas as split_commas
from sip.wire.grammar import top as top

MAGIC: Final = "z9hG4bK"
"""The magic cookie: beginning of a branch by RFC 3261 (section 8.1.1.7)."""

MAX_HEADERS: Final = 400
"""A request with more header lines is answered 513, such a response dropped; usual ones have some thirty."""

_KNOWN: Final = (
    "Via From To Call-ID CSeq Contact Max-Forwards Record-Route Route Content-Type Content-Length Expires Allow "
    "Supported Require Proxy-Require Unsupported User-Agent Server Accept Accept-Encoding Accept-Language "
    "Authorization Proxy-Authorization WWW-Authenticate Proxy-Authenticate Authentication-Info Event "
    "Subscription-State Allow-Events Reason Retry-After Warning Date Subject Session-Expires Min-SE Refer-To "
    "Referred-By Replaces RSeq RAck Identity P-Asserted-Identity P-Preferred-Identity Privacy Diversion "
    "History-Info Session-ID Content-Disposition Content-Encoding MIME-Version Timestamp Min-Expires Path "
    "Service-Route Organization Priority Resource-Priority Alert-Info Call-Info Error-Info In-Reply-To Reply-To "
    "Heartbeat Call-State Call-Origin Line Line-State Media-Quality P-Early-Media P-Charging-Vector Accept-Contact "
    "Reject-Contact"
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

_METHODS: Final = frozenset("INVITE ACK BYE CANCEL OPTIONS REGISTER INFO SUBSCRIBE NOTIFY MESSAGE".split())
"""Methods that need no check for being a token."""

_END: Final = re.compile("[;,> \t]")
_BARE: Final = re.compile(r"(?:(?<!\r)\n|\r(?!\n))")
_SPACED: Final = re.compile(r"[ \t]")
_QUOTES: Final = re.compile(QUOTED_OR_OPEN, re.DOTALL)

# Lines of the usual form, a subset of what `sip.wire.validation` allows: one match reads a line and proves it valid.
_NAME: Final = r"[^:]++:[ \t]*+"
_WORD: Final = r"[A-Za-z0-9.!%*_+`'~\-]"
_PLAIN_VIA: Final = re.compile(
    rf"{_NAME}SIP/2\.0/[A-Z]{{2,8}} ((?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9.\-]++)(?::[0-9]{{1,5}})?)"
    rf"((?:;{_WORD}++(?:={_WORD}*+)?+)*+)[ \t]*+\Z"
)
_TAGGED: Final = (
    r'((?:"[^"\\]*+" ?|[A-Za-z0-9 .\-]*+)<[A-Za-z][A-Za-z0-9+.\-]*+:[^ \t\r\n<>"]++>)'
    rf"(?:;tag=({_WORD}++))?+"
)
PLAIN_ADDRESS: Final = re.compile(rf"{_NAME}{_TAGGED}[ \t]*+\Z")
"""A From, To or Contact line of the usual form: its value without the tag, and the tag."""
_PLAIN_CSEQ: Final = re.compile(rf"{_NAME}([0-9]{{1,9}}) ([A-Z]++)\Z")
_CSEQ: Final = re.compile(rf"{_NAME}([0-9]{{1,40}})[ \t]++({TOKEN}++)[ \t]*+\Z")


def canonical(name: str) -> str:
    """The lower-case long form of a header name, compact forms and white space before the colon included."""
    known = _NAMES.get(name)
    if known is not None:
        return known
    name = name.rstrip(" \t").lower()
    return _COMPACT.get(name, name)


class Message:
    """Base of :class:`Request` and :class:`Response`; make one with :func:`parse` or their constructors."""

    __slots__ = (
        "body",
        "branch",
        "call_id",
        "cseq",
        "cseq_method",
        "first",
        "lines",
        "names",
        "plain",
        "sent_by",
        "to_tag",
        "to_untagged",
    )

    names: list[str]
    """The canonical name of each header line."""
    lines: list[str]
    """Each header line as it came, folds included, without its line end."""
    body: bytes

    first: dict[str, str]
    """The first header line of each canonical name."""

    def __init__(self, names: list[str], lines: list[str], body: bytes) -> None:
        self.body = body
        self.names = names
        self.lines = lines
        first = dict(zip(names, lines, strict=True))
        if len(first) != len(names):
            first = dict(zip(reversed(names), reversed(lines), strict=True))
        self.first = first
        line = first.get("via", "")
        found = _PLAIN_VIA.match(line)
        if found is not None and (branch := found[2].partition(";branch=")[2].partition(";")[0]):
            self.sent_by, self.branch, plain = found[1].lower(), "" if branch == MAGIC else branch, True
        else:
            self.sent_by, self.branch = _via_of(line)
            plain = False
        """Sent-by of the topmost Via, ``host`` or ``host:port`` in lower case (RFC 3261 section 18.1.1); and its
        branch, ``""`` when it has none (RFC 2543) or nothing after the magic cookie, which does not distinguish
        requests (RFC 4475 section 3.2.1)."""
        value = first.get("call-id", "").partition(":")[2].strip(" \t\r\n")
        self.call_id = _unfolded_value(value) if "\r\n" in value else value
        found = _PLAIN_CSEQ.match(first.get("cseq", ""))
        self.cseq, self.cseq_method = (
            (int(found[1]), found[2]) if found is not None else _cseq_of(first.get("cseq", ""))
        )
        """0 and ``""`` when the CSeq header cannot be read."""
        found = PLAIN_ADDRESS.match(recipient := first.get("to", ""))
        self.to_untagged, self.to_tag = found.groups("") if found is not None else _address_of(recipient)
        """The value of To without its tag; the tag, ``""`` without one (RFC 2543)."""
        self.plain = plain and found is not None
        """Whether these lines have the usual form and so need no further validation."""

    def get(self, name: str) -> str | None:
        """The value of the first header line of that canonical name, unfolded and trimmed; ``None`` without one."""
        line = self.first.get(name)
        if line is None:
            return None
        value = line.partition(":")[2].strip(" \t\r\n")
        return _unfolded_value(value) if "\r\n" in value else value

    def line(self, name: str) -> str:
        """The first header line of that canonical name, as it came; ``""`` without one."""
        return self.first.get(name, "")

    def all(self, name: str) -> list[str]:
        """The values of all header lines of that canonical name, in order, unfolded and trimmed."""
        return [value_of(line) for key, line in zip(self.names, self.lines, strict=True) if key == name]

    def __contains__(self, name: str) -> bool:
        return name in self.first

    def set(self, name: str, line: str) -> None:
        """Replace the first header line of that canonical name by ``line``, or append it.

        The attributes that were read when the message was made are not changed.
        """
        if name in self.first:
            self.lines[self.names.index(name)] = line
        else:
            self.names.append(name)
            self.lines.append(line)
        self.first[name] = line


class Request(Message):
    """A request: ``method``, ``uri`` (the Request-URI, untouched) and headers."""

    __slots__ = ("from_tag", "from_untagged", "method", "uri")

    def __init__(self, method: str, uri: str, names: list[str], lines: list[str], body: bytes = b"") -> None:
        super().__init__(names, lines, body)
        self.method = method
        self.uri = uri
        found = PLAIN_ADDRESS.match(sender := self.first.get("from", ""))
        self.from_untagged, self.from_tag = found.groups("") if found is not None else _address_of(sender)
        """The value of From without its tag; the tag, ``""`` without one (RFC 2543)."""
        self.plain = self.plain and found is not None

    @property
    def start(self) -> str:
        """The request line."""
        return f"{self.method} {self.uri} SIP/2.0"

    def to_bytes(self) -> bytes:
        """The request as bytes. The caller keeps Content-Length true."""
        return _joined(self.start, self)

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
    def from_untagged(self) -> str:
        """The value of From without its tag; parsed on access, since it is seldom needed."""
        return _address_of(self.line("from"))[0]

    @property
    def from_tag(self) -> str:
        """The tag of From, ``""`` without one."""
        return _address_of(self.line("from"))[1]

    @property
    def start(self) -> str:
        """The status line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def to_bytes(self) -> bytes:
        """The response as bytes. The caller keeps Content-Length true."""
        return _joined(self.start, self)

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason}>"


class FaultyRequest(Malformed):
    """A request that cannot be used but can be answered, by the header lines that ``request`` has of it."""

    def __init__(self, because: str, status: int, request: Request) -> None:
        super().__init__(because, status)
        self.request = request


def parse(data: bytes) -> Request | Response:
    """Split one whole message: a datagram, or a message that a framer cut from a stream.

    Raises:
        Unanswerable: no SIP, a faulty response, or a request to which no answer can be addressed.
        FaultyRequest: a request to be answered with the error's status.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    fault = ""
    if not end:
        fault = "no empty line after the headers"
        head = head.removesuffix(b"\r\n")
    lines = head.decode("latin-1").split("\r\n")
    start = lines.pop(0)
    if len((head + b".").splitlines()) != len(lines) + 1:  # of bytes: at CR, LF and both; the last may be empty
        fault = "a bare CR or LF in the headers"
    status = 400
    if len(lines) > MAX_HEADERS and len(lines := _unfolded(lines)) > MAX_HEADERS:
        del lines[MAX_HEADERS:]  # RFC 3261 section 21.5.7; the answer is made from those that were read
        status, fault = 513, f"more than {MAX_HEADERS} header lines"
    try:
        names = [_NAMES[line[: line.index(":")]] for line in lines]
    except (KeyError, ValueError):  # a folded line, too: no name begins with white space
        lines = _unfolded(lines)
        names, odd = _unusual_names(lines)
        fault = odd or fault
    if fault:
        names, lines = _named(names, lines)
    message = _started(start, names, lines, body)
    if fault:
        raise refusal(message, fault, status)
    line = message.first.get("content-length")
    if line is not None and line != f"Content-Length: {len(body)}" and (length := value_of(line)) != str(len(body)):
        _cut_body(message, length)
    if not message.cseq_method:
        raise refusal(message, "the CSeq header has no number below 2**32, or no method")
    return message


def head_of(data: bytes) -> str:
    """The start line of raw bytes, for a log line: at most 100 printable characters."""
    line = data[:100].partition(b"\r\n")[0].decode("latin-1")
    return "".join(c if c.isprintable() else "." for c in line)


def tag_of(value: str) -> str:
    """The tag parameter of a From or To value (RFC 3261 section 20.20), ``""`` without one."""
    if '"' in value:
        value = _QUOTES.sub('""', value)
    return _parameter(value[value.find(">") + 1 :], "tag")


def without_tag(value: str) -> str:
    """A From or To value without its tag parameter, other parameters kept."""
    tag = tag_of(value)
    if not tag:
        return value
    end = value.rfind(">") + 1
    head, tail = value[:end], value[end:]
    if tail == f";tag={tag}":
        return head
    parts = tail.split(";")
    kept = [part for part in parts[1:] if part.partition("=")[0].strip().lower() not in ("tag", "")]
    return head + ";".join([parts[0].rstrip(), *kept]) if kept else head + parts[0].rstrip()


def elements(message: Message, name: str) -> list[str]:
    """All elements of a header, from several lines and comma-separated lists, in order."""
    return [element for value in message.all(name) for element in split_commas(value) if element]


def _joined(start: str, message: Message) -> bytes:
    return "\r\n".join((start, *message.lines, "", "")).encode("latin-1") + message.body


def value_of(line: str) -> str:
    """The value of a header line, unfolded and trimmed."""
    value = line.partition(":")[2].strip(" \t\r\n")
    return _unfolded_value(value) if "\r\n" in value else value


def _unfolded_value(value: str) -> str:
    return " ".join(part.strip(" \t") for part in value.split("\r\n"))


def _via_of(line: str) -> tuple[str, str]:
    """Sent-by and branch of the first Via of a line that does not have the usual form."""
    value = top(value_of(line)) if line else ""
    branch = _parameter(value, "branch")
    sent_by = value.partition(";")[0].rpartition(" ")[2].lower()
    return sent_by, "" if branch == MAGIC else branch


def _cseq_of(line: str) -> tuple[int, str]:
    """Number and method of a CSeq line (RFC 3261 section 8.1.1.5: below 2**31; up to 2**32-1 is read)."""
    found = _CSEQ.match(line) or (_CSEQ.match(f"CSeq: {value_of(line)}") if "\r\n" in line else None)
    number = int(found[1]) if found is not None else 0
    return (number, found[2]) if found is not None and number <= 0xFFFFFFFF else (0, "")


def _address_of(line: str) -> tuple[str, str]:
    """The value of a From or To line that does not have the usual form, without its tag, and the tag."""
    value = value_of(line) if line else ""
    return without_tag(value), tag_of(value)


def _unusual_names(lines: list[str]) -> tuple[list[str], str]:
    """The names of lines of which not all are in the table, and the fault of one that has no name, else ``""``."""
    names, fault = [], ""
    for line in lines:
        name, colon, _ = line.partition(":")
        names.append(canonical(name))
        if not colon or not is_token(names[-1]):
            fault = "a header line without a name and a colon"
    return names, fault


def _unfolded(lines: list[str]) -> list[str]:
    """Join folded lines (RFC 3261 section 7.3.1) to the lines that they continue, keeping every byte."""
    joined: list[list[str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):
            if not joined:
                raise Unanswerable("the first header line is a continuation")
            joined[-1].append(line)
        else:
            joined.append([line])
    return ["\r\n".join(parts) for parts in joined]


def _named(names: list[str], lines: list[str]) -> tuple[list[str], list[str]]:
    """The names and lines of those header lines that have a name, to answer a faulty message by."""
    pairs = [(name, line) for name, line in zip(names, lines, strict=True) if ":" in line and name]
    return [name for name, _ in pairs], [_BARE.sub(" ", line) for _, line in pairs]


def _started(start: str, names: list[str], lines: list[str], body: bytes) -> Request | Response:
    method, _, rest = start.partition(" ")
    if method in _METHODS:
        uri, _, version = rest.rpartition(" ")
        if version == "SIP/2.0" and uri and " " not in uri and "\t" not in uri and uri[0] != "<":
            return Request(method, uri, names, lines, body)
    elif method == "SIP/2.0" or method.upper() == "SIP/2.0":
        code, _, reason = rest.partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit()) or not "100" <= code <= "699":
            raise Unanswerable("a status line without a status")
        return Response(int(code), reason, names, lines, body)
    uri, _, version = rest.rpartition(" ")
    if version == "SIP/2.0" and uri and is_token(method) and " " not in uri and "\t" not in uri and uri[0] != "<":
        return Request(method, uri, names, lines, body)
    return _with_bad_start_line(method, rest, names, lines, body)


def _with_bad_start_line(method: str, rest: str, names: list[str], lines: list[str], body: bytes) -> Request:
    """A start line that violates RFC 3261 section 7.1: decide whether it is a request that can be answered."""
    uri, _, version = rest.strip(" \t").rpartition(" ")
    if not is_token(method) or not version.upper().startswith("SIP/"):
        raise Unanswerable("neither a request line nor a status line")
    request = Request(method, uri, names, lines, body)
    if version.upper() != "SIP/2.0":
        raise FaultyRequest("only SIP/2.0 is spoken here", 505, request)
    if version == "SIP/2.0" or not uri or _SPACED.search(uri) or uri[0] == "<" or rest[-1:] in (" ", "\t"):
        raise FaultyRequest("the request line cannot be read", 400, request)
    return request


def _cut_body(message: Request | Response, length: str) -> None:
    """RFC 3261 section 18.3: bytes beyond Content-Length are dropped; too few are an error."""
    if not (length.isascii() and length.isdigit()) or len(length) > 12:
        raise refusal(message, "Content-Length is no number")
    size = int(length)
    if size < len(message.body):
        message.body = message.body[:size]
    elif size > len(message.body):
        raise refusal(message, "Content-Length is larger than the body")


def refusal(message: Request | Response, because: str, status: int = 400) -> Malformed:
    """The error to raise for a message that cannot be used: a request is to be answered, a response dropped."""
    if isinstance(message, Request):
        return FaultyRequest(because, status, message)
    return Unanswerable(because)


def _parameter(value: str, name: str) -> str:
    """The value of a parameter after ``;``, name in any case, white space allowed (RFC 3261 section 7.3.1); ``""``
    without it."""
    at = value.find(f";{name}=")
    if at >= 0 and '"' not in value:
        return _until_end(value, at + len(name) + 2)
    if '"' in value:
        value = _QUOTES.sub('""', value)
    for part in value.split(";")[1:]:
        key, equals, text = part.partition("=")
        if equals and key.strip(" \t").lower() == name:
            return _until_end(text.strip(" \t"), 0)
    return ""


def _until_end(value: str, start: int) -> str:
    return _END.split(value[start:], 1)[0]
