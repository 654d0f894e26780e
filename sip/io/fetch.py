"""Fetching files from URLs that strangers give: certificates of STIR (RFC 8224 section 7.1).

A URL must not make us connect to hosts that the sender cannot reach himself (SSRF): no redirects, and public
addresses only, checked when the connection is made, so that the name cannot change in between (DNS rebinding). Size
and time are limited.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from sip.io.tls import for_the_web

LARGEST: Final = 65_536
"""Bytes of a file."""
LONGEST: Final = 5.0
"""Seconds for the whole request."""
MOST_AT_ONCE: Final = 16


def is_public(host: str) -> bool:
    """Whether a numeric address is global unicast."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global and not address.is_multicast


class _PublicOnly(AbstractResolver):
    """Resolves names to those of their addresses that are allowed."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [one for one in found if self._allowed(one["host"])]
        if not allowed:
            raise OSError(None, f"{host} has no public address")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class Fetcher:
    """Fetches files; one for each process. Its HTTP session is opened with the first request."""

    def __init__(self, allowed: Callable[[str], bool] = is_public, context: ssl.SSLContext | None = None) -> None:
        self._allowed = allowed
        self._context = context
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch(self, url: str, then: Callable[[bytes | str], Any]) -> None:
        """Fetch ``url``; ``then`` is called with its bytes, or with a sentence that says why there are none."""
        task = asyncio.get_running_loop().create_task(self._go(url, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all requests and close the session."""
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _go(self, url: str, then: Callable[[bytes | str], Any]) -> None:
        try:
            async with asyncio.timeout(LONGEST):
                found: bytes | str = await self._get(url)
        except TimeoutError:
            found = f"{url} did not answer in {LONGEST:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            found = f"{url}: {str(error)[:200] or type(error).__name__}"
        then(found)

    async def _get(self, url: str) -> bytes | str:
        session = self._opened()
        host = ipaddress_of(url)
        if host is not None and not self._allowed(host):  # a numeric host does not reach the resolver
            return f"{url} is at an address that is not public"
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                return f"{url} answered {answer.status}"
            data = await answer.content.read(LARGEST + 1)
            while len(data) <= LARGEST and not answer.content.at_eof():
                data += await answer.content.read(LARGEST + 1 - len(data))
            return data if len(data) <= LARGEST else f"{url} has more than {LARGEST} bytes"

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = self._context or for_the_web()
            connector = aiohttp.TCPConnector(
                limit=MOST_AT_ONCE, ssl=context, resolver=_PublicOnly(self._allowed), use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def ipaddress_of(url: str) -> str | None:
    """The host of a URL if it is a numeric address in any spelling that the system accepts; else None."""
    host = urlsplit(url).hostname or ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 0x7f000001
    except (OSError, ValueError):
        return None
