"""INVITEs that were refused without a transaction."""

from __future__ import annotations

from sip.actions import Flow
from sip.overload.refused_invites import LIFETIME, MOST, RefusedInvites

FLOW = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
OTHER_PORT = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5100))
OTHER_HOST = Flow("udp", "127.0.0.1:5060", ("127.0.0.8", 5099))


def test_a_repeat_gets_the_same_answer_until_the_ack() -> None:
    refused = RefusedInvites()
    assert not refused and refused.again("k", FLOW, False, 0.0) is None
    refused.add("k", FLOW, b"503", 0.0)
    for flow in (FLOW, OTHER_PORT):
        found = refused.again("k", flow, False, 1.0)
        assert found is not None and (found.answer, found.flow) == (b"503", FLOW)
    assert refused.again("other", FLOW, False, 1.0) is None
    assert refused.again("k", OTHER_HOST, True, 1.0) is None
    for acknowledged in (True, False, True):
        found = refused.again("k", FLOW, acknowledged, 2.0)
        assert found is not None and found.answer == b""


def test_it_is_forgotten_when_no_repeat_can_come_any_more() -> None:
    refused = RefusedInvites()
    for number in range(100):
        refused.add(f"k{number}", FLOW, b"503", 0.0)
    refused.add("later", FLOW, b"503", 1.0)
    assert refused.again("k99", FLOW, False, LIFETIME - 0.1) is not None
    for _ in range(4):
        assert refused.again("x", FLOW, False, LIFETIME) is None
    assert len(refused) == 1 and refused.again("later", FLOW, False, LIFETIME) is not None


def test_there_are_never_more_than_so_many() -> None:
    refused = RefusedInvites()
    for number in range(MOST + 5):
        refused.add(str(number), FLOW, b"503", 0.0)
    assert len(refused) == MOST
    assert refused.again("4", FLOW, False, 0.0) is None
    assert refused.again("5", FLOW, False, 0.0) is not None
