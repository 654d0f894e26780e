"""What status warns of: each thing is provoked and seen, by its code and by its sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from b2bua import alerts as alerts_module
from b2bua import views
from heartbeat import carriage
from heartbeat.clock_comparison import ClockDifference
from heartbeat.header import Beat
from heartbeat.persistent_state import PersistentState
from heartbeat.proof import Proof, sign_grant
from sip.actions import Flow
from tests.b2bua.fake import Bench
from tests.b2bua.fake_agent import AGENTS, ServerFixture

ROOT = Path(__file__).parents[2]
HOME = {"server-silent"}
"""What a fixture warns of by itself: its stand-by does not exist."""


def alerts(bench: Bench) -> dict[str, str]:
    """Sentences by code, but for those of every fixture."""
    found = views.status(bench.core, {}, bench.now)
    assert [alert.text for alert in found.alerts] == list(found.warnings)
    return {alert.code: alert.text for alert in found.alerts if alert.code not in HOME}


def hear_stand_by(bench: Bench, **said: object) -> None:
    """A heartbeat of m2."""
    flow = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162))
    beat = replace(
        Beat("paris", "m2", 1, 1, "standby", 1, to="m1"),
        config=bench.core.site.digest,
        for_incarnation=1,
        **said,  # type: ignore[arg-type]
    )
    via = "Via: SIP/2.0/UDP 127.0.0.2:5162;branch=z9hG4bKa"
    bench.core.receive(carriage.request(beat, bench.core.key, via, flow.remote, "c", 1), flow, bench.now)


def test_a_whole_site_has_nothing_to_say() -> None:
    fixture = ServerFixture()
    hear_stand_by(fixture.bench, reach="3")
    status = views.status(fixture.bench.core, {}, fixture.bench.now)
    assert (status.alerts, status.warnings) == ((), ())


def test_a_trunk_out_of_service_is_named_with_the_routes_that_lead_nowhere() -> None:
    fixture = ServerFixture(AGENTS.replace('to = ["own"]', 'to = ["carrier"]') + CARRIER)
    fixture.gw2.lines = [
        {"line": "carrier", "kind": "trunk", "in-service": False, "why": "192.0.2.1 does not answer"}
    ]
    fixture.gw2.notify()
    found = alerts(fixture.bench)
    assert found == {
        "route-out": "no call can be made by routes[1] (9*): carrier is out of service",
        "trunk-out": "trunk carrier is out of service: 192.0.2.1 does not answer",
    }
    fixture.gw2.lines[0]["in-service"] = True
    fixture.gw2.notify()
    assert alerts(fixture.bench) == {}


def test_a_route_with_a_line_left_is_none_that_leads_nowhere() -> None:
    fixture = ServerFixture(AGENTS.replace('to = ["own"]', 'to = ["carrier", "own"]') + CARRIER)
    fixture.gw2.lines = [{"line": "carrier", "kind": "trunk", "in-service": False}]
    fixture.gw2.notify()
    assert alerts(fixture.bench) == {"trunk-out": "trunk carrier is out of service"}


def test_phones_that_nobody_registered_are_no_alarm_unless_a_route_has_no_other_line() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [{"line": "bob", "kind": "phone", "in-service": False, "why": "no device is registered"}]
    fixture.gw2.notify()
    assert alerts(fixture.bench) == {}
    fixture.gw1.lines = [{"line": "dave", "kind": "phone", "in-service": False, "why": "no device is registered"}]
    fixture.gw1.notify()
    said = "no call can be made by routes[2] (2000): all of its 2 lines (bob ..) are out of service"
    assert alerts(fixture.bench) == {"route-out": said}


def test_a_line_that_was_reset_to_out_of_service_is_said_until_it_is_back() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [
        {"line": "bob", "kind": "phone", "in-service": False, "why": "reset to out of service by m1"}
    ]
    fixture.gw2.notify()
    said = "bob was reset to out of service by m1: `b2bua reset bob` brings it back"
    assert alerts(fixture.bench) == {"line-reset": said}


def test_a_line_that_is_busied_out_is_said_until_it_is_back() -> None:
    fixture = ServerFixture()
    fixture.gw2.lines = [{"line": "bob", "kind": "phone", "in-service": False, "why": "busied out by m1"}]
    fixture.gw2.notify()
    said = "bob takes no new calls (busied out by m1): `b2bua busyout bob --end` ends it"
    assert alerts(fixture.bench) == {"line-busied-out": said}


def test_of_many_lines_the_first_are_named_and_the_rest_counted() -> None:
    found = list(alerts_module._named("trunk-out", [f"t{number}" for number in range(12)], "trunks are out"))
    assert len(found) == 11 and found[-1].text == "2 more trunks are out: see `b2bua lines`"


def test_an_agent_that_drains_is_said_by_every_server() -> None:
    fixture = ServerFixture()
    fixture.gw2.voter.participant.drain(True)
    fixture.bench.after(1.0)
    assert alerts(fixture.bench) == {
        "agent-draining": "gw2 drains: it refuses new calls until `gateway-agent resume --agent gw2`"
    }
    rows = {each.name: each.state for each in views.agents(fixture.bench.core, {}, fixture.bench.now).agents}
    assert rows == {"gw1": "serving", "gw2": "draining"}
    fixture.gw2.voter.participant.drain(False)
    fixture.bench.after(1.0)
    assert alerts(fixture.bench) == {}


def test_what_an_agent_warns_of_itself_is_said_by_every_server() -> None:
    fixture = ServerFixture()
    participant = fixture.gw2.voter.participant
    participant.warns = ("certificate", "disk")
    fixture.bench.after(1.0)
    said = "gw2 has warnings of its own (certificate, disk): see `gateway-agent status --agent gw2`"
    assert alerts(fixture.bench) == {"agent-warns": said}
    participant.warns = ()
    fixture.bench.after(1.0)
    assert alerts(fixture.bench) == {}


def test_an_agent_that_refuses_the_subscription_is_said_with_the_status() -> None:
    fixture = ServerFixture()
    fixture.gw2.refuses = 488
    fixture.gw2.disconnect()
    fixture.gw2.connect()
    fixture.bench.after(0.5)
    found = alerts(fixture.bench)
    assert found["agent-refuses"].startswith("gw2 refuses to obey m1 and to tell its calls (488 ")
    fixture.gw2.refuses = 0
    fixture.bench.after(6.0)
    assert alerts(fixture.bench) == {}


def test_an_agent_that_obeys_nobody_is_said_after_two_seconds() -> None:
    fixture = ServerFixture()
    fixture.gw2.mute = True
    fixture.gw2.disconnect()
    fixture.gw2.connect()
    fixture.bench.after(1.0)
    assert alerts(fixture.bench) == {}
    fixture.bench.after(2.0)
    found = alerts(fixture.bench)
    assert list(found) == ["agent-disobeys"] and "has not obeyed m1 for 3 s" in found["agent-disobeys"]


@pytest.mark.parametrize(("reach", "missing"), [("3", ""), ("1", "gw2"), ("2", "gw1"), ("", "")])
def test_agents_that_the_stand_by_does_not_reach(reach: str, missing: str) -> None:
    fixture = ServerFixture()
    hear_stand_by(fixture.bench, reach=reach)
    assert alerts(fixture.bench) == ({"agent-away": f"{missing} is not connected to m2"} if missing else {})


def test_a_stand_by_that_no_quorum_would_elect_says_so() -> None:
    fixture = ServerFixture()
    disk = fixture.gw1.voter.participant.on_disk
    bench = Bench(fixture.bench.site, "m2", fixture.bench.now, replace(disk, first=False))
    bench.core.member.cluster.leader = "m1"
    found = alerts(bench)
    assert found["no-takeover"].startswith("m2 could not take over from m1: ")
    assert found["no-takeover"].endswith(" are needed")


def test_no_voters_and_no_active_server() -> None:
    site = ServerFixture().bench.site
    assert alerts(Bench(site, "m2"))["no-active"] == "no server is active, as far as this one knows"
    found = alerts(Bench(site, "m2", kept=PersistentState(incarnation=1, non_voting=True)))
    said = "the site has no voters, so no server can rule: if it never ran, say `b2bua init --node m2`"
    assert found["no-voters"] == said and "no-active" not in found


def test_a_stand_by_that_is_not_there_is_said() -> None:
    (found,) = views.status(ServerFixture().bench.core, {}, 0.0).alerts
    cut = "the way between the `beat` addresses is cut"
    assert found.code == "server-silent"
    assert found.text == f"m2 is not heard: it is off, and the site has no stand-by, or {cut}"


def test_a_server_without_its_lease_and_tokens_of_strangers() -> None:
    fixture = ServerFixture()
    for agent in (fixture.gw1, fixture.gw2):
        agent.disconnect()
    fixture.bench.after(8.0)
    found = alerts(fixture.bench)
    assert found["no-lease"] == "m1 has no lease: it serves who obeys it and ends nothing until a quorum answers"
    assert found["agent-away"] == "gw2 is not connected to m1"
    fixture.bench.core.stack.counters["bad token"] = 3
    assert alerts(fixture.bench)["bad-tokens"] == "3 state tokens were not signed with the site key"


def test_a_clock_that_is_off_and_a_disk_that_takes_nothing_elsewhere() -> None:
    fixture = ServerFixture()
    cluster = fixture.bench.core.member.cluster
    cluster.clocks.differences["gw1"] = ClockDifference(-7.5, -7.0)
    assert alerts(fixture.bench) == {"clock": "the clock of gw1 is 7.2 s behind that of m1: set both by NTP"}
    cluster.clocks.differences["gw1"] = ClockDifference(-7.5, -0.9)
    cluster.without_disk.add("gw2")
    assert alerts(fixture.bench) == {"epochs-not-kept": "gw2 cannot keep its epochs: its disk takes nothing"}


def test_pauses_and_takeovers_that_would_not_fit() -> None:
    fixture = ServerFixture()
    fixture.bench.core.member.pause(fixture.bench.now)
    assert alerts(fixture.bench) == {"paused": "automatic takeovers are paused: `b2bua resume` ends it"}


def test_a_voter_without_its_file() -> None:
    fixture = ServerFixture()
    cluster = fixture.bench.core.member.cluster
    cluster.non_voting.add("gw1")
    found = alerts(fixture.bench)
    assert list(found) == ["no-vote"] and found["no-vote"].endswith("`b2bua readmit gw1`")


PROVOKED_ELSEWHERE = {
    "agent-list-late": "b2bua/test_agents.py::test_a_list_in_parts",
    "agent-not-covered": "stories/test_agent_deaths.py"
    "::test_nobody_is_to_hand_over_before_an_agent_has_its_calls_back",
    "agent-superseded": "gateway_agent/test_silence.py::test_devices_hear_nothing_more_of_it",
    "beats-cut": "stories/test_stories.py"
    "::test_with_the_way_between_the_servers_cut_status_says_no_more_than_is_known",
    "calls-too-long": "stories/test_agent_deaths.py"
    "::test_a_call_of_which_too_much_is_to_be_known_is_said_not_to_come_back",
    "calls-withheld": "b2bua/test_line_return.py::test_a_dialog_that_kills_its_agent_comes_last_then_not_at_all",
    "not-reached": "b2bua/test_cli.py::test_drift_pause_and_agents_that_are_not_reached_are_warnings",
    "standby-dead": "b2bua/test_views.py::test_a_death_that_a_supervisor_tells_is_shown",
}
"""Codes that no test names, and the test that provokes them and asks for their sentence."""


def test_every_code_is_provoked_by_a_test() -> None:
    texts = {
        path.relative_to(ROOT / "tests"): path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    }
    for code in codes():
        place, _, name = PROVOKED_ELSEWHERE.get(code, "").partition("::")
        if place:
            assert f"def {name}(" in texts[Path(place)], code
        else:
            assert any(f'"{code}"' in text for text in texts.values()), f"no test provokes {code}"


def codes() -> set[str]:
    """All that may be warned of."""
    files = [path for package in ("b2bua", "gateway_agent", "heartbeat") for path in (ROOT / package).rglob("*.py")]
    text = "".join(path.read_text("utf-8") for path in files)
    return set(re.findall(r'(?:Alert\(|say\(|_named\()\s*"([a-z-]+)"', text))


def test_every_code_is_documented() -> None:
    """And nothing else is."""
    known = codes() | {"other"}
    page = (ROOT / "docs/cli.md").read_text()
    table = page.partition("### What it warns of")[2].partition("\n## ")[0].partition("\n### ")[0]
    assert len(known) > 20 and set(re.findall(r"^\| `([a-z-]+)`", table, re.M)) == known


CARRIER = """
[lines.carrier]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.1:5070"
channels = 30
"""


def test_voters_that_supported_two_leaders_at_once() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    bench.after(1)
    member = bench.core.member
    lists, key = member.participant.voter.state.voters, bench.core.site.membership().keys[0]
    assert {"gw1", "gw2"} <= set(lists.names) and member.state == "active"
    epoch = member.leader.epoch + 1
    marks = tuple((name, sign_grant(key, "paris", name, epoch, "m2", 1, lists)) for name in ("gw1", "gw2"))
    proof = Proof(epoch, "m2", 1, lists, marks)
    hear_stand_by(bench, epoch=epoch, state="active", kind="proof", proof=proof.text)
    assert member.state == "standby" and sorted(member.double_votes.found) == ["gw1", "gw2"]
    found = alerts(bench)
    assert found["voted-twice"].startswith("gw2 voted twice: it supported m1 under epoch")
