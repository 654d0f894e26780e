"""Phones: they register by digest, ring together, and nobody else may call from their line."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gateway_agent import registration_state
from gateway_agent.devices import Devices
from gateway_agent.station.password import password_of
from sip.actions import Flow, Send
from sip.digest import DigestClient, Refusal
from sip.wire.message import Response
from tests.consoles import seen
from tests.gateway_agent.agent_fixture import ALICE, KEY, LISTEN, SDP, AgentFixture

DESK = Flow("udp", LISTEN, ("127.0.0.32", 5062))
AOR = "<sip:alice@paris>"


def proved(
    fixture: AgentFixture, challenge: Response, method: str, uri: str, password: str = "secret", user: str = "alice"
) -> str:
    fixture.core.counters["test"] += 1
    client = DigestClient(user, password, Random(fixture.core.counters["test"]))
    answer = client.answer(challenge, method, uri)
    assert not isinstance(answer, Refusal)
    return answer[0].line


def register(
    fixture: AgentFixture,
    flow: Flow = ALICE,
    expires: int = 600,
    password: str = "secret",
    call_id: str = "r",
    contact: str = "",
    user: str = "alice",
) -> int:
    """The status that a REGISTER with these credentials gets."""
    more = [f"Contact: {contact}"] if contact else []
    call_id = f"{call_id}{flow.remote[0]}"
    aor = f"<sip:{user}@paris>"
    fields = {"flow": flow, "sender": aor, "recipient": aor, "call_id": call_id}
    cseq = fixture.core.counters["test"] = fixture.core.counters["test"] + 2
    fixture.request("REGISTER", "sip:paris", [f"Expires: {expires}", *more], cseq=cseq, **fields)  # type: ignore[arg-type]
    line = proved(fixture, fixture.take(401, flow), "REGISTER", "sip:paris", password, user)
    fixture.request("REGISTER", "sip:paris", [f"Expires: {expires}", line, *more], cseq=cseq + 1, **fields)  # type: ignore[arg-type]
    answer = fixture.inbox[flow].popleft()
    assert isinstance(answer, Response)
    return answer.status


STATION = """
[lines.desk]
kind = "station"
agent = "gw1"
[lines.lobby]
kind = "station"
agent = "gw1"
password = { env = "ALICE" }
"""
HERE = Flow("udp", LISTEN, (LISTEN.partition(":")[0], 40001))
ELSEWHERE = Flow("udp", LISTEN, ("192.0.2.31", 5062))


@pytest.mark.parametrize(
    "flow", [HERE, HERE._replace(remote=("127.0.0.1", 40001)), HERE._replace(remote=("127.9.9.9", 40001))]
)
def test_a_station_registers_from_this_machine_by_a_password_made_from_the_site_key(flow: Flow) -> None:
    fixture = AgentFixture(STATION)
    password = password_of(fixture.core.lines["desk"].settings, KEY)
    assert password is not None and password not in ("", "secret")
    assert register(fixture, flow, user="desk", password="secret") == 401
    assert register(fixture, flow, user="desk", password=password) == 200
    assert fixture.core.lines["desk"].in_service


def test_a_station_may_have_a_password_of_its_own() -> None:
    fixture = AgentFixture(STATION)
    assert register(fixture, HERE, user="lobby") == 200


def test_a_station_elsewhere_is_nobody() -> None:
    fixture = AgentFixture(STATION)
    password = password_of(fixture.core.lines["desk"].settings, KEY)
    assert password is not None
    assert register(fixture, ELSEWHERE, user="desk", password="wrong") == 401
    assert register(fixture, ELSEWHERE, user="desk", password=password) == 403
    assert not fixture.core.lines["desk"].in_service


def test_a_phone_registers_by_digest_and_its_line_is_told() -> None:
    fixture = AgentFixture()
    told = len(fixture.m1.heads)
    assert not fixture.core.lines["alice"].in_service
    assert register(fixture, password="wrong") == 401
    assert register(fixture) == 200
    assert fixture.core.lines["alice"].far_side.contacts == 1
    assert len(fixture.m1.heads) == told + 1
    assert fixture.m1.heads[-1]["version"] == 2
    assert [line["in-service"] for line in fixture.m1.list if line.get("line") == "alice"] == [True]
    fixture.run(601)
    assert not fixture.core.lines["alice"].in_service
    assert [line["in-service"] for line in fixture.m1.list if line.get("line") == "alice"] == [False]


def test_what_was_proved_to_an_earlier_start_is_asked_for_anew() -> None:
    """How often a nonce was used is forgotten with the start, so who has recorded a request could repeat it."""
    former, now = AgentFixture(), AgentFixture(incarnation=2)
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": AOR, "call_id": "r"}
    former.request("REGISTER", "sip:paris", ["Expires: 600"], **fields)
    line = proved(former, former.take(401, ALICE), "REGISTER", "sip:paris")
    former.request("REGISTER", "sip:paris", ["Expires: 600", line], cseq=2, **fields)
    former.take(200, ALICE)
    now.request("REGISTER", "sip:paris", ["Expires: 600", line], cseq=2, **fields)
    challenge: Response = now.take(401, ALICE)
    assert all(one.endswith(", stale=true") for one in challenge.all("www-authenticate"))
    assert not now.core.lines["alice"].in_service and not now.core.digest.throttle.wrong
    line = proved(now, challenge, "REGISTER", "sip:paris")
    now.request("REGISTER", "sip:paris", ["Expires: 600", line], cseq=3, **fields)
    now.take(200, ALICE)
    assert now.core.lines["alice"].in_service


def test_an_expiry_is_told_again_when_half_of_what_servers_know_is_over() -> None:
    fixture = AgentFixture(keeps=True)
    bound = registration_state.bound_to("paris", "gw1", "alice")

    def known() -> tuple[int, float]:
        """How many lists and changes a server has got, and for how long it knows the phone to be there."""
        [text] = [one["line-state"] for one in fixture.m1.list if one.get("line") == "alice"]
        [device] = registration_state.decode(text, bound, [KEY])
        return len(fixture.m1.heads), device.expires_in

    assert register(fixture) == 200
    told = known()
    assert told[1] == 600.0
    fixture.run(299.0)
    fixture.inbox.clear()  # what keeps the phone reachable
    assert register(fixture) == 200 and known() == told, "it lags by less than half of its life"
    fixture.run(2.0)
    fixture.inbox.clear()
    assert register(fixture) == 200 and known() == (told[0] + 1, 600.0)


def test_servers_hear_that_a_phone_can_be_called_before_it_does() -> None:
    fixture = AgentFixture()
    said: list[str] = []
    to_do = fixture.core.to_do

    def noted() -> list[Any]:
        actions = to_do()
        said.extend(one.data[:8].decode() if isinstance(one, Send) else type(one).__name__ for one in actions)
        return actions

    fixture.core.to_do = noted  # type: ignore[method-assign]
    assert register(fixture) == 200
    assert said[-3:] == ["NOTIFY s", "Flush", "SIP/2.0 "]
    assert register(fixture) == 200  # anew: nothing to be told of
    assert said[-2:] == ["SIP/2.0 ", "SIP/2.0 "]


def test_nobody_else_may_call() -> None:
    fixture = AgentFixture()
    stranger = Flow("udp", LISTEN, ("127.0.0.99", 5060))
    fixture.request("INVITE", body=SDP, flow=stranger)
    fixture.take(407, stranger)
    register(fixture)
    fixture.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR)
    challenge = fixture.take(407, ALICE)
    line = proved(fixture, challenge, "INVITE", "sip:200@paris")
    fixture.request(
        "INVITE",
        "sip:200@paris",
        [line, "P-Asserted-Identity: <sip:boss@paris>"],
        SDP,
        flow=ALICE,
        sender=AOR,
        cseq=2,
    )
    fixture.take(100, ALICE)
    invite = fixture.m1.take("INVITE")
    assert invite.get("line") == "alice"
    assert "proxy-authorization" not in invite
    assert "p-asserted-identity" not in invite
    assert not fixture.m1.inbox


def test_all_contacts_ring_and_the_first_to_answer_wins() -> None:
    fixture = AgentFixture()
    register(fixture)
    register(fixture, DESK)
    uri = "sip:1001@gw1;line=alice"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin="gw2;o;1")
    fixture.m1.take(100)
    one, other = fixture.take("INVITE", ALICE), fixture.take("INVITE", DESK)
    fixture.reply(one, 180, tag="a", flow=ALICE)
    fixture.reply(other, 180, tag="d", flow=DESK)
    assert [fixture.m1.take(180).to_tag, fixture.m1.take(180).to_tag] == ["a", "d"]
    fixture.reply(other, 200, ["Content-Type: application/sdp"], SDP, tag="d", flow=DESK)
    ok = fixture.m1.take(200)
    assert ok.to_tag == "d"
    cancel = fixture.take("CANCEL", ALICE)
    assert "200" in (cancel.get("reason") or "")
    fixture.reply(cancel, 200, flow=ALICE)
    fixture.reply(one, 200, ["Content-Type: application/sdp"], SDP, tag="a", flow=ALICE)
    fixture.take("ACK", ALICE)
    bye = fixture.take("BYE", ALICE)
    fixture.reply(bye, 200, flow=ALICE)
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="d")
    fixture.take("ACK", DESK)
    assert len(fixture.core.calls) == 1
    assert fixture.core.lines["alice"].busy == 1


@pytest.mark.parametrize("known", [True, False])
def test_who_knows_199_is_told_that_one_of_several_rings_no_more(known: bool) -> None:
    fixture = AgentFixture()
    register(fixture)
    register(fixture, DESK)
    lines = ["Supported: timer, 199"] if known else ["Supported: timer"]
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", lines, SDP, call_id="s-1", origin="gw2;o;1")
    fixture.m1.take(100)
    one, other = fixture.take("INVITE", ALICE), fixture.take("INVITE", DESK)
    fixture.reply(one, 180, tag="a", flow=ALICE)
    fixture.m1.take(180)
    fixture.reply(other, 486, tag="d", flow=DESK)  # it made no early dialog
    assert not fixture.m1.inbox
    third = fixture.take("ACK", DESK)
    assert third.to_tag == "d"
    fixture.reply(one, 480, tag="a", flow=ALICE)  # the last one: its answer is the answer
    assert fixture.m1.take(486).to_tag != "a"
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", lines, SDP, call_id="s-2", origin="gw2;o2;1")
    fixture.m1.take(100)
    fixture.take("ACK", ALICE)
    one, other = fixture.take("INVITE", ALICE), fixture.take("INVITE", DESK)
    fixture.reply(one, 180, tag="a2", flow=ALICE)
    fixture.reply(other, 180, tag="d2", flow=DESK)
    assert [fixture.m1.take(180).to_tag, fixture.m1.take(180).to_tag] == ["a2", "d2"]
    fixture.reply(one, 486, tag="a2", flow=ALICE)
    if known:
        told = fixture.m1.take(199)
        assert (told.to_tag, told.get("reason")) == ("a2", "SIP;cause=486")
    assert not fixture.m1.inbox


def test_the_best_of_the_refusals_is_passed_on() -> None:
    fixture = AgentFixture()
    register(fixture)
    register(fixture, DESK)
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-1", origin="gw2;o;1")
    fixture.m1.take(100)
    one, other = fixture.take("INVITE", ALICE), fixture.take("INVITE", DESK)
    fixture.reply(one, 480, flow=ALICE)
    fixture.take("ACK", ALICE)
    assert not fixture.m1.inbox
    fixture.reply(other, 486, flow=DESK)
    assert fixture.m1.take(486)
    assert not fixture.core.calls


def test_a_busy_phone_and_one_that_is_not_there() -> None:
    fixture = AgentFixture()
    uri = "sip:1001@gw1;line=alice"
    fixture.m1.request("INVITE", uri, body=SDP, origin="gw2;o;1")
    assert fixture.m1.take(480).get("call-origin") == "gw2;o;1;n=1"
    fixture.m1.request("INVITE", uri, body=SDP, origin="gw2;o;1")
    assert fixture.m1.take(480).get("call-origin") == "gw2;o;1;n=1"
    register(fixture)
    fixture.m1.request("INVITE", uri, body=SDP, origin="gw2;o;2")
    fixture.m1.take(100)
    fixture.m1.request("INVITE", uri, body=SDP, origin="gw2;o;3")
    fixture.m1.take(486)
    fixture.m1.request("INVITE", "sip:1@gw1;line=nobody", body=SDP, origin="gw2;o;4")
    fixture.m1.take(404)


def test_a_broken_connection_ends_the_registrations_made_by_it() -> None:
    fixture = AgentFixture()
    stream = Flow("tcp", f"{LISTEN}#1", ("127.0.0.33", 40000))
    fixture.core.flow_changed(stream, "open", fixture.now)
    fixture.opened.append(stream)
    assert register(fixture, stream) == 200
    assert fixture.core.lines["alice"].in_service
    fixture.core.flow_changed(stream, "lost", fixture.now)
    assert not fixture.core.lines["alice"].in_service
    assert not fixture.core.phones


@pytest.mark.parametrize(
    ("contact", "listens"),
    [
        ("<sip:alice@127.0.0.31:5062;transport=TCP>", True),
        ("<sip:alice@127.0.0.31;transport=tcp>;expires=600", True),
        ("<sip:alice@127.0.0.31:5062>", False),
        ("<sip:alice@127.0.0.31:40001;transport=tcp>", False),  # the port that it came from
        ("<sip:alice@127.0.0.32:5062;transport=tcp>", False),  # a NAT is between, or it would have us call another
        ('<sip:alice@127.0.0.31:5062;transport=tcp>;+sip.instance="<urn:uuid:1>";reg-id=1', False),
        ("<sip:alice@127.0.0.1:5161;transport=tcp>", False),
    ],
)
def test_a_telephone_that_listens_is_called_though_its_connection_broke(contact: str, listens: bool) -> None:
    fixture = AgentFixture()
    flow = Flow("tcp", f"{LISTEN}#1", ("127.0.0.31", 40001))
    fixture.opened.append(flow)
    fixture.core.flow_changed(flow, "open", fixture.now)
    assert register(fixture, flow, contact=contact) == 200
    fixture.core.flow_changed(flow, "lost", fixture.now)
    fixture.opened.remove(flow)
    fixture.pump()
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, origin="gw2;z9hG4bKo;1")
    if not listens:
        fixture.m1.take(480)
        return
    fixture.m1.take(100)
    opened = fixture.opened[-1]
    assert opened.remote == ("127.0.0.31", 5062 if ":5062" in contact else 5060)
    invite = fixture.take("INVITE", opened)
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, flow=opened)
    fixture.m1.take(200)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_device_that_comes_back_another_way_leaves_nothing_of_the_former_one(transport: str) -> None:
    fixture = AgentFixture()
    contact = f'<sip:alice@127.0.0.31:5060;transport={transport}>;+sip.instance="<urn:uuid:1>";reg-id=1'
    flows = [Flow(transport, f"{LISTEN}#{port}", ("127.0.0.31", port)) for port in (41001, 41002, 41003)]
    fixture.opened += flows
    for flow in flows:
        fixture.core.flow_changed(flow, "open", fixture.now)
        assert register(fixture, flow, contact=contact) == 200
    assert fixture.core.phones == {flows[-1]: {"alice"}}
    fixture.core.flow_changed(flows[0], "lost", fixture.now)
    assert fixture.core.lines["alice"].far_side.contacts == 1


def test_a_stranger_cannot_register_and_learns_nothing() -> None:
    fixture = AgentFixture()
    fixture.request("REGISTER", "sip:paris", flow=ALICE, sender="<sip:eve@paris>", recipient="<sip:eve@paris>")
    assert "www-authenticate" in fixture.take(401, ALICE)


def guesses(fixture: AgentFixture, flow: Flow, times: int) -> list[int]:
    return [register(fixture, flow, password=f"wrong{number}", call_id=f"g{number}") for number in range(times)]


def test_wrong_passwords_are_counted_and_then_not_looked_at() -> None:
    fixture = AgentFixture()
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    assert guesses(fixture, evil, 7) == [401] * 5 + [503] * 2
    assert register(fixture, evil) == 503
    assert register(fixture, ALICE) == 200
    page = seen(fixture.core, "lines", {"line": "alice"}, fixture.now)["lines"][0]
    assert (page["guesses"], page["guessed_from"]) == (5, "127.0.0.66")
    passwords = seen(fixture.core, "status", {}, fixture.now)["passwords"]
    assert (passwords["wrong"], passwords["held_back"], passwords["user"]) == (5, 3, "alice")
    fixture.run(11)
    assert register(fixture, evil) == 200


def test_a_phone_that_does_not_come_back_after_its_challenge_leaves_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fixture = AgentFixture()
    for _ in range(3):
        fixture.request("REGISTER", "sip:paris", flow=ALICE, sender=AOR, recipient=AOR)
        fixture.take(401, ALICE)
        fixture.run(20)
    (line,) = [record.getMessage() for record in caplog.records if "challenged" in record.getMessage()]
    assert line == (
        "alice at 127.0.0.31 was challenged for its REGISTER and did not come back: it has no password, or does not"
        ' know a digest that its line offers; try digest = ["MD5"] there'
    )


def test_a_phone_that_comes_back_leaves_none_and_a_wrong_password_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fixture = AgentFixture()
    assert register(fixture) == 200
    fixture.run(20)
    assert not caplog.records
    assert register(fixture, password="wrong") == 401
    fixture.run(20)
    assert [record.getMessage() for record in caplog.records] == [
        "a wrong password for 'alice' from 127.0.0.31: if that is a phone of yours, compare it with that of its line"
    ]


def test_credentials_that_cannot_be_used_are_said_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    fixture = AgentFixture()
    fixture.request("REGISTER", "sip:paris", flow=ALICE, sender=AOR, recipient=AOR)
    line = proved(fixture, fixture.take(401, ALICE), "REGISTER", "sip:elsewhere")
    fixture.request("REGISTER", "sip:paris", [line], flow=ALICE, sender=AOR, recipient=AOR, cseq=2)
    fixture.take(401, ALICE)
    assert [record.getMessage() for record in caplog.records] == [
        "alice at 127.0.0.31 cannot register, its credentials are not taken: the uri of the credentials is not that"
        " of the request; look at the phone's settings"
    ]


def test_a_registered_phone_goes_on_beside_one_that_guesses() -> None:
    fixture = AgentFixture()
    neighbour = ALICE._replace(remote=(ALICE.remote[0], 40000))
    assert register(fixture) == 200
    assert guesses(fixture, neighbour, 8)[-1] == 503
    assert register(fixture, call_id="again") == 200
    fixture.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR)
    line = proved(fixture, fixture.take(407, ALICE), "INVITE", "sip:200@paris")
    fixture.request("INVITE", "sip:200@paris", [line], SDP, flow=ALICE, sender=AOR, cseq=2)
    fixture.take(100, ALICE)


def test_who_goes_on_guessing_hears_nothing_and_leaves_nothing() -> None:
    fixture = AgentFixture()
    guesses(fixture, ALICE, 5)
    fixture.run(40)
    servers = len(fixture.core.stack.servers)
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    fixture.request("REGISTER", "sip:paris", flow=evil, recipient=AOR, sender=AOR)
    line = proved(fixture, fixture.take(401, evil), "REGISTER", "sip:paris", "wrong")
    for number in range(100):
        fixture.request("REGISTER", "sip:paris", [line], flow=evil, recipient=AOR, sender=AOR, call_id=f"x{number}")
    got = [one.status for one in fixture.inbox[evil] if isinstance(one, Response)]
    assert (got.count(401), got.count(503), len(got)) == (5, 5, 10)
    assert len(fixture.core.stack.servers) == servers


def test_a_guess_by_an_invite_or_in_the_name_of_nobody_counts_too() -> None:
    fixture = AgentFixture()
    register(fixture)
    for number in range(6):
        fixture.request("INVITE", "sip:200@paris", body=SDP, flow=ALICE, sender=AOR, call_id=f"i{number}")
        line = proved(fixture, fixture.take(407, ALICE), "INVITE", "sip:200@paris", "wrong")
        line = line.replace('username="alice"', 'username="bob"')
        fixture.request("INVITE", "sip:200@paris", [line], SDP, flow=ALICE, sender=AOR, cseq=2, call_id=f"i{number}")
        fixture.take(407 if number < 5 else 503, ALICE)
    evil = ALICE._replace(remote=("127.0.0.66", 5060))
    nobody = "<sip:nobody@paris>"
    for number in range(6):
        fixture.request("REGISTER", "sip:paris", flow=evil, recipient=nobody, sender=AOR, call_id=f"n{number}")
        line = proved(fixture, fixture.take(401, evil), "REGISTER", "sip:paris", "wrong")
        fixture.request(
            "REGISTER", "sip:paris", [line], flow=evil, recipient=nobody, sender=AOR, call_id=f"n{number}", cseq=2
        )
        fixture.take(401 if number < 5 else 503, evil)


def offered(fixture: AgentFixture, user: str) -> list[str]:
    who = f"<sip:{user}@paris>"
    fixture.request("REGISTER", "sip:paris", flow=ALICE, recipient=who, sender=who, call_id=user)
    challenges = fixture.take(401, ALICE).all("www-authenticate")
    return [one.partition("algorithm=")[2].partition(",")[0] for one in challenges]


def test_a_phone_is_offered_first_what_its_line_says_and_nobody_like_one_of_the_phones() -> None:
    fixture = AgentFixture()
    assert offered(fixture, "alice") == ["MD5", "SHA-256"] == offered(fixture, "eve")
    line = fixture.core.lines["alice"]
    devices: Devices = fixture.core.devices
    line.reload(replace(line.settings, digest=("SHA-256", "MD5")), fixture.now)
    devices.reload(fixture.core.site.bans)
    assert offered(fixture, "alice") == ["SHA-256", "MD5"] == offered(fixture, "eve")
    line.reload(replace(line.settings, digest=("SHA-512-256",)), fixture.now)
    devices.reload(fixture.core.site.bans)
    assert offered(fixture, "alice") == ["SHA-512-256"]
    assert register(fixture) == 200


def test_a_phone_that_registered_over_udp_is_kept_reachable() -> None:
    fixture = AgentFixture()
    assert register(fixture, expires=3600) == 200
    fixture.run(100)
    asked = [fixture.take("OPTIONS", ALICE) for _ in range(len(fixture.inbox[ALICE]))]
    assert 3 <= len(asked) <= 5 and {one.uri for one in asked} == {"sip:127.0.0.31:5062"}
    fixture.reply(asked[0], 404, flow=ALICE)
    assert fixture.core.lines["alice"].in_service
    fixture.run(3601)
    fixture.inbox.clear()
    fixture.run(100)
    assert fixture.silent(ALICE)


def test_a_phone_behind_a_proxy_is_called_along_its_path() -> None:
    fixture = AgentFixture()
    path = "Path: <sip:127.0.0.31;lr>"
    fields: dict[str, Any] = {"sender": AOR, "recipient": AOR, "call_id": "r1"}
    more = [path, "Supported: path", "Require: path", "Expires: 600", "Contact: <sip:alice@10.0.0.7:5060>"]
    fixture.request("REGISTER", "sip:paris", more, cseq=1, flow=ALICE, **fields)
    line = proved(fixture, fixture.take(401, ALICE), "REGISTER", "sip:paris")
    fixture.request("REGISTER", "sip:paris", [line, *more], cseq=2, flow=ALICE, **fields)
    assert fixture.take(200, ALICE).get("path") == "<sip:127.0.0.31;lr>"
    fixture.m1.request("INVITE", "sip:1001@gw1;line=alice", body=SDP, call_id="s-1", origin="gw2;o;1")
    invite = fixture.take("INVITE", ALICE)
    assert (invite.uri, invite.get("route")) == ("sip:alice@10.0.0.7:5060", "<sip:127.0.0.31;lr>")
