"""``b2bua``'s verbs: what they show, ask, wait for and refuse."""

from __future__ import annotations

from tests.b2bua.fake_servers import progress


def test_a_switchover_shows_asks_waits_and_shows(fake_servers):
    fake_servers.m1.on_command = lambda verb, params: fake_servers.take_over()
    fake_servers.m1.progress = [progress("switchover", "running", "waiting for the votes")]
    output = fake_servers.cli("switchover", stdin="y\n")
    assert ("switchover", {"to": "m2"}) in fake_servers.m1.asked
    for words in ("m1 → m2", "7 → 8", "812 calls carried over: 640 talking", "2 of 2 agents reached by m2", "[y/N]"):
        assert words in output
    assert "m2 is active in epoch 8, and 2 agents obey it." in output
    before, after = output.split("After")
    assert "m1       main      ● active" in before
    assert "m2       standby   ● active" in after


def test_a_switchover_waits_for_agents_and_gives_up_with_what_is_missing(fake_servers):
    def act(verb, params):
        fake_servers.take_over()
        fake_servers.m2.status["peers"][1]["obeys"] = "m1"

    fake_servers.m1.on_command = act
    fake_servers.m1.progress = [progress("switchover", "running", "moving")]
    output = fake_servers.cli("switchover", "--yes", "--timeout", "0.1", code=1)
    assert "the switchover to m2 is not true yet: m2 is active; 1 agent still to come: gw1" in output


def test_a_switchover_that_fails_says_why(fake_servers):
    fake_servers.m1.progress = [progress("switchover", "failed", "gw1 and gw2 did not grant it")]
    assert "It failed: gw1 and gw2 did not grant it" in fake_servers.cli("switchover", "-y", code=1)
    fake_servers.m1.refuses["switchover"] = ("a takeover is under way", 409)
    assert "m1: a takeover is under way" in fake_servers.cli("switchover", "-y", code=1)


def test_no_is_no(fake_servers):
    assert "Nothing was done." in fake_servers.cli("switchover", stdin="n\n", code=1)
    assert "say --yes" in fake_servers.cli("switchover", stdin="", code=3)
    assert not any(name == "switchover" for name, _ in fake_servers.m1.asked)


def test_force_goes_to_the_server_that_shall_lead(fake_servers):
    fake_servers.stop("m1")
    fake_servers.m2.status["peers"][0] |= {"reached": False, "judged": "dead"}
    fake_servers.m2.on_command = lambda verb, params: fake_servers.take_over()
    fake_servers.m2.progress = [progress("switchover", "running", "taking the agents that are reached")]
    assert "say --force" in fake_servers.cli("switchover", "-y", code=2)
    output = fake_servers.cli("switchover", "--force", "-y")
    assert ("switchover", {"to": "m2", "force": "yes"}) in fake_servers.m2.asked
    assert "Forced: no quorum is asked" in output
    assert "none → m2" in output
    assert "those that the agents tell of" in output and "no calls" not in output


def test_switching_to_where_it_is_does_nothing(fake_servers):
    assert "active already" in fake_servers.cli("switchover", "--to", "m1")
    assert "no server 'm9'" in fake_servers.cli("switchover", "--to", "m9", code=3)


def test_reset_says_what_it_costs(fake_servers):
    fake_servers.m1.progress = [
        progress("reset", "running", "resetting", 1, 2),
        progress("reset", "running", "resetting", 1, 2),
        progress("reset", "done", "2 lines are idle", 2, 2),
    ]
    output = fake_servers.cli("reset", "carrier", "alice", stdin="y\n")
    assert "carrier and alice become idle; 1,624 calls will end." in output
    assert "Done in" in output and "2 lines are idle (2 of 2)" in output
    assert ("reset", {"lines": "carrier,alice", "state": "idle"}) in fake_servers.m1.asked
    assert "has no line 'nowhere'; it has carrier, alice." in fake_servers.cli("reset", "nowhere", code=3)
    assert "carrier has channels carrier/1 to carrier/30, not carrier/31." in fake_servers.cli(
        "reset", "carrier/31", code=3
    )
    assert "alice has the one channel alice/1, not alice/x." in fake_servers.cli("reset", "alice/x", code=3)


def test_hangup_shows_the_call_asks_and_ends_it(fake_servers):
    call = fake_servers.m1.call(1, "talking")
    fake_servers.m1.pages["calls"] = {"calls": [call], "matched": 1}
    fake_servers.m1.progress = [progress("hangup", "running", "it waits"), progress("hangup", "done", "it is ended")]
    assert "Nothing was done." in fake_servers.cli("hangup", call["id"][:6], stdin="n\n", code=1)
    output = fake_servers.cli("hangup", call["id"][:6], "--yes")
    assert "+33612345678" in output and "it is ended" in output
    assert ("hangup", {"call": call["id"]}) in fake_servers.m1.asked


def test_hangup_of_no_call_or_of_several_does_nothing(fake_servers):
    assert "812 calls begin with m1" in fake_servers.cli("hangup", "m1", "--yes", code=1)
    fake_servers.m1.pages["calls"] = {"calls": [], "matched": 0}
    assert "no call m1 stands" in fake_servers.cli("hangup", "m1", "--yes", code=1)


def test_busyout_and_its_end(fake_servers):
    fake_servers.m1.progress = [
        progress("busyout", "running", "wait"),
        progress("busyout", "done", "it takes no calls"),
    ]
    assert "it takes no calls" in fake_servers.cli("busyout", "carrier")
    assert ("busyout", {"line": "carrier"}) in fake_servers.m1.asked
    fake_servers.cli("busyout", "carrier", "--end")
    assert ("busyout", {"line": "carrier", "end": "yes"}) in fake_servers.m1.asked
    assert not [verb for verb, _ in fake_servers.m2.asked if verb == "busyout"]
    assert "has no line" in fake_servers.cli("busyout", "nobody", code=3)
    assert "as a whole" in fake_servers.cli("busyout", "carrier/1", code=3)


def test_busyout_of_a_trunk_of_the_servers_own_is_said_to_both(fake_servers):
    with fake_servers.path.open("a") as file:
        file.write('[lines.own]\nkind = "trunk"\npeer = "sip:127.0.0.31"\nchannels = 2\n')
    text = fake_servers.path.read_text()
    for number in (1, 2):
        text = text.replace(f"[servers.m{number}]", f'[servers.m{number}]\nsip = "udp:127.0.0.{number}:5060"')
    fake_servers.path.write_text(text)
    fake_servers.m1.progress = fake_servers.m2.progress = [progress("busyout", "done", "own takes no new calls")]
    assert fake_servers.cli("busyout", "own").count("own takes no new calls") == 2


def test_the_log_level_of_both_servers(fake_servers):
    fake_servers.m1.progress = fake_servers.m2.progress = [progress("log-level", "done", "it begins at debug")]
    assert fake_servers.cli("log-level", "sip", "debug").count("it begins at debug") == 2
    assert ("log-level", {"package": "sip", "level": "debug"}) in fake_servers.m2.asked
    assert "There is no package 'siip'" in fake_servers.cli("log-level", "siip", "debug", code=3)
    assert "There is no level 'loud'" in fake_servers.cli("log-level", "sip", "loud", code=3)


def test_reload_shows_what_each_server_took_or_refused(fake_servers):
    taken = progress("reload", "done", "m1 lives by the site file 1234: line new: carol")
    fake_servers.m1.progress = [progress("reload", "running", "the site file is being read"), taken]
    fake_servers.m2.progress = [progress("reload", "failed", "it is not taken: a\nit is not taken: b")]
    output = fake_servers.cli("reload", code=1)
    assert "m1: m1 lives by the site file 1234: line new: carol" in output
    assert "m2: it is not taken: a\nm2: it is not taken: b\n" in output
    fake_servers.m1.progress = [taken]
    assert fake_servers.cli("reload", "--node", "m1").count("\n") == 1
    fake_servers.stop("m2")
    assert "m2 cannot be reached" in fake_servers.cli("reload", code=1)


def test_a_file_that_is_wrong_is_not_even_sent(fake_servers):
    fake_servers.path.write_text(fake_servers.path.read_text().replace('to = ["carrier"]', 'to = ["nobody"]'))
    assert "nobody" in fake_servers.cli("reload", code=4) and not fake_servers.m1.asked


def test_pause_and_resume_at_both(fake_servers):
    for server in (fake_servers.m1, fake_servers.m2):
        server.progress = [progress("pause", "done", "No automatic takeover until resume.")]
    assert fake_servers.cli("pause").splitlines() == [
        f"{n}: No automatic takeover until resume." for n in ("m1", "m2")
    ]
    fake_servers.stop("m2")
    assert "m2 cannot be reached" in fake_servers.cli("resume", code=1)
    assert "m2 cannot be reached" in fake_servers.cli("resume", "--node", "m2", code=3)
    fake_servers.stop("m1")
    assert fake_servers.cli("pause", code=3).count("cannot be reached") == 2


def test_readmit(fake_servers):
    fake_servers.m1.progress = [progress("readmit", "done", "gw2 votes again, generation 2.")]
    assert "gw2 votes again, generation 2." in fake_servers.cli("readmit", "gw2", "--yes")
    assert ("readmit", {"agent": "gw2"}) in fake_servers.m1.asked
    assert "no agent 'gw9'" in fake_servers.cli("readmit", "gw9", "--yes", code=3)


def test_readmit_by_force_needs_no_active_server(fake_servers):
    fake_servers.m1.status["state"] = "holding"
    fake_servers.m2.status["peers"][0]["state"] = "holding"
    fake_servers.m1.progress = [progress("readmit", "done", "m2 votes again")]
    fake_servers.cli("readmit", "m2", "--yes", code=2)
    assert "you vouch" in fake_servers.cli("readmit", "m2", "--yes", "--force")
    assert ("readmit", {"agent": "m2", "force": "yes"}) in fake_servers.m1.asked
