"""Plain calls of SIPp through agent, main, agent: by UDP and TCP, with audio through the relay."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.interop.heard import logged
from tests.interop.programs import Site, network, until
from tests.interop.sipp import Sipp

pytestmark = pytest.mark.interop

LINES = """
[lines.left]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}31:5060"
channels = 100
media = "relay"
[lines.right]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}41:5060"
channels = 100
[lines.stream]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}42:5060;transport=tcp"
channels = 100
[[routes]]
match = "10*"
to = ["right"]
[[routes]]
match = "20*"
to = ["stream"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    net = network()
    site = Site(tmp_path_factory.mktemp("site"), net, LINES.format(net=net))
    try:
        site.start()
        yield site
        until(lambda: site.idle("m1", "gw1", "gw2"), 5, lambda: f"calls are left over\n{site.words()}")
        assert not site.bugs()
    finally:
        site.stop()


def both(callee: Sipp, caller: Sipp) -> None:
    """Both must end in good order."""
    try:
        caller.wait()
        callee.wait()
    finally:
        caller.stop()
        callee.stop()


@pytest.mark.parametrize(
    ("near", "far", "number"),
    [("u1", "t1", "2000"), ("t1", "u1", "1000")],
)
def test_calls_cross_between_udp_and_tcp(site: Site, tmp_path: Path, near: str, far: str, number: str) -> None:
    last = 41 if number == "1000" else 42
    callee = Sipp(tmp_path / "callee", "callee-held", f"{site.net}{last}:5060", calls=5, seconds=40, transport=far)
    caller = Sipp(
        tmp_path / "caller", "caller-held", f"{site.net}31:5060",
        remote=f"{site.net}11:5060", calls=5, rate=5, number=number, seconds=40, transport=near,
    )  # fmt: skip
    both(callee, caller)


def test_audio_flows_through_the_relay_both_ways(site: Site, tmp_path: Path) -> None:
    """SIPp signals, early media first; the audio at the addresses of its descriptions is ours."""
    callee = Sipp(tmp_path / "callee", "callee-early", f"{site.net}41:5060", seconds=30)
    caller = Sipp(
        tmp_path / "caller",
        "caller-early",
        f"{site.net}31:5060",
        remote=f"{site.net}11:5060",
        number="1000",
        seconds=30,
    )
    try:
        with ears(f"{site.net}31", 40000) as near, ears(f"{site.net}41", 40002) as far:
            there = until(lambda: media_of(caller.messages, "SIP/2.0 200"), 10, "no answer")
            here = media_of(callee.messages, "INVITE")
            assert here is not None and {there[0], here[0]} == {f"{site.net}11"}, "not through the relay of gw1"
            sent = [audio(number) for number in range(100)]
            for packet in sent:
                near.sendto(packet, there)
                far.sendto(packet, here)
                time.sleep(0.01)
            for ear in (near, far):
                heard = [ear.recv(2048) for _ in sent]
                assert heard == sent
    finally:
        both(callee, caller)


def test_processes_count_what_they_did(site: Site) -> None:
    """After the calls above: the figures of status, and the same as metrics."""

    def figures(node: str) -> dict[str, float]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(site[node].socket))
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = connection.makefile(encoding="utf-8").read().partition("\n\n")[2]
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                own = [value for key, value in sample.labels.items() if key not in ("site", "node", "agent")]
                found[":".join([sample.name.removeprefix("holdfast_"), *own])] = sample.value
        return found

    process = site["m1"].view()["process"]
    assert process["results"]["answered"] >= 11 and process["records"]["lost"] == 0
    assert {disk["directory"] for disk in process["disks"]} == {"state", "cdr"}
    server, agent = figures("m1"), figures("gw1")
    assert server["calls_ended_total:answered"] == process["results"]["answered"]
    assert server["line_in_service:right"] == server["active"] == agent["serving"] == 1
    assert sum(value for name, value in server.items() if name.startswith("takeovers_total:")) == 0
    assert server["messages_total"] > 100 and agent["relay_packets_total"] >= 200
    assert abs(server["clock_seconds"] - time.time()) < 60 and server["disk_free_bytes:state"] > 0


@contextmanager
def ears(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((host, port))
        ear.settimeout(3)
        yield ear


def audio(number: int) -> bytes:
    """An RTP packet of PCMU."""
    return struct.pack(">BBHII", 0x80, 0, number, 160 * number, 4711) + bytes([number]) * 160


def media_of(messages: Path, first: str) -> tuple[str, int] | None:
    """Where the description in the first message of that beginning wants its audio."""
    for message in logged(messages):
        if message.received and message.first.startswith(first) and "m=audio" in message.text:
            host, port = re.search(r"c=IN IP4 (\S+)", message.text), re.search(r"m=audio (\d+)", message.text)
            assert host is not None and port is not None
            return host[1], int(port[1])
    return None


def test_a_rehearsal_and_an_audit_of_real_programs_find_all_well(site: Site, tmp_path: Path) -> None:
    callee = Sipp(tmp_path / "callee", "callee-held", f"{site.net}41:5060", calls=20, seconds=60)
    caller = Sipp(
        tmp_path / "caller", "caller-held", f"{site.net}31:5060",
        remote=f"{site.net}11:5060", calls=20, rate=10, number="1000", seconds=60,
    )  # fmt: skip
    try:
        until(lambda: site.calls("m1") > 0, 10, "no call came")
        rehearsed = site.command("rehearse", "--format", "json")
        assert rehearsed.returncode == 0, rehearsed
        found = json.loads(rehearsed.stdout)
        assert (found["node"], found["active"], found["lost"], found["obstacles"]) == ("m2", "m1", 0, [])
        assert all(agent["complete_at"] for agent in found["agents"])
        audited = site.command("audit", "--format", "json")
        assert audited.returncode == 0, audited
        assert json.loads(audited.stdout)["matched"] == 0
    finally:
        both(callee, caller)
    assert site.obeys("gw1", "m1") and site.obeys("gw2", "m1")
