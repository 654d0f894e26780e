"""``gateway-agent``'s commands against agents that speak the real API over real sockets, with pages made up."""

from __future__ import annotations

import time

import pytest

from gateway_agent import api, views
from gateway_agent.cli import main
from gateway_agent.station.probe import ProbeResult
from gateway_agent.station.views import StationStatus
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.commands import reload_all
from heartbeat.console.contract import Refused
from heartbeat.console.errors import ConsoleError
from heartbeat.console.reload_orders import RELOAD
from heartbeat.console.schema import of_json
from heartbeat.console.views.status import AgentStatus
from heartbeat.program import LOG_LEVEL, UNBAN
from heartbeat.site.values import Api
from tests.agent_keys import own_site
from tests.consoles import VITALS, Offered, line, peer
from tests.gateway_agent.agent_fixture import AgentFixture


class Agent:
    def __init__(self, name):
        self.now = time.monotonic()
        self.asked = []
        self.refusal = None
        self.progress = [self.step("done", "No call is left.")]
        self.status = {
            "kind": "agent",
            "version": "0.1.0",
            "site": "paris",
            "agent": name,
            "state": "serving",
            "obeys": "m1",
            "epoch": 7,
            "since_at": self.now - 300,
            "promised": 7,
            "voter": True,
            "boot": 3,
            "config": "9c41d0aa",
            "started_at": self.now - 7200,
            "servers": [peer("m1", state="active"), peer("m2", heard_ago=0.4)],
            "calls": {"total": 12, "talking": 10, "held": 1, "ringing": 1, "dialing": 0, "ending": 0},
            "held_attempts": 0,
            "lines": {"total": 31, "in_service": 31, "out_of_service": 0, "busy": 12},
            "relay": {"streams": 4, "packets": 123456, "size": 21_000_000, "dropped": 17, "silent": 2},
            "passwords": {
                "wrong": 37,
                "held_back": 1204,
                "user": "bob",
                "host": "192.0.2.9",
                "last_at": self.now - 60,
            },
            "warnings": [],
            "process": dict(VITALS),
        }
        self.pages = {
            "lines": {
                "lines": [
                    line(
                        "carrier",
                        agent=name,
                        busy=12,
                        registered=True,
                        contacts=2,
                        recovery="cold",
                        guesses=3,
                        guessed_from="192.0.2.9",
                    )
                ]
            },
            "calls": {
                "calls": [
                    {
                        "id": "gw1-9",
                        "line": "carrier/7",
                        "direction": "in",
                        "state": "held",
                        "number": "+33612345678",
                        "started_at": self.now - 75,
                        "answered_at": self.now - 65,
                        "server": "m1",
                        "epochs": [6, 7],
                        "kept_requests": 1,
                        "media": "relay",
                        "silent_s": 45.0,
                        "session_id": "",
                    }
                ],
                "matched": 12,
            },
        }

    @staticmethod
    def step(state, sentence):
        return {"id": "d1", "verb": "drain", "state": state, "sentence": sentence, "done": 0, "total": 0}

    def view(self, name, params, now):
        self.asked.append((name, dict(params)))
        if name == "status":
            return self.status
        if name == "progress":
            return self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        return self.pages[name]

    def command(self, name, params, now):
        self.asked.append((name, dict(params)))
        if self.refusal:
            raise Refused(self.refusal)
        return self.progress[0]


class Agents(Offered):
    def __init__(self, directory):
        self.gw1, self.gw2 = Agent("gw1"), Agent("gw2")
        super().__init__(directory, main, api.serve, {"gw1": self.gw1, "gw2": self.gw2})


@pytest.fixture
def agents(tmp_path):
    agents = Agents(tmp_path)
    yield agents
    agents.close()


def test_all_agents_at_one_glance(agents):
    output = agents.cli("status")
    assert output.count("● serving") == 2
    assert "m1 0.12 s  m2 0.40 s" in output
    agents.stop("gw2")
    output = agents.cli("status", code=1)
    assert "● silent" in output
    assert "! gw2 cannot be reached" in output
    page = agents.json("status", code=1)
    assert page["agents"]["gw1"]["obeys"] == "m1"
    assert "cannot be reached" in page["agents"]["gw2"]["error"]
    agents.stop("gw1")
    assert "No agent of the site paris answers." in agents.cli("status", code=3)


def test_an_agent_of_another_machine_is_not_asked(agents):
    """Its API is a socket that only its own machine has."""
    text = agents.path.read_text().replace(
        "[agents.gw2]", '[agents.gw2]\napi = "unix:/var/lib/elsewhere/gw2/gw2.sock"'
    )
    agents.path.write_text(text)
    output = agents.cli("status")
    assert output.count("● serving") == 1 and "! " not in output
    assert "Never started on this machine, and with an `api` for their own alone: gw2" in output
    assert agents.json("status")["elsewhere"] == ["gw2"]
    assert "carrier/7" in agents.cli("calls"), "there is no doubt which agent is meant"
    assert "cannot be reached" in agents.cli("calls", "--agent", "gw2", code=3)


def test_one_agent_in_full(agents):
    output = agents.cli("status", "--agent", "gw1")
    for words in (
        "longest stall 34 ms this minute",
        "obeys m1 in epoch 7",
        "healthy",
        "10 talking",
        "123,456 packets, 21.0 MB so far, 17 packets dropped, 2 calls without media",
        "has promised epoch 7",
        "37 wrong, 1,204 tries not looked at",
    ):
        assert words in output


@pytest.mark.parametrize(
    ("key", "said"), [("own", "its own"), ("site", "the site key"), ("both", "its own, and the site key beside it")]
)
def test_which_key_an_agent_has(agents, key, said):
    agents.gw1.status["key"] = key
    assert f"  {said}\n" in agents.cli("status", "--agent", "gw1")
    note = "gw1 has its own key, and the site key beside it: take that away from previous_key."
    assert (note in agents.cli("status")) == (key == "both"), "a note, with the exit code of a healthy site"


def test_an_agent_without_a_server(agents):
    agents.gw1.status |= {"state": "waiting", "held_attempts": 3, "obeys": ""}
    agents.gw1.status["warnings"] = ["gw1 obeys no server that it reaches: calls go on, new ones wait."]
    agents.gw1.status["servers"][0] |= {"reached": False, "drift": True}
    output = agents.cli("status", "--agent", "gw1", code=2)
    for words in (
        "obeys no server yet",
        "3 requests for a server",
        "! gw1 does not reach m1.",
        "! m1 runs from another site file than gw1 (9c41d0aa).",
    ):
        assert words in output


def test_lines_and_calls(agents):
    output = agents.cli("lines", "--agent", "gw1", "--line", "carrier")
    assert "12/30" in output and "yes (2)" in output and "cold" in output and "3 wrong passwords" in output
    assert agents.gw1.asked[-1] == ("lines", {"line": "carrier"})
    output = agents.cli("calls", "--agent", "gw1")
    assert "carrier/7" in output and "6→7" in output and "1 of 12 calls" in output and "silent 45" in output
    agents.gw1.pages["lines"]["lines"][0] |= {"in_service": False, "why": "not registered"}
    assert "not registered; 3 wrong passwords" in agents.cli("lines", "--agent", "gw1", code=1)
    assert "Which agent?" in agents.cli("lines", code=3)


DESK = """
[lines.desk]
kind = "station"
agent = "gw1"
numbers = ["6001"]
"""


class Station:
    """One in a call, whose last probe heard nothing."""

    def __init__(self):
        probe = ProbeResult("+331", 0.0, False, "nothing came back: is that number's line one that echoes?")
        self.status = StationStatus(
            site="paris",
            agent="gw1",
            station="desk",
            version="1",
            state="talking",
            since_at=0.0,
            registered=True,
            why="",
            number="6002",
            plays="tone",
            records="",
            sent_dbov=-12.0,
            heard_dbov=None,
            last="",
            probe=probe,
        )

    def view(self, name, params, now):
        return self.status


def test_lines_tell_what_stations_do_and_how_loud_they_are(agents):
    agents.path.write_text(agents.path.read_text() + DESK)
    guesses = {"guesses": 0, "guessed_from": ""}
    agents.gw1.pages["lines"]["lines"].append(line("desk", kind="station", channels=1, registered=True, **guesses))
    assert "Station" in (silent := agents.cli("lines", "--agent", "gw1"))
    assert "● silent" in silent and "it is not running here" in silent
    where = Api(path=str(agents.directory / "state" / "gw1" / "station-desk.sock"))
    agents.served["desk"] = agents.run(api.serve(Station(), ApiSocket(where, None), time.monotonic))
    output = agents.cli("lines", "--agent", "gw1")
    for words in ("● talking", "6002", "-12 dBov", "silence", "tone", "nothing came back"):
        assert words in output, output
    found = agents.json("lines", "--agent", "gw1")
    assert found["stations"]["desk"]["sent_dbov"] == -12.0 and len(found["lines"]) == 2
    agents.gw1.pages["lines"]["lines"].pop()
    assert "stations" not in agents.json("lines", "--agent", "gw1"), "those of the lines that are shown"


def test_draining_waits_for_the_last_call(agents):
    agents.gw1.progress = [agents.gw1.step("running", "1 call is left.")] * 2 + agents.gw1.progress
    output = agents.cli("drain", "--agent", "gw1", stdin="y\n")
    assert "gw1 will refuse new calls, and be empty when 12 calls of it have ended." in output
    assert "1 call is left." in output
    assert "No call is left." in output


def test_an_agent_that_ends_with_its_last_call(agents):
    def act(name, params, now):
        agents.loop.call_later(0.05, lambda: agents.loop.create_task(agents.served.pop("gw1").close()))
        return agents.gw1.step("running", "1 call is left.")

    agents.gw1.command = act
    agents.gw1.progress = [agents.gw1.step("running", "1 call is left.")]
    assert "gw1 has ended." in agents.cli("drain", "--agent", "gw1", "-y")


def test_draining_in_the_background_and_its_end(agents):
    agents.gw1.progress = [agents.gw1.step("running", "12 calls are left.")]
    assert "12 calls are left." in agents.cli("drain", "--agent", "gw1", "-y", "--no-wait")
    agents.gw1.progress = [agents.gw1.step("done", "Takes new calls again.")]
    assert agents.cli("resume", "--agent", "gw1") == "Takes new calls again.\n"
    agents.gw1.refusal = "gw1 is not draining."
    assert agents.cli("resume", "--agent", "gw1", code=1) == "gw1: gw1 is not draining.\n"


def test_a_core_says_which_key_it_has():
    core = AgentFixture().core
    assert views.view(core, "status", {}, 0.0).key == "site"
    core.site = own_site(core.site, "gw1")
    assert views.view(core, "status", {}, 0.0).key == "own"


def test_metrics(agents):
    text = api.metrics(of_json(AgentStatus, agents.gw1.status))
    assert 'holdfast_serving{agent="gw1",site="paris"} 1.0\n' in text
    assert 'holdfast_calls{agent="gw1",site="paris",state="talking"} 10.0\n' in text
    assert 'holdfast_loop_stall_seconds{agent="gw1",site="paris"} 0.034\n' in text
    assert "# TYPE holdfast_relay_packets_total counter\n" in text
    assert 'holdfast_wrong_passwords_total{agent="gw1",site="paris"} 37.0\n' in text
    assert 'holdfast_cpu_share{agent="gw1",site="paris"} 0.12\n' in text


def test_an_end_for_good_is_asked_for_and_ordered(agents):
    agents.gw1.progress = [agents.gw1.step("running", "12 calls are left.")]
    assert agents.cli("stop", "--agent", "gw1", "--for-good", stdin="y\n").endswith("12 calls are left.\n")
    assert agents.gw1.asked[-1] == ("stop", {})
    agents.cli("stop", "--agent", "gw1", "--for-good", stdin="n\n", code=1)
    assert "for-good" in agents.cli("stop", "--agent", "gw1", "-y", code=3), "a restart is no end"


def test_every_order_of_the_core_can_be_given():
    core = AgentFixture().core
    for verb in sorted(
        api.VERBS - {RELOAD, LOG_LEVEL, UNBAN}
    ):  # these are the program's; a drain comes before its end
        views.command(core, verb, {"line": "trunk1"}, 0.0)
    with pytest.raises(Refused, match="no verb"):
        views.command(core, "nothing", {}, 0.0)


def test_reload_of_all_agents_or_of_one(agents):
    agents.gw1.progress = [agents.gw1.step("running", "reading"), agents.gw1.step("done", "gw1 has line new: carol")]
    agents.gw2.progress = [agents.gw2.step("failed", "lines.x: is wrong")]
    output = agents.cli("reload", code=1)
    assert "gw1: gw1 has line new: carol" in output and "gw2: lines.x: is wrong" in output
    assert "gw2" not in agents.cli("reload", "--agent", "gw1")


def test_an_agent_that_cannot_reload_keeps_no_other_from_it(agents):
    agents.gw1.progress = [agents.gw1.step("running", "the site file is being read")]
    agents.gw2.progress = [agents.gw2.step("done", "gw2 has line new: carol")]
    output = agents.cli("reload", "--timeout", "0.1", code=1)
    assert "gw2: gw2 has line new: carol" in output and "After 0.1 s gw1 still reads its site file." in output
    agents.gw1.refusal = "20 reloads are under way: wait for them"
    assert "gw1: 20 reloads are under way" in (output := agents.cli("reload", code=1)) and "new: carol" in output
    with pytest.raises(ConsoleError, match="nobody in this site") as nobody:
        reload_all([], 1.0)
    assert nobody.value.code == 3


def test_the_log_level_of_an_agent(agents):
    agents.gw1.progress = [agents.gw1.step("done", "it begins at debug")]
    assert "it begins at debug" in agents.cli("log-level", "sip.receiver", "debug", "--agent", "gw1")
    assert "There is no level" in agents.cli("log-level", "sip", "loud", "--agent", "gw1", code=3)
