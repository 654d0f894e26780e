"""A STUN and TURN server that is coturn: media of browsers by way of it, and legs of the gateway while it is away."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiortc import RTCIceServer

from gateway_agent.webrtc.legs import WebrtcLegs
from tests.gateway_agent.test_webrtc_process import HOST, PAGE, SETTINGS, Call, gateway, until
from tests.interop.browser import stay_at
from tests.interop.unpacked import unpacked

pytestmark = pytest.mark.interop

SERVER = "127.0.57.9"
NOBODY = "127.0.57.8:3478"
PASSWORD = "a word for turn"
RELAYED = replace(SETTINGS, turn=f"{SERVER}:3478", turn_user="holdfast", turn_password=PASSWORD)


class Coturn:
    """On loopback; what it says of a session is there when that is over."""

    def __init__(self, directory: Path) -> None:
        tree = unpacked("coturn")
        if tree.because:
            pytest.skip(tree.because)
        self.log = directory / "coturn.log"
        (directory / "coturn.conf").write_text(
            f"listening-ip={SERVER}\nrelay-ip={SERVER}\nallow-loopback-peers\nno-tls\nno-dtls\nno-cli\n"
            f"realm=interop.test\nlt-cred-mech\nuser=holdfast:{PASSWORD}\nmin-port=52000\nmax-port=52999\n"
            f"userdb={directory}/coturn.db\npidfile={directory}/coturn.pid\nlog-file=stdout\nverbose\n"
        )
        with self.log.open("wb") as file:
            command = [tree.program("turnserver"), "-c", directory / "coturn.conf"]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=tree.environment, cwd=directory)

    def packets(self) -> int:
        """What sessions that are over have relayed from their peers."""
        return sum(map(int, re.findall(r"peer usage:.*? rp=(\d+)", self.log.read_text(errors="replace"))))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def coturn(tmp_path: Path) -> Iterator[Coturn]:
    found = Coturn(tmp_path)
    try:
        yield found
    finally:
        found.stop()


def relayed_alone(description: str) -> str:
    """As of who can be reached by way of a TURN server and by no other."""
    kept = [line for line in description.splitlines() if not line.startswith("a=candidate:") or "typ relay" in line]
    assert any("typ relay" in line for line in kept), description
    return "\r\n".join([*kept, ""])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_two_who_reach_each_other_by_turn_alone_hear_each_other(
    tmp_path: Path, coturn: Coturn, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_at([PAGE], monkeypatch)

    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock", settings=replace(RELAYED, turn_transport=transport)) as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            call = Call(legs, process.flush, seen=relayed_alone)
            call.page.servers = [RTCIceServer(f"turn:{SERVER}:3478?transport={transport}", "holdfast", PASSWORD)]
            await call.begins()
            await call.hear_each_other()
            await call.closes()
            call.anchor.release()
            process.flush()
            await until(lambda: coturn.packets() > 50, coturn.log.read_text)

    asyncio.run(story())


def test_a_page_learns_what_a_stun_server_says(
    tmp_path: Path, coturn: Coturn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_at([PAGE], monkeypatch)

    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock", settings=replace(SETTINGS, stun=f"{SERVER}:3478")) as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            call = Call(legs, process.flush)
            await call.begins()
            leg = call.anchor._leg
            assert leg is not None and any("typ srflx" in one for one in leg.candidates), leg
            await call.hear_each_other()
            await call.closes()

    asyncio.run(story())


@pytest.mark.parametrize("which", ["stun", "turn"])
def test_as_many_legs_are_ready_while_the_server_is_away(tmp_path: Path, which: str) -> None:
    """Each waits for it, and none for the other."""
    settings = replace(SETTINGS, ahead=6, sessions=6, **{which: NOBODY}, turn_user="holdfast", turn_password=PASSWORD)

    async def story() -> None:
        async with gateway(tmp_path / "webrtc.sock", settings=settings) as process:
            legs: WebrtcLegs = process.legs  # type: ignore[attr-defined]
            await until(lambda: legs.in_stock(HOST) >= 6)

    asyncio.run(story())
