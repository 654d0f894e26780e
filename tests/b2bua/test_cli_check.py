"""``b2bua check`` and ``b2bua init``: before a site runs."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.persistence import DirectoryLock, VoteStore
from heartbeat.persistent_state import Granted, decode, encode
from heartbeat.proof import VoterList
from tests.consoles import SITE


def test_check_says_what_the_site_survives(pair, monkeypatch):
    monkeypatch.delenv("PARIS_KEY", raising=False)
    output = pair.cli("check")
    assert "What the site survives" in output
    assert "m1 and one of gw1, gw2" in output
    assert pair.json("check")["failures"]
    assert "PARIS_KEY" in pair.cli("check", "--node", "m1", code=3)


def test_a_site_is_begun_once(pair):
    file = pair.directory / "state" / "m1" / "epochs.json"
    output = pair.cli("init")
    assert output.startswith(f"The site paris may start for the first time, at m1 ({file}).\n")
    assert "gw1, gw2 and m2" in output
    begun = file.read_text()
    kept = decode(begun)
    assert (kept.first, kept.non_voting, kept.voters) == (True, False, VoterList(1, ("gw1", "gw2", "m2"), 1))
    for words in ([], ["--node", "m1"], ["--node", "m2"]):
        assert "has been started before" in pair.cli("init", *words, code=3)
    assert file.read_text() == begun
    assert "no server 'm9'" in pair.cli("init", "--node", "m9", code=3)


def test_a_site_that_ran_without_it_may_be_begun_once_its_nodes_stopped(pair):
    directory = pair.directory / "state" / "m1"
    state = VoteStore(directory, "m1").start()
    VoteStore(pair.directory / "state" / "gw1", "gw1").start()
    lock = DirectoryLock(directory, "m1")
    assert "another process runs as m1" in pair.cli("init", code=3)
    lock.end()
    pair.cli("init")
    begun = decode((directory / "epochs.json").read_text())
    assert (begun.first, begun.incarnation) == (True, state.incarnation)


def test_a_node_with_an_epoch_keeps_a_site_from_being_begun(pair):
    store = VoteStore(pair.directory / "state" / "gw2", "gw2")
    store.write("", encode(replace(store.start(), granted=(Granted(3, "m2", 1),))))
    assert "gw2/epochs.json tells of an epoch" in pair.cli("init", code=3)
    store.path.write_text("{")
    assert "gw2/epochs.json tells of an epoch" in pair.cli("init", code=3)


def test_a_file_with_errors_gives_a_sentence_for_each(pair):
    pair.path.write_text(SITE.replace('role = "main"', 'role = "boss"').replace("channels = 30", "channels = -1"))
    output = pair.cli("check", code=3)
    assert output.startswith(f"The site file {pair.path} is not right:\nservers.m1.role")
    assert "lines.carrier.channels" in output
    assert "Traceback" not in output
