"""What telephones tell of their dialogs (RFC 4235): read where it is whole, refused in a sentence where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.packages.dialog_info import (
    MOST_DIALOGS,
    MOST_READ,
    ReportedDialog,
    WatchedDialog,
    dialog_info,
    reported_dialogs,
)

# The example of RFC 4235 section 6.1, its third notification, with the ids that section 4.1.1 names.
CONFIRMED = b"""<?xml version="1.0" encoding="UTF-8"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="sip:alice@example.com">
 <dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774" remote-tag="456887766" direction="initiator">
  <state event="remote-pickup"> confirmed </state>
  <duration>274</duration>
  <local>
   <identity display="Alice">sip:alice@example.com</identity>
   <target uri="sip:alice@pc33.example.com"><param pname="+sip.rendering" pval="yes"/></target>
  </local>
  <remote><identity>sip:bob@example.org</identity><target uri="sip:bobster@phone21.example.org"/></remote>
 </dialog>
</dialog-info>"""


def test_all_that_it_tells_is_read() -> None:
    assert reported_dialogs(CONFIRMED) == [
        ReportedDialog(
            "a84b4c76e66710", "1928301774", "456887766", "confirmed", "sip:alice@example.com", "sip:bob@example.org",
            "sip:alice@pc33.example.com", "sip:bobster@phone21.example.org",
        )
    ]  # fmt: skip


def test_what_is_left_out_is_empty() -> None:
    ours = dialog_info(
        "sip:a@b", 1, [WatchedDialog("1", "initiator", "early"), WatchedDialog("2", "recipient", "trying")]
    )
    assert [one.state for one in reported_dialogs(ours)] == ["early", "trying"]
    assert reported_dialogs(ours)[0] == ReportedDialog("", "", "", "early", "", "", "", "")
    assert reported_dialogs(b'<dialog-info xmlns="other"><dialog/></dialog-info>') == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe<", "cannot be read"),
        (b"<a>" * 100, "cannot be read"),
        (b" " * (MOST_READ + 1), "over 65536 bytes"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><dialog-info/>', "entities"),
        (b"<dialog-info>&b;</dialog-info>", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        reported_dialogs(body)


def test_no_more_than_so_many_are_taken() -> None:
    many = CONFIRMED.replace(b"</dialog-info>", b"<dialog/>" * 500 + b"</dialog-info>")
    assert len(reported_dialogs(many)) == MOST_DIALOGS


@pytest.mark.parametrize(
    ("was", "told", "field", "read"),
    [
        ("a84b4c76e66710", "a84b4&#10;Evil: x", "call_id", ""),
        ("a84b4c76e66710", "a" * 300, "call_id", ""),
        ("a84b4c76e66710", "a\u00e9\u65e5", "call_id", "a\u00e9\u65e5".encode().decode("latin-1")),
        ("456887766", "1;tag=2", "remote_tag", ""),
        ("sip:bob@example.org", "sip:bob@example.org&gt;;x=&lt;", "remote", ""),
        ("sip:bob@example.org", "sip:bob&#13;&#10;@example.org", "remote", ""),
        ("sip:bob@example.org", "\n sip:bob@example.org ", "remote", "sip:bob@example.org"),
        ("sip:alice@pc33.example.com", "sip:alice @pc33", "local_target", ""),
    ],
)
def test_what_could_not_stand_in_a_message_is_left_out(was: str, told: str, field: str, read: str) -> None:
    [one] = reported_dialogs(CONFIRMED.decode().replace(was, told).encode())
    assert getattr(one, field) == read


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(CONFIRMED)), st.integers(0, 80))
def test_whatever_comes_it_is_a_list_or_a_sentence(noise: bytes, at: int, cut: int) -> None:
    for body in (noise, CONFIRMED[:at] + noise + CONFIRMED[at + cut :]):
        try:
            found = reported_dialogs(body)
        except ValueError as error:
            assert str(error)
        else:
            assert all(b"\n" not in text.encode("latin-1") for one in found for text in one)
