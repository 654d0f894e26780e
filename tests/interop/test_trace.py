"""``trace`` and ``explain`` of real processes: a call on all its hops, whatever it is named by, and what fails."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo_processes import ROOT
from tests.interop.programs import Site, network, until
from tests.interop.sipp import Sipp
from tests.sip.test_hep import chunks

pytestmark = pytest.mark.interop

LINES = """
[trace]
collector = "udp:{net}99:9060"
[lines.left]
kind = "trunk"
agent = "gw1"
peer = "sip:{net}31:5060"
channels = 100
[lines.right]
kind = "trunk"
agent = "gw2"
peer = "sip:{net}41:5060"
channels = 100
[[routes]]
match = "10*"
to = ["right"]
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[socket.socket]:
    """A HOMER collector, as far as it listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        ear.bind((f"{network()}99", 9060))
        ear.setblocking(False)
        yield ear


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, collector: socket.socket) -> Iterator[Site]:
    net = collector.getsockname()[0].removesuffix("99")
    site = Site(tmp_path_factory.mktemp("site"), net, LINES.format(net=net))
    try:
        site.start(60.0)
        _call(site, tmp_path_factory.mktemp("good"), "1000")
        _call(site, tmp_path_factory.mktemp("bad"), "9999")
        until(lambda: len(site.records()) == 2, 10, "the calls have no records")
        yield site
        assert not site.bugs()
    finally:
        site.stop()


def _call(site: Site, directory: Path, number: str) -> None:
    """One call; there is no route for 9999."""
    callee = Sipp(directory / "callee", "callee-held", f"{site.net}41:5060", seconds=40)
    caller = Sipp(
        directory / "caller", "caller-held", f"{site.net}31:5060",
        remote=f"{site.net}11:5060", number=number, seconds=40,
    )  # fmt: skip
    try:
        if number == "1000":
            caller.wait()
            callee.wait()
        else:
            until(lambda: any(each["status"] == 404 for each in site.records()), 20, "the call was not refused")
    finally:
        caller.stop()
        callee.stop()


def _json(site: Site, *words: str, code: int = 0) -> Any:
    done = site.command(*words, "--format", "json")
    assert done.returncode == code, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


def _record(site: Site, result: str) -> dict[str, Any]:
    return next(record for record in site.records() if record["result"] == result)


def test_a_call_is_seen_on_all_hops_whatever_it_is_named_by(site: Site) -> None:
    record = _record(site, "answered")
    found = _json(site, "trace", record["call_id"])
    (traced,) = found["calls"]
    assert found["missing"] == {} and traced["call"]["id"] == record["call_id"]
    way = [(hop["source"], hop["target"]) for hop in traced["hops"] if hop["text"].startswith("INVITE")]
    assert list(dict.fromkeys(way))[:4] == [("left", "gw1"), ("gw1", "m1"), ("m1", "gw2"), ("gw2", "right")]
    inside = [hop["text"] for hop in traced["hops"] if hop["transport"] == "tcp" and hop["text"].startswith("BYE")]
    assert len(inside) == 2, "each message once, though both ends tell of it"
    assert [hop["at"] for hop in traced["hops"]] == sorted(hop["at"] for hop in traced["hops"])
    inner = [hop for hop in traced["hops"] if "m1" in (hop["source"], hop["target"])]
    assert inner and all(len(hop["told_by"]) == 2 for hop in inner)
    states = re.findall(r"((?:Call|Line)-State: \S+)\r\n", "".join(hop["text"] for hop in traced["hops"]))
    assert len(states) > 4 and all(
        re.fullmatch(r"(?:Call-State: 1|Line-State: [12])\.\d+\.\w+\.\*+", state) for state in states
    ), states

    legs = {leg["call_id"] for leg in traced["call"]["legs"]}
    assert len(legs) == 4
    for name in (*legs, record["id"], record["call_id"][:8]):
        (same,) = _json(site, "trace", name)["calls"]
        assert [hop["text"] for hop in same["hops"]] == [hop["text"] for hop in traced["hops"]], name
        story = _json(site, "explain", name)
        assert record["call_id"] in story["about"] and {leg["call_id"] for leg in story["legs"]} == legs


def test_it_is_drawn_in_eighty_columns_and_written_as_a_capture(site: Site, tmp_path: Path) -> None:
    record = _record(site, "answered")
    file = tmp_path / "call.pcap"
    done = site.command("trace", record["call_id"], "--pcap", str(file), "--messages")
    assert done.returncode == 0, done.stderr.decode()
    drawn = done.stdout.decode()
    titles = next(line for line in drawn.splitlines() if "gw1" in line and "left" in line)
    assert re.fullmatch(r" *left +gw1 +m1 +gw2 +right", titles) and len(titles) <= 80
    assert re.search(r"│─*INVITE SDP─*▶│", drawn) and re.search(r"│◀─*180 Ringing─*│", drawn)
    assert "Call-ID: " in drawn, "with messages"

    data = file.read_bytes()
    magic, *_, link = struct.unpack("<IHHiIII", data[:24])
    assert (magic, link) == (0xA1B2C3D4, 101)


def test_the_capture_of_a_call_is_read_by_tshark(site: Site, tmp_path: Path) -> None:
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed: run 'apt-get install tshark' as root")
    file = tmp_path / "call.pcap"
    done = site.command("trace", _record(site, "answered")["call_id"], "--pcap", str(file))
    assert done.returncode == 0, done.stderr.decode()
    fields = ["-T", "fields", "-e", "ip.src", "-e", "ip.dst", "-e", "sip.Method", "-e", "sip.Status-Code"]
    read = subprocess.run(["tshark", "-r", str(file), *fields], capture_output=True, timeout=60, check=True)
    rows = read.stdout.decode().splitlines()
    assert f"{site.net}31\t{site.net}11\tINVITE\t" in rows and f"{site.net}41\t{site.net}12\t\t200" in rows
    assert all(row.split("\t", 2)[2].strip() for row in rows), "each packet is read as SIP"


def test_a_collector_gets_all_hops_of_a_call_under_one_id(site: Site, collector: socket.socket) -> None:
    record, told = _record(site, "answered"), list[dict[int, bytes]]()

    def heard() -> set[tuple[bytes, bytes]]:
        while True:
            try:
                told.append(chunks(collector.recv(65_535)))
            except BlockingIOError:
                break
        mine = [each for each in told if each[17] == record["call_id"].encode()]
        return {(each[19], each[15].split()[0]) for each in mine}

    wanted = {
        (name, method) for name in (b"gw1", b"m1", b"gw2") for method in (b"INVITE", b"ACK", b"BYE", b"SIP/2.0")
    }
    until(lambda: wanted <= heard(), 10, lambda: f"{wanted - heard()} did not come")
    legs = {each[15].partition(b"Call-ID: ")[2].split()[0] for each in told if each[17] == record["call_id"].encode()}
    assert len(legs) == 4
    assert site["m1"].view()["process"]["collected"]["dropped"] == 0


def test_what_failed_and_what_went_by_a_line_is_found_without_an_id(site: Site) -> None:
    bad, good = _record(site, "rejected"), _record(site, "answered")
    (failed,) = _json(site, "trace", "--failed")["calls"]
    assert failed["call"]["id"] == bad["call_id"]
    assert [hop["text"][:11] for hop in failed["hops"] if hop["target"] == "left"][-1] == "SIP/2.0 404"
    for line, ids in (("left", [bad, good]), ("right", [good])):
        calls = _json(site, "trace", line)["calls"]
        assert [call["call"]["id"] for call in calls] == [record["call_id"] for record in ids]


def test_whose_part_is_missing_is_said(site: Site) -> None:
    record = _record(site, "answered")
    found = _json(site, "trace", record["call_id"], code=1) if _down(site) else {}
    assert list(found["missing"]) == ["m2"] and "not running" in found["missing"]["m2"]
    assert len(found["calls"][0]["hops"]) > 20
    nobody = site.command("trace", "no-such-call")
    assert nobody.returncode == 1 and b"Nobody who was asked remembers" in nobody.stderr


def _down(site: Site) -> bool:
    """The stand-by has ended."""
    site["m2"].kill()
    return True


def test_agents_tell_their_part_without_servers(site: Site) -> None:
    (device,) = {leg["call_id"] for leg in _json(site, "explain", _record(site, "answered")["call_id"])["legs"]
                 if leg["towards"] == "left/1"}  # fmt: skip
    for words, calls in (([device], 1), (["left"], 2), (["--failed"], 1)):
        program = [sys.executable, "-m", "gateway_agent.cli", "trace", *words, "--agent", "gw1"]
        done = subprocess.run(
            [*program, "--site", str(site.path), "--format", "json"],
            capture_output=True,
            cwd=ROOT,
            timeout=30,
            check=True,
        )
        found = json.loads(done.stdout)["calls"]
        assert len(found) == calls
        ends = {end for hop in found[0]["hops"] for end in (hop["source"], hop["target"])}
        assert ends == {"left", "gw1", "m1"}
