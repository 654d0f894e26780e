"""What the programs of a site have in common."""

from __future__ import annotations

import asyncio
import threading

from heartbeat.program import InThread


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
