"""Phones whose flow changes in a call: by proof or by registration, never by tags alone (RFC 5626 5.3, RFC 3581)."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.wire.message import Request
from tests.gateway_agent.bed import ALICE, LISTEN, SDP, Bed
from tests.gateway_agent.test_phone import AOR, proved, register

TYPE = "Content-Type: application/sdp"
URI = "sip:200@paris"
MOVED = Flow("udp", LISTEN, ("127.0.0.31", 40001))
FAR = Flow("udp", LISTEN, ("127.0.0.99", 40001))
INSTANCE = '+sip.instance="<urn:uuid:1>";reg-id=1'


def talking(bed: Bed, flow: Flow = ALICE) -> Request:
    """A call of the phone, answered: what the server got."""
    common = {"flow": flow, "sender": AOR, "recipient": f"<{URI}>", "call_id": "p-1"}
    bed.request("INVITE", URI, body=SDP, **common)  # type: ignore[arg-type]
    proof = proved(bed, bed.take(407, flow), "INVITE", URI)
    bed.request("ACK", URI, **common)  # type: ignore[arg-type]
    bed.request("INVITE", URI, [proof], SDP, cseq=2, **common)  # type: ignore[arg-type]
    bed.take(100, flow)
    invite: Request = bed.m1.take("INVITE")
    bed.m1.reply(invite, 200, body=SDP, lines=[TYPE])
    bed.take(200, flow)
    bed.request("ACK", URI, to_tag="srvtag", cseq=2, **common)  # type: ignore[arg-type]
    bed.m1.take("ACK")
    return invite


def say(bed: Bed, method: str, cseq: int, flow: Flow, lines: tuple[str, ...] = (), body: bytes = b"") -> None:
    bed.request(
        method,
        URI,
        lines,
        body,
        flow=flow,
        sender=AOR,
        recipient=f"<{URI}>",
        to_tag="srvtag",
        call_id="p-1",
        cseq=cseq,
    )


def hang_up(bed: Bed, invite: Request) -> None:
    """The far end does."""
    bed.m1.request(
        "BYE", "sip:gw1", call_id=invite.call_id, from_tag="srvtag", to_tag=invite.from_tag, cseq=9, origin="gw2;b;1"
    )


@pytest.mark.parametrize("moved", [MOVED, FAR])
def test_a_proved_request_takes_the_dialog_along(moved: Flow) -> None:
    bed = Bed()
    register(bed)
    invite = talking(bed)
    say(bed, "INVITE", 3, moved, body=SDP.replace(b"4000", b"4002"))
    proof = proved(bed, bed.take(407, moved), "INVITE", URI)
    assert not bed.m1.inbox
    say(bed, "INVITE", 4, moved, (proof,), SDP.replace(b"4000", b"4002"))
    bed.take(100, moved)
    bed.m1.reply(bed.m1.take("INVITE"), 200, body=SDP, lines=[TYPE])
    bed.take(200, moved)
    say(bed, "ACK", 4, moved)
    bed.m1.take("ACK")
    hang_up(bed, invite)
    bed.take("BYE", moved)
    assert bed.silent(ALICE)


@pytest.mark.parametrize("method", ["BYE", "INFO", "INVITE", "ACK", "CANCEL"])
def test_tags_alone_move_nothing(method: str) -> None:
    bed = Bed()
    register(bed)
    invite = talking(bed)
    say(bed, method, 1000, FAR)
    assert not bed.m1.inbox
    say(bed, "INFO", 3, ALICE)  # the stranger's number has not spoilt the dialog
    bed.m1.reply(bed.m1.take("INFO"), 200)
    bed.take(200, ALICE)
    hang_up(bed, invite)
    bed.take("BYE", ALICE)


def test_another_user_s_password_moves_nothing() -> None:
    bed = Bed()
    register(bed)
    talking(bed)
    say(bed, "BYE", 3, FAR)
    answer = proved(bed, bed.take(407, FAR), "BYE", URI).replace('response="', 'response="0')
    say(bed, "BYE", 4, FAR, (answer,))
    bed.take(407, FAR)
    assert not bed.m1.inbox


def test_a_new_registration_of_the_same_device_takes_its_dialogs_along() -> None:
    bed = Bed()
    register(bed, contact=f"<sip:alice@10.0.0.5:5062>;{INSTANCE}")
    invite = talking(bed)
    register(bed, flow=MOVED, contact=f"<sip:alice@10.0.0.5:5062>;{INSTANCE}", call_id="other")
    hang_up(bed, invite)
    bed.take("BYE", MOVED)
    assert bed.silent(ALICE)


def test_another_device_behind_another_nat_takes_nothing() -> None:
    bed = Bed()
    register(bed, contact="<sip:alice@10.0.0.5:5062>")
    invite = talking(bed)
    register(bed, flow=FAR, contact="<sip:alice@10.0.0.5:5062>", call_id="other")
    hang_up(bed, invite)
    bed.take("BYE", ALICE)
    assert bed.silent(FAR)


@pytest.mark.parametrize("instance", [f";{INSTANCE}", ""])
def test_a_connection_made_anew_and_registered_by_takes_its_dialogs_along(instance: str) -> None:
    bed = Bed()
    first, second = (Flow("tcp", f"{LISTEN}#{n}", ("127.0.0.31", 50000 + n)) for n in (1, 2))
    for flow in (first, second):
        bed.core.flow_changed(flow, "open", bed.now)
        bed.opened.append(flow)
    register(bed, flow=first, contact=f"<sip:alice@10.0.0.5:50001;transport=tcp>{instance}")
    invite = talking(bed, first)
    bed.core.flow_changed(first, "lost", bed.now)
    bed.pump()
    register(bed, flow=second, contact=f"<sip:alice@10.0.0.5:50002;transport=tcp>{instance}", call_id="other")
    hang_up(bed, invite)
    bed.take("BYE", second)


def test_the_same_contact_from_the_same_host_is_the_same_device() -> None:
    bed = Bed()
    register(bed, contact="<sip:alice@10.0.0.5:5062>")
    invite = talking(bed)
    register(bed, flow=MOVED, contact="<sip:alice@10.0.0.5:5062>", call_id="other")
    hang_up(bed, invite)
    bed.take("BYE", MOVED)
