"""Two browsers in a call: their sound is theirs alone, end to end (DTLS-SRTP), and outlives the main; a browser that
connects anew keeps its call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.browser import PAGE, Browser, stay_at
from tests.interop.programs import HEAD, Site, network, until
from tests.tokens import KEY

pytestmark = pytest.mark.interop

LINES = """
[lines.{name}]
kind = "web"
agent = "{agent}"
numbers = ["{number}"]
return_within = {within}
"""


def head() -> str:
    text = HEAD
    for host, name in ((11, "gw1"), (12, "gw2")):
        own = f'"tcp:{{net}}{host}:5060"]'
        assert own in text
        web = f'origins = "{PAGE}"\ntoken_key = {{{{ file = "token.secret" }}}}'
        text = text.replace(f"[agents.{name}]\n", f"[agents.{name}]\n{web}\n")
        text = text.replace(
            f'sip = ["udp:{{net}}{host}:5060", {own}', f'sip = ["udp:{{net}}{host}:5060", "ws:{{net}}{host}:5080"]'
        )
    return text


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    net, within = network(), getattr(request, "param", 60)
    lines = LINES.format(name="alice", agent="gw1", number="5001", within=within)
    lines += LINES.format(name="bob", agent="gw2", number="5002", within=within)
    site = Site(tmp_path / "site", net, lines, passwords={"token": KEY.decode()}, head=head())
    try:
        site.start()
        yield site
        assert not site.bugs()
    finally:
        site.stop()


def test_two_browsers_talk_on_when_the_main_dies_and_when_a_connection_breaks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"{site.net}61", f"{site.net}62"]
    stay_at(hosts, monkeypatch)
    asyncio.run(talk(site, hosts, main_dies))


def test_two_browsers_talk_on_when_an_agent_dies(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"{site.net}61", f"{site.net}62"]
    stay_at(hosts, monkeypatch)
    asyncio.run(talk(site, hosts, agent_dies))


def main_dies(site: Site) -> None:
    site["m1"].die()
    until(lambda: site["m2"].view().get("state") == "active", 15, site.words)


def agent_dies(site: Site) -> None:
    """The one of bob, whose WebSocket goes with it; its next start gets the call back."""
    site["gw2"].die()
    until(lambda: not site["gw2"].alive, 10, site.words)
    site["gw2"].start()
    until(lambda: site.obeys("gw2", "m1") and site.calls("gw2") == 1, 15, site.words)


@pytest.mark.parametrize("site", [2], indirect=True)
def test_a_page_that_is_gone_after_the_death_of_its_agent_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"{site.net}61", f"{site.net}62"]
    stay_at(hosts, monkeypatch)
    asyncio.run(wait_in_vain(site, hosts))


async def wait_in_vain(site: Site, hosts: list[str]) -> None:
    async with calling(site, hosts) as (alice, _):
        await asyncio.to_thread(agent_dies, site)
        bye = await alice.hears("BYE", 20)
        assert "did not come back" in (bye.get("reason") or "")
        await alice.answers(bye, "200 OK")  # type: ignore[arg-type]
        await asyncio.to_thread(until, lambda: site.idle("gw1", "gw2"), 5, site.words)


async def talk(site: Site, hosts: list[str], blow: Callable[[Site], None]) -> None:
    """What all hear before the blow, after it, and after bob has connected anew; the call ends at both."""
    async with calling(site, hosts) as (alice, bob):
        await hear_each_other(alice, bob, site)

        await asyncio.to_thread(blow, site)
        await hear_each_other(alice, bob, site)

        await bob.connects()
        await bob.registers()
        await hear_each_other(alice, bob, site)
        hung_up = asyncio.create_task(alice.hangs_up())
        bye = await bob.hears("BYE")
        await bob.answers(bye, "200 OK")  # type: ignore[arg-type]
        await hung_up
        await asyncio.to_thread(until, lambda: site.idle("gw1", "gw2"), 5, site.words)


@asynccontextmanager
async def calling(site: Site, hosts: list[str]) -> AsyncIterator[tuple[Browser, Browser]]:
    """Two browsers, one of which has called the other."""
    alice = Browser("alice", f"{site.net}11:5080", hosts[0], 440.0)
    bob = Browser("bob", f"{site.net}12:5080", hosts[1], 1000.0)
    try:
        for browser in (alice, bob):
            await browser.connects()
            await browser.registers()
        await asyncio.gather(alice.calls("5002"), bob.picks_up())
        yield alice, bob
    finally:
        await alice.closes()
        await bob.closes()


async def hear_each_other(alice: Browser, bob: Browser, site: Site) -> None:
    """A second more of the other's tone, and nothing else."""
    goals = [(alice, bob.hertz), (bob, alice.hertz)]
    before = [one.heard.get(tone, 0) for one, tone in goals]

    def heard() -> bool:
        return all(one.heard.get(tone, 0) >= was + 5 for (one, tone), was in zip(goals, before, strict=True))

    await patiently(heard, lambda: f"{alice.heard} {bob.heard}\n{site.words()}")
    for one, tone in goals:
        assert set(one.heard) == {tone}


async def patiently(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    await asyncio.to_thread(until, holds, 30, what)
