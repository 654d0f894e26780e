"""What the programs of a site have in common."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from heartbeat.program import InThread, clashes
from heartbeat.site.load import load
from heartbeat.site.model import Site


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
