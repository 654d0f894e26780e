"""The table of docs/interop.md, and the capture behind its last rows."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo_processes import ROOT
from tests.interop import captured
from tests.interop.programs import network
from tests.interop.strangers import request
from tests.interop.table import NOT_RUN, table, tried

ROWS = [("SIPp", "a call", "calm"), ("SIPp", "a call", "server killed"), ("SIPp (in C)", "a 302", "calm")]


def test_the_page_has_the_rows_of_the_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.table", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_row_that_did_not_run_says_so_and_one_that_is_not_asked_for_is_empty() -> None:
    text = table(ROWS, {ROWS[1]: ("good", "3.6.1")})
    assert text.splitlines()[2:] == [
        f"| SIPp (3.6.1) | a call | {NOT_RUN} | good |  |",
        f"| SIPp (in C) | a 302 | {NOT_RUN} |  |  |",
    ]
    assert tried(text) == [("SIPp", "a call"), ("SIPp (in C)", "a 302")]


def test_what_is_malformed_is_found(tmp_path: Path) -> None:
    if because := captured.missing():
        pytest.skip(because)
    net = network()
    capture = captured.Capture(tmp_path / "capture.pcapng", net)
    well = request("OPTIONS", f"sip:{net}9", f"{net}11:5060")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        capture.running(),
    ):
        ours.bind((f"{net}11", 5060))
        other.bind((f"{net}9", 5060))
        for data in (well, well.replace(b"Call-ID:", b"X-ID:"), b"hello, world"):
            ours.sendto(data, other.getsockname())
            other.sendto(data, ours.getsockname())  # theirs are theirs
        ours.sendto(b"\r\n\r\n", other.getsockname())
    assert capture.messages() == 2
    assert [line.split("|")[1] for line in capture.wrong()] == [f"{net}11"] * 2
