"""What the programs of a site have in common."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from examples.demo_processes import Processes, free_net
from heartbeat.console.client import Client
from heartbeat.console.errors import ConsoleError, RefusedByProcess
from heartbeat.console.in_thread import InThread
from heartbeat.program import Api, clashes
from heartbeat.site.load import load
from heartbeat.site.model import Site
from heartbeat.site.values import Api as Address
from heartbeat.site.values import Secret


def test_work_in_a_thread_is_done_once_at_a_time_and_once_more_when_asked_meanwhile() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    threads, results = list[str](), list[int]()

    def work() -> int:
        threads.append(threading.current_thread().name)
        begun.release()
        go_on.acquire()
        return len(threads)

    async def run() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        reading = InThread(loop, work, lambda result: (results.append(result), done.set()))
        reading.ask()
        await loop.run_in_executor(None, begun.acquire)
        reading.ask()
        reading.ask()
        go_on.release()
        await loop.run_in_executor(None, begun.acquire)
        assert results == [], "what was read meanwhile may be old"
        go_on.release()
        await done.wait()

    asyncio.run(run())
    assert results == [2] and threading.main_thread().name not in threads


def site(tmp_path: Path, name: str, state: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("KEY", "0123456789abcdef")
    path = tmp_path / f"{name}-{state}.toml"
    path.write_text(
        f'[site]\nname = "{name}"\nkey = {{ env = "KEY" }}\n[servers.m1]\nsip = "udp:127.0.0.1:5060"\n'
        f'state = "{tmp_path}/{state}"\n'
    )
    return load(path, "m1")


def test_nodes_of_different_sites_with_a_state_each_fit_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paris, lyon = (site(tmp_path, name, name, monkeypatch) for name in ("paris", "lyon"))
    assert clashes([(paris, "m1"), (lyon, "m1")]) == []


def test_sites_that_clash_are_told_apart_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paris, again = (site(tmp_path, "paris", state, monkeypatch) for state in ("a", "b"))
    lyon = site(tmp_path, "lyon", "a", monkeypatch)
    assert clashes([(paris, "m1"), (again, "m1")]) == [
        f"{paris.path} and {again.path} are both of the site paris: name each site once"
    ]
    assert clashes([(paris, "m1"), (lyon, "m1")]) == [
        f"the sites paris and lyon both keep their state in {tmp_path}/a/m1: give each its own"
    ]


def test_the_api_is_loaded_when_somebody_asks_first(tmp_path):
    """What draws and answers is not loaded at a start; who asks meanwhile waits for it."""
    at = Address(path=str(tmp_path / "gw1.sock"))
    said = []

    class Served:
        def __init__(self, at):
            self.at = at

        async def close(self):
            self.at.close()
            said.append("closed")

    async def serve(process, at, clock):
        said.append(process)
        return Served(at)

    async def story():
        loop = asyncio.get_running_loop()
        nobody_asks = Api("unasked", serve, at, None, loop)
        await nobody_asks.close()
        assert not Path(at.path).exists() and not said
        api = Api("asked", serve, at, None, loop)
        _, writer = await asyncio.open_unix_connection(at.path)
        while not said:
            await asyncio.sleep(0)
        writer.close()
        await api.close()

    asyncio.run(story())
    assert said == ["asked", "closed"]


def test_an_api_that_cannot_be_loaded_does_not_end_the_program(tmp_path, caplog):
    async def serve(process, socket, clock):
        raise ImportError("no such part")

    async def story():
        at = Address(path=str(tmp_path / "gw1.sock"))
        api = Api("asked", serve, at, None, asyncio.get_running_loop())
        reader, writer = await asyncio.open_unix_connection(at.path)
        with pytest.raises(ConnectionResetError):  # who asked hears that nobody is there
            await reader.read()
        writer.close()
        await api.close()

    asyncio.run(story())
    assert "the API cannot be offered" in caplog.text


@pytest.mark.interop
def test_a_token_of_the_api_that_is_known_to_strangers_is_worth_nothing_after_a_reload(tmp_path: Path) -> None:
    net = free_net()

    def answers(client: Client) -> bool:
        try:
            return bool(client.view("status"))
        except ConsoleError:
            return False

    for name, secret in (("key", "sixteen bytes and more"), ("api", "known")):
        place = tmp_path / "secrets" / name
        place.parent.mkdir(exist_ok=True)
        place.touch(0o600)
        place.write_text(secret)
    site = tmp_path / "site.toml"
    site.write_text(
        f'[site]\nname = "paris"\nkey = {{ secret = "key" }}\n[servers.m1]\nsip = "udp:{net}1:5060"\n'
        f'api = "tcp:{net}1:8080"\napi_token = {{ secret = "api" }}\nstate = "state"\n'
    )
    with Processes(tmp_path) as processes:
        processes.command(["b2bua.cli", "init", "--site", str(site)])
        processes.server(site, "m1")
        known, new = (
            Client("m1", Address(host=f"{net}1", port=8080), Secret("", token)) for token in (b"known", b"new")
        )
        processes.until(lambda: answers(known), 10, "m1 comes up")
        (tmp_path / "secrets" / "api").write_text("new")
        known.command("reload", {})
        processes.until(lambda: answers(new), 10, "the new token counts")
        with pytest.raises(RefusedByProcess, match="wants its bearer token"):
            known.view("status")
