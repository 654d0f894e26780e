"""A page and what is no browser, in a call: a telephone with an echo, and Asterisk's. The page hears its own tone
come back through the WebRTC gateway, whatever dies of the site meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from examples.demo_processes import ROOT, ask
from tests.interop import asterisk
from tests.interop.asterisk import Asterisk
from tests.interop.browser import Browser, stay_at
from tests.interop.programs import Site, network, until
from tests.interop.test_browsers import LINES, agent_dies, head, main_dies, patiently
from tests.tokens import KEY

pytestmark = pytest.mark.interop

MIRROR = """
[lines.mirror]
kind = "station"
agent = "gw2"
numbers = ["6002"]
station = { play = "echo" }
"""
PBX = """
[lines.asterisk]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}22:5060"
channels = 20
[[routes]]
match = "26*"
to = ["asterisk"]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield from begun(tmp_path, monkeypatch, MIRROR + PBX)


def begun(directory: Path, monkeypatch: pytest.MonkeyPatch, lines: str, **passwords: str) -> Iterator[Site]:
    """A site with a page, which is alice, and these lines; ``{net}`` is its network."""
    net = network()
    stay_at([f"{net}61"], monkeypatch)
    lines = LINES.format(name="alice", agent="gw1", number="5001", within=60) + lines.replace("{net}", net)
    site = Site(directory / "site", net, lines, passwords={"token": KEY.decode(), **passwords}, head=head())
    try:
        site.start()
        until(lambda: all(ready(site, agent) for agent in ("gw1", "gw2")), 30, site.words)
        yield site
        assert not site.bugs()
    finally:
        site.stop()


def ready(site: Site, agent: str) -> bool:
    return bool((site[agent].view().get("webrtc") or {}).get("ready"))


def sessions(site: Site, agent: str) -> int:
    found: int = (site[agent].view().get("webrtc") or {}).get("calls", -1)
    return found


class Mirror:
    """The station; its echo is what the page hears."""

    def __init__(self, site: Site) -> None:
        self._site = site
        words = ["station", "run", "--site", str(site.path), "--station", "mirror"]
        site.processes.start("mirror", [sys.executable, "-m", "gateway_agent.cli", *words])
        socket = site.processes.directory / "state" / "gw2" / "station-mirror.sock"
        until(lambda: ask(socket, "status").get("registered"), 20, site.words)

    def dials(self, number: str) -> None:
        words = [sys.executable, "-m", "gateway_agent.cli", "dial", "mirror", number, "--site", str(self._site.path)]
        subprocess.run(words, check=True, cwd=ROOT, timeout=60, capture_output=True)


async def hears_itself(page: Browser, site: Site) -> None:
    """A second more of the page's own tone, and nothing else."""
    before = page.heard.get(page.hertz, 0)
    await patiently(lambda: page.heard.get(page.hertz, 0) >= before + 5, lambda: f"{page.heard}\n{site.words()}")
    assert set(page.heard) == {page.hertz}


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[Browser]:
    page = Browser("alice", f"{site.net}11:5080", f"{site.net}61", 440.0)
    try:
        await page.connects()
        await page.registers()
        yield page
    finally:
        await page.closes()


async def is_over(site: Site) -> None:
    """No call and no session is left."""

    def idle() -> bool:
        return site.idle("gw1", "gw2") and sessions(site, "gw1") == sessions(site, "gw2") == 0

    await asyncio.to_thread(until, idle, 10, site.words)


def gateways_agent_dies(site: Site) -> None:
    agent_dies(site)


def pages_agent_dies(site: Site) -> None:
    site["gw1"].die()
    until(lambda: not site["gw1"].alive, 10, site.words)
    site["gw1"].start()
    until(lambda: site.obeys("gw1", "m1") and site.calls("gw1") == 1, 15, site.words)


def gateway_dies(site: Site, agent: str) -> None:
    """The one of that agent, by its id: the program that was started with this socket."""
    path = str(site.processes.directory / "state" / agent / "webrtc.sock")
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path in one.read_text().split("\0"):
                os.kill(int(one.parent.name), signal.SIGKILL)


@pytest.mark.parametrize("blow", [main_dies, gateways_agent_dies, pages_agent_dies])
def test_a_page_calls_a_telephone_and_hears_it_whatever_dies(site: Site, blow: Callable[[Site], None]) -> None:
    Mirror(site)

    async def story() -> None:
        async with connected(site) as page:
            await page.calls("6002")
            await hears_itself(page, site)
            assert sessions(site, "gw2") == 1
            await asyncio.to_thread(blow, site)
            await hears_itself(page, site)
            await page.connects()
            await page.registers()
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)

    asyncio.run(story())


@pytest.mark.parametrize("blow", [main_dies, pages_agent_dies])
def test_a_telephone_calls_a_page_and_the_page_may_restart_its_ice(site: Site, blow: Callable[[Site], None]) -> None:
    a_page_is_called(site, Mirror(site).dials, blow)


def a_page_is_called(site: Site, dials: Callable[[str], object], blow: Callable[[Site], None]) -> None:
    """A telephone does it; the gateway is that of the page's agent."""

    async def story() -> None:
        async with connected(site) as page:
            answered = asyncio.create_task(page.picks_up())
            await asyncio.to_thread(dials, "5001")
            await answered
            await hears_itself(page, site)
            assert sessions(site, "gw1") == 1
            await asyncio.to_thread(blow, site)
            await page.connects()
            await page.registers()
            await hears_itself(page, site)
            await page.restarts()
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)

    asyncio.run(story())


def test_a_page_hears_asterisks_echo_when_the_main_dies(site: Site, tmp_path: Path) -> None:
    a_page_hears_asterisk(site, tmp_path)


async def nothing_more(page: Browser) -> None:
    pass


def a_page_hears_asterisk(
    site: Site, directory: Path, more: Callable[[Browser], Awaitable[None]] = nothing_more, endpoint: str = ""
) -> None:
    """Its echo, also after the main died, and after what the page does then; ``endpoint`` are more words of it."""
    if because := asterisk.missing():
        pytest.skip(because)
    at = f"{site.net}22:5060", f"{site.net}12:5060"
    peer = Asterisk("pbx", directory / "asterisk", *at, "holdfast", "a word", endpoint=endpoint)

    async def story() -> None:
        async with connected(site) as page:
            await page.calls("2600")
            await hears_itself(page, site)
            await asyncio.to_thread(main_dies, site)
            await hears_itself(page, site)
            await more(page)
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)
            await asyncio.to_thread(until, lambda: peer.channels == 0, 5, "a channel is left over in Asterisk")

    try:
        asyncio.run(story())
        assert not peer.complaints()
    finally:
        peer.stop()
