"""A call whose target had answered when its server died, and whose caller had not heard of it."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import HOLD, SDP
from tests.b2bua.fake_agent import kept, record
from tests.b2bua.takeover_fixture import TakeoverFixture


@pytest.mark.parametrize("method", ["INFO", "INVITE", "BYE"])
def test_what_the_target_asked_meanwhile_goes_on_in_the_dialog_of_the_repeated_attempt(method: str) -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    b = fixture.gw2.called
    b.ring()
    invite = b.take("INVITE")
    assert a.statuses == [100, 180]
    fixture.die()
    b.accept()
    asked = b.say(method, body=HOLD if method == "INVITE" else b"")
    origin = invite.get("call-origin")
    fixture.gw1.records.append(record(a, "early", sent=[kept(a.sent)]))
    told = {"local_tag": invite.from_tag, "origin": origin, "ack": "awaited", "ack_origin": origin}
    if method == "BYE":
        ended = {"ago": 1.0, "by": "device", "reason": "", "status": 200}
        fixture.gw2.records.append(record(b, "terminated", sent=[kept(asked)], ended=ended, **told))
    else:
        fixture.gw2.records.append(record(b, "confirmed", sent=[kept(asked)], **told))
    bench = fixture.in_order("caller last")
    bench.after(0.2)
    assert a.statuses[-1] == 200
    a.ack()
    request = a.take(method)
    assert request.to_tag == a.tag
    a.answer(request, 200, body=SDP if method == "INVITE" else b"")
    assert b.heard[-1].status == 200 and b.heard[-1].cseq == asked.cseq
    if method == "INVITE":
        b.ack()
        assert a.take("ACK").cseq == request.cseq
    assert len(bench.core.calls) == (0 if method == "BYE" else 1)
