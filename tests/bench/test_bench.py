"""The bench works: its short form is run, and what it says is kept, without a word about how long anything took."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from examples.demo_processes import ROOT
from tests.bench.bench import earlier

FILE = ROOT / "build" / "bench" / "short.json"
"""Where the figures are left, for whoever keeps them: ``--compare`` takes such a file."""
MEMBERS = {
    "cpu_us_per_call", "bytes_per_call", "rate", "peers", "cpu_ratio", "latency_ms", "latency_by", "overload",
    "chain", "rss_mb_after", "rss_mb_after_by_process", "longest_stall_ms", "served", "server_messages_per_s",
    "server_bytes_per_s",
}  # fmt: skip


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("sipp") is None, reason="SIPp is not installed: apt-get install sip-tester")
def test_the_short_form_says_what_it_measured(tmp_path: Path) -> None:
    picture, before = tmp_path / "chart.svg", tmp_path / "before.json"
    before.write_text('{"cpu_us_per_call": 1000.0}')
    words = ["--short", "--format", "json", "--chart", str(picture), "--compare", str(before)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    [change] = [each for each in result.pop("since") if each["what"] == "CPU a call, us"]
    assert (change["then"], change["now"]) == (1000.0, result["cpu_us_per_call"])
    assert set(result) == MEMBERS
    assert set(result["latency_ms"]["40"]["ours"]) == {"setup_p50", "setup_p99", "bye_p50", "bye_p99"}
    assert all(isinstance(result[member], float) for member in ("cpu_us_per_call", "bytes_per_call", "chain"))
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(done.stdout)
    assert earlier(str(FILE))["cpu_us_per_call"] == result["cpu_us_per_call"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cpu_us_per_call": null}'])
def test_what_is_no_run_is_not_compared_with(tmp_path: Path, text: str) -> None:
    path = tmp_path / "before.json"
    path.write_text(text)
    with pytest.raises(Exception, match=r"cannot be read|no figures"):
        earlier(str(path))
