"""A limit for wrong passwords that does not allow to lock out a user by wrong passwords in his name. Pure.

Only credentials with a nonce that was sent to the sender's address count (``sip.digest``), so that nobody is held
back for forged packets. A wrong password takes a token of each of three buckets:

* that of its address and user together: it holds back neither others behind the same NAT nor the user elsewhere;
* that of its address, against one who tries a password with many users;
* that of the user, against one who tries from many addresses.

While one of them is empty, the credentials are not checked. That takes seconds, never hours, since a phone with the
right password may share the address. Devices that were authenticated before, known by their address and port, have
buckets of their own, which nobody else can empty.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from sip.actions import Flow
from sip.overload.token_bucket import TokenBucket
from sip.peers import network_of


class Pace(NamedTuple):
    """A token bucket: so many at once, then so many a second."""

    what: str
    at_once: float
    a_second: float


PAIR: Final = Pace("wrong passwords of one address for one user", 5, 0.1)
SOURCE: Final = Pace("of one address", 50, 1)
USER: Final = Pace("for one user, of devices that are not known", 100, 1)
KNOWN: Final = Pace("of one device that has proved the password before", 10, 0.2)
ANSWERS: Final = Pace("refusals said to one address that is held back; beyond, it hears nothing", 5, 1)
MOST: Final = 10_000
"""Entries of each kind; the least recently used is dropped first."""
MOST_KNOWN: Final = 100_000
LONGEST_NAME: Final = 64
MOST_TOLD: Final = 1000
"""Users whose wrong passwords are counted for display."""


@dataclass(slots=True)
class Tried:
    """Wrong passwords for one user since the start."""

    count: int
    host: str
    """The host that sent the last one."""
    at: float


class AuthThrottle:
    """Counts wrong passwords, and decides whose credentials are not checked for a while."""

    def __init__(self) -> None:
        self.wrong = 0
        """Wrong passwords since the start."""
        self.held_back = 0
        """Credentials that were not checked, since the start."""
        self.by_user: OrderedDict[str, Tried] = OrderedDict()
        """For display: the user names are those that strangers sent."""
        self._buckets: dict[Pace, OrderedDict[object, TokenBucket]] = {
            pace: OrderedDict() for pace in (PAIR, SOURCE, USER, KNOWN, ANSWERS)
        }
        self._known: OrderedDict[tuple[Flow, str], None] = OrderedDict()

    def wait(self, flow: Flow, user: str, now: float) -> float:
        """Seconds for which credentials of ``user`` by ``flow`` are not checked; 0: they are."""
        longest = 0.0
        for pace, key in self._keys(flow, user):
            bucket = self._buckets[pace].get(key)
            if bucket is not None:
                longest = max(longest, bucket.wait(now))
        if longest > 0.0:
            self.held_back += 1
        return longest

    def hears(self, flow: Flow, now: float) -> bool:
        """Whether a sender that is held back gets a response; limited, since he may be anybody and ask very often."""
        return self._bucket(ANSWERS, network_of(flow.remote[0]), now).take(now)

    def failed(self, flow: Flow, user: str, now: float) -> None:
        """A wrong password."""
        self.wrong += 1
        for pace, key in self._keys(flow, user):
            self._bucket(pace, key, now).take(now)
        name = user[:LONGEST_NAME]
        tried = self.by_user.setdefault(name, Tried(0, "", now))
        tried.count, tried.host, tried.at = tried.count + 1, flow.remote[0], now
        self.by_user.move_to_end(name)
        if len(self.by_user) > MOST_TOLD:
            self.by_user.popitem(last=False)

    def proved(self, flow: Flow, user: str) -> None:
        """The password was right: the device is known from now on."""
        key = flow, user[:LONGEST_NAME]
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _keys(self, flow: Flow, user: str) -> tuple[tuple[Pace, object], ...]:
        user = user[:LONGEST_NAME]
        if (flow, user) in self._known:
            return ((KNOWN, (flow, user)),)
        source = network_of(flow.remote[0])
        return (PAIR, (source, user)), (SOURCE, source), (USER, user)

    def _bucket(self, pace: Pace, key: object, now: float) -> TokenBucket:
        buckets = self._buckets[pace]
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = TokenBucket(pace.a_second, pace.at_once, now)
            if len(buckets) > MOST:
                buckets.popitem(last=False)
        else:
            buckets.move_to_end(key)
        return bucket
