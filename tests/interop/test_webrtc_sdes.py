"""A page, and a telephone (baresip) or a PBX (Asterisk) that takes SRTP with keys by SDES alone. The page hears its
own tone come back through the WebRTC gateway and the relay, whatever dies of the site meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop import asterisk, baresip_scenes
from tests.interop.asterisk import Asterisk
from tests.interop.baresip_scenes import Baresip
from tests.interop.browser import stay_at
from tests.interop.played import WORDS
from tests.interop.programs import Site, network, until
from tests.interop.test_browsers import LINES, head, main_dies
from tests.interop.test_webrtc import (
    connected,
    gateway_dies,
    gateways_agent_dies,
    hears_itself,
    is_over,
    pages_agent_dies,
    ready,
    sessions,
)
from tests.tokens import KEY

pytestmark = pytest.mark.interop

PHONE = """
[lines.phone]
kind = "phone"
agent = "gw2"
numbers = ["6003"]
password = { file = "phone.secret" }
digest = "MD5"
media = "relay"
srtp = "sdes"
media_timeout = 5
"""
PBX = """
[lines.asterisk]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}22:5060"
channels = 20
media = "relay"
srtp = "sdes"
[[routes]]
match = "26*"
to = ["asterisk"]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    net = network()
    stay_at([f"{net}61"], monkeypatch)
    lines = LINES.format(name="alice", agent="gw1", number="5001", within=60) + PHONE + PBX.format(net=net)
    site = Site(
        tmp_path / "site", net, lines, passwords={"token": KEY.decode(), "phone": WORDS["phone"]}, head=head()
    )
    try:
        site.start()
        until(lambda: all(ready(site, agent) for agent in ("gw1", "gw2")), 30, site.words)
        yield site
        assert not site.bugs()
    finally:
        site.stop()


@pytest.fixture
def phone(site: Site, tmp_path: Path) -> Iterator[Baresip]:
    with telephone(site, tmp_path / "phone") as found:
        yield found


@contextmanager
def telephone(site: Site, directory: Path) -> Iterator[Baresip]:
    """The one of `PHONE`, registered."""
    if because := baresip_scenes.package().because:
        pytest.skip(because)
    account = (
        f"<sip:phone@interop.test>;auth_pass={WORDS['phone']};answermode=auto;mediaenc=srtp-mand"
        f';outbound="sip:{site.net}12:5060";regint=60\n'
    )
    # where its media comes from, and each test has ports of its own there
    with socket.create_server(("127.0.0.1", 0)) as sip, socket.create_server(("127.0.0.1", 0)) as control:
        ports = sip.getsockname()[1], control.getsockname()[1]
    phone = Baresip(directory, "127.0.0.1", account, "module srtp.so\n", ports)
    try:
        until(lambda: phone.registered, 20, lambda: phone.words() + site.words())
        yield phone
    finally:
        phone.stop()


def phones_gateway_dies(site: Site) -> None:
    """It is there again when it has legs: until the page restarts ICE nothing is heard."""
    gateway_dies(site, "gw2")
    until(lambda: not ready(site, "gw2"), 10, site.words)
    until(lambda: ready(site, "gw2"), 30, site.words)


@pytest.mark.parametrize("blow", [main_dies, gateways_agent_dies, pages_agent_dies, phones_gateway_dies])
def test_a_page_calls_a_telephone_with_sdes_and_hears_it_whatever_dies(
    site: Site, phone: Baresip, blow: Callable[[Site], None]
) -> None:
    async def story() -> None:
        async with connected(site) as page:
            await page.calls("6003")
            await hears_itself(page, site)
            assert sessions(site, "gw2") == 1
            await asyncio.to_thread(blow, site)
            if blow is not phones_gateway_dies:
                await hears_itself(page, site)
            await page.connects()
            await page.registers()
            await page.restarts()
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)

    asyncio.run(story())


@pytest.mark.parametrize("blow", [main_dies, gateways_agent_dies, pages_agent_dies])
def test_a_telephone_with_sdes_calls_a_page(site: Site, phone: Baresip, blow: Callable[[Site], None]) -> None:
    async def story() -> None:
        async with connected(site) as page:
            answered = asyncio.create_task(page.picks_up())
            await asyncio.to_thread(phone.dials, "5001")
            await answered
            await hears_itself(page, site)
            assert sessions(site, "gw1") == 1, (
                "the gateway is that of the page's agent, the relay that of the phone's"
            )
            await asyncio.to_thread(blow, site)
            await page.connects()
            await page.registers()
            await hears_itself(page, site)
            await page.restarts()
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)

    asyncio.run(story())


def test_a_page_holds_asterisk_with_sdes_after_the_main_died(site: Site, tmp_path: Path) -> None:
    if because := asterisk.missing():
        pytest.skip(because)
    at = f"{site.net}22:5060", f"{site.net}12:5060"
    peer = Asterisk("pbx", tmp_path / "asterisk", *at, "holdfast", "a word", endpoint="media_encryption=sdes")

    async def story() -> None:
        async with connected(site) as page:
            await page.calls("2600")
            await hears_itself(page, site)
            await asyncio.to_thread(main_dies, site)
            await hears_itself(page, site)
            await page.changes("sendonly")
            await page.changes("sendrecv")
            await hears_itself(page, site)
            await page.hangs_up()
            await is_over(site)
            await asyncio.to_thread(until, lambda: peer.channels == 0, 5, "a channel is left over in Asterisk")

    try:
        asyncio.run(story())
        assert not peer.complaints()
    finally:
        peer.stop()
