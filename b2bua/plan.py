"""The plan of a call: what is left to try, in order, and how that stands in the state token. Pure.

plan.to_token(); Plan.from_token(site, text)
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from heartbeat.site.model import Site

LONGEST_NUMBER: Final = 64
"""Characters of a number called, as it stands in a token."""
LONGEST_TOKEN: Final = 400
"""Characters of a plan in a token."""
UNRESERVED: Final = "+*#!"


class RouteTarget(NamedTuple):
    """One line to try."""

    line: str
    request_number: str
    """The number to call there."""
    ring_for: float
    """Seconds after which it has not answered (to be treated as 408)."""
    because: str
    forwarded_from: str = ""
    """The line whose forwarding led here."""
    follows: bool = False
    """Whether the forwarding of this line is followed; it is not for the members of a group."""
    params: str = ""
    """What a redirection said of the number besides its digits (RFC 4694, RFC 4904): ``;npdi;rn=+33177``."""
    reason: str = "unknown"
    """Why that line forwarded, in the words of Diversion (RFC 5806); unknown after a takeover."""


class Plan(NamedTuple):
    """What is left to try, the first target being the one to try now."""

    targets: tuple[RouteTarget, ...]
    line: str
    """The line that calls; after forwarding, the one that forwarded last."""
    called: str
    """The number called, in the site's own form (after ``from_device``)."""
    caller: str
    """The number calling, likewise; empty when it was too long to keep: it is then passed as it came."""
    priority: int = 0
    forwards: int = 0
    """How often the call was forwarded so far."""

    @property
    def target(self) -> RouteTarget:
        """The line to try now."""
        return self.targets[0]

    def to_token(self) -> str:
        """The plan in at most 400 ASCII characters; of a long hunt, the last targets are left out."""
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
        """The plan again, without the lines that ``site`` no longer has. Raises :class:`ValueError` if unreadable."""
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
    """A call that goes nowhere."""

    status: int
    reason: str
    """Reason phrase of the response."""
    because: str
    retry_after: int = 0
    """Seconds for a Retry-After header; 0: none."""


def too_long(number: str) -> bool:
    """Whether a number is not kept in a token."""
    # An ASCII character takes at most three when escaped; only what might be too long is escaped to be measured.
    if len(number) * 3 <= LONGEST_NUMBER and number.isascii():
        return False
    return len(number) > LONGEST_NUMBER or len(escaped(number)) > LONGEST_NUMBER


def escaped(number: str) -> str:
    """A number as it stands in a token."""
    return number if _PLAIN.match(number) else quote(number, UNRESERVED)


_PLAIN: Final = re.compile(r"[0-9A-Za-z+*#!._-]*\Z")
