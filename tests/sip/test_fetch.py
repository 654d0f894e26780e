"""Files of web servers that strangers name: only public ones, bounded, and never by way of us into a network."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sip.io.fetch import LARGEST, Fetcher, ipaddress_of, is_public
from sip.io.tls import for_the_web
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_what_is_public(host: str, public: bool) -> None:
    assert is_public(host) is public


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://127.0.0.1/x", "127.0.0.1"),
        ("https://127.1/x", "127.0.0.1"),
        ("https://0x7f000001/x", "127.0.0.1"),
        ("https://2130706433/x", "127.0.0.1"),
        ("https://[::1]/x", "::1"),
        ("https://example.com/x", None),
    ],
)
def test_numbers_are_seen_in_any_spelling(url: str, host: str | None) -> None:
    assert ipaddress_of(url) == host


async def got(fetcher: Fetcher, url: str) -> bytes | str:
    future: asyncio.Future[bytes | str] = asyncio.get_running_loop().create_future()
    fetcher.fetch(url, future.set_result)
    return await asyncio.wait_for(future, 20.0)


def serving(
    tmp_path: Path, test: Callable[[Fetcher, str, list[str]], Awaitable[None]], anywhere: bool = True
) -> None:
    """A web server on loopback, with TLS."""
    authority = Authority(tmp_path)
    files = authority.issue("web", ["localhost"], addresses=["127.0.0.1"])
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        if request.path == "/moved":
            raise web.HTTPFound("/good")
        if request.path == "/none":
            raise web.HTTPNotFound
        return web.Response(body=b"x" * (LARGEST + 1) if request.path == "/large" else b"a certificate")

    async def main() -> None:
        here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here.load_cert_chain(files.certificate, files.key)
        app = web.Application()
        app.router.add_get("/{path}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await web.SockSite(runner, sock, ssl_context=here).start()
        context = for_the_web(authority.path)
        fetcher = Fetcher((lambda host: True) if anywhere else is_public, context)
        try:
            await test(fetcher, f"https://localhost:{sock.getsockname()[1]}", seen)
        finally:
            await fetcher.close()
            await runner.cleanup()

    asyncio.run(main())


def test_a_file_is_fetched_and_what_is_none_is_said(tmp_path: Path) -> None:
    async def test(fetcher: Fetcher, place: str, seen: list[str]) -> None:
        assert await got(fetcher, f"{place}/good") == b"a certificate"
        for path, said in (("/moved", "answered 302"), ("/none", "answered 404"), ("/large", "has more than")):
            assert said in str(await got(fetcher, place + path))
        assert seen == ["/good", "/moved", "/none", "/large"]

    serving(tmp_path, test)


def test_nobody_is_reached_by_way_of_us_whom_he_could_not_reach_himself(tmp_path: Path) -> None:
    async def test(fetcher: Fetcher, place: str, seen: list[str]) -> None:
        assert "no public address" in str(await got(fetcher, f"{place}/good"))
        for host in ("127.0.0.1", "127.1", "[::1]"):
            said = await got(fetcher, f"{place}/good".replace("localhost", host))
            assert "not public" in str(said)
        assert seen == []

    serving(tmp_path, test, anywhere=False)


def test_a_server_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    async def test(fetcher: Fetcher, place: str, seen: list[str]) -> None:
        stranger = Fetcher(lambda host: True)
        assert isinstance(await got(stranger, f"{place}/good"), str)
        await stranger.close()
        assert seen == []

    serving(tmp_path, test)
