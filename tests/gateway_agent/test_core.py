"""The agent as a whole: the opening of connections, what strangers may do, drain, pages, reload, limits."""

from collections import deque
from typing import Any

import pytest

from gateway_agent.deduplication import Deduplication, Remembered
from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_relay import AgentRelay
from heartbeat.console.contract import Refused
from sip.actions import Flow
from sip.timers import Deadlines
from sip.wire.message import Response
from tests.consoles import ordered, seen
from tests.gateway_agent.agent_fixture import LISTEN, SDP, SITE, AgentFixture, proof_of, site

OUT = "sip:+33166@gw1;line=trunk1"


def test_a_connection_is_proved_before_anything_is_heard() -> None:
    fixture = AgentFixture(adopted=False)
    connection = fixture.core.connections.by_name["m1"]
    assert connection.state == "proved"
    fixture.core.flow_changed(fixture.m1.flow, "lost", fixture.now)  # type: ignore[arg-type]
    fixture.reached.pop(("127.0.0.1", 5161))  # somebody else listens there, who does not know the key
    fixture.pump()
    fixture.run(1)
    flow = connection.flow
    assert flow is not None
    inbox = fixture.inbox[flow]
    assert inbox.popleft().cseq_method == "OPTIONS"
    fixture.m1.flow = flow
    for _ in range(3):
        fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    assert flow in fixture.closed
    assert connection.state == "waiting"
    assert not fixture.core.calls


def test_an_opening_that_is_not_answered_is_tried_again() -> None:
    fixture = AgentFixture(adopted=False)
    fixture.reached.clear()
    fixture.core.flow_changed(fixture.m2.flow, "lost", fixture.now)  # type: ignore[arg-type]
    fixture.m2.flow = None
    opened = len(fixture.opened)
    fixture.run(30)
    assert 4 <= len(fixture.opened) - opened <= 12


def test_beats_are_answered_and_forged_ones_ignored() -> None:
    fixture = AgentFixture()
    fixture.m1.beat()
    assert fixture.m1.beats[-1].leader == "m1"
    assert fixture.m1.beats[-1].heard == 0.0
    said = len(fixture.m1.beats)
    fixture.m1.request("OPTIONS", "sip:gw1", ["Heartbeat: site=paris; node=m1; boot=1; epoch=9; mac=00"], site=False)
    assert len(fixture.m1.beats) == said
    assert fixture.core.counters["bad beats"] == 1


def test_a_request_without_the_epoch_is_refused() -> None:
    fixture = AgentFixture()
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1", site=False)
    assert "holder=m1" in (fixture.m1.take(403).get("heartbeat") or "")
    fixture.m1.request("OPTIONS", "sip:gw1", site=False)
    fixture.m1.take(200)


def test_an_agent_drains() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    assert ordered(fixture.core, "drain", {}, fixture.now)["state"] == "running"
    fixture.request("INVITE", body=SDP, call_id="late")
    assert fixture.take(503).get("retry-after") == "60"
    fixture.request("ACK", call_id="late")
    fixture.inbox.clear()
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(503)
    fixture.request("OPTIONS", call_id="o")
    fixture.take(503)
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)
    assert seen(fixture.core, "progress", {"id": "drain"}, fixture.now)["state"] == "done"
    lines = seen(fixture.core, "lines", {}, fixture.now)["lines"]
    assert {(line["state"], line["why"]) for line in lines if line["in_service"]} == {("draining", "gw1 drains")}
    assert seen(fixture.core, "status", {}, fixture.now)["state"] == "drained"
    ordered(fixture.core, "resume", {}, fixture.now)
    with pytest.raises(Refused):
        ordered(fixture.core, "resume", {}, fixture.now)
    with pytest.raises(Refused):
        ordered(fixture.core, "frob", {}, fixture.now)
    with pytest.raises(Refused):
        seen(fixture.core, "frob", {}, fixture.now)


def test_pages() -> None:
    fixture = AgentFixture()
    fixture.m1.beat()
    fixture.answered_in()
    fixture.request("INVITE", body=SDP, call_id="second", from_tag="2")
    status: dict[str, Any] = dict(seen(fixture.core, "status", {}, fixture.now))
    assert (status["state"], status["obeys"], status["epoch"]) == ("serving", "m1", 1)
    assert status["calls"]["talking"] == 1
    assert status["calls"]["dialing"] == 1
    assert [peer["reached"] for peer in status["servers"]] == [True, True]
    assert seen(fixture.core, "health", {}, fixture.now)["healthy"] is True
    voter = fixture.core.connections.voter
    voter.not_persisted(voter.participant.on_disk, "no space left", fixture.now)
    said = seen(fixture.core, "status", {}, fixture.now)["warnings"]
    assert said == [f"{voter.participant.name} cannot keep its epochs: no space left"]
    calls = seen(fixture.core, "calls", {"number": "+33166"}, fixture.now)
    assert (calls["matched"], calls["calls"][0]["line"]) == (2, "trunk1/2")
    assert (
        seen(fixture.core, "calls", {"limit": "1", "state": "talking"}, fixture.now)["calls"][0]["kept_requests"] == 0
    )
    lines = seen(fixture.core, "lines", {"line": "trunk1"}, fixture.now)["lines"]
    assert [(line["busy"], line["state"]) for line in lines] == [(2, "active")]
    assert seen(fixture.core, "history", {}, fixture.now)["total"] >= 1
    with pytest.raises(Refused):
        seen(fixture.core, "calls", {"limit": "many"}, fixture.now)


def test_a_reload_touches_no_call() -> None:
    fixture = AgentFixture()
    fixture.answered_in()
    changed = site("", SITE.replace("channels = 3", "channels = 1").replace("[lines.alice]", "[lines.anna]"))
    fixture.core.reload(changed, fixture.now)
    fixture.pump()
    assert set(fixture.core.lines) == {"trunk1", "anna"}
    assert len(fixture.core.calls) == 1
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    fixture.m1.take(503)
    assert fixture.silent()


def test_one_call_does_not_keep_requests_without_end() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.kill(fixture.m1)
    for cseq in range(2, 22):
        fixture.request("INFO", to_tag=tag, cseq=cseq)
    refused = [message for message in fixture.inbox[bed_carrier()] if isinstance(message, Response)]
    assert [message.status for message in refused] == [500] * 4
    fixture.inbox.clear()
    fixture.run(8.1)
    answers = [message for message in fixture.inbox[bed_carrier()] if isinstance(message, Response)]
    assert [message.status for message in answers] == [500] * 16
    [call] = fixture.core.calls.values()
    assert not call.sent


def bed_carrier() -> Flow:
    return Flow("udp", LISTEN, ("127.0.0.21", 5060))


def test_garbage_from_devices_leaves_nothing() -> None:
    fixture = AgentFixture()
    fixture.run(40)
    before = (len(fixture.core.stack.servers), len(fixture.core.stack.legs), len(fixture.core.calls))
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 1))
    for data in (
        b"",
        b"\x00" * 900,
        b"INVITE",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"[" * 5000,
    ):
        fixture.say(data, stranger)
    for method in ("INVITE", "ACK", "BYE", "SUBSCRIBE", "NOTIFY", "FROB"):
        fixture.request(method, flow=stranger, lines=["Event: line-dialog;purpose=takeover", "Call-Origin: o;1;1"])
    fixture.run(40)
    assert (len(fixture.core.stack.servers), len(fixture.core.stack.legs), len(fixture.core.calls)) == before


def test_the_memory_of_keys_is_bounded() -> None:
    memory: Deduplication[Remembered] = Deduplication(32.0, Deadlines(), most=3)
    for index in range(10):
        received = Remembered(f"k{index}")
        memory.add(received, 0.0)
        memory.answered(received, 0.0)
    assert len(memory) == 3
    assert memory.get("k9") is not None
    memory.purge(33.0)
    assert len(memory) == 0
    assert memory.get("") is None


def test_media_is_led_through_the_relay() -> None:
    ports = RelayPorts()
    ports.receive('{"is": "ready"}')
    ports.offer(Pair("127.0.0.11", port) for port in range(20000, 20008, 2))
    text = SITE.replace("%s", 'media = "relay"\n%s')
    fixture = AgentFixture(text=text, relay=AgentRelay(ports, "127.0.0.11"))
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    assert b"c=IN IP4 127.0.0.11" in invite.body
    assert b"m=audio 20002 " in invite.body
    fixture.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP.replace(b"4000", b"5000"))
    assert b"m=audio 20000 " in fixture.take(200).body
    fixture.request("ACK", to_tag="srvtag")
    fixture.m1.take("ACK")
    said = deque(ports.to_send())
    assert any('"connect"' in line for line in said)
    fixture.request("INVITE", body=SDP, call_id="2")
    fixture.take(100)
    fixture.m1.take("INVITE")
    fixture.request("INVITE", body=SDP, call_id="3")
    fixture.take(503)
    fixture.request("BYE", to_tag="srvtag", cseq=2)
    assert ports.in_use == 2


def test_a_line_with_its_own_address_shows_it() -> None:
    fixture = AgentFixture('advertise = "198.51.100.9"')
    fixture.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    invite = fixture.take("INVITE")
    assert "198.51.100.9" in (invite.get("contact") or "")
    assert "198.51.100.9" in (invite.get("via") or "")


def test_a_forged_address_in_via_is_not_believed() -> None:
    fixture = AgentFixture()
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 5060))
    fixture.request("INVITE", body=SDP, flow=stranger, branch="z9hG4bKx;maddr=127.0.0.21")
    assert not fixture.core.calls


def test_strangers_leave_no_transactions() -> None:
    fixture = AgentFixture()
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 5060))
    for index in range(50):
        fixture.request("INVITE", body=SDP, flow=stranger, call_id=f"x{index}")
    assert len(fixture.inbox[stranger]) == 50
    assert not [one for one in fixture.core.stack.servers.values() if not one.on_site_flow]
    fixture.run(40)
    assert len(fixture.inbox[stranger]) == 50


def test_what_comes_between_a_proof_and_its_subscription_is_kept() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.core.connections.voter.participant.offer(proof_of(2, "m2"), fixture.now)
    fixture.core.connections.pump(fixture.now)
    fixture.pump()
    fixture.request("INFO", to_tag=tag, cseq=2)
    assert not fixture.m1.inbox
    assert fixture.m2.subscribe(epoch=2) == 200
    [record] = [record for record in fixture.m2.list if "call-id" in record]
    assert record["sent"][0]["request"].startswith("INFO ")
