"""The list: its parts, their order, its filters, what is refused, and the reset of cold lines."""

import pytest

from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture, Server, proof_of

MANY = SITE.replace("channels = 3", "channels = 1000")
COLD = MANY.replace("%s", 'recovery = "cold"\npriority = 3\n%s')


def dialogs(server: Server) -> list[dict[str, object]]:
    return [record for record in server.list if "call-id" in record]


def call(fixture: AgentFixture, index: int, answered: bool = True) -> Request:
    """A call of the carrier through m1."""
    more = {"call_id": f"c{index}", "from_tag": f"f{index}"}
    fixture.request("INVITE", body=SDP, **more)  # type: ignore[arg-type]
    fixture.take(100)
    invite: Request = fixture.m1.take("INVITE")
    if answered:
        fixture.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
        fixture.take(200)
        fixture.request("ACK", to_tag="srvtag", **more)  # type: ignore[arg-type]
        fixture.m1.take("ACK")
    return invite


def test_a_long_list_comes_in_parts_two_at_a_time() -> None:
    fixture = AgentFixture(text=MANY)
    for index in range(200):
        call(fixture, index)
    fixture.m2.answers_notify = False
    seen: list[Request] = []
    notified = fixture.m2._notified
    fixture.m2._notified = lambda request: (seen.append(request), notified(request))[1]  # type: ignore[method-assign]
    assert fixture.m2.subscribe(epoch=2) == 200
    assert len(seen) == 2
    answered = 0
    while answered < len(seen):
        fixture.m2.reply(seen[answered], 200)
        answered += 1
        assert len(seen) - answered <= 2
    assert len(dialogs(fixture.m2)) == 200
    assert [head["part"] for head in fixture.m2.heads] == list(range(1, len(seen) + 1))
    assert [head["complete"] for head in fixture.m2.heads] == [False] * (len(seen) - 1) + [True]
    assert all(len(request.body) <= 61_440 for request in seen)
    assert {head["epoch"] for head in fixture.m2.heads} == {2}


def test_requests_under_way_come_first_and_what_ended_meanwhile_is_said_so() -> None:
    fixture = AgentFixture(text=MANY)
    for index in range(200):
        call(fixture, index)
    call(fixture, 200, answered=False)
    fixture.m2.answers_notify = False
    seen: list[Request] = []
    notified = fixture.m2._notified
    fixture.m2._notified = lambda request: (seen.append(request), notified(request))[1]  # type: ignore[method-assign]
    assert fixture.m2.subscribe(epoch=2) == 200
    assert dialogs(fixture.m2)[0]["state"] == "trying"
    fixture.request("BYE", call_id="c199", from_tag="f199", to_tag="srvtag", cseq=2)
    fixture.take(200)
    fixture.m2.take("BYE")
    answered = 0
    while answered < len(seen):
        fixture.m2.reply(seen[answered], 200)
        answered += 1
    states = [record["state"] for record in dialogs(fixture.m2)]
    assert states.count("terminated") == 1
    assert len(states) == 201


def test_one_dialog_is_fetched_without_any_change() -> None:
    fixture = AgentFixture(text=MANY)
    invite = call(fixture, 1)
    call(fixture, 2)
    assert fixture.m2.subscribe("observe", 0, **{"call-id": invite.call_id}) == 200
    assert [record["call-id"] for record in dialogs(fixture.m2)] == [invite.call_id]
    fixture.m2.list = []
    assert fixture.m2.subscribe("observe", 0, **{"call-id": [invite.call_id, "unknown"]}) == 200
    assert [record["call-id"] for record in dialogs(fixture.m2)] == [invite.call_id]
    assert fixture.core.obedience.adopted == ("m1", 1)
    assert len(fixture.core.handover.subscriptions) == 1
    fixture.m2.list = []
    assert fixture.m2.subscribe("observe", 0, **{"lines": ["alice"]}) == 200
    assert [record.get("line") for record in fixture.m2.list] == ["alice"]
    assert fixture.m2.subscribe("observe", 0, **{"least-priority": 1}) == 200
    assert fixture.m2.list == []


@pytest.mark.parametrize(
    ("purpose", "body", "status"),
    [
        ("frob", {}, 489),
        ("takeover", {"proof": "nonsense"}, 400),
        ("takeover", {"proof": None}, 400),
        ("takeover", {"proof": proof_of(2, "m1").text}, 403),
        ("takeover", {"proof": proof_of(2, "m2").text.replace("gw1:", "gw1:00")}, 403),
        ("observe", {"lines": "trunk1"}, 400),
        ("observe", {"least-priority": "x"}, 400),
        ("observe", {"call-id": 7}, 400),
        ("observe", {"call-id": ["c", 7]}, 400),
        ("reset", {"state": "on fire"}, 400),
    ],
)
def test_what_is_refused_changes_nothing(purpose: str, body: dict[str, object], status: int) -> None:
    fixture = AgentFixture()
    assert fixture.m2.subscribe(purpose, 0, 2, **body) == status
    assert fixture.core.obedience.adopted == ("m1", 1)
    assert fixture.core.environment.server_flow == fixture.m1.flow


def test_a_fetch_waits_behind_a_takeover_that_waits_for_the_disk() -> None:
    fixture = AgentFixture(text=MANY)
    invite = call(fixture, 1)
    fixture.disk = []
    assert fixture.m2.subscribe(epoch=2) == 0
    assert fixture.m2.subscribe("observe", 0, **{"call-id": invite.call_id}) == 0
    assert not fixture.m2.list and fixture.core.obedience.adopted == ("m1", 1)
    slow, fixture.disk = fixture.disk, None
    for action in slow:
        fixture.core.done(action, None, fixture.now)
    fixture.pump()
    assert fixture.core.obedience.adopted == ("m2", 2)
    assert [fixture.m2.take(200).cseq_method for _ in range(2)] == ["SUBSCRIBE"] * 2
    assert [record["call-id"] for record in dialogs(fixture.m2)] == [invite.call_id]
    assert len(fixture.m2.heads) == 2


def test_no_list_is_handed_over_when_the_server_was_overtaken_while_the_disk_wrote() -> None:
    fixture = AgentFixture()
    fixture.answered_in()
    heads = len(fixture.m1.heads)
    fixture.disk = []
    assert fixture.m2.subscribe(epoch=2) == 0
    assert fixture.m1.subscribe(epoch=3) == 0
    slow, fixture.disk = fixture.disk, None
    for action in reversed(slow):  # the newest first: one write may stand for all that were asked for before it
        fixture.core.done(action, None, fixture.now)
    fixture.pump()
    assert "holder=m1" in (fixture.m2.take(403).get("heartbeat") or "")
    assert not fixture.m2.heads and not dialogs(fixture.m2)
    assert fixture.core.obedience.adopted == ("m1", 3)
    assert fixture.m1.take(200).cseq_method == "SUBSCRIBE"
    assert len(fixture.m1.heads) == heads + 1 and len(dialogs(fixture.m1)) == 1


def test_an_older_proof_is_fenced() -> None:
    fixture = AgentFixture()
    assert fixture.m2.subscribe(epoch=5) == 200
    assert fixture.m1.subscribe(epoch=4) == 403
    assert fixture.core.obedience.adopted == ("m2", 5)


def test_cold_lines_are_reset_and_their_devices_told() -> None:
    fixture = AgentFixture(text=COLD)
    call(fixture, 1)
    call(fixture, 2, answered=False)
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="o;1;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.reply(invite, 180)
    fixture.kill(fixture.m1)
    assert fixture.m2.subscribe("reset", 0, 2, lines=["trunk1"], state="idle") == 200
    assert [record["state"] for record in dialogs(fixture.m2)] == ["terminated"] * 3
    assert fixture.m2.subscribe() == 200
    assert "Reset by m2" in (fixture.take("BYE").get("reason") or "")
    assert "Reset by m2" in (fixture.take(503).get("reason") or "")
    assert "Reset by m2" in (fixture.take("CANCEL").get("reason") or "")
    assert not fixture.m2.inbox
    assert not fixture.core.calls
    assert fixture.core.lines["trunk1"].busy == 0
    assert fixture.core.lines["trunk1"].in_service


def test_cold_lines_may_be_put_out_of_service() -> None:
    fixture = AgentFixture(text=COLD)
    assert fixture.m2.subscribe("reset", 0, 2, lines=["trunk1"], state="out-of-service") == 200
    assert not fixture.core.lines["trunk1"].in_service
    assert fixture.m2.subscribe("reset", 0, lines=["trunk1"], state="idle") == 200
    assert fixture.core.lines["trunk1"].in_service


def test_of_a_line_put_out_of_service_nothing_is_told_whatever_its_peer_does() -> None:
    fixture = AgentFixture("options = { interval = 10, misses = 2 }", text=COLD)
    assert fixture.m2.subscribe("reset", 0, 2, lines=["trunk1"], state="out-of-service") == 200
    told = len(fixture.m1.heads) + len(fixture.m2.heads)
    fixture.run(40)
    line = fixture.core.lines["trunk1"]
    assert "no answer" in line.far_side.why and line.why == "reset to out of service by m2"
    assert len(fixture.m1.heads) + len(fixture.m2.heads) == told
    fixture.m2.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="o;1;1")
    fixture.m2.take(503)


def test_a_subscription_is_refreshed_and_ends() -> None:
    fixture = AgentFixture()
    [subscription] = fixture.core.handover.subscriptions
    dialog = subscription.dialog
    fields = {"call_id": dialog.call_id, "from_tag": dialog.remote_tag, "to_tag": dialog.local_tag}
    lines = ["Event: line-dialog;purpose=takeover", "Expires: 3600"]
    fixture.m1.request("SUBSCRIBE", "sip:gw1", lines, cseq=2, **fields)  # type: ignore[arg-type]
    assert fixture.m1.take(200).get("expires") == "3600"
    assert fixture.m1.heads[-1]["version"] == 2
    fixture.run(3601)
    assert not fixture.core.handover.subscriptions
    fixture.m1.request("SUBSCRIBE", "sip:gw1", lines, cseq=3, **fields)  # type: ignore[arg-type]
    assert fixture.m1.take(481)


def test_a_lost_connection_ends_its_subscription() -> None:
    fixture = AgentFixture()
    fixture.kill(fixture.m1)
    assert not fixture.core.handover.subscriptions
    assert not fixture.core.connected


def test_what_is_waited_for_inside_calls_comes_in_a_part_of_its_own_and_the_rest_behind_its_answer() -> None:
    fixture = AgentFixture(text=MANY)
    for index in range(20):
        call(fixture, index)
    fixture.request("INFO", call_id="c7", from_tag="f7", to_tag="srvtag", cseq=2)
    fixture.m2.answers_notify = False
    seen: list[Request] = []
    notified = fixture.m2._notified
    fixture.m2._notified = lambda request: (seen.append(request), notified(request))[1]  # type: ignore[method-assign]
    assert fixture.m2.subscribe(epoch=2) == 200
    [first] = dialogs(fixture.m2)
    assert "INFO" in str(first["sent"])
    assert len(seen) == 1
    fixture.m2.reply(seen[0], 200)
    assert len(seen) == 2
    assert len(dialogs(fixture.m2)) == 20
    assert [head["complete"] for head in fixture.m2.heads] == [False, True]


def test_what_ends_while_a_long_fetch_is_told_is_told_once_as_ended() -> None:
    fixture = AgentFixture(text=MANY)
    wanted = [call(fixture, index).call_id for index in range(200)]
    fixture.m2.answers_notify = False
    seen: list[Request] = []
    notified = fixture.m2._notified
    fixture.m2._notified = lambda request: (seen.append(request), notified(request))[1]  # type: ignore[method-assign]
    assert fixture.m2.subscribe("observe", 0, **{"call-id": wanted}) == 200
    told = {record["call-id"] for record in dialogs(fixture.m2)}
    index = next(at for at, call_id in enumerate(wanted) if call_id not in told)
    fixture.request("BYE", call_id=f"c{index}", from_tag=f"f{index}", to_tag="srvtag", cseq=2)
    fixture.take(200)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)
    answered = 0
    while answered < len(seen):
        fixture.m2.reply(seen[answered], 200)
        answered += 1
    states = {record["call-id"]: record["state"] for record in dialogs(fixture.m2)}
    assert len(dialogs(fixture.m2)) == len(states) == 200
    assert states[wanted[index]] == "terminated"
