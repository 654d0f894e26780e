"""Phones: they register by digest, ring together, and nobody else may call from their line."""

from random import Random

from sip.digest import Authorization, DigestClient
from sip.message import Response
from sip.rim import Flow
from tests.gateway_agent.bed import ALICE, LISTEN, SDP, Bed

DESK = Flow("udp", LISTEN, ("127.0.0.32", 5062))
AOR = "<sip:alice@paris>"


def proved(bed: Bed, challenge: Response, method: str, uri: str, password: str = "secret") -> str:
    bed.core.counters["test"] += 1
    client = DigestClient("alice", password, Random(bed.core.counters["test"]))
    answer = client.answer(challenge, method, uri)
    assert isinstance(answer, Authorization)
    return answer.line


def register(bed: Bed, flow: Flow = ALICE, expires: int = 600, password: str = "secret", call_id: str = "r") -> int:
    """The status that a REGISTER with these credentials gets."""
    call_id = f"{call_id}{flow.remote[0]}"
    fields = {"flow": flow, "sender": AOR, "recipient": AOR, "call_id": call_id}
    cseq = bed.core.counters["test"] = bed.core.counters["test"] + 2
    bed.request("REGISTER", "sip:paris", [f"Expires: {expires}"], cseq=cseq, **fields)  # type: ignore[arg-type]
    line = proved(bed, bed.take(401, flow), "REGISTER", "sip:paris", password)
    bed.request("REGISTER", "sip:paris", [f"Expires: {expires}", line], cseq=cseq + 1, **fields)  # type: ignore[arg-type]
    answer = bed.inbox[flow].popleft()
    assert isinstance(answer, Response)
    return answer.status


def test_a_phone_registers_by_digest_and_its_line_is_told() -> None:
    bed = Bed()
    told = len(bed.m1.heads)
    assert not bed.core.lines["alice"].in_service
    assert register(bed, password="wrong") == 401
    assert register(bed) == 200
    assert bed.core.lines["alice"].contacts == 1
    assert len(bed.m1.heads) == told + 1
    assert bed.m1.heads[-1]["version"] == 2
    assert [line["in-service"] for line in bed.m1.list if line.get("line") == "alice"] == [True]
    bed.run(601)
    assert not bed.core.lines["alice"].in_service
    assert [line["in-service"] for line in bed.m1.list if line.get("line") == "alice"] == [False]


def test_nobody_else_may_call() -> None:
    bed = Bed()
    stranger = Flow("udp", LISTEN, ("127.0.0.99", 5060))
    bed.request("INVITE", body=SDP, flow=stranger)
    bed.take(403, stranger)
    register(bed)
    bed.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR)
    challenge = bed.take(407, ALICE)
    line = proved(bed, challenge, "INVITE", "sip:200@paris")
    bed.request(
        "INVITE",
        "sip:200@paris",
        [line, "P-Asserted-Identity: <sip:boss@paris>"],
        SDP,
        flow=ALICE,
        sender=AOR,
        cseq=2,
    )
    bed.take(100, ALICE)
    invite = bed.m1.take("INVITE")
    assert invite.get("line") == "alice"
    assert "proxy-authorization" not in invite
    assert "p-asserted-identity" not in invite
    assert not bed.m1.inbox


def test_all_contacts_ring_and_the_first_to_answer_wins() -> None:
    bed = Bed()
    register(bed)
    register(bed, DESK)
    uri = "sip:1001@gw1;line=alice"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;o;1")
    bed.m1.take(100)
    one, other = bed.take("INVITE", ALICE), bed.take("INVITE", DESK)
    bed.reply(one, 180, tag="a", flow=ALICE)
    bed.reply(other, 180, tag="d", flow=DESK)
    assert [bed.m1.take(180).to_tag, bed.m1.take(180).to_tag] == ["a", "d"]
    bed.reply(other, 200, ["Content-Type: application/sdp"], SDP, tag="d", flow=DESK)
    ok = bed.m1.take(200)
    assert ok.to_tag == "d"
    cancel = bed.take("CANCEL", ALICE)
    assert "200" in (cancel.get("reason") or "")
    bed.reply(cancel, 200, flow=ALICE)
    bed.reply(one, 200, ["Content-Type: application/sdp"], SDP, tag="a", flow=ALICE)
    bed.take("ACK", ALICE)
    bye = bed.take("BYE", ALICE)
    bed.reply(bye, 200, flow=ALICE)
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="d")
    bed.take("ACK", DESK)
    assert len(bed.core.calls) == 1
    assert bed.core.lines["alice"].busy == 1


def test_the_best_of_the_refusals_is_passed_on() -> None:
    bed = Bed()
    register(bed)
    register(bed, DESK)
    bed.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-1", origin="gw2;o;1")
    bed.m1.take(100)
    one, other = bed.take("INVITE", ALICE), bed.take("INVITE", DESK)
    bed.reply(one, 480, flow=ALICE)
    bed.take("ACK", ALICE)
    assert not bed.m1.inbox
    bed.reply(other, 486, flow=DESK)
    assert bed.m1.take(486)
    assert not bed.core.calls


def test_a_busy_phone_and_one_that_is_not_there() -> None:
    bed = Bed()
    uri = "sip:1001@gw1;line=alice"
    bed.m1.request("INVITE", uri, body=SDP, origin="gw2;o;1")
    assert bed.m1.take(480).get("call-origin") == "gw2;o;1;n=1"
    bed.m1.request("INVITE", uri, body=SDP, origin="gw2;o;1")
    assert bed.m1.take(480).get("call-origin") == "gw2;o;1;n=1"
    register(bed)
    bed.m1.request("INVITE", uri, body=SDP, origin="gw2;o;2")
    bed.m1.take(100)
    bed.m1.request("INVITE", uri, body=SDP, origin="gw2;o;3")
    bed.m1.take(486)
    bed.m1.request("INVITE", "sip:1@gw1;line=nobody", body=SDP, origin="gw2;o;4")
    bed.m1.take(404)


def test_a_broken_connection_ends_the_registrations_made_by_it() -> None:
    bed = Bed()
    stream = Flow("tcp", f"{LISTEN}#1", ("127.0.0.33", 40000))
    bed.core.flow_changed(stream, "open", bed.now)
    bed.opened.append(stream)
    assert register(bed, stream) == 200
    assert bed.core.lines["alice"].in_service
    bed.core.flow_changed(stream, "lost", bed.now)
    assert not bed.core.lines["alice"].in_service
    assert not bed.core.phones


def test_a_stranger_cannot_register_and_learns_nothing() -> None:
    bed = Bed()
    bed.request("REGISTER", "sip:paris", flow=ALICE, sender="<sip:eve@paris>", recipient="<sip:eve@paris>")
    assert "www-authenticate" in bed.take(401, ALICE)
