"""``b2bua audit-log``: the entries of all nodes, each speaking for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from b2bua import cli_provision
from b2bua.cli import main
from heartbeat.console.client import Client
from heartbeat.console.errors import Unreachable
from tests.consoles import SITE

ENTRY = {
    "time": 1_769_864_400.0, "node": "m1", "user": "root by socket", "host": "", "what": "test", "params": {},
    "result": "done", "said": "",
}  # fmt: skip
NODES = ("m1", "m2", "gw1", "gw2")


class Audited:
    """What each node answers."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_text(SITE)
        self.path = path
        self.pages: dict[str, Any] = {name: {"entries": [{**ENTRY, "node": name}]} for name in NODES}
        monkeypatch.setattr(cli_provision, "ask_all", self.ask_all)
        monkeypatch.setattr(cli_provision, "near", list)

    def ask_all(self, clients: list[Client], page: str, **params: str) -> dict[str, Any]:
        return {client.name: self.pages[client.name] for client in clients}

    def shown(self, code: int = 0) -> Any:
        table = CliRunner().invoke(main, ["audit-log", "--site", str(self.path)])
        result = CliRunner().invoke(main, ["audit-log", "--site", str(self.path), "--format", "json"])
        assert (table.exit_code, result.exit_code) == (code, code), result.output
        return json.loads(result.stdout)


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audited:
    return Audited(tmp_path / "site.toml", monkeypatch)


def test_the_entries_of_all_nodes_are_shown(audited: Audited) -> None:
    assert sorted(entry["node"] for entry in audited.shown()["entries"]) == sorted(NODES)


def test_who_does_not_answer_is_named(audited: Audited) -> None:
    audited.pages["gw1"] = Unreachable("m1: gw1 is not connected to m1: ask on its machine.")
    value = audited.shown(1)
    assert value["silent"] == ["m1: gw1 is not connected to m1: ask on its machine."]
    assert len(value["entries"]) == 3


@pytest.mark.parametrize(
    ("lie", "entries", "code"),
    [
        ({"entries": [{**ENTRY, "node": "m1", "said": "of m1"}]}, 4, 0),
        ({"entries": [{**ENTRY, "time": 1e300}, {**ENTRY, "time": float("inf")}]}, 3, 0),
        ({"entries": [{**ENTRY, "time": "now"}]}, 3, 1),
        ({"entries": [{**ENTRY, "params": 7}]}, 3, 1),
        ({"entries": [{**ENTRY, "result": None}]}, 3, 1),
        ({"entries": [ENTRY] * 10_000}, 50, 0),
        ([], 3, 1),
    ],
)
def test_what_an_agent_makes_up_is_its_own(audited: Audited, lie: Any, entries: int, code: int) -> None:
    audited.pages["gw2"] = lie
    value = audited.shown(code)
    assert len(value["entries"]) == entries
    assert not [entry for entry in value["entries"] if entry["node"] == "m1" and entry["said"]]
