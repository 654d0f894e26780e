"""The resolver against a DNS server of our own on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from sip.io.dns import Resolver
from sip.location import Place
from tests.sip.loops import FACTORIES, plain, run, until

pytestmark = pytest.mark.parametrize("factory", FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]


class DnsServer:
    """Answers from a zone of lines, and can fall silent or fail."""

    def __init__(self, *lines: str) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.ttl = 100
        self.mode = "answer"
        self.mute: set[str] = set()
        """Kinds of questions that are not answered: there are routers that know A and nothing else."""
        self.asked: list[tuple[str, str]] = []
        for line in lines:
            name, kind, value = line.split(" ", 2)
            self.zone.setdefault((name, kind), []).append(value)
        self._sock = plain(socket.SOCK_DGRAM)
        self.address: tuple[str, int] = self._sock.getsockname()
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._answer)

    def _answer(self) -> None:
        data, source = self._sock.recvfrom(4096)
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.mode == "silent" or kind in self.mute:
            return
        response = dns.message.make_response(query)
        alias = self.zone.get((name, "CNAME"))
        if self.mode == "fail":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif alias:
            self._add(response.answer, name, "CNAME", alias)
            self._add(response.answer, alias[0].rstrip("."), kind, self.zone[alias[0].rstrip("."), kind])
        elif (name, kind) in self.zone:
            self._add(response.answer, name, kind, self.zone[name, kind])
        else:
            if not any(known == name for known, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            self._add(response.authority, "test", "SOA", ["ns.test. root.test. 1 3600 600 86400 30"])
        self._sock.sendto(response.to_wire(), source)

    def _add(self, section: list[dns.rrset.RRset], name: str, kind: str, values: list[str]) -> None:
        section.append(dns.rrset.from_text_list(name + ".", self.ttl, "IN", kind, values))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()


class Setting:
    """A server, a resolver and a clock to turn."""

    def __init__(self, *lines: str, **options: Any) -> None:
        self.now = 1000.0
        self.dns = DnsServer(*lines)
        options.setdefault("hosts", Path("/dev/null"))
        self.resolver = Resolver(Random(1), nameserver=self.dns.address, clock=lambda: self.now, **options)

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_: object) -> None:
        self.resolver.close()
        self.dns.close()

    def look(self, uri: str) -> list[Place] | str | None:
        return self.resolver.look(uri, self.now)


ZONE = (
    'example.test NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.example.test.',
    'example.test NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.example.test.',
    "_sip._udp.example.test SRV 1 10 5070 a.test.",
    "_sip._udp.example.test SRV 2 10 5071 b.test.",
    "_sip._tcp.example.test SRV 1 10 5072 alias.test.",
    "_sip._udp.off.test SRV 0 0 0 .",
    "a.test A 127.0.0.2",
    "a.test AAAA ::1",
    "b.test A 127.0.0.3",
    "alias.test CNAME a.test.",
)


def test_a_domain_with_everything(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE) as s:
            assert s.look("sip:bob@example.test") is None
            found = await s.resolver.resolve("sip:bob@example.test")
            assert found == [
                Place("udp", "127.0.0.2", 5070),
                Place("udp", "::1", 5070),
                Place("udp", "127.0.0.3", 5071),
                Place("tcp", "127.0.0.2", 5072),
                Place("tcp", "::1", 5072),
            ]
            asked = len(s.dns.asked)
            assert s.look("sip:alice@example.test") == found
            assert await s.resolver.resolve("sip:carol@EXAMPLE.test") == found
            assert len(s.dns.asked) == asked

    run(factory, main())


def test_what_needs_no_dns(factory: Factory) -> None:
    async def main() -> None:
        with Setting() as s:
            assert s.look("sip:127.0.0.1:5070;transport=tcp") == [Place("tcp", "127.0.0.1", 5070)]
            assert s.look("nonsense") == []
            assert await s.resolver.resolve("sip:@@") == []
            assert s.dns.asked == []

    run(factory, main())


def test_nothing_there(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE) as s:
            assert await s.resolver.resolve("sip:nowhere.test") == []
            assert await s.resolver.resolve("sip:off.test") == []
            asked = len(s.dns.asked)
            assert s.look("sip:nowhere.test") == []
            s.now += 29.0  # the SOA's minimum is 30
            assert s.look("sip:nowhere.test") == []
            s.now += 12.0
            assert s.look("sip:nowhere.test") is None
            assert len(s.dns.asked) == asked

    run(factory, main())


def test_the_same_question_is_asked_once(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE) as s:
            uri = "sip:a.test:5060"
            answers = await asyncio.gather(*(s.resolver.resolve(uri) for _ in range(20)))
            assert answers == [[Place("udp", "127.0.0.2", 5060), Place("udp", "::1", 5060)]] * 20
            assert len(s.dns.asked) == 2

    run(factory, main())


def test_refreshed_ahead_of_need(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE, families=("A",)) as s:
            uri = "sip:b.test:5060"
            await s.resolver.resolve(uri)
            s.dns.zone["b.test", "A"] = ["127.0.0.4"]
            s.now += 79.0
            s.resolver.refresh(s.now)
            assert s.look(uri) == [Place("udp", "127.0.0.3", 5060)]
            s.now += 1.0
            s.resolver.refresh(s.now)
            assert s.look(uri) == [Place("udp", "127.0.0.3", 5060)]  # while it is under way
            await until(lambda: s.look(uri) == [Place("udp", "127.0.0.4", 5060)])

    run(factory, main())


@pytest.mark.parametrize("mode", ["silent", "fail"])
def test_dns_that_is_down_costs_nothing_known(factory: Factory, mode: str) -> None:
    async def main() -> None:
        with Setting(*ZONE, timeout_s=0.2) as s:
            uri = "sip:b.test:5060"
            known = await s.resolver.resolve(uri)
            s.dns.mode = mode
            asked = len(s.dns.asked)
            for _ in range(5):
                s.now += 60.0
                s.resolver.refresh(s.now)
                await until(lambda: not s.resolver._asking)
                assert s.look(uri) == known
            assert len(s.dns.asked) > asked
            why = await s.resolver.resolve("sip:a.test:5060")  # unknown, and nobody to ask
            assert isinstance(why, str) and why.startswith("A of a.test: ")
            assert s.look("sip:a.test:5060") == why
            s.dns.mode = "answer"
            s.now += 60.0
            assert len(await s.resolver.resolve("sip:a.test:5060")) == 2

    run(factory, main())


def test_kinds_that_dns_never_answers_delay_nothing_that_is_known(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE, families=("A",), timeout_s=0.1) as s:
            s.dns.mute = {"NAPTR", "SRV"}
            known = await s.resolver.resolve("sip:b.test")
            assert known == [Place("udp", "127.0.0.3", 5060)]
            for _ in range(180):
                s.now += 1.0
                s.resolver.refresh(s.now)
                assert s.look("sip:b.test") == known
                await until(lambda: not s.resolver._asking)
            s.dns.mute.clear()
            s.dns.zone["_sip._udp.b.test", "SRV"] = ["1 10 5071 a.test."]
            s.now += 60.0
            s.resolver.refresh(s.now)
            await until(lambda: not s.resolver._asking)
            assert await s.resolver.resolve("sip:b.test") == [Place("udp", "127.0.0.2", 5071)]

    run(factory, main())


def test_what_is_in_use_is_refreshed_by_itself(factory: Factory) -> None:
    async def main() -> None:
        with Setting(*ZONE, families=("A",)) as s:
            uri = "sip:b.test:5060"
            await s.resolver.resolve(uri)
            s.now += 81.0
            s.dns.zone["b.test", "A"] = ["127.0.0.4"]
            s.resolver.start()
            await until(lambda: s.look(uri) == [Place("udp", "127.0.0.4", 5060)])

    run(factory, main())


def test_this_machines_own_names(factory: Factory, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.7  pbx.local pbx # ours\n::7 pbx\nnonsense\n\n")

    async def main() -> None:
        with Setting(hosts=hosts) as s:
            assert await s.resolver.resolve("sip:pbx:5060") == [
                Place("udp", "127.0.0.7", 5060),
                Place("udp", "::7", 5060),
            ]
            assert s.dns.asked == []

    run(factory, main())


def test_without_any_server(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", nothing)

    async def main() -> None:
        resolver = Resolver(Random(1), hosts=Path("/dev/null"))
        assert isinstance(await resolver.resolve("sip:example.test"), str)
        assert resolver.look("sip:127.0.0.1", 0.0) == [Place("udp", "127.0.0.1", 5060)]
        resolver.close()

    run(factory, main())
