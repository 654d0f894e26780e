"""A page, and a telephone (baresip) or a PBX (Asterisk) that takes SRTP with keys by SDES alone. The page hears its
own tone come back through the WebRTC gateway and the relay, whatever dies of the site meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop import baresip_scenes
from tests.interop.baresip_scenes import Baresip
from tests.interop.browser import Browser
from tests.interop.played import WORDS
from tests.interop.programs import Site, until
from tests.interop.test_browsers import main_dies
from tests.interop.test_webrtc import (
    a_page_hears_asterisk,
    a_page_is_called,
    begun,
    connected,
    gateway_dies,
    gateways_agent_dies,
    hears_itself,
    is_over,
    pages_agent_dies,
    ready,
    sessions,
)

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
    yield from begun(tmp_path, monkeypatch, PHONE + PBX, phone=WORDS["phone"])


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
    """The gateway is that of the page's agent, the relay that of the telephone's."""
    a_page_is_called(site, phone.dials, blow)


def test_a_page_holds_asterisk_with_sdes_after_the_main_died(site: Site, tmp_path: Path) -> None:
    async def holds(page: Browser) -> None:
        await page.changes("sendonly")
        await page.changes("sendrecv")

    a_page_hears_asterisk(site, tmp_path, holds, "media_encryption=sdes")
