"""The agent as a whole: the opening of connections, what strangers may do, drain, pages, reload, limits."""

from collections import deque
from typing import Any

import pytest

from gateway_agent.deduplication import Deduplication, Remembered
from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_anchor import AgentRelay
from heartbeat.console.view import Refused
from sip.actions import Flow
from sip.timers import Deadlines
from sip.wire.message import Response
from tests.consoles import ordered, seen
from tests.gateway_agent.bed import LISTEN, SDP, SITE, Bed, proof_of, site

OUT = "sip:+33166@gw1;line=trunk1"


def test_a_connection_is_proved_before_anything_is_heard() -> None:
    bed = Bed(adopted=False)
    connection = bed.core.connections.by_name["m1"]
    assert connection.state == "proved"
    bed.core.flow_changed(bed.m1.flow, "lost", bed.now)  # type: ignore[arg-type]
    bed.reached.pop(("127.0.0.1", 5161))  # somebody else listens there, who does not know the key
    bed.pump()
    bed.run(1)
    flow = connection.flow
    assert flow is not None
    inbox = bed.inbox[flow]
    assert inbox.popleft().cseq_method == "OPTIONS"
    bed.m1.flow = flow
    for _ in range(3):
        bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    assert flow in bed.closed
    assert connection.state == "waiting"
    assert not bed.core.calls


def test_an_opening_that_is_not_answered_is_tried_again() -> None:
    bed = Bed(adopted=False)
    bed.reached.clear()
    bed.core.flow_changed(bed.m2.flow, "lost", bed.now)  # type: ignore[arg-type]
    bed.m2.flow = None
    opened = len(bed.opened)
    bed.run(30)
    assert 4 <= len(bed.opened) - opened <= 12


def test_beats_are_answered_and_forged_ones_ignored() -> None:
    bed = Bed()
    bed.m1.beat()
    assert bed.m1.beats[-1].leader == "m1"
    assert bed.m1.beats[-1].heard == 0.0
    said = len(bed.m1.beats)
    bed.m1.request("OPTIONS", "sip:gw1", ["Heartbeat: site=paris; node=m1; boot=1; epoch=9; mac=00"], site=False)
    assert len(bed.m1.beats) == said
    assert bed.core.counters["bad beats"] == 1


def test_a_request_without_the_epoch_is_refused() -> None:
    bed = Bed()
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1", site=False)
    assert "holder=m1" in (bed.m1.take(403).get("heartbeat") or "")
    bed.m1.request("OPTIONS", "sip:gw1", site=False)
    bed.m1.take(200)


def test_an_agent_drains() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    assert ordered(bed.core, "drain", {}, bed.now)["state"] == "running"
    bed.request("INVITE", body=SDP, call_id="late")
    assert bed.take(503).get("retry-after") == "60"
    bed.request("ACK", call_id="late")
    bed.inbox.clear()
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(503)
    bed.request("OPTIONS", call_id="o")
    bed.take(503)
    bed.request("BYE", to_tag=tag, cseq=2)
    bed.m1.reply(bed.m1.take("BYE"), 200)
    assert seen(bed.core, "progress", {"id": "drain"}, bed.now)["state"] == "done"
    assert seen(bed.core, "status", {}, bed.now)["state"] == "drained"
    ordered(bed.core, "resume", {}, bed.now)
    with pytest.raises(Refused):
        ordered(bed.core, "resume", {}, bed.now)
    with pytest.raises(Refused):
        ordered(bed.core, "frob", {}, bed.now)
    with pytest.raises(Refused):
        seen(bed.core, "frob", {}, bed.now)


def test_pages() -> None:
    bed = Bed()
    bed.m1.beat()
    bed.answered_in()
    bed.request("INVITE", body=SDP, call_id="second", from_tag="2")
    status: dict[str, Any] = dict(seen(bed.core, "status", {}, bed.now))
    assert (status["state"], status["obeys"], status["epoch"]) == ("serving", "m1", 1)
    assert status["calls"]["talking"] == 1
    assert status["calls"]["dialing"] == 1
    assert [peer["reached"] for peer in status["servers"]] == [True, True]
    assert seen(bed.core, "health", {}, bed.now)["healthy"] is True
    voter = bed.core.connections.voter
    voter.not_persisted(voter.participant.on_disk, "no space left", bed.now)
    said = seen(bed.core, "status", {}, bed.now)["warnings"]
    assert said == [f"{voter.participant.name} cannot keep its epochs: no space left"]
    calls = seen(bed.core, "calls", {"number": "+33166"}, bed.now)
    assert (calls["matched"], calls["calls"][0]["line"]) == (2, "trunk1/2")
    assert seen(bed.core, "calls", {"limit": "1", "state": "talking"}, bed.now)["calls"][0]["kept_requests"] == 0
    lines = seen(bed.core, "lines", {"line": "trunk1"}, bed.now)["lines"]
    assert [(line["busy"], line["state"]) for line in lines] == [(2, "active")]
    assert seen(bed.core, "history", {}, bed.now)["total"] >= 1
    with pytest.raises(Refused):
        seen(bed.core, "calls", {"limit": "many"}, bed.now)


def test_a_reload_touches_no_call() -> None:
    bed = Bed()
    bed.answered_in()
    changed = site("", SITE.replace("channels = 3", "channels = 1").replace("[lines.alice]", "[lines.anna]"))
    bed.core.reload(changed, bed.now)
    bed.pump()
    assert set(bed.core.lines) == {"trunk1", "anna"}
    assert len(bed.core.calls) == 1
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    bed.m1.take(503)
    assert bed.silent()


def test_one_call_does_not_keep_requests_without_end() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    bed.kill(bed.m1)
    for cseq in range(2, 22):
        bed.request("INFO", to_tag=tag, cseq=cseq)
    refused = [message for message in bed.inbox[bed_carrier()] if isinstance(message, Response)]
    assert [message.status for message in refused] == [500] * 4
    bed.inbox.clear()
    bed.run(8.1)
    answers = [message for message in bed.inbox[bed_carrier()] if isinstance(message, Response)]
    assert [message.status for message in answers] == [500] * 16
    [call] = bed.core.calls.values()
    assert not call.sent


def bed_carrier() -> Flow:
    return Flow("udp", LISTEN, ("127.0.0.21", 5060))


def test_garbage_from_devices_leaves_nothing() -> None:
    bed = Bed()
    bed.run(40)
    before = (len(bed.core.stack.servers), len(bed.core.stack.legs), len(bed.core.calls))
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 1))
    for data in (
        b"",
        b"\x00" * 900,
        b"INVITE",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"[" * 5000,
    ):
        bed.say(data, stranger)
    for method in ("INVITE", "ACK", "BYE", "SUBSCRIBE", "NOTIFY", "FROB"):
        bed.request(method, flow=stranger, lines=["Event: line-dialog;purpose=takeover", "Call-Origin: o;1;1"])
    bed.run(40)
    assert (len(bed.core.stack.servers), len(bed.core.stack.legs), len(bed.core.calls)) == before


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
    bed = Bed(text=text, relay=AgentRelay(ports, "127.0.0.11"))
    bed.request("INVITE", body=SDP)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    assert b"c=IN IP4 127.0.0.11" in invite.body
    assert b"m=audio 20002 " in invite.body
    bed.m1.reply(invite, 200, ["Content-Type: application/sdp"], SDP.replace(b"4000", b"5000"))
    assert b"m=audio 20000 " in bed.take(200).body
    bed.request("ACK", to_tag="srvtag")
    bed.m1.take("ACK")
    said = deque(ports.to_send())
    assert any('"connect"' in line for line in said)
    bed.request("INVITE", body=SDP, call_id="2")
    bed.take(100)
    bed.m1.take("INVITE")
    bed.request("INVITE", body=SDP, call_id="3")
    bed.take(503)
    bed.request("BYE", to_tag="srvtag", cseq=2)
    assert ports.in_use == 2


def test_a_line_with_its_own_address_shows_it() -> None:
    bed = Bed('advertise = "198.51.100.9"')
    bed.m1.request("INVITE", OUT, body=SDP, origin="o;1;1")
    invite = bed.take("INVITE")
    assert "198.51.100.9" in (invite.get("contact") or "")
    assert "198.51.100.9" in (invite.get("via") or "")


def test_a_forged_address_in_via_is_not_believed() -> None:
    bed = Bed()
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 5060))
    bed.request("INVITE", body=SDP, flow=stranger, branch="z9hG4bKx;maddr=127.0.0.21")
    assert not bed.core.calls


def test_strangers_leave_no_transactions() -> None:
    bed = Bed()
    stranger = Flow("udp", LISTEN, ("127.0.0.66", 5060))
    for index in range(50):
        bed.request("INVITE", body=SDP, flow=stranger, call_id=f"x{index}")
    assert len(bed.inbox[stranger]) == 50
    assert not [one for one in bed.core.stack.servers.values() if not one.on_site_flow]
    bed.run(40)
    assert len(bed.inbox[stranger]) == 50


def test_what_comes_between_a_proof_and_its_subscription_is_kept() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    bed.core.connections.voter.participant.offer(proof_of(2, "m2"), bed.now)
    bed.core.connections.pump(bed.now)
    bed.pump()
    bed.request("INFO", to_tag=tag, cseq=2)
    assert not bed.m1.inbox
    assert bed.m2.subscribe(epoch=2) == 200
    [record] = [record for record in bed.m2.list if "call-id" in record]
    assert record["sent"][0]["request"].startswith("INFO ")
