"""The reference of the site file is that of the dataclasses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from heartbeat.site import doc, lines, model
from heartbeat.site.load import parse


def test_the_document_is_current():
    assert doc.main(["--check"]) == 0, "run python -m heartbeat.site.doc"


def test_it_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "site-file.md"
    file.write_text("a\n<!-- table ProbeSettings -->\nold\n<!-- end -->\nb\n")
    monkeypatch.setattr(doc, "DOCUMENT", file)
    assert doc.main(["--check"]) == 1
    assert capsys.readouterr().err == "site-file.md is not current: run python -m heartbeat.site.doc\n"
    assert doc.main([]) == 0
    assert file.read_text() == (
        "a\n<!-- table ProbeSettings -->\n"
        "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
        "| `interval` | number, 0.1 to 3600 | `30` | Time between two OPTIONS. |\n"
        "| `misses` | whole number, 1 to 100 | `3` |"
        " Unanswered OPTIONS in a row after which the trunk is out of service. |\n"
        "<!-- end -->\nb\n"
    )
    assert doc.main(["--check"]) == 0


def test_every_table_of_the_file_is_there_and_every_field_has_its_string():
    document = doc.DOCUMENT.read_text()
    for module in (model, lines):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                assert set(doc.strings_of(kind)) == {f.name for f in dataclasses.fields(kind)}, name
                assert name == "Site" or f"<!-- table {name} -->" in document


def test_the_toml_in_the_document_can_be_read():
    head = 'site = { name = "s", key = { env = "K" } }\nservers.m1 = { sip = "udp:127.0.0.1:5060" }\n'
    (block,) = re.findall(r"```toml\n(.*?)```", doc.DOCUMENT.read_text(), re.DOTALL)
    rest = 'kind = "trunk"\nchannels = 1\npeer = "sip:127.0.0.1"\n'
    line = parse(head + block + rest, Path("site.toml"), {}).lines["carrier"]
    assert [rule.prefix for rule in line.to_device.called] == ["0", "00"]
