"""The messages of rtpengine's NG protocol."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.rtpengine.ng import BadMessage, encode, message, parsed

VALUES = st.recursive(
    st.text() | st.integers(-(10**18), 10**18),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_a_command_is_written_as_rtpengine_reads_it() -> None:
    assert message("1f", {"command": "ping"}) == b"1f d7:command4:pinge"
    words: dict[str, Any] = {"flags": ["port latching"], "limit": 20, "sdp": "v=0\r\n"}
    assert message("2", words) == b"2 d5:flagsl13:port latchinge5:limiti20e3:sdp5:v=0\r\ne"


def test_an_answer_is_read() -> None:
    answer = b"1f d6:result2:ok4:tagsd1:ad7:createdi-3eee5:callsl1:x0:ee"
    assert parsed(answer) == ("1f", {"result": "ok", "tags": {"a": {"created": -3}}, "calls": ["x", ""]})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1f",
        b"1f ",
        b"1f 2:ok",
        b"1f d6:result2:ok",
        b"1f d6:result2:oke-",
        b"1f d6:result9:oke",
        b"1f d6:result-1:oke",
        b"1f d6:resulte",
        b"1f di1ei2ee",
        b"1f dl1:aei2ee",
        b"1f d1:aie",
        b"1f d1:ai1-2ee",
        b"1f d1:ai123456789012345678901234567890ee",
        b"1f d99999999999999999999999:ae",
        b"1f d1:a" + b"l" * 100 + b"e" * 100 + b"e",
        "1f d1:ai²ee".encode(),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        parsed(data)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_is_read_again(words: dict[str, Any]) -> None:
    assert parsed(b"c " + encode(words)) == ("c", words)


@given(st.binary(max_size=200) | st.text("dile0123456789:-", max_size=60).map(str.encode))
def test_nothing_but_a_refusal_comes_of_garbage(data: bytes) -> None:
    with suppress(BadMessage):
        parsed(b"1 " + data)
