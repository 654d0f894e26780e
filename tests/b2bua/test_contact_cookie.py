"""What a Contact carries for a call without agents: whole, sealed, and nothing that somebody else made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2bua.contact_cookie import FORMAT, LONGEST, Cookie, OwnLeg, decode, encode
from b2bua.cookie_cipher import CookieCipher
from b2bua.device_leg_state import DeviceLegState, Timer
from b2bua.state_token import CallState
from sip.dialog import UAS, DialogState

CIPHER, OTHER = CookieCipher(b"k" * 32), CookieCipher(b"o" * 32)
DIALOG = DialogState(
    "3c26700b8a12@192.0.2.61", "8f3a77b01c2d", "as7f3e1", '"Desk" <sip:desk@paris>', "<sip:1062@paris>", 1, 7,
    "sip:desk@192.0.2.61:5060;transport=udp;ob", ("<sip:192.0.2.9;lr>",), UAS,
)  # fmt: skip
LEG = DeviceLegState(
    DIALOG, "udp", "192.0.2.61", 5060, "192.0.2.1:5060", 3, True, "- 3917 2 IN IP4 192.0.2.61", Timer(1800, 90, True)
)
STATE = CallState(
    "0123456789abcdef01234567", 4, "m1;z9hG4bK77", caller="desk", callee="1062", caller_line="desk",
    callee_line="hall", started=1.7e9, answered=1.7e9 + 3.25, session_id="ab" * 16, epochs=(3, 4),
    dialled="2000", part="89abcdef", transferred_by="hall", forwarded_by="door",
)  # fmt: skip
COOKIE = Cookie(STATE, True, OwnLeg("tag1", 5, ("<sip:192.0.2.9;lr>",), True, Timer(90, 90, False)), LEG)


def test_it_is_read_as_it_was_written_and_is_a_user_part_of_fair_length() -> None:
    text = encode(COOKIE, CIPHER)
    assert decode(text, [OTHER, CIPHER]) == COOKIE
    assert len(text) < 480 and text.replace("-", "").replace("_", "").isalnum()
    assert "desk" not in text and text == encode(COOKIE, CIPHER) != encode(COOKIE, OTHER)


def test_what_a_device_was_told_of_another_one_is_told_where_it_differs() -> None:
    plain = encode(COOKIE, CIPHER)
    sections = "m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 96\n"
    own = COOKIE.own._replace(origin="- 4711 3 IN IP4 192.0.2.99", sections=sections)
    cookie = COOKIE._replace(own=own, other=LEG._replace(sections=sections))
    text = encode(cookie, CIPHER)
    assert decode(text, [CIPHER]) == cookie and len(text) < len(plain) + 120


def test_one_that_would_be_too_long_is_left_out() -> None:
    names = "".join(f"{n * 7919 % 99991:05d}" for n in range(200))
    assert encode(COOKIE._replace(state=STATE._replace(caller=names)), CIPHER) == ""


@pytest.mark.parametrize("text", ["", "desk", FORMAT, FORMAT + "A", FORMAT + "é", FORMAT + "A" * (LONGEST + 1)])
def test_what_is_none_is_none(text: str) -> None:
    assert decode(text, [CIPHER]) is None


def test_another_key_s_and_one_that_was_changed_are_none() -> None:
    text = encode(COOKIE, CIPHER)
    assert decode(text, [OTHER]) is None and decode(text, []) is None
    for at in range(len(FORMAT), len(text), 17):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert decode(changed, [CIPHER]) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_what_was_sealed_by_a_version_of_other_values_is_none(plain: bytes) -> None:
    from base64 import urlsafe_b64encode

    text = FORMAT + urlsafe_b64encode(CIPHER.seal(plain)).decode().rstrip("=")
    assert decode(text, [CIPHER]) is None
