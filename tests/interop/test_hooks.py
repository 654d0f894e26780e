"""Hooks of real servers: the active one is killed, and the one that takes over says so, signed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from heartbeat.console.hooks import signature
from tests.heartbeat.test_console_hooks import Receiver
from tests.interop.programs import Site, network, until
from tests.interop.test_trace import LINES

pytestmark = pytest.mark.interop


def test_a_takeover_and_what_is_wrong_after_it_are_told(tmp_path: Path) -> None:
    net, receiver = network(), Receiver(503)
    lines = LINES.replace('[trace]\ncollector = "udp:{net}99:9060"\n', "").format(net=net)
    lines += f'[hooks]\nurl = "{receiver.url}"\nkey = {{ file = "hooks.secret" }}\n'
    site = Site(tmp_path, net, lines, passwords={"hooks": "signs hooks"})

    def told() -> set[tuple[str, str, str]]:
        return {(each["event"], each["code"], each["node"]) for each in receiver.wait(0)}

    try:
        site.start(120.0)
        site["m1"].kill()
        until(lambda: ("takeover", "takeover", "m2") in told(), 60, lambda: f"{told()}\n{site.words()}")
        until(lambda: any(node == "m2" and event == "alert" for event, _, node in told()), 60, "m1 is not missed")
        gone = {code for event, code, node in told() if node == "m2" and event == "alert"}
        site["m1"].start()
        until(lambda: {code for event, code, _ in told() if event == "alert-over"} >= gone, 60, "it is not over")
        for headers, body in receiver.got:
            at = headers["X-Holdfast-Time"]
            assert headers["X-Holdfast-Signature"] == signature(b"signs hooks", at, body)
            assert abs(time.time() - int(at)) < 600
        assert not site.bugs()
    finally:
        site.stop()
        receiver.close()
