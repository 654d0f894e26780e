"""``b2bua check`` and ``b2bua init``: before a site runs."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.persistence import DirectoryLock, VoteStore
from heartbeat.persistent_state import Granted, decode, encode
from heartbeat.proof import VoterList
from tests.consoles import SITE


def test_check_says_what_the_site_survives(fake_servers, monkeypatch):
    monkeypatch.delenv("PARIS_KEY", raising=False)
    output = fake_servers.cli("check")
    assert "What the site survives" in output
    assert "m1 and one of gw1, gw2" in output
    assert fake_servers.json("check")["failures"]
    assert "PARIS_KEY" in fake_servers.cli("check", "--node", "m1", code=4)


def test_a_site_is_begun_once(fake_servers):
    file = fake_servers.directory / "state" / "m1" / "epochs.json"
    output = fake_servers.cli("init")
    assert output.startswith(f"The site paris may start for the first time, at m1 ({file}).\n")
    assert "gw1, gw2 and m2" in output
    begun = file.read_text()
    kept = decode(begun)
    assert (kept.first, kept.non_voting, kept.voters) == (True, False, VoterList(1, ("gw1", "gw2", "m2"), 1))
    for words in ([], ["--node", "m1"], ["--node", "m2"]):
        assert "has been started before" in fake_servers.cli("init", *words, code=3)
    assert file.read_text() == begun
    assert "no server 'm9'" in fake_servers.cli("init", "--node", "m9", code=3)


def test_a_site_that_ran_without_it_may_be_begun_once_its_nodes_stopped(fake_servers):
    directory = fake_servers.directory / "state" / "m1"
    state = VoteStore(directory, "m1").start()
    VoteStore(fake_servers.directory / "state" / "gw1", "gw1").start()
    lock = DirectoryLock(directory, "m1")
    fake_servers.m1.refuses["init"] = ("m1 ran without it, stop it first", 409)
    assert "stop it first" in fake_servers.cli("init", code=1)
    lock.end()
    fake_servers.cli("init")
    begun = decode((directory / "epochs.json").read_text())
    assert (begun.first, begun.incarnation) == (True, state.incarnation)


def test_a_node_with_an_epoch_keeps_a_site_from_being_begun(fake_servers):
    store = VoteStore(fake_servers.directory / "state" / "gw2", "gw2")
    store.write("", encode(replace(store.start(), granted=(Granted(3, "m2", 1),))))
    assert "gw2/epochs.json tells of an epoch" in fake_servers.cli("init", code=3)
    store.path.write_text("{")
    assert "gw2/epochs.json tells of an epoch" in fake_servers.cli("init", code=3)


def test_a_file_with_errors_gives_a_sentence_for_each(fake_servers):
    fake_servers.path.write_text(
        SITE.replace('role = "main"', 'role = "boss"').replace("channels = 30", "channels = -1")
    )
    output = fake_servers.cli("check", code=4)
    assert output.startswith(f"The site file {fake_servers.path} is not right:\nservers.m1.role")
    assert "lines.carrier.channels" in output
    assert "Traceback" not in output


def test_a_kamailio_is_told_of_several_sites(fake_servers):
    lyon = fake_servers.directory / "lyon.toml"
    lyon.write_text(SITE.replace('name = "paris"', 'name = "lyon"').replace("127.0.0.11", "127.0.0.13"))
    made = fake_servers.json("check", "--dispatcher", "--site", str(lyon))
    assert made["list"].splitlines()[2:4] == ["1 sip:127.0.0.13:5060", "1 sip:127.0.0.11:5060"]
    output = fake_servers.cli("check", "--dispatcher", "--site", str(lyon), "--line", "carrier")
    assert output == f"# ---- dispatcher.list\n{made['list']}\n# ---- sites.cfg\n{made['config']}"
    for words, sentence in (
        (["--site", str(lyon)], "Only with --dispatcher several sites"),
        (["--line", "carrier"], "--line is only for --dispatcher"),
        (["--dispatcher", "--line", "carier"], "No site has a line 'carier'"),
        (["--dispatcher", "--line", "alice"], "The site paris has no trunk named alice"),
    ):
        assert sentence in fake_servers.cli("check", *words, code=3)
