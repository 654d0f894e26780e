"""By which key a server believes an agent, and by which it speaks to it."""

from __future__ import annotations

import pytest

from heartbeat import carriage
from heartbeat.agent_key import OWN, SITE, derive
from heartbeat.header import BEAT, OPEN, Beat, BeatError, mac
from heartbeat.keyring import Keyring
from sip.wire.message import Request, parse

OLD, NEW = b"the old key of the site, long", b"the new key of the site, long"


def own(agent: str, key: bytes = OLD) -> bytes:
    return derive(key, "paris", agent)


def said(node: str, key: bytes, kind: str = BEAT) -> Request:
    beat = Beat("paris", node, 1, 0, "agent", 1, kind=kind, to="m1")
    request = parse(carriage.request(beat, key, "Via: SIP/2.0/TCP h;branch=z9hG4bKb", ("127.0.0.1", 5161), "c", 1))
    assert isinstance(request, Request)
    return request


def ring(*keys: bytes) -> Keyring:
    return Keyring("paris", ("gw1", "gw2"), keys or (OLD,))


def test_an_opening_is_believed_by_either_key_and_tells_which() -> None:
    it = ring()
    assert it.first_statement(said("gw1", own("gw1"), OPEN))[1] == own("gw1")
    assert it.first_statement(said("gw1", OLD, OPEN))[1] == OLD
    assert it.first_statement(said("nobody", OLD, OPEN))[0].node == "nobody", "the site key may say anything"
    assert it.sort_of("gw1") == "" and it.towards("gw1") == OLD


@pytest.mark.parametrize("name", ["gw2", "m1", "m2", "nobody"])
def test_an_agent_s_key_says_nothing_under_another_name(name: str) -> None:
    it = ring()
    with pytest.raises(BeatError):
        it.first_statement(said(name, own("gw1"), OPEN))
    it.proved("gw1", own("gw1"))
    with pytest.raises(BeatError, match="in the name of"):
        it.statement_on(said(name, own("gw1")), "gw1")
    with pytest.raises(BeatError, match="not that of"):
        it.statement_on(said(name, own("gw1")), "gw2")


def test_a_name_that_stands_twice_misleads_nobody() -> None:
    request = said("gw1", own("gw1"), OPEN)
    text = request.to_bytes().decode().replace("Heartbeat: site", "Heartbeat: node=gw2; site")
    twice = parse(text.encode())
    assert isinstance(twice, Request)
    with pytest.raises(BeatError):
        ring().first_statement(twice)


def test_no_agent_speaks_in_another_s_name_by_the_site_key_either() -> None:
    it = ring()
    it.proved("gw1", OLD)
    with pytest.raises(BeatError, match="gw1 speaks in the name of gw2"):
        it.statement_on(said("gw2", OLD), "gw1")


def test_it_is_answered_by_the_key_that_it_proved() -> None:
    it = ring()
    it.proved("gw1", own("gw1"))
    it.proved("gw2", OLD)
    assert (it.towards("gw1"), it.towards("gw2"), it.towards("m2")) == (own("gw1"), OLD, OLD)
    assert [it.sort_of(name) for name in ("gw1", "gw2", "m2")] == [OWN, SITE, ""]
    assert it.has_own("gw1") and not it.has_own("gw2")


def test_an_own_key_is_taken_up_and_never_laid_down_on_a_connection() -> None:
    it = ring()
    it.proved("gw1", OLD)
    assert it.statement_on(said("gw1", OLD), "gw1").node == "gw1" and it.sort_of("gw1") == SITE
    assert it.statement_on(said("gw1", own("gw1")), "gw1").node == "gw1"
    assert it.sort_of("gw1") == OWN and it.towards("gw1") == own("gw1")
    with pytest.raises(BeatError, match="not that of"):
        it.statement_on(said("gw1", OLD), "gw1")
    it.proved("gw1", OLD)  # a new connection, opened by who knows the site key
    assert it.statement_on(said("gw1", OLD), "gw1").node == "gw1"


def test_during_a_change_of_the_key_the_agent_says_by_which() -> None:
    it = ring(NEW, OLD)
    it.proved("gw1", own("gw1"))
    assert it.towards("gw1") == own("gw1")
    it.statement_on(said("gw1", own("gw1", NEW)), "gw1")
    assert it.towards("gw1") == own("gw1", NEW)
    it.statement_on(said("gw1", own("gw1")), "gw1")
    assert it.towards("gw1") == own("gw1") and not it.void()
    it.load(("gw1", "gw2"), (NEW,))
    assert it.void() == ["gw1"] and it.towards("gw1") == own("gw1", NEW) and it.sort_of("gw1") == OWN
    for key in (own("gw1"), OLD, NEW):
        with pytest.raises(BeatError):
            it.statement_on(said("gw1", key), "gw1")
    assert it.statement_on(said("gw1", own("gw1", NEW)), "gw1") and it.void() == []


def test_a_site_key_that_is_none_any_more_is_void_too() -> None:
    it = ring(NEW, OLD)
    it.proved("gw1", OLD)
    it.proved("gw2", NEW)
    assert it.towards("gw1") == NEW, "as ever: the first key signs"
    it.load(("gw1", "gw2"), (NEW,))
    assert it.void() == ["gw1"]


def test_an_agent_that_is_taken_out_of_the_site_has_no_key() -> None:
    it = ring()
    it.proved("gw1", own("gw1"))
    it.load(("gw2",), (OLD,))
    assert it.own("gw1") == () and it.void() == ["gw1"] and it.towards("gw1") == own("gw1")
    with pytest.raises(BeatError):
        it.first_statement(said("gw1", own("gw1"), OPEN))


def test_a_key_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        "heartbeat.keyring.derive", lambda key, site, agent: made.append(agent) or derive(key, site, agent)
    )
    it = ring()
    it.proved("gw1", own("gw1"))
    for _ in range(100):
        it.statement_on(said("gw1", own("gw1")), "gw1")
        it.towards("gw1")
    assert made == ["gw1"]


def test_what_is_not_read_as_it_was_looked_up_is_nothing() -> None:
    """A name that is spelled so that only the reader finds it."""
    request = said("m2", OLD)
    text = request.get("heartbeat") or ""
    front = text.rpartition("; mac=")[0].replace("node=", "NODE=")
    signed = f"{front}; mac={mac(front, OLD, 'OPTIONS', request.call_id, request.cseq)}"
    assert ring().first_statement(request)[0].node == "m2"
    odd = parse(request.to_bytes().decode().replace(text, signed).encode())
    assert isinstance(odd, Request) and carriage.beat_in(odd, (OLD,)).node == "m2"
    with pytest.raises(BeatError, match="nobody speaks in the name of m2"):
        ring().first_statement(odd)


def test_what_has_no_header_says_nothing() -> None:
    text = said("m2", OLD).to_bytes().decode()
    bare = parse("".join(line for line in text.splitlines(True) if not line.startswith("Heartbeat")).encode())
    assert isinstance(bare, Request)
    with pytest.raises(BeatError, match="no Heartbeat header"):
        ring().first_statement(bare)
