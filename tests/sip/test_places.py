"""The addresses of a line's peers: who waits for them is called in any case."""

from __future__ import annotations

from sip.actions import Resolve
from sip.device.names import NameLookups
from sip.device.places import PeerPlaces
from sip.location import Place
from tests.sip.two_stacks import End

NAME = "sip:carrier.example"
PLACE = Place("udp", "127.0.0.9", 5060)


def test_a_peer_that_is_named_twice_is_looked_up_and_tried_once() -> None:
    end = End("x", 1)
    names = NameLookups(end.stack)
    places = PeerPlaces((NAME, "sip:127.0.0.8", NAME), names, end.stack.deadlines)
    called: list[float] = []
    places.ask(0.0)
    places.wait(called.append)
    assert end.stack.to_do() == [Resolve(NAME)] and not places.known
    names.resolved(NAME, [PLACE], 1.0)
    assert places.known and called == [1.0]
    assert [one.place.host for one in places.places()] == ["127.0.0.9", "127.0.0.8"]


def test_those_that_wait_are_called_although_the_lookups_are_stopped() -> None:
    end = End("x", 1)
    names = NameLookups(end.stack)
    places = PeerPlaces((NAME,), names, end.stack.deadlines)
    called: list[float] = []
    changed: list[float] = []
    places.changed = changed.append
    places.ask(0.0)
    places.wait(called.append)
    places.stop()  # a registration brought another Service-Route, for one
    names.resolved(NAME, [PLACE], 1.0)
    assert called == [1.0]
    assert not changed  # else a trunk that a reload took away would be connected to and probed
