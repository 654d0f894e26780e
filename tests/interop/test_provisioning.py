"""Provisioning a running site with real processes, by HTTP and by command; and the audit log that remains of it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo_processes import ROOT
from sip.wire.build import response_bytes
from sip.wire.message import Request, parse
from sip.wire.reasons import REASONS
from tests.interop.programs import HEAD, PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop

TOKENS = {"operator": "the word of operators", "provisioner": "the word of who provisions"}
CHANNEL = {"kind": "trunk", "agent": "gw1", "peer": "sip:127.0.0.9:5060", "channels": 2}


class Api(http.client.HTTPConnection):
    """The UNIX socket of a program."""

    def __init__(self, path: Path) -> None:
        super().__init__("x", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def ask(site: Site, node: str, method: str, target: str, body: object = None, token: str = "") -> tuple[int, Any]:
    api = Api(site[node].socket)
    data = None if body is None else body if isinstance(body, str) else json.dumps(body)
    api.request(method, target, data, {"Authorization": f"Bearer {TOKENS[token]}"} if token else {})
    answer = api.getresponse()
    found = answer.status, json.loads(answer.read())
    api.close()
    return found


def command(site: Site, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "b2bua.cli", *words, "--site", str(site.path)]
    return subprocess.run(program, input=text, capture_output=True, text=True, cwd=ROOT, timeout=40, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("provisioning")
    head = HEAD.replace("[site]\n", '[site]\nprovisioned = "last"\n')
    for node in ("m1", "m2"):
        words = (
            'api_token = {{ file = "operator.secret" }}\napi_provision_token = {{ file = "provisioner.secret" }}\n'
        )
        head = head.replace(f"[servers.{node}]\n", f"[servers.{node}]\n{words}")
    found = Site(directory, network(), phone_line("alice", "gw2"), head=head, passwords={**PASSWORDS, **TOKENS})
    try:
        found.start()
        yield found
    finally:
        found.processes.end()


def version(site: Site, node: str) -> Any:
    return site[node].view("provisioned").get("version")


def lines(site: Site, node: str) -> set[str]:
    return {line["name"] for line in site[node].view("lines")["lines"]}


def test_a_line_is_put_by_http_and_every_node_has_it(site: Site) -> None:
    status, said = ask(site, "m1", "PUT", "/v1/provisioned/lines/second", CHANNEL, "provisioner")
    assert (status, said["version"]) == (200, "1.1"), said
    assert "line new: second" in said["sentence"] and said["nodes"] and f"{said['nodes'][-1]} ha" in said["sentence"]
    assert "second" in lines(site, "m1")
    until(lambda: version(site, "m2") == "1.1" and "second" in lines(site, "gw1"), 10.0, "not everybody has it")
    until(site.whole, 10.0, lambda: f"a warning stays: {site['m1'].view()['warnings']}")
    for node in ("m1", "m2", "gw1", "gw2"):
        assert (site.path.parent / "state" / node / "provisioned.json").stat().st_mode & 0o777 == 0o600


def test_all_that_is_wrong_is_said_and_nothing_has_changed(site: Site) -> None:
    before, config = version(site, "m1"), site["m1"].view()["config"]
    wrong = {
        "lines": {"a": {"kind": "fone"}, "alice": {"kind": "phone"}},
        "routes": {"r": {"match": "0*", "to": ["nobody"]}},
    }
    status, said = ask(site, "m1", "POST", "/v1/provisioned", wrong, "operator")
    places = {sentence.partition(":")[0] for sentence in said["errors"]}
    assert status == 422 and {"lines.a.kind", "lines.alice", "routes.r.to"} <= places, said
    assert said["error"] == "\n".join(said["errors"])
    assert ask(site, "m1", "DELETE", "/v1/provisioned/lines/alice")[0] == 422
    assert ask(site, "m1", "PUT", "/v1/provisioned/lines/x", "{")[0] == 422
    assert ask(site, "m2", "PUT", "/v1/provisioned/lines/x", CHANNEL) == (
        409,
        {"error": "m2 is not active; send the change to m1"},
    )
    assert ask(site, "m1", "POST", "/v1/hangup", {"call": "x"}, "provisioner")[0] == 403
    assert (version(site, "m1"), site["m1"].view()["config"]) == (before, config)


def test_the_command_puts_a_file_and_deletes_and_lists(site: Site) -> None:
    text = """
[lines.third]
kind = "trunk"
agent = "gw2"
peer = "sip:127.0.0.8:5060"
channels = 1
[routes.away]
match = "9*"
to = ["third"]
"""
    put = command(site, "provision", "put", "-", text=text)
    assert put.returncode == 0 and "line new: third" in put.stdout, put
    until(lambda: "third" in lines(site, "gw2"), 10.0, "gw2 does not have it")
    listed = json.loads(command(site, "provision", "list", "--format", "json").stdout)
    assert "third" in listed["lines"] and listed["routes"]["away"]["to"] == ["third"]
    assert "third" in command(site, "lines", "--line", "third").stdout, "commands know it by their own file"
    bad = command(site, "provision", "delete", "--line", "third")
    assert bad.returncode == 1 and "routes.away.to: names third, and there is no such line" in bad.stderr, bad
    gone = command(site, "provision", "delete", "--line", "third", "--route", "away")
    assert gone.returncode == 0 and "line gone: third" in gone.stdout, gone


class Carrier:
    """Answers OPTIONS with 200, rings and takes calls, and notes how they end."""

    def __init__(self, host: str) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.uri = f"sip:{host}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def close(self) -> None:
        self._socket.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _answer(self) -> None:
        while (came := self._socket.recvfrom(65_536))[0] != b"end":
            request = parse(came[0])
            assert isinstance(request, Request)
            self.heard.append(request.method)
            for status in {"INVITE": (180, 200), "ACK": ()}.get(request.method, (200,)):
                kept = ("Via", "From", "Call-ID", "CSeq")
                lines = [f"{name}: {value}" for name in kept for value in request.all(name.lower())]
                to = (request.get("to") or "") + ("" if request.to_tag else ";tag=carrier")
                lines += [f"To: {to}", f"Contact: <{self.uri}>"]
                self._socket.sendto(response_bytes(status, REASONS[status], lines), came[1])


def test_a_line_that_was_put_is_tested_with_a_call_that_is_hung_up(site: Site) -> None:
    carrier = Carrier(f"{site.net}21")
    try:
        assert ask(site, "m1", "PUT", "/v1/provisioned/lines/tried", CHANNEL | {"peer": carrier.uri})[0] == 200
        until(lambda: "tried" in lines(site, "gw1"), 10.0, "gw1 does not have it")
        done = command(site, "test", "tried", "--call", "+331")
        assert done.returncode == 0 and "works, as far as it was tried" in done.stdout, done
        assert "180 Ringing after" in done.stdout and "hung up at once: 200 OK" in done.stdout
        assert [one for one in carrier.heard if one != "OPTIONS"] == ["INVITE", "ACK", "BYE"]
    finally:
        carrier.close()
    found = json.loads(command(site, "test", "tried", "--format", "json").stdout)
    assert (found["state"], found["steps"][-1]["good"]) == ("failed", False), found
    assert command(site, "test", "nobody").returncode == 3
    assert ask(site, "m1", "DELETE", "/v1/provisioned/lines/tried")[0] == 200


def test_it_survives_the_death_of_who_took_it(site: Site) -> None:
    until(site.whole, 10.0, "not whole")
    assert ask(site, "m1", "PUT", "/v1/provisioned/lines/late", CHANNEL | {"peer": "sip:127.0.0.7"})[0] == 200
    until(lambda: "late" in lines(site, "gw1"), 10.0, "gw1 does not have it")
    had = version(site, "m1")
    site["m1"].kill()
    until(lambda: site.active == "m2" and version(site, "m2") == had, 15.0, "m2 does not have it")
    assert ask(site, "m2", "DELETE", "/v1/provisioned/lines/late")[0] == 200
    site["m1"].start()
    until(lambda: version(site, "m1") == version(site, "m2"), 15.0, "m1 does not get what it missed")
    until(site.whole, 15.0, lambda: f"a warning stays: {site['m2'].view()['warnings']}")


def runbook() -> list[str]:
    """The commands of these pages that change nothing but what they say, at the line and agent of this site."""
    found = []
    for page in ("runbook.md", "rollout.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
            lines = [line.partition("#")[0].strip() for line in block.splitlines()]
            found += [each.strip() for line in lines for each in line.split("&&") if each.strip()]
    ours = [one for one in found if one.startswith(("b2bua ", "gateway-agent "))]
    harmful = ("--force", "switchover", "readmit")
    return sorted({one.replace("carrier", "alice") for one in ours if not any(word in one for word in harmful)})


def test_the_commands_of_the_runbook_say_something(site: Site) -> None:
    commands = runbook()
    assert len(commands) >= 8
    for text in commands:
        program, *words = text.split()
        module = {"b2bua": "b2bua.cli", "gateway-agent": "gateway_agent.cli"}[program]
        whole = [sys.executable, "-m", module, *words, "--site", str(site.path)]
        done = subprocess.run(whole, capture_output=True, text=True, cwd=ROOT, timeout=40, check=False)
        assert done.returncode in (0, 1) and done.stdout and "Traceback" not in done.stderr, (text, done)


def test_the_audit_log_says_who_did_what_and_no_secret(site: Site) -> None:
    assert command(site, "reload", "--node", "m2").returncode == 0
    shown = command(site, "audit-log", "--format", "json")
    entries = json.loads(shown.stdout)["entries"]
    done = {(entry["node"], entry["user"], entry["what"], entry["result"]) for entry in entries}
    assert ("m1", "provisioner by token", "provision", "done") in done
    assert ("m1", "operator by token", "provision", "refused") in done
    assert ("m1", "provisioner by token", "hangup", "refused") in done
    assert any(node == "m2" and user.endswith("by socket") and what == "reload" for node, user, what, _ in done)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert "line put: second" in {entry["params"].get("change") for entry in entries}
    texts = shown.stdout + "".join(path.read_text() for path in site.path.parent.glob("state/*/audit*.jsonl"))
    assert texts.count('"what":"provision"') >= 4
    assert not [word for word in (*TOKENS.values(), *PASSWORDS.values()) if word in texts]
    table = command(site, "audit-log", "--node", "m1")
    assert "provisioner by token" in table.stdout and table.returncode == 0
    assert not [bug for node in site.programs.values() for bug in node.bugs() if "Traceback" in bug]
