"""A whole program: its loop, its limits, its signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

PROGRAM = """
import asyncio, sys
from sip.io.loop import run
from sip.io.pump import Pump, obey_signals
from tests.sip.test_pump import Echo

async def main():
    def stop():
        print("stopping", flush=True)
        asyncio.get_running_loop().call_soon(pump.stop)
    pump = Pump(Echo(), ["udp:127.0.0.1:0"], asyncio.get_running_loop(),
                on_reload=lambda: print("reload", flush=True), on_stop=stop)
    up = f"up, turns of {sys.getswitchinterval() * 1e3:.1f} ms"
    asyncio.get_running_loop().call_later(0.01, lambda: print(up, flush=True))
    with obey_signals(asyncio.get_running_loop(), [pump]):
        await pump.run()
    print("stopped")

run(main())
"""


def test_a_program_obeys_signals_and_its_threads_make_room_for_its_loop() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up, turns of 0.5 ms\n"
        os.kill(process.pid, signal.SIGHUP)
        assert process.stdout.readline() == "reload\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "stopping\nstopped\n"
        assert process.wait(10) == 0
