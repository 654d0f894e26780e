"""What an operator asks of the other server: passed on by the API of the near one, answered there like by its own."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heartbeat.console import passed_on, server
from heartbeat.console.answers import Answers
from heartbeat.console.api_socket import ApiSocket
from heartbeat.console.client import FETCHING, Client
from heartbeat.console.commands import node_client, server_client
from heartbeat.console.contract import Later, Refused
from heartbeat.console.errors import RefusedByProcess, Unreachable
from heartbeat.console.other_nodes import OtherNodes
from heartbeat.console.passed_on import PassedOn
from heartbeat.console_exchange import ConsoleAnswered, ConsoleAsked
from heartbeat.site.values import Api, Secret

PAGES, ORDERS = frozenset({"status", "cdrs", "bug", "long"}), frozenset({"pause", "audit"})


class Process:
    """One whose pages and orders say who they are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ordered: list[tuple[str, dict[str, str]]] = []

    def view(self, name: str, params: Mapping[str, str], now: float) -> Any:
        if name == "bug":
            raise RuntimeError("a bug")
        if name == "long":
            return {"text": "x" * 1000}
        if name == "cdrs":
            return Later(lambda: {"node": self.name, "cdrs": dict(params)})
        return {"node": self.name, "at": now}

    def command(self, name: str, params: Mapping[str, str], now: float) -> Any:
        self.ordered.append((name, dict(params)))
        if "wrong" in params:
            raise Refused("not in this state")
        return {"state": "done"}


class Pump:
    """Does at once what an exchange wants."""

    def __init__(self) -> None:
        self.others: dict[type, Callable[[Any], None]] = {}

    def ask(self, verb: Callable[..., Any], *args: Any) -> Any:
        return verb(*args, 0.0)


class Pair:
    """Two servers; what one asks is at the other one at once."""

    def __init__(self) -> None:
        self.processes = {name: Process(name) for name in ("m1", "m2")}
        self.audited: list[tuple[Any, ...]] = []
        self.pumps = {name: Pump() for name in self.processes}
        self.servers = {name: self._server(name) for name in self.processes}
        self.fault = ""
        self.garbled: bytes | None = None

    def _server(self, name: str) -> OtherNodes:
        process = self.processes[name]
        answers = Answers(process, lambda: 100.0, lambda: lambda *noted: self.audited.append((name, *noted)))
        exchange: Any = SimpleNamespace(ask=lambda *asked: self._ask(name, *asked), serve=self._serve)
        pump: Any = self.pumps[name]
        PassedOn(name, exchange, pump, answers, PAGES, ORDERS)
        return OtherNodes(name, lambda: self.processes, exchange, pump)

    def _ask(self, by: str, node: str, question: bytes, now: float) -> int:
        if self.fault:
            self.pumps[by].others[ConsoleAnswered](ConsoleAnswered(1, b"", self.fault))
        else:
            self.pumps[node].others[ConsoleAsked](ConsoleAsked(by, 1, question))
        return 1

    def _serve(self, node: str, number: int, answer: bytes, now: float) -> None:
        told = answer if self.garbled is None else self.garbled
        self.pumps[node].others[ConsoleAnswered](ConsoleAnswered(number, told, ""))

    def apply(self, talk: Callable[[Path, Client], Awaitable[None]], tmp_path: Path) -> None:
        """Talk to m1's API, as who wants m2."""

        async def run() -> None:
            path = tmp_path / "m1.sock"
            at = ApiSocket(Api(path=str(path)), None)
            served = await server.serve(
                self.processes["m1"], PAGES, ORDERS, at, lambda: 100.0, str, others=self.servers["m1"]
            )
            try:
                await talk(path, Client("m2", Api(path=str(path)), through="m1"))
            finally:
                await served.close()

        asyncio.run(run())


def test_pages_and_orders_are_those_of_the_other_server(tmp_path: Path) -> None:
    pair = Pair()

    async def talk(path: Path, m2: Client) -> None:
        page = await asyncio.to_thread(m2.view, "status")
        assert page["node"] == "m2" and page["at"] > 1e9, "its instants are on the wall clock"
        assert await asyncio.to_thread(m2.view, "cdrs", limit="7") == {"node": "m2", "cdrs": {"limit": "7"}}
        assert (await asyncio.to_thread(Client("m1", Api(path=str(path))).view, "status"))["node"] == "m1"
        assert (await asyncio.to_thread(replace(m2, name="m1").view, "status"))["node"] == "m1"
        assert await asyncio.to_thread(m2._ask, "POST", "/v1/pause", b'{"why": "work"}') == {"state": "done"}

    pair.apply(talk, tmp_path)
    assert pair.processes["m2"].ordered == [("pause", {"why": "work"})]
    assert not pair.processes["m1"].ordered
    [(node, user, host, *rest)] = pair.audited
    assert (node, host, rest) == ("m2", "by m1", ["pause", {"why": "work"}, "done", ""])
    assert user.endswith("by socket")


@pytest.mark.parametrize(
    "method, target, body, status, said",
    [
        ("GET", "/v1/bug", None, 500, "m2 failed to answer; its log says why."),
        ("GET", "/v1/cdrs?limit=0", None, 400, "limit is a number from 1 to 2000, not '0'."),
        ("POST", "/v1/pause", b'{"wrong": "x"}', 409, "not in this state"),
    ],
)
def test_what_it_refuses_is_refused_here(
    tmp_path: Path, method: str, target: str, body: bytes | None, status: int, said: str
) -> None:
    async def talk(path: Path, m2: Client) -> None:
        with pytest.raises(RefusedByProcess) as refused:
            await asyncio.to_thread(m2._ask, method, target, body)
        assert (refused.value.status, refused.value.sentence) == (status, f"m2: {said}")

    Pair().apply(talk, tmp_path)


def test_a_server_that_does_not_answer_is_one_that_cannot_be_reached(tmp_path: Path) -> None:
    pair = Pair()
    pair.fault = "m2 does not answer what m1 passes on"

    async def talk(path: Path, m2: Client) -> None:
        with pytest.raises(Unreachable, match=r"^m1: m2 does not answer what m1 passes on\.$"):
            await asyncio.to_thread(m2.view, "status")
        with pytest.raises(RefusedByProcess, match="The site has no node 'm3'; it has m1, m2"):
            await asyncio.to_thread(replace(m2, name="m3").view, "status")

    pair.apply(talk, tmp_path)


@pytest.mark.parametrize(
    "told",
    [b"", b"x", zlib.compress(b"{}"), zlib.compress(b"[" * 100_000), zlib.compress(b'{"status": "no", "body": 1}'),
     zlib.compress(b'{"status": 200, "body": 1}')[:-4]],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, told: bytes) -> None:
    pair = Pair()
    pair.garbled = told

    async def talk(path: Path, m2: Client) -> None:
        with pytest.raises(Unreachable, match=r"^m1: What m2 answered cannot be read: ."):
            await asyncio.to_thread(m2.view, "status")

    pair.apply(talk, tmp_path)


def test_of_an_order_without_an_answer_is_said_that_it_may_be_done(tmp_path: Path) -> None:
    pair = Pair()
    pair.fault = "m2 does not answer what m1 passes on"

    async def talk(path: Path, m2: Client) -> None:
        with pytest.raises(Unreachable, match=r"passes on\. The order may have been carried out: look before"):
            await asyncio.to_thread(m2._ask, "POST", "/v1/pause", b"{}")

    pair.apply(talk, tmp_path)


def test_an_answer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passed_on, "MOST_ANSWER", 20)

    async def talk(path: Path, m2: Client) -> None:
        with pytest.raises(RefusedByProcess, match="The answer of m2 is too long to be passed on"):
            await asyncio.to_thread(m2.view, "long")

    Pair().apply(talk, tmp_path)


def test_what_comes_when_nobody_waits_any_more_is_no_answer_to_the_next_question(tmp_path: Path) -> None:
    pair = Pair()
    pair.pumps["m1"].others[ConsoleAnswered](ConsoleAnswered(0, b"", "m2 was started anew meanwhile"))

    async def talk(path: Path, m2: Client) -> None:
        assert (await asyncio.to_thread(m2.view, "status"))["node"] == "m2"

    pair.apply(talk, tmp_path)


def bomb() -> bytes:
    return zlib.compress(b'{"method": "' + b" " * (65 * 1024 * 1024) + b'"}')


@pytest.mark.parametrize(
    "question, status",
    [
        (b"no zlib", 400),
        (zlib.compress(b"no json"), 400),
        (zlib.compress(b"[" * 100_000), 400),
        (zlib.compress(b'{"method": "GET", "name": "status", "params": {"limit": 5}, "user": "x"}'), 400),
        (zlib.compress(b'{"method": "GET", "name": "status", "params": [], "user": "x"}'), 400),
        (zlib.compress(b'{"method": "GET", "name": "pause", "params": {}, "user": "x"}'), 404),
        (zlib.compress(b'{"method": "POST", "name": "status", "params": {}, "user": "x"}'), 404),
        (zlib.compress(b'{"method": "POST", "name": "provision", "params": {}, "user": "x"}'), 404),
        (bomb(), 400),
    ],
    ids=["packed", "json", "depth", "numbers", "list", "order asked", "page ordered", "provision", "bomb"],
)
def test_what_another_server_may_not_pass_on_is_refused(question: bytes, status: int) -> None:
    pair = Pair()
    told: list[bytes] = []

    async def run() -> None:
        pair.pumps["m1"].others[ConsoleAnswered] = lambda answer: told.append(answer.answer)
        pair.pumps["m2"].others[ConsoleAsked](ConsoleAsked("m1", 9, question))
        while not told:
            await asyncio.sleep(0)

    asyncio.run(run())
    assert json.loads(zlib.decompress(told[0]))["status"] == status
    assert pair.processes["m2"].ordered == []


def test_a_process_that_knows_no_other_one_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "gw1.sock"
        served = await server.serve(
            Process("gw1"), PAGES, ORDERS, ApiSocket(Api(path=str(path)), None), lambda: 1.0, str
        )
        try:
            with pytest.raises(RefusedByProcess, match="This process passes nothing on"):
                await asyncio.to_thread(Client("m2", Api(path=str(path)), through="gw1").view, "status")
        finally:
            await served.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["gw1", "m2"])
def test_a_server_of_an_older_version_asks_no_agents(tmp_path: Path, name: str) -> None:
    """It says so as of any node that it does not know."""
    pair = Pair()

    def former(node: str) -> bool:
        if node not in pair.processes:
            raise Refused(f"The site has no server {node!r}; it has m1, m2.", 404)
        return node == "m1"

    pair.servers["m1"].is_here = former  # type: ignore[method-assign]

    async def talk(path: Path, m2: Client) -> None:
        one = replace(m2, name=name)
        if name == "m2":
            assert (await asyncio.to_thread(one.view, "status"))["node"] == "m2"
            return
        for method in ("GET", "POST"):
            with pytest.raises(Unreachable) as unreachable:
                await asyncio.to_thread(one._ask, method, "/v1/status" if method == "GET" else "/v1/pause", b"{}")
            said = "m1 is of an older version, which asks no agents: ask gw1 on its machine."
            assert unreachable.value.sentence == said

    pair.apply(talk, tmp_path)


@pytest.mark.parametrize("verb", ["status", "pause"])
@pytest.mark.parametrize("why", ["not there", "no answer"])
def test_another_server_is_asked_where_the_first_one_fails(tmp_path: Path, verb: str, why: str) -> None:
    """An order goes on only where nobody can have heard it."""
    pair = Pair()
    pair.fault = "m2 is not connected to m1" if why == "no answer" else ""

    async def talk(path: Path, m2: Client) -> None:
        gone = Client("m2", Api(path=str(tmp_path / "gone.sock")), through="m0")
        first, second = (gone, m2) if why == "not there" else (m2, replace(gone, through="m9"))
        one = replace(first, instead=(second,))
        method, body = ("GET", None) if verb == "status" else ("POST", b"{}")
        if why == "not there":
            assert await asyncio.to_thread(one._ask, method, f"/v1/{verb}", body)
            return
        last = "m9, by which m2 is asked, cannot be reached" if verb == "status" else "m1: m2 is not connected to m1"
        with pytest.raises(Unreachable, match=last):
            await asyncio.to_thread(one._ask, method, f"/v1/{verb}", body)

    pair.apply(talk, tmp_path)


def test_agents_of_other_machines_are_asked_by_any_server_that_is_here(tmp_path: Path) -> None:
    here, away = Api(path=str(tmp_path / "x.sock")), Api(path=str(tmp_path / "no" / "x.sock"))
    by_tcp = Api(host="127.0.0.1", port=8080)

    def asked(m1: Api, m2: Api, gw1: Api) -> Client:
        nodes = {name: SimpleNamespace(api_address=api, api_token=None) for name, api in
                 (("m1", m1), ("m2", m2), ("gw1", gw1))}  # fmt: skip
        site: Any = SimpleNamespace(name="s", servers={name: nodes[name] for name in ("m1", "m2")}, agents=nodes)
        return node_client(site, "gw1")

    gw1 = Client("gw1", here, is_agent=True)
    by_m1 = replace(gw1, through="m1", timeout=FETCHING)
    by_m2 = replace(gw1, api=by_tcp, through="m2", timeout=FETCHING)
    assert asked(here, away, here) == gw1
    assert asked(here, away, by_tcp) == replace(gw1, api=by_tcp)
    assert asked(here, away, away) == by_m1
    assert asked(away, here, away) == replace(by_m2, api=here)
    assert asked(here, by_tcp, away) == replace(by_m1, instead=(by_m2,))
    assert asked(away, away, away) == replace(gw1, api=away), "which says to ask on its machine"


def test_commands_ask_the_near_server_where_the_far_ones_socket_is_not_here(tmp_path: Path) -> None:
    here, away = Api(path=str(tmp_path / "m.sock")), Api(path=str(tmp_path / "no" / "m.sock"))
    by_tcp = Api(host="127.0.0.1", port=8080)

    def asked(m1: Api, m2: Api) -> Client:
        servers = {name: SimpleNamespace(api_address=api, api_token=token) for name, api, token in
                   (("m1", m1, Secret("env KEY", b"one")), ("m2", m2, None))}  # fmt: skip
        site: Any = SimpleNamespace(name="s", servers=servers)
        return server_client(site, "m2")

    assert asked(here, away) == Client("m2", here, Secret("env KEY", b"one"), through="m1")
    assert asked(by_tcp, away) == Client("m2", by_tcp, Secret("env KEY", b"one"), through="m1")
    assert asked(here, here) == Client("m2", here)
    assert asked(away, by_tcp) == Client("m2", by_tcp)
    assert asked(away, away) == Client("m2", away), "which says to ask on its machine"
