"""``b2bua agent-key``: agents' own keys, made where the site key is."""

from __future__ import annotations

import pytest

from heartbeat.agent_key import AgentKey, derive

SITE_KEY = "a key of the site, long enough"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("PARIS_KEY", SITE_KEY)


def own(agent, site_key=SITE_KEY):
    return AgentKey("paris", agent, derive(site_key.encode(), "paris", agent)).text


def test_it_is_said_or_written_for_its_owner_only(fake_servers):
    assert fake_servers.cli("agent-key", "gw1") == own("gw1") + "\n"
    path = fake_servers.directory / "gw1.key"
    said = fake_servers.cli("agent-key", "gw1", "--to", str(path))
    assert said.startswith(f"{path} has the key of gw1: put it in place of the site key on its machine")
    assert own("gw1") not in said
    assert path.read_text() == own("gw1") + "\n" and path.stat().st_mode & 0o777 == 0o600
    assert "is there already: nothing was written" in fake_servers.cli("agent-key", "gw2", "--to", str(path), code=3)
    assert path.read_text() == own("gw1") + "\n"
    assert "cannot be written: No such file" in fake_servers.cli("agent-key", "gw1", "--to", "/no/such/place", code=3)


def test_the_previous_key_has_its_own(fake_servers, monkeypatch):
    assert "has no previous_key" in fake_servers.cli("agent-key", "gw1", "--previous", code=3)
    fake_servers.path.write_text(
        fake_servers.path.read_text().replace("\nkey =", '\nprevious_key = { env = "NEXT" }\nkey =', 1)
    )
    monkeypatch.setenv("NEXT", "the next key of the site, long")
    assert fake_servers.cli("agent-key", "gw1", "--previous") == own("gw1", "the next key of the site, long") + "\n"
    assert fake_servers.cli("agent-key", "gw1") == own("gw1") + "\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "No key can be made of that here: The secret from env PARIS_KEY is missing"),
        ("short", "must have at least 16 bytes, has 5"),
        (own("gw1"), "This is the machine of gw1, which has its own key only: say it where a server is."),
        (own("gw1")[:-9], "begins like the key of an agent, and is not whole"),
    ],
)
def test_without_the_site_key_there_is_none(fake_servers, monkeypatch, value, said):
    if value is None:
        monkeypatch.delenv("PARIS_KEY")
    else:
        monkeypatch.setenv("PARIS_KEY", value)
    assert said in fake_servers.cli("agent-key", "gw2", code=3)


def test_only_agents_have_one(fake_servers):
    assert "has no agent m1: it has gw1, gw2" in fake_servers.cli("agent-key", "m1", code=3)


def test_a_node_with_a_key_that_is_not_its_own_is_told_before_it_starts(fake_servers, monkeypatch):
    monkeypatch.setenv("PARIS_KEY", own("gw1"))
    assert "site.key: is the key of the agent gw1 alone" in fake_servers.cli("check", "--node", "m1", code=4)
    assert "this is gw2 of paris" in fake_servers.cli("check", "--node", "gw2", code=4)
    fake_servers.cli("check", "--node", "gw1")


def test_status_names_who_has_the_site_key_still(fake_servers):
    for server in (fake_servers.m1, fake_servers.m2):
        for peer in server.status["peers"]:
            peer["key"] = {"gw1": "own", "gw2": "site"}.get(peer["name"], "")
    said = fake_servers.cli("status")
    assert "Still with the site key: gw2\n" in said
    for server in (fake_servers.m1, fake_servers.m2):
        for peer in server.status["peers"]:
            peer["key"] = "site"
    assert "site key" not in fake_servers.cli("status"), "where no agent has a key of its own, that is as it was"
