"""docs/tls.md: its commands make certificates that its site file can use."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from heartbeat.site.certificates import read
from heartbeat.site.load import parse
from sip.io.tls import CertificateFiles, Credentials, read_certificate

TEXT = (Path(__file__).parents[1] / "docs" / "tls.md").read_text(encoding="utf-8")
BLOCKS = {found[1]: found[2] for found in re.finditer(r"```\w+\n# tls: (.+)\n((?s:.+?))```", TEXT)}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with what the commands of the page make."""
    assert shutil.which("openssl"), "openssl is missing: apt-get install openssl"
    for name in ("own authority", "own certificate"):
        subprocess.run(["sh", "-euc", BLOCKS[name]], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_every_block_is_tried() -> None:
    # "at its place" by `tests/interop/guide_pages.py`
    assert set(BLOCKS) == {"an agent", "browsers", "site", "own authority", "own certificate", "at its place"}


def test_the_commands_make_certificates_that_are_believed(made: Path) -> None:
    files = CertificateFiles(made / "sbc.pem", made / "sbc.key")
    assert read_certificate(files).names == ("sbc.example.com", "192.0.2.11")
    credentials = Credentials([files], made / "ca.pem", "required")
    callee, caller = credentials.accept(), credentials.connect(["sbc.example.com"])
    caller.begin()
    while not (callee.ready and caller.ready):
        callee.receive(caller.pending())
        caller.receive(callee.pending())
    assert callee.names == caller.names == ("sbc.example.com", "192.0.2.11")


def test_strict_devices_believe_them(made: Path) -> None:
    """RFC 5280 section 4.2.1; clients in Python 3.13 and later are strict by default."""
    strict = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "sbc.pem"]
    done = subprocess.run(strict, cwd=made, capture_output=True, text=True, check=False)
    assert done.stdout == "sbc.pem: OK\n", done.stderr


def test_a_site_can_use_them(made: Path) -> None:
    for name in ("m1.pem", "m1.key", "m2.pem", "m2.key"):
        shutil.copy(made / f"sbc{name[2:]}", made / name)
    key = made / "site.key"
    key.write_text("a key of sixteen bytes or more")
    text = BLOCKS["site"].replace("/etc/holdfast", str(made))
    site = parse(text, made / "site.toml", {})
    for node in ("m1", "m2", "gw1"):
        found = read(site, node)
        assert (found.complaints, found.expired, found.warnings) == ((), (), ())


@pytest.mark.parametrize("block", ["an agent", "browsers"])
def test_the_site_file_can_use_them(made: Path, block: str) -> None:
    agent = BLOCKS[block].replace("/etc/holdfast", str(made))
    by = ";transport=tls" if "tls:" in agent else ""
    lines = (
        '[site]\nname = "s"\nkey = { env = "KEY" }\n[servers.m1]\nlisten = "tcp:192.0.2.1:5161"\n'
        f'{agent}\n[lines.t]\nkind = "trunk"\nagent = "gw1"\npeer = "sip:192.0.2.21{by}"\nchannels = 1\n'
    )
    found = read(parse(lines, made / "site.toml", {"KEY": "k" * 16}), "gw1")
    assert (found.complaints, found.expired, found.warnings) == ((), (), ())
