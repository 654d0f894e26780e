"""``b2bua``'s pages, and what all its commands do alike, against two processes that are made up."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from b2bua.cli import main
from tests.b2bua.fake_servers import FakeServers

ROOT = Path(__file__).parents[2]


def test_status_shows_the_site(fake_servers):
    output = fake_servers.cli("status")
    assert "paris   epoch 7   ● m1 active   healthy" in output
    for words in (
        "● standby",
        "812 of 5,000",
        "640 talking",
        "gw1, gw2, m2: 3 of 3 answer",
        "640 calls kept, 0 lost",
        "12.3 new/s",
        "CPU 12%  86 messages/s in  longest stall 34 ms this minute, 1.2 s ever",
    ):
        assert words in output
    assert not any(line != line.rstrip() for line in output.splitlines())
    assert "\x1b" not in output


def test_status_as_json(fake_servers):
    page = fake_servers.json("status")
    assert (page["active"], page["healthy"], page["epoch"]) == ("m1", True, 7)
    assert abs(page["servers"]["m1"]["since_at"] - (time.time() - 7500)) < 60
    assert fake_servers.json("status", "--node", "m2")["state"] == "standby"


def test_a_server_of_an_older_version_says_less(fake_servers):
    del fake_servers.m2.status["process"]
    assert "m2      it does not say" in fake_servers.cli("status")
    assert fake_servers.json("status")["servers"]["m1"]["process"]["stall_since_start"] == 1.234


def test_a_dead_stand_by_is_degraded(fake_servers):
    fake_servers.stop("m2")
    fake_servers.m1.status["peers"][0] |= {"reached": False, "judged": "dead", "heard_ago": 12.0}
    fake_servers.m1.status["warnings"] = ["There is no stand-by: the next failure ends the service."]
    output = fake_servers.cli("status", code=1)
    assert "● dead" in output
    assert "! m2 cannot be reached" in output
    assert "! There is no stand-by" in output


def test_a_server_on_another_machine_is_believed_to_be_there(fake_servers):
    fake_servers.stop("m2")
    assert "healthy" in fake_servers.cli("status")


def test_an_active_server_that_does_not_answer_is_suspect_after_two_heartbeats(fake_servers):
    fake_servers.stop("m1")
    fake_servers.m2.status["peers"][0]["heard_ago"] = 1.4
    output = fake_servers.cli("status", code=1)
    assert "? m1 suspect" in output and "● suspect" in output
    assert "! m1 may be dead: it was heard 1.4 s ago, and does not answer." in output
    assert "! m1 cannot be reached" in output
    codes = [alert["code"] for alert in fake_servers.json("status", code=1)["alerts"]]
    assert codes == ["suspect", "no-answer"]


def test_a_stand_by_shows_no_blanks_as_facts(fake_servers):
    fake_servers.stop("m1")
    for agent in fake_servers.m2.status["peers"][1:]:
        agent |= {"obeys": "", "calls": 0}
    output = fake_servers.cli("status")
    assert "Calls   ask m1, which is active" in output and "812 of 5,000" not in output
    assert all("ask m1" in line for line in output.splitlines() if line.startswith("gw"))


def test_warnings_stand_in_the_first_lines_of_80_by_24(fake_servers):
    fake_servers.m1.status["warnings"] = [f"gw{number} is not connected to m1" for number in range(8)]
    lines = fake_servers.cli("status", code=1).splitlines()
    assert [line[0] for line in lines[2:10]] == ["!"] * 8


def test_watched_on_a_terminal_of_80_by_24_warnings_stay_on_top(fake_servers):
    fake_servers.m1.status["warnings"] = [f"gw{number} is not connected to m1" for number in range(30)]
    screen = watched(fake_servers.path)
    assert "30 warnings" in screen[0] and len(screen) <= 24 and max(map(len, screen)) <= 80
    assert [line[:1] for line in screen[2:20]] == ["!"] * 18


def watched(path):
    """The first screen of ``b2bua status --watch``, line by line."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    command = [sys.executable, "-m", "b2bua.cli", "status", "--site", str(path), "--watch"]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, cwd=ROOT, env={**environment, "TERM": "xterm"}
    )
    os.close(its)
    data = b""
    try:
        while data.partition(b"\x1b[H")[2].count(b"\n") < 23:  # a whole screen
            assert select.select([ours], [], [], 30.0)[0], data.decode()
            data += os.read(ours, 65_536)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.partition(b"\x1b[H")[2].decode())
    return text.replace("\r", "").splitlines()[:24]


def test_warnings_have_codes_and_those_of_an_older_server_are_other(fake_servers):
    fake_servers.m1.status["warnings"] = ["gw1 drains", "something"]
    fake_servers.m1.status["alerts"] = [{"code": "agent-draining", "text": "gw1 drains"}]
    fake_servers.m2.status["version"] = "0.2.0"
    found = {alert["code"]: alert["text"] for alert in fake_servers.json("status", code=1)["alerts"]}
    assert found["agent-draining"] == "gw1 drains" and found["other"] == "something"
    said = "the programs of the site are of different versions (0.1.0 on m1; 0.2.0 on m2): finish the upgrade"
    assert found["versions"] == said


def test_agents_of_another_version_than_the_servers_are_named(fake_servers):
    for name, peer in zip(("m2", "gw1", "gw2"), fake_servers.m1.status["peers"], strict=True):
        assert peer["name"] == name
        peer["version"] = "0.1.0"
    assert "healthy" in fake_servers.cli("status")
    fake_servers.m1.status["peers"][2]["version"] = "0.0.9"
    found = {alert["code"]: alert["text"] for alert in fake_servers.json("status", code=1)["alerts"]}
    runs = "0.1.0 on m1, m2 and gw1; 0.0.9 on gw2"
    assert found == {"versions": f"the programs of the site are of different versions ({runs}): finish the upgrade"}
    assert "0.0.9" in next(line for line in fake_servers.cli("status", code=1).splitlines() if line.startswith("gw2"))


def test_a_server_that_was_killed_here_is_not_believed_to_be_there(fake_servers):
    path = fake_servers.directory / "state" / "m1" / "m1.sock"
    fake_servers.stop("m1")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    output = fake_servers.cli("status", code=2)
    assert "! m1 cannot be reached" in output and "● no active server" in output and "● dead" in output


def test_a_site_that_was_never_started_names_the_way_on(fake_servers):
    for status in (fake_servers.m1.status, fake_servers.m2.status):
        status |= {"state": "standby", "epoch": 0, "voters": {**status["voters"], "names": []}}
        status["peers"][0]["state"] = "standby"
    assert "say `b2bua init`" in fake_servers.cli("status", code=2)


def test_a_stand_by_does_not_tell_of_lines_that_it_does_not_know(fake_servers):
    assert "lines in service" in fake_servers.cli("status")
    assert "lines in service" not in fake_servers.cli("status", "--node", "m2")


def test_the_active_server_on_another_machine_is_named(fake_servers):
    fake_servers.stop("m1")
    assert "● m1 active" in fake_servers.cli("status")
    assert "m1 is active, but" in fake_servers.cli("calls", code=3)


@pytest.mark.parametrize(("state", "words"), [("holding", "has no lease"), ("standby", "")])
def test_without_an_active_server_the_code_is_2(fake_servers, state, words):
    fake_servers.m1.status["state"] = state
    fake_servers.m2.status["peers"][0]["state"] = state
    output = fake_servers.cli("status", code=2)
    assert "! No server is active" in output
    assert words in output
    assert "No server is active" in fake_servers.cli("calls", code=2)
    assert "talking" in fake_servers.cli("calls", "--node", "m1")


def test_drift_pause_and_agents_that_are_not_reached_are_warnings(fake_servers):
    fake_servers.m1.status["paused"] = True
    fake_servers.m1.status["peers"][1]["reached"] = False
    fake_servers.m1.status["peers"][2] |= {"drift": True, "config": "0badc0de"}
    output = fake_servers.cli("status", code=1)
    assert "m1 is paused" in output
    assert "m1 does not reach gw1." in output
    assert "gw2 runs from another site file than m1 (9c41d0aa)." in output
    assert "0badc0de drift" in output


def test_nobody_answers(fake_servers):
    fake_servers.stop("m1")
    fake_servers.stop("m2")
    output = fake_servers.cli("status", code=3)
    assert "No server of the site answers." in output
    assert output.count("is not running here") == 2


def test_a_token_that_is_missing_is_said_once(fake_servers, monkeypatch):
    monkeypatch.delenv("API_TOKEN", raising=False)
    text = fake_servers.path.read_text()
    for port, node in enumerate(("m1", "m2"), 1):
        token = f'[servers.{node}]\napi = "tcp:127.0.0.1:{port}"\napi_token = {{ env = "API_TOKEN" }}'
        text = text.replace(f"[servers.{node}]", token)
    fake_servers.path.write_text(text)
    missing = "The secret from env API_TOKEN is missing: the environment variable API_TOKEN is not set.\n"
    assert fake_servers.cli("status", code=3) == missing


def test_calls(fake_servers):
    output = fake_servers.cli("calls", "--state", "talking", "--number", "1001", "--limit", "3")
    assert fake_servers.m1.asked[-1] == ("calls", {"limit": "3", "state": "talking", "number": "1001"})
    assert "carrier/7 → alice" in output
    assert "6→7" in output
    assert "3 of 812 calls" in output
    assert len(fake_servers.json("calls")["calls"]) == 3


@pytest.mark.parametrize("verb", ["calls", "lines"])
def test_what_the_site_does_not_have_is_no_empty_table(fake_servers, verb):
    assert "has no agent 'gw9'; it has gw1, gw2." in fake_servers.cli(verb, "--agent", "gw9", code=3)
    assert "has no line 'bob'; it has carrier, alice." in fake_servers.cli(verb, "--line", "bob", code=3)
    assert "'asleep' is not one of" in fake_servers.cli(verb, "--state", "asleep", code=3)


def test_lines_out_of_service_are_degraded(fake_servers):
    assert "1/30" in fake_servers.cli("lines")
    fake_servers.m1.pages["lines"]["lines"][0] |= {
        "in_service": False,
        "why": "3 OPTIONS unanswered",
        "forward": {"no_answer": "7"},
    }
    output = fake_servers.cli("lines", code=1)
    assert "● out of service" in output
    assert "3 OPTIONS unanswered" in output
    assert "no answer 7" in output


def test_agents(fake_servers):
    assert "● serving" in fake_servers.cli("agents")
    fake_servers.m1.pages["agents"]["agents"][0]["reached"] = False
    fake_servers.cli("agents", code=1)


def test_what_both_servers_say_of_a_third_node_is_shown_once(fake_servers):
    said = "gw1 has no vote any more"
    fake_servers.m1.status["warnings"] = fake_servers.m2.status["warnings"] = [said, "no room on the disk"]
    warnings = fake_servers.json("status", code=1)["warnings"]
    assert warnings == [said, "no room on the disk", "m2: no room on the disk"]


def test_history_is_one_of_both_servers_in_the_order_of_time(fake_servers):
    lines = fake_servers.cli("history").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["m1", "m2", "m1", "m2"]
    assert "m2 is suspect   no heartbeat for 1.5 s" in lines[-1]
    assert [row["node"] for row in fake_servers.json("history", "--node", "m2")["decisions"]] == ["m2", "m2"]


def test_history_tells_what_followed_from_what_at_one_instant_in_its_order(fake_servers):
    said = ("m1 is suspect", "m1 is dead", "m2 asks for votes")
    rows = [{"at": 7.0, "what": what, "because": what, "code": what} for what in said]
    fake_servers.m1.pages["history"]["decisions"] = []
    fake_servers.m2.pages["history"]["decisions"] = rows[::-1]
    assert [row["what"] for row in fake_servers.json("history")["decisions"]] == list(said)


def test_explain_a_call_and_ask_the_other_server_when_the_first_knows_nothing(fake_servers):
    assert "Kept by the takeover" in fake_servers.cli("explain", "m1-7")
    fake_servers.m1.refuses["explain"] = ("No call begins with m1-7.", 404)
    assert "Kept by the takeover" in fake_servers.cli("explain", "m1-7")
    fake_servers.m2.refuses["explain"] = ("No call begins with m1-7.", 404)
    assert fake_servers.cli("explain", "m1-7", code=3) == "m1: No call begins with m1-7.\n"


def test_the_takeover_report(fake_servers):
    output = fake_servers.cli("explain", "takeover", "--calls")
    for words in ("heard m2 1.6 s ago", "epoch 7 granted by gw1 and gw2", "684 KB", "not yet", "640 kept", "m1-6-1"):
        assert words in output
    assert "m1-6-1" not in fake_servers.cli("explain")
    assert fake_servers.json("explain", "7")["epoch"] == 7
    assert ("report", {"limit": "200", "epoch": "7"}) in fake_servers.m1.asked


@pytest.mark.parametrize("words", [["statu"], ["calls", "--limit", "0"], ["calls", "--frobnicate"], ["run"]])
def test_wrong_usage_is_3(words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 3
    assert "Usage" in result.output


def test_which_site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_SITE", raising=False)
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, "Which site?" in result.output) == (3, True)


def test_a_server_of_a_version_that_says_too_little_is_one_sentence(fake_servers):
    del fake_servers.m1.status["voters"]
    assert fake_servers.cli("status", code=3) == "m1 is of another version: what it says has no 'voters'.\n"


@pytest.fixture
def two_sites(tmp_path):
    """The made-up site, and another one."""
    made = []
    for name in ("paris", "lyon"):
        (tmp_path / name).mkdir()
        one = FakeServers(tmp_path / name)
        one.path.write_text(one.path.read_text().replace('name = "paris"', f'name = "{name}"'))
        made.append(one)
    yield made
    for one in made:
        one.close()


def of(sites, *words, code=0):
    options = [word for one in sites for word in ("--site", str(one.path))]
    result = CliRunner().invoke(main, [*words, *options])
    assert result.exit_code == code, result.output
    return result.output


def test_status_of_several_sites_shows_one_under_the_other(two_sites):
    output = of(two_sites, "status")
    assert output.index("paris   epoch 7") < output.index("lyon   epoch 7")
    page = json.loads(of(two_sites, "status", "--format", "json"))
    assert [(site["site"], site["healthy"]) for site in page["sites"]] == [("paris", True), ("lyon", True)]


def test_a_site_that_nobody_can_tell_of_does_not_hide_the_others(two_sites):
    for node in ("m1", "m2"):
        two_sites[1].stop(node)
    output = of(two_sites, "status", code=3)
    assert "paris   epoch 7   ● m1 active   healthy" in output
    assert "No server of the site answers." in output


def test_several_sites_by_the_environment(two_sites, monkeypatch):
    monkeypatch.setenv("HOLDFAST_SITE", ":".join(str(one.path) for one in two_sites))
    page = json.loads(of((), "status", "--format", "json"))
    assert [site["site"] for site in page["sites"]] == ["paris", "lyon"]


def test_run_wants_a_node_for_all_sites_or_one_each(two_sites, monkeypatch):
    monkeypatch.setattr("b2bua.cli.is_supervised", lambda: True)
    said = of(two_sites, "run", *["--node", "m1"] * 3, code=3)
    assert "There are 2 sites and 3 nodes: say --node once, or once for each." in said
