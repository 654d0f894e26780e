"""What a device has received, out of SIPp's message log: each message once, without what differs from run to run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(rb"-{40,} (\d+)-(\d+)-(\d+)[ T](\d+):(\d+):([\d.]+)\n")
_WHAT = re.compile(rb"(UDP|TCP) message (sent \(|received \[)(\d+)(?:\]? bytes\)? ?:)\n\n")
_TAG = re.compile(r";tag=[^;,>\s]*")
_BRANCH = re.compile(r";branch=[^;,>\s]*")
_ORIGIN = re.compile(r"^o=(\S+) \d+ (\d+) ", re.MULTILINE)
_NONCE = re.compile(r'nonce="[^"]*"')
_PORT = re.compile(r"^m=(\w+) [1-9]\d* ", re.MULTILINE)
_RUNNING = {"call-id": "Call-ID", "i": "Call-ID", "session-id": "Session-ID"}


@dataclass(frozen=True, slots=True)
class Logged:
    """One message of a log."""

    at: float
    """Seconds of the day, by SIPp's clock."""
    received: bool
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\r\n")[0]

    def header(self, name: str) -> str:
        """The value of the first header field of that (long) name, ``""`` without one."""
        found = re.search(rf"^{name}[ \t]*:[ \t]*(.*?)\r$", self.text, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else ""


def logged(path: Path) -> Iterator[Logged]:
    """The messages of a log that SIPp wrote (``-trace_msg``)."""
    data = path.read_bytes() if path.exists() else b""
    for head in _HEAD.finditer(data):
        what = _WHAT.match(data, head.end())
        if what is None:
            continue
        hours, minutes, seconds = int(head[4]), int(head[5]), float(head[6])
        text = data[what.end() : what.end() + int(what[3])].decode("latin-1")
        yield Logged(hours * 3600 + minutes * 60 + seconds, what[2].startswith(b"received"), text)


def received(messages: Iterable[Logged]) -> Iterator[Logged]:
    """The received ones, retransmissions apart: the same bytes again, but for the Via of an ACK, whose branch is a
    new one each time (RFC 3261 section 13.2.2.4)."""
    seen = set()
    for message in messages:
        if not message.received:
            continue
        mark = message.text
        if mark.startswith("ACK "):
            mark = re.sub(r"^Via:.*?\r\n", "", mark, flags=re.IGNORECASE | re.MULTILINE)
        if mark not in seen:
            seen.add(mark)
            yield message


def word(message: Logged) -> str:
    """The message without what is made anew for each call: Call-ID, tags, branches, nonces, the number of CSeq, the
    session number of ``o=``, RTP ports."""
    text = _ORIGIN.sub(r"o=\1 * \2 ", _PORT.sub(r"m=\1 * ", message.text))
    text = _NONCE.sub("nonce=*", _BRANCH.sub(";branch=*", _TAG.sub(";tag=*", text)))
    lines = []
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        running = _RUNNING.get(name.strip().lower()) if colon else None
        if running:
            line = f"{running}: *"
        elif colon and name.strip().lower() == "cseq":
            line = f"CSeq: * {value.split()[-1]}"
        elif colon and name.strip().lower() in ("content-length", "l"):
            continue
        lines.append(line)
    return "\r\n".join(lines)


def multiset(messages: Iterable[Logged]) -> Counter[str]:
    """How often a device received each message."""
    return Counter(word(message) for message in received(messages))


def difference(expected: Counter[str], found: Counter[str]) -> list[str]:
    """What one multiset has more than the other, a line each."""
    lines = [f"missing {count} x {text!r}" for text, count in (expected - found).items()]
    return lines + [f"unexpected {count} x {text!r}" for text, count in (found - expected).items()]
