"""Whole cores of an agent and of a server are sent messages that were damaged at random places: nothing is raised,
and the next good message is answered. Longer: ``pytest tests/security/test_fuzz.py --hypothesis-profile=long``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.actions import Send
from sip.wire.message import Response, parse
from tests.device_rigs import AgentRig, ServerRig
from tests.gateway_agent.agent_fixture import CARRIER, SDP
from tests.security.test_torture_kinds import KINDS, message

WELL = [
    *(data for data, _ in KINDS.values()),
    *map(message, ("ACK", "BYE", "CANCEL", "INFO", "PRACK", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY")),
    message("MESSAGE", body=b"hello", Content_Type="text/plain"),
    message(more="Replaces: a;to-tag=b;from-tag=c|Require: replaces"),
    message(more="Supported: 100rel, timer|Session-Expires: 90;refresher=uac|Min-SE: 90"),
    message(more="P-Asserted-Identity: <tel:+33155>|Privacy: id|Diversion: <sip:x@y>;reason=no-answer"),
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.11;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=f\r\n"
    b"To: <sip:c@d>;tag=t\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:e@127.0.0.21>\r\n"
    b"Content-Length: 0\r\n\r\n",
]
PIECES = st.one_of(
    st.sampled_from(
        [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\xff", b"%00", b";", b",", b"<", b">", b'"', b":", b"=", b"@", b" "]
    ),
    st.sampled_from(
        [b"-1", b"0", b"4294967296", b"9" * 30, b"sips:", b"tel:", b"[::1]", b"lr", b";tag=", b"SIP/2.0", b"x" * 3000]
    ),
    st.sampled_from([b"m=audio 0 RTP/AVP", b"c=IN IP4 0.0.0.0", b"Content-Length: 7", b"Via: SIP/2.0/TCP x", b"\t"]),
    st.binary(max_size=8),
)


@st.composite
def damaged(draw: Any) -> bytes:
    """A good message in which up to four places were cut out, or replaced, or had something put in."""
    data = draw(st.sampled_from(WELL))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(PIECES) + data[start + draw(st.integers(0, 12)) :]
    return bytes(data)


@pytest.mark.parametrize("make", [AgentRig, ServerRig], ids=["agent", "server"])
@given(messages=st.lists(damaged(), min_size=1, max_size=6))
def test_no_message_raises_or_deafens(make: Any, messages: list[bytes]) -> None:
    rig = make()
    core = rig.core
    for number, data in enumerate(messages):
        core.receive(data, CARRIER, rig.now + number / 100)
        core.handle_timer(rig.now + number / 100)
    core.to_do()
    well = message("OPTIONS", body=SDP, Call_ID="after", Via="SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bKafter")
    core.receive(well, CARRIER, rig.now + 1.0)
    answers = [parse(each.data) for each in core.to_do() if isinstance(each, Send) and b"after" in each.data]
    assert any(isinstance(each, Response) and each.status in (200, 503) for each in answers), answers
