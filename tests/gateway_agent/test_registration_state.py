"""The registrations of a line as servers keep them for its agent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway_agent import registration_state
from gateway_agent.registration_state import Registered
from gateway_agent.seal import LineStateError, sealed
from sip.actions import Flow
from sip.registrar import Binding
from sip.wire.headers import NameAddr

KEY, OLD = b"a key of some length", b"the key before that one"
BOUND = registration_state.bound_to("paris", "gw1", "alice")
PHONE = Flow("udp", "127.0.0.11:5060", ("127.0.0.31", 5060))
BINDING = Binding(
    "alice", NameAddr.parse("<sip:alice@127.0.0.31;ob>"), PHONE, 160.0, "reg-1", 7, 0.5, "A Phone/1.0 (\u00e9)"
)


def test_what_was_said_is_what_is_found() -> None:
    behind = replace(BINDING, path=("<sip:edge.example;lr>", "<sip:127.0.0.9;lr>"))
    told = [Registered.of(each, 100.0) for each in (BINDING, replace(BINDING, q=1.0), behind)]
    assert told[2].binding("alice", 100.0).path == behind.path
    assert told[0].expires_in == 60.0
    text = registration_state.encode(told, 3, 5, BOUND, KEY)
    assert text.startswith("2.3.5.")
    assert registration_state.decode(text, BOUND, [b"another key here", KEY]) == told
    assert registration_state.decode(registration_state.encode([], 3, 6, BOUND, KEY), BOUND, [KEY]) == []


def test_a_binding_comes_back_by_the_clock_of_another_start() -> None:
    told = Registered.of(BINDING, 100.0)
    assert told.binding("alice", 1000.0) == replace(BINDING, expires_at=1060.0)


@pytest.mark.parametrize(
    ("bound", "keys"),
    [
        (registration_state.bound_to("paris", "gw1", "bob"), [KEY]),
        (registration_state.bound_to("paris", "gw2", "alice"), [KEY]),
        (registration_state.bound_to("lyon", "gw1", "alice"), [KEY]),
        (BOUND, [OLD]),
        (BOUND, []),
    ],
)
def test_another_line_or_key_is_refused(bound: str, keys: list[bytes]) -> None:
    text = registration_state.encode([Registered.of(BINDING, 100.0)], 3, 5, BOUND, KEY)
    with pytest.raises(LineStateError, match="not signed"):
        registration_state.decode(text, bound, keys)


@pytest.mark.parametrize(
    "plain", ["", "7", '["x"]', '[["<sip:a@b>","udp"]]', "{", "}", "[[1,2,3,4,5,6,7,8,9,10,11]]"]
)
def test_what_is_signed_and_cannot_be_read_is_refused(plain: str) -> None:
    with pytest.raises(LineStateError, match="cannot be read"):
        registration_state.decode(sealed(plain, plain.encode, 1, 1, BOUND, KEY), BOUND, [KEY])


def test_a_contact_that_cannot_be_read_is_refused() -> None:
    told = Registered.of(BINDING, 100.0)._replace(contact="<sip:")
    with pytest.raises(LineStateError, match="a contact of alice cannot be read"):
        told.binding("alice", 0.0)


def test_too_many_devices_cannot_come_back() -> None:
    many = [Registered.of(replace(BINDING, call_id=f"{number:x}" * 30), 100.0) for number in range(500)]
    with pytest.raises(LineStateError, match="longer than 4096"):
        registration_state.decode(registration_state.encode(many, 1, 1, BOUND, KEY), BOUND, [KEY])
