"""Phones: they register by digest, ring together, and nobody else may call from their line."""

from dataclasses import replace
from random import Random

from gateway_agent.devices import Devices
from sip.actions import Flow
from sip.digest import DigestClient, Refusal
from sip.wire.message import Response
from tests.consoles import seen
from tests.gateway_agent.bed import ALICE, LISTEN, SDP, Bed

DESK = Flow("udp", LISTEN, ("127.0.0.32", 5062))
AOR = "<sip:alice@paris>"


def proved(bed: Bed, challenge: Response, method: str, uri: str, password: str = "secret") -> str:
    bed.core.counters["test"] += 1
    client = DigestClient("alice", password, Random(bed.core.counters["test"]))
    answer = client.answer(challenge, method, uri)
    assert not isinstance(answer, Refusal)
    return answer[0].line


def register(
    bed: Bed,
    flow: Flow = ALICE,
    expires: int = 600,
    password: str = "secret",
    call_id: str = "r",
    contact: str = "",
) -> int:
    """The status that a REGISTER with these credentials gets."""
    more = [f"Contact: {contact}"] if contact else []
    call_id = f"{call_id}{flow.remote[0]}"
    fields = {"flow": flow, "sender": AOR, "recipient": AOR, "call_id": call_id}
    cseq = bed.core.counters["test"] = bed.core.counters["test"] + 2
    bed.request("REGISTER", "sip:paris", [f"Expires: {expires}", *more], cseq=cseq, **fields)  # type: ignore[arg-type]
    line = proved(bed, bed.take(401, flow), "REGISTER", "sip:paris", password)
    bed.request("REGISTER", "sip:paris", [f"Expires: {expires}", line, *more], cseq=cseq + 1, **fields)  # type: ignore[arg-type]
    answer = bed.inbox[flow].popleft()
    assert isinstance(answer, Response)
    return answer.status


def test_a_phone_registers_by_digest_and_its_line_is_told() -> None:
    bed = Bed()
    told = len(bed.m1.heads)
    assert not bed.core.lines["alice"].in_service
    assert register(bed, password="wrong") == 401
    assert register(bed) == 200
    assert bed.core.lines["alice"].far_side.contacts == 1
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
    bed.take(407, stranger)
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


def guesses(bed: Bed, flow: Flow, times: int) -> list[int]:
    return [register(bed, flow, password=f"wrong{number}", call_id=f"g{number}") for number in range(times)]


def test_wrong_passwords_are_counted_and_then_not_looked_at() -> None:
    bed = Bed()
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    assert guesses(bed, evil, 7) == [401] * 5 + [503] * 2
    assert register(bed, evil) == 503
    assert register(bed, ALICE) == 200
    page = seen(bed.core, "lines", {"line": "alice"}, bed.now)["lines"][0]
    assert (page["guesses"], page["guessed_from"]) == (5, "127.0.0.66")
    passwords = seen(bed.core, "status", {}, bed.now)["passwords"]
    assert (passwords["wrong"], passwords["held_back"], passwords["user"]) == (5, 3, "alice")
    bed.run(11)
    assert register(bed, evil) == 200


def test_a_registered_phone_goes_on_beside_one_that_guesses() -> None:
    bed = Bed()
    neighbour = ALICE._replace(remote=(ALICE.remote[0], 40000))
    assert register(bed) == 200
    assert guesses(bed, neighbour, 8)[-1] == 503
    assert register(bed, call_id="again") == 200
    bed.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR)
    line = proved(bed, bed.take(407, ALICE), "INVITE", "sip:200@paris")
    bed.request("INVITE", "sip:200@paris", [line], SDP, flow=ALICE, sender=AOR, cseq=2)
    bed.take(100, ALICE)


def test_who_goes_on_guessing_hears_nothing_and_leaves_nothing() -> None:
    bed = Bed()
    guesses(bed, ALICE, 5)
    bed.run(40)
    servers = len(bed.core.stack.servers)
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    bed.request("REGISTER", "sip:paris", flow=evil, recipient=AOR, sender=AOR)
    line = proved(bed, bed.take(401, evil), "REGISTER", "sip:paris", "wrong")
    for number in range(100):
        bed.request("REGISTER", "sip:paris", [line], flow=evil, recipient=AOR, sender=AOR, call_id=f"x{number}")
    got = [one.status for one in bed.inbox[evil] if isinstance(one, Response)]
    assert (got.count(401), got.count(503), len(got)) == (5, 5, 10)
    assert len(bed.core.stack.servers) == servers


def test_a_guess_by_an_invite_or_in_the_name_of_nobody_counts_too() -> None:
    bed = Bed()
    register(bed)
    for number in range(6):
        bed.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR, call_id=f"i{number}")
        line = proved(bed, bed.take(407, ALICE), "INVITE", "sip:200@paris", "wrong")
        line = line.replace('username="alice"', 'username="bob"')
        bed.request("INVITE", "sip:200@paris", [line], SDP, flow=ALICE, sender=AOR, cseq=2, call_id=f"i{number}")
        bed.take(407 if number < 5 else 503, ALICE)
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    nobody = "<sip:nobody@paris>"
    for number in range(6):
        bed.request("REGISTER", "sip:paris", flow=evil, recipient=nobody, sender=AOR, call_id=f"n{number}")
        line = proved(bed, bed.take(401, evil), "REGISTER", "sip:paris", "wrong")
        bed.request(
            "REGISTER", "sip:paris", [line], flow=evil, recipient=nobody, sender=AOR, call_id=f"n{number}", cseq=2
        )
        bed.take(401 if number < 5 else 503, evil)


def offered(bed: Bed, user: str) -> list[str]:
    who = f"<sip:{user}@paris>"
    bed.request("REGISTER", "sip:paris", flow=ALICE, recipient=who, sender=who, call_id=user)
    challenges = bed.take(401, ALICE).all("www-authenticate")
    return [one.partition("algorithm=")[2].partition(",")[0] for one in challenges]


def test_a_phone_is_offered_first_what_its_line_says_and_nobody_like_one_of_the_phones() -> None:
    bed = Bed()
    assert offered(bed, "alice") == ["MD5", "SHA-256"] == offered(bed, "eve")
    line = bed.core.lines["alice"]
    devices: Devices = bed.core.devices
    line.reload(replace(line.settings, digest=("SHA-256", "MD5")), bed.now)
    devices.reload()
    assert offered(bed, "alice") == ["SHA-256", "MD5"] == offered(bed, "eve")
    line.reload(replace(line.settings, digest=("SHA-512-256",)), bed.now)
    devices.reload()
    assert offered(bed, "alice") == ["SHA-512-256"]
    assert register(bed) == 200


def test_a_phone_that_registered_over_udp_is_kept_reachable() -> None:
    bed = Bed()
    assert register(bed, expires=3600) == 200
    bed.run(100)
    asked = [bed.take("OPTIONS", ALICE) for _ in range(len(bed.inbox[ALICE]))]
    assert 3 <= len(asked) <= 5 and {one.uri for one in asked} == {"sip:127.0.0.31:5062"}
    bed.reply(asked[0], 404, flow=ALICE)
    assert bed.core.lines["alice"].in_service
    bed.run(3601)
    bed.inbox.clear()
    bed.run(100)
    assert bed.silent(ALICE)
