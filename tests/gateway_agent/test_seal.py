"""How a value is written that servers keep: which of the two forms, how long, and what cannot be read."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from random import Random

import pytest

from gateway_agent.seal import LONGEST, LONGEST_PLAIN, MOST_DECODED, LineStateError, opened, sealed
from heartbeat.mac import is_mac_of, mac_of

KEY = b"a key of some length"
OLD = b"the key before that one"
BOUND = "paris gw1 call tag"


def test_a_text_goes_as_it_is_up_to_its_limit() -> None:
    for length, form in ((LONGEST_PLAIN, "2"), (LONGEST_PLAIN + 1, "1")):
        plain = "1" * length
        text = sealed(plain, plain.encode, 5, 9, BOUND, KEY)
        assert text.split(".")[:3] == [form, "5", "9"] and opened(text, BOUND, [KEY]) == plain.encode()


def test_what_is_packed_is_never_longer_than_servers_keep() -> None:
    """Noise cannot be packed; the longest that goes has room for its signature, to the last character."""
    lengths = set()
    for length in range(2950, 3100):
        whole = Random(length).randbytes(length)
        text = sealed("~", lambda whole=whole: whole, 123, 1, BOUND, KEY)
        assert len(text) <= LONGEST
        if ".-." in text:
            with pytest.raises(LineStateError, match="would have been longer than 4096"):
                opened(text, BOUND, [KEY])
        else:
            lengths.add(len(text))
            assert opened(text, BOUND, [KEY]) == whole
    assert max(lengths) == LONGEST - 32 + 1 + 22


def test_what_is_packed_is_never_more_than_is_unpacked_again() -> None:
    for length, usable in ((MOST_DECODED, True), (MOST_DECODED + 1, False)):
        text = sealed("~", lambda length=length: b"a" * length, 1, 1, BOUND, KEY)
        assert (".-." not in text) == usable


def test_one_of_just_the_length_that_is_kept_is_read() -> None:
    for more, readable in ((0, True), (1, False)):
        said = "2.1.1." + "1" * (LONGEST - 6 - 23 + more)
        text = f"{said}.{mac_of(f'line state {BOUND} {said}', KEY)}"
        assert len(text) == LONGEST + more
        if readable:
            assert opened(text, BOUND, [KEY]) == b"1" * (LONGEST - 29)
        else:
            with pytest.raises(LineStateError, match="longer than any"):
                opened(text, BOUND, [KEY])


@pytest.mark.parametrize("payload", ["A", "////", "é"])
def test_what_is_signed_and_cannot_be_unpacked_is_refused(payload: str) -> None:
    said = f"1.1.1.{payload}"
    with pytest.raises(LineStateError, match="cannot be read"):
        opened(f"{said}.{mac_of(f'line state {BOUND} {said}', KEY)}", BOUND, [KEY])


def test_a_mac_is_that_of_its_text_and_of_any_of_the_keys() -> None:
    mac = mac_of("a text", KEY)
    whole = hmac.digest(KEY, b"a text", "sha256")
    assert mac == urlsafe_b64encode(whole[:16]).decode().rstrip("=") and "-" in mac
    assert is_mac_of(mac, "a text", [OLD, KEY]) and not is_mac_of(mac, "a text", [OLD])
    for given, text in ((mac, "another"), (mac[:-1], "a text"), ("", "a text"), (f"é{mac[1:]}", "a text")):
        assert not is_mac_of(given, text, [KEY])
