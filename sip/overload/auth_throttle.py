"""How fast passwords may be guessed, without locking anybody out by guessing wrong in his name. Pure.

Only what can be seen by the one who guesses counts: the nonce has to be one that went to his address
(``sip.digest``), so nobody is held back for what others write into forged packets. A wrong password costs one of

* those of its address and user together: he alone is held back, not others behind the same NAT, and the user not
  elsewhere;
* those of its address, for who tries one password with many users;
* those of the user, for who tries from many addresses;

and whoever has none left is not looked at until there is one again: seconds, never hours, for a phone with the right
password may stand beside the one that guesses. Devices that have proved the password before, known by their address
and port, have tries of their own, which nobody else can use up.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from sip.actions import Flow
from sip.overload.token_bucket import TokenBucket
from sip.peers import network_of


class Pace(NamedTuple):
    """So many at once, then so many a second."""

    what: str
    at_once: float
    a_second: float


PAIR: Final = Pace("wrong passwords of one address for one user", 5, 0.1)
SOURCE: Final = Pace("of one address", 50, 1)
USER: Final = Pace("for one user, of devices that are not known", 100, 1)
KNOWN: Final = Pace("of one device that has proved the password before", 10, 0.2)
ANSWERS: Final = Pace("refusals said to one address that is held back; beyond, it hears nothing", 5, 1)
MOST: Final = 10_000
"""Entries of each kind; who guessed longest ago is forgotten first."""
MOST_KNOWN: Final = 100_000
LONGEST_NAME: Final = 64
MOST_TOLD: Final = 1000
"""Users of whom it is remembered who guessed last."""


@dataclass(slots=True)
class Tried:
    """Wrong passwords for one user since the start."""

    count: int
    host: str
    """Of the last one."""
    at: float


class AuthThrottle:
    """Who has guessed wrong, how often, and who is therefore not looked at."""

    def __init__(self) -> None:
        self.wrong = 0
        """Wrong passwords so far."""
        self.held_back = 0
        """Tries that were not looked at."""
        self.by_user: OrderedDict[str, Tried] = OrderedDict()
        """For people: the user names are what strangers wrote."""
        self._buckets: dict[Pace, OrderedDict[object, TokenBucket]] = {
            pace: OrderedDict() for pace in (PAIR, SOURCE, USER, KNOWN, ANSWERS)
        }
        self._known: OrderedDict[tuple[Flow, str], None] = OrderedDict()

    def wait(self, flow: Flow, user: str, now: float) -> float:
        """Seconds for which credentials of ``user`` from there are not to be looked at; 0 when they may be."""
        longest = 0.0
        for pace, key in self._keys(flow, user):
            bucket = self._buckets[pace].get(key)
            if bucket is not None:
                longest = max(longest, bucket.wait(now))
        if longest > 0.0:
            self.held_back += 1
        return longest

    def hears(self, flow: Flow, now: float) -> bool:
        """Whether one who is held back is told so; he may be anybody, and may ask very often."""
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
        """The right password: this device is known."""
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
