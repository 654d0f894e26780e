"""The plan of a call: the targets left to try, in order, and their form in the state token. Pure.

plan.to_token(); Plan.from_token(site, text)
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from heartbeat.site.model import Site

LONGEST_NUMBER: Final = 64
"""Characters of a called number in a token, escaped."""
LONGEST_TOKEN: Final = 400
"""Characters of a plan in a token."""
UNRESERVED: Final = "+*#!"


class RouteTarget(NamedTuple):
    """One line to try."""

    line: str
    request_number: str
    """The number to call there."""
    ring_for: float
    """Seconds to wait for an answer, after which the target counts as failed with 408."""
    because: str
    forwarded_from: str = ""
    """The line that forwarded the call to this target; ``""``: none."""
    follows: bool = False
    """Whether the line's call forwarding applies; not for members of a group."""
    params: str = ""
    """Parameters of the number in a redirection (RFC 4694, RFC 4904), such as ``;npdi;rn=+33177``."""
    reason: str = "unknown"
    """The reason of the forwarding as in Diversion (RFC 5806); ``unknown`` after a takeover."""


class Plan(NamedTuple):
    """The targets left to try; the first is the present one."""

    targets: tuple[RouteTarget, ...]
    line: str
    """The calling line; after forwarding, the line that forwarded last."""
    called: str
    """The called number in the site's form (after ``from_device``)."""
    caller: str
    """The calling number, likewise; empty: it was too long to be kept, and is passed on unchanged."""
    priority: int = 0
    forwards: int = 0
    """How many times the call was forwarded."""

    @property
    def target(self) -> RouteTarget:
        """The line to try now."""
        return self.targets[0]

    def to_token(self) -> str:
        """The plan in at most `LONGEST_TOKEN` ASCII characters; the last targets of a long hunt are left out."""
        caller = escaped(self.caller)
        head = f"1,{self.line},{escaped(self.called)},{caller},{self.priority},{self.forwards}"
        for target in self.targets:
            number = "" if target.request_number == self.called else escaped(target.request_number)
            flag = ("f" if target.follows else "") + (escaped(target.params) if target.params else "")
            part = f";{target.line},{number},,{math.ceil(target.ring_for)},{target.forwarded_from},{flag}"
            if len(head) + len(part) > LONGEST_TOKEN:
                break
            head += part
        return head

    @classmethod
    def from_token(cls, site: Site, text: str) -> Plan:
        """The inverse of :meth:`to_token`, without lines that ``site`` no longer has. Raises :class:`ValueError`
        where the text is malformed."""
        head, *parts = text.split(";")
        version, line, called, caller, priority, forwards = head.split(",")
        if version != "1":
            raise ValueError(f"The plan of a call has version {version}, and only 1 is known here.")
        called, caller = unquote(called), unquote(caller)
        targets = []
        for part in parts:
            name, number, _, ring, forwarded, flag = part.split(",")  # the third was of an earlier version
            if name in site.lines:
                number = unquote(number) or called
                because = f"{name} was left to try when the server changed"
                follows, params = flag.startswith("f"), unquote(flag.removeprefix("f"))
                targets.append(RouteTarget(name, number, float(ring), because, forwarded, follows, params))
        return cls(tuple(targets), line, called, caller, int(priority), int(forwards))


class Refusal(NamedTuple):
    """A call that is refused."""

    status: int
    reason: str
    """Reason phrase of the response."""
    because: str
    retry_after: int = 0
    """Seconds for a Retry-After header; 0: none."""


def too_long(number: str) -> bool:
    """Whether a number is too long to be kept in a token."""
    # an escaped ASCII character takes at most three; only a number that might be too long is escaped to measure it
    if len(number) * 3 <= LONGEST_NUMBER and number.isascii():
        return False
    return len(number) > LONGEST_NUMBER or len(escaped(number)) > LONGEST_NUMBER


def escaped(number: str) -> str:
    """A number as written in a token."""
    return number if _PLAIN.match(number) else quote(number, UNRESERVED)


_PLAIN: Final = re.compile(r"[0-9A-Za-z+*#!._-]*\Z")
