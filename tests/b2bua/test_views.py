"""The pages that an operator sees: each has every member that its type promises, and says what is so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from b2bua.known_calls import peer_of
from heartbeat import carriage, version
from heartbeat.console.contract import Refused
from heartbeat.console.views.calls import Call, Calls
from heartbeat.console.views.history import DecisionRow, History
from heartbeat.console.views.lines import Line, Lines
from heartbeat.console.views.status import Agents, Health, Peer, ServerStatus
from heartbeat.death import Death, commitment_of, notice
from heartbeat.header import Beat
from sip.actions import Flow
from tests.b2bua.fake import HOLD, SDP, Bench
from tests.b2bua.fake_agent import ServerFixture
from tests.consoles import seen

OFF = "m2 is not heard: it is off, and the site has no stand-by, or the way between the `beat` addresses is cut"


def page(bench: Bench, name: str, **params: str) -> Any:
    return seen(bench.core, name, params, bench.now)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("status", ServerStatus),
        ("health", Health),
        ("calls", Calls),
        ("lines", Lines),
        ("agents", Agents),
        ("history", History),
    ],
)
def test_every_page_has_the_members_of_its_type(name: str, kind: Any) -> None:
    fixture = ServerFixture()
    fixture.talk()
    found = page(fixture.bench, name)
    assert found.keys() == get_type_hints(kind).keys()
    rows = {"calls": Call, "lines": Line, "agents": Peer, "history": DecisionRow}
    if name in rows:
        items = next(value for value in found.values() if isinstance(value, list))
        assert items and all(item.keys() == get_type_hints(rows[name]).keys() for item in items)


def test_there_is_no_other_page() -> None:
    with pytest.raises(Refused, match="no view nonsense"):
        page(ServerFixture().bench, "nonsense")


def test_status_of_an_active_server_and_of_a_stand_by() -> None:
    fixture = ServerFixture()
    fixture.talk()
    fixture.gw1.call("1002")
    fixture.gw2.called.ring()
    fixture.gw1.call("1002")
    found = page(fixture.bench, "status")
    assert (found["state"], found["active"], found["epoch"], found["boot"]) == ("active", "m1", 1, 1)
    assert found["calls"] == {"total": 3, "talking": 1, "held": 0, "ringing": 1, "dialing": 1, "ending": 0}
    assert found["voters"]["names"] == ["gw1", "gw2", "m2"] and found["voters"]["quorum"] == 2
    assert 0 < found["lease_left"] <= 2 and found["load"] == round(3 / 5000, 4)
    assert found["warnings"] == [OFF]
    assert [each["name"] for each in found["peers"]] == ["m2", "gw1", "gw2"]
    assert found["last_takeover"] is None
    other = Bench(fixture.bench.site, "m2")
    found = page(other, "status")
    assert (found["state"], found["active"], found["lease_left"]) == ("standby", "", None)
    assert "no server is active, as far as this one knows" in found["warnings"]
    assert page(other, "health") == {"healthy": False, "state": "standby"}
    assert page(fixture.bench, "health") == {"healthy": True, "state": "active"}


def test_an_agent_that_is_away_is_warned_of() -> None:
    fixture = ServerFixture()
    fixture.gw2.disconnect()
    assert "gw2 is not connected to m1" in page(fixture.bench, "status")["warnings"]
    rows = {each["name"]: each for each in page(fixture.bench, "agents")["agents"]}
    assert rows["gw1"]["reached"] and not rows["gw2"]["reached"] and rows["gw1"]["obeys"] == "m1"


def test_the_version_of_each_node_is_known_that_says_it() -> None:
    fixture = ServerFixture()
    fixture.bench.after(1.0)
    rows = {each["name"]: each for each in page(fixture.bench, "agents")["agents"]}
    assert {name: row["version"] for name, row in rows.items()} == dict.fromkeys(("gw1", "gw2"), version())


def test_a_full_disk_is_warned_of_until_it_has_room() -> None:
    fixture = ServerFixture()
    member, now = fixture.bench.core.member, fixture.bench.now
    member.not_persisted(member.participant.on_disk, "no space left", now)
    assert "m1 cannot keep its epochs: no space left" in page(fixture.bench, "status")["warnings"]
    member.persisted(replace(member.participant.on_disk, serial=member.participant.on_disk.serial + 1), now)
    assert not [said for said in page(fixture.bench, "status")["warnings"] if "epochs" in said]


def test_a_death_that_a_supervisor_tells_is_shown() -> None:
    fixture, secret = ServerFixture(), "5f" * 16
    core, now = fixture.bench.core, fixture.bench.now
    flow = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162))
    known = {"commitment": commitment_of(secret), "config": core.site.digest, "for_incarnation": 1}
    m2 = replace(Beat("paris", "m2", 1, 1, "standby", 1, to="m1"), **known)
    via = "Via: SIP/2.0/UDP 127.0.0.2:5162;branch=z9hG4bKa"
    core.receive(carriage.request(m2, core.key, via, flow.remote, "c", 1), flow, now)
    true = Death("paris", "m2", secret, "signal-9")
    data = notice(true, "127.0.0.2:5162", "127.0.0.1:5162")
    for false in ("nonsense", replace(true, secret="5e" * 16).text):
        core.receive(data.replace(true.text.encode(), false.encode()), flow, now)
        assert page(fixture.bench, "status")["warnings"] == []
    core.receive(data, flow, now)
    found = page(fixture.bench, "status")
    assert found["warnings"] == [
        "m2 is dead: its supervisor saw it end by signal 9; nobody could take over until it runs again"
    ]
    peer = found["peers"][0]
    assert (peer["name"], peer["state"], peer["reached"]) == ("m2", "dead", False)


def test_a_server_that_ended_in_good_order_is_no_stand_by_at_once() -> None:
    fixture = ServerFixture()
    core, now = fixture.bench.core, fixture.bench.now
    flow, via = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162)), "Via: SIP/2.0/UDP 127.0.0.2:5162;branch=z9hG4bKa"
    m2 = Beat("paris", "m2", 1, 1, "standby", 1, to="m1", config=core.site.digest, for_incarnation=1)
    for seq, state in ((1, "standby"), (2, "left")):
        beat = replace(m2, seq=seq, state=state)
        core.receive(carriage.request(beat, core.key, f"{via}{seq}", flow.remote, f"c{seq}", 1), flow, now)
        said = page(fixture.bench, "status")["warnings"]
        ended = "m2 has ended in good order: nobody could take over until it runs again"
        assert said == ([ended] if state == "left" else [])
    core.stack.counters["bad beats"] = 7  # it runs again, with another key
    strange = f"{ended}; 7 heartbeats were not signed with the site key: compare the keys"
    assert strange in page(fixture.bench, "status")["warnings"]


def test_a_server_with_another_key_is_told_from_one_that_is_off() -> None:
    fixture = ServerFixture()
    assert OFF in page(fixture.bench, "status")["warnings"]
    fixture.bench.core.stack.counters["bad beats"] = 7
    assert (
        f"{OFF}; 7 heartbeats were not signed with the site key: compare the keys"
        in (page(fixture.bench, "status")["warnings"])
    )


def test_a_voter_without_a_vote_does_not_answer_as_one() -> None:
    fixture = ServerFixture()
    assert page(fixture.bench, "status")["voters"]["answering"] == 2
    fixture.bench.core.member.cluster.non_voting.add("gw2")
    assert page(fixture.bench, "status")["voters"]["answering"] == 1


def test_calls_by_what_is_asked() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    b.answer(b.asked[-1], 200, body=SDP)
    a.ack()
    fixture.gw1.call("1003", caller="5551")
    fixture.gw2.called.ring()
    bench = fixture.bench
    every = page(bench, "calls")
    assert every["matched"] == 2 and [each["state"] for each in every["calls"]] == ["ringing", "held"]
    for params, matched in (
        ({"state": "held"}, 1),
        ({"state": "talking"}, 0),
        ({"number": "555"}, 1),
        ({"number": "1003"}, 1),
        ({"agent": "gw2"}, 2),
        ({"agent": "gw9"}, 0),
        ({"line": "bob/1"}, 1),
        ({"line": "alice"}, 2),
        ({"line": "alice/1"}, 1),
        ({"id": every["calls"][0]["id"][:8]}, 1),
        ({"limit": "1"}, 2),
    ):
        assert page(bench, "calls", **params)["matched"] == matched, params
    assert len(page(bench, "calls", limit="1")["calls"]) == 1
    with pytest.raises(Refused, match="limit must be a number"):
        page(bench, "calls", limit="x")


def test_lines_by_what_is_asked() -> None:
    fixture = ServerFixture()
    fixture.talk()
    states = {each["name"]: (each["state"], each["busy"]) for each in page(fixture.bench, "lines")["lines"]}
    assert states["alice"] == states["bob"] == ("active", 1) and states["carol"] == ("idle", 0)
    assert [each["name"] for each in page(fixture.bench, "lines", agent="gw2")["lines"]] == ["bob", "carol"]
    [bob] = page(fixture.bench, "lines", line="bob")["lines"]
    assert bob["forward"] == {"busy": "1003", "no_answer": "1004"}
    assert len(page(fixture.bench, "lines", state="idle")["lines"]) == 3


def test_phones_show_whether_they_are_registered() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [
        {"line": "bob", "kind": "phone", "in-service": True, "contacts": 2},
        {"line": "carol", "kind": "phone", "in-service": False, "why": "no device is registered"},
    ]
    fixture.gw2.notify()
    rows = {each["name"]: each for each in page(fixture.bench, "lines")["lines"]}
    assert (rows["bob"]["registered"], rows["bob"]["contacts"]) == (True, 2)
    assert (rows["carol"]["registered"], rows["carol"]["why"]) == (False, "no device is registered")
    assert rows["own"]["registered"] is rows["dave"]["registered"] is None


@pytest.mark.parametrize(
    ("origin", "to", "lines", "status", "why"),
    [
        ("alice", "1002", ["bob"], 0, "it is a number of bob"),
        ("1001", "2000", ["bob", "dave"], 0, "routes[2] (2000)"),
        ("alice", "7", [], 404, "no route leads from alice to 7"),
    ],
)
def test_where_a_call_would_go(origin: str, to: str, lines: list[str], status: int, why: str) -> None:
    fixture = ServerFixture()
    found = page(fixture.bench, "route", **{"from": origin, "to": to})
    assert ([step["line"] for step in found["steps"]], found["status"]) == (lines, status)
    assert (found["line"], found["called"]) == ("alice", to)
    assert why in (found["because"] or found["steps"][0]["because"])
    assert not fixture.bench.core.calls


def test_where_a_call_would_go_says_which_agents_would_not_take_it() -> None:
    fixture = ServerFixture()
    fixture.gw1.disconnect()
    fixture.gw2.voter.participant.drain(True)
    fixture.bench.after(1.0)
    bob, dave = (step["because"] for step in page(fixture.bench, "route", **{"from": "alice", "to": "2000"})["steps"])
    assert bob.endswith("gw2 drains and would refuse it") and "gw1 is not there" in dave


def test_a_line_whose_agent_drains_does_not_look_idle() -> None:
    fixture = ServerFixture()
    fixture.gw2.voter.participant.drain(True)
    fixture.bench.after(1.0)
    lines = {line["name"]: line for line in page(fixture.bench, "lines")["lines"]}
    assert (lines["bob"]["state"], lines["bob"]["why"]) == ("draining", "gw2 drains")
    assert {line["state"] for line in lines.values() if line["agent"] == "gw1"} == {"idle"}
    found = page(fixture.bench, "lines", state="draining")["lines"]
    assert found and {line["agent"] for line in found} == {"gw2"}


@pytest.mark.parametrize(
    ("params", "said"), [({"from": "nobody", "to": "1"}, "nobody is no line"), ({"from": "alice"}, "no number")]
)
def test_a_route_that_cannot_be_tried(params: dict[str, str], said: str) -> None:
    fixture = ServerFixture()
    with pytest.raises(Refused, match=said):
        page(fixture.bench, "route", **params)
    with pytest.raises(Refused, match="m2 is not active"):
        page(Bench(fixture.bench.site, "m2"), "route", **params)


def test_history_is_newest_first_and_limited() -> None:
    fixture = ServerFixture()
    found = page(fixture.bench, "history")
    assert found["decisions"][0]["what"] == "served" and found["total"] == len(found["decisions"])
    assert len(page(fixture.bench, "history", limit="2")["decisions"]) == 2


def test_a_call_is_explained_while_it_is_there_and_afterwards() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    bench = fixture.bench
    call_id = page(bench, "calls")["calls"][0]["id"]
    during = [each["text"] for each in page(bench, "explain", id=call_id[:6])["sentences"]]
    assert during == [
        "caller called 1002 from alice/1",
        "it was sent to bob/1: it is a number of bob",
        "bob/1 answered",
    ]
    a.say("BYE", ("Reason: Q.850;cause=16",))
    b.answer(b.take("BYE"), 200)
    after = [each["text"] for each in page(bench, "explain", id=call_id)["sentences"]]
    assert after[-1] == "it ended with 200 (answered), by the caller Q.850;cause=16"
    for wanted, sentence in (("", "no id given"), ("zzz", "no call zzz is known"), ("takeover", "nothing over")):
        with pytest.raises(Refused, match=sentence):
            page(bench, "explain", id=wanted)


def test_an_id_that_fits_several_calls_is_refused() -> None:
    fixture = ServerFixture()
    for _ in range(40):
        fixture.gw1.call("1003")
    ids = [each["id"][0] for each in page(fixture.bench, "calls")["calls"]]
    first = max(ids, key=ids.count)
    with pytest.raises(Refused, match="give more of the id"):
        page(fixture.bench, "explain", id=first)


def test_a_refused_call_is_explained() -> None:
    fixture = ServerFixture()
    fixture.gw1.call("7777")
    [cdr] = fixture.bench.cdrs
    texts = [each["text"] for each in page(fixture.bench, "explain", id=cdr.call_id)["sentences"]]
    assert any("no route leads from alice to 7777" in text for text in texts)


def test_a_call_is_known_by_all_its_names_while_it_is_there_and_afterwards() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    bench, core = fixture.bench, fixture.bench.core
    [call] = core.calls.values()
    legs = {call.state.caller_dialog: "gw1", call.state.callee_dialog: "gw2"}
    names = [call.id, call.id[:6], *legs]

    def known(**params: str) -> list[Any]:
        return list(page(bench, "call-ids", **params)["calls"])

    for _ in range(2):
        for name in names:
            (found,) = known(id=f"nothing,{name}")
            assert found["id"] == call.id and found["started_at"] is not None
            assert {leg["call_id"]: leg["towards"] for leg in found["legs"]} == legs
            assert page(bench, "explain", id=name)["about"] == f"call {call.id}"
        assert [each["id"] for each in known(line="alice")] == [call.id]
        assert known(line="nobody") == [] and known(id="nothing") == [] and known(failed="yes") == []
        if found["state"] == "under way":
            a.say("BYE")
            b.answer(b.take("BYE"), 200)
            [cdr] = bench.cdrs
            names.append(cdr.id)
    assert found["state"] == "answered" and found["names"][0] == cdr.id
    fixture.gw1.call("7777")
    (failed,) = known(failed="yes")
    assert failed["id"] == bench.cdrs[-1].call_id and failed["state"] == "rejected"
    assert [each["id"] for each in known(line="alice", limit="1")] == [failed["id"]]


def test_the_messages_of_a_failed_call_are_kept() -> None:
    fixture = ServerFixture()
    kept: list[tuple[str, ...]] = []
    fixture.bench.core.stack.call_ids.keep = lambda call_ids, now: kept.append(call_ids)
    fixture.talk()
    fixture.gw1.call("7777")
    [cdr] = fixture.bench.cdrs
    [(call_id, dialog)] = kept
    assert call_id == cdr.call_id and dialog


def test_it_is_known_who_has_the_other_end_of_a_flow() -> None:
    core = ServerFixture().bench.core
    flow = core.agents.flow_of("gw1")
    assert flow is not None
    assert peer_of(core, flow) == "gw1" and peer_of(core, Flow("udp", "x", ("127.0.0.99", 5060))) == ""


def test_what_a_transfer_has_made_has_the_messages_of_the_call_that_it_was_made_of() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    bench, records = fixture.bench, fixture.bench.core.records
    [(call_id, ended)] = records.ended.items()
    made = ended.record._replace(call_id="made", transferred_from=call_id)
    records.ended["made"] = ended._replace(record=made)
    [found] = page(bench, "call-ids", id="made")["calls"]
    [before] = page(bench, "call-ids", id=call_id)["calls"]
    assert found["id"] == "made" and found["legs"] == before["legs"] != []
