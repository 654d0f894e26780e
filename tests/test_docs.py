"""The documentation is true: its examples run, its links lead somewhere, its commands exist, its diagrams are new."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from b2bua import cli as b2bua_cli
from b2bua.core import Core as Server
from b2bua.state_token import read
from b2bua.takeover.records import DialogReport, read_part
from gateway_agent import cli as agent_cli
from gateway_agent.core import Core as Agent
from heartbeat import cli as heartbeat_cli
from heartbeat import header
from heartbeat.proof import Proof
from heartbeat.site import doc
from heartbeat.site import load as sites
from heartbeat.site.model import Failover, Site
from heartbeat.timing import Timing
from sip.dialog import dialog_key
from sip.packages.line_dialog import request_of, split
from sip.wire.message import Message, Request, Response, parse
from sip.wire.validation import validate
from tests.interop import guide, guide_beside
from tests.stories.site_simulation import SiteSimulation
from tools import diagrams

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGE = ROOT / "docs" / "line-dialog.md"
WIRE = ROOT / "docs" / "wire.md"
KEY = b"an example key, for no real site"
RS = "\x1e"
TIMING = Timing()

every_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def fences(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    return [
        body for language, body in re.findall(r"^```(\S*)\n(.*?)^```", text, re.M | re.S) if language in languages
    ]


# -- the examples of the event package -------------------------------------------------------------------------------


def as_bytes(block: str) -> bytes:
    """A message of the page as it is on the wire: folded lines joined, CR LF in the head, the octet 0x1E."""
    head, _, body = re.sub(r"\\\n *", "", block.rstrip("\n")).partition("\n\n")
    if "␞" in body:
        body = body.replace("␞", RS) + "\n"
    return ("\r\n".join(head.split("\n")) + "\r\n\r\n" + body).encode("latin-1")


@cache
def examples() -> tuple[Message, ...]:
    return tuple(parse(as_bytes(block)) for block in fences(PACKAGE.read_text("utf-8"), "sip"))


def requests(method: str, agent: str = "", **params: str) -> list[Request]:
    """The examples of a request from or to an agent, with these parameters of Event."""
    wanted = [f"{name}={value}" for name, value in params.items()]
    return [
        one
        for one in examples()
        if isinstance(one, Request)
        and one.method == method
        and f"sip:{agent}" in (one.get("to") or "") + (one.get("from") or "")
        and all(text in (one.get("event") or "") for text in wanted)
    ]


def told(notify: Request) -> list[DialogReport]:
    part = read_part("gw1", notify.body, 0.0)
    assert part is not None and not part.faults
    return part.dialogs


def dialog_records() -> list[DialogReport]:
    return [record for notify in requests("NOTIFY") for record in told(notify)]


def test_the_examples_are_messages_to_the_octet():
    assert len(examples()) == 11
    for message in examples():
        if isinstance(message, Request):
            validate(message)
        assert int(message.get("content-length") or -1) == len(message.body), message.to_bytes()


def test_a_server_reads_every_record():
    found = dialog_records()
    assert len(found) == sum(notify.body.count(b'{"call-id"') for notify in requests("NOTIFY")) == 7
    for record in found:
        state = record.record.dialog
        assert (state.call_id, state.local_tag) == (record.call_id, record.local_tag)
        assert state.remote_tag and state.local and state.remote and state.target
        assert record.record.state in ("trying", "proceeding", "early", "confirmed", "terminated")
        assert record.live == (record.record.state != "terminated")
        assert (record.ended.by == "device") == (not record.live)
        token = read(record.record.token, [KEY])
        assert (token.call_id, token.counter) == (record.call, record.counter)
        assert dialog_key(record.call_id, record.local_tag) == record.key
        if not record.opened_by_server:
            assert token.caller_dialog == record.call_id
    assert sorted(kept.request.method for record in found for kept in record.sent()) == ["BYE", "INFO", "INVITE"]
    ((data, origin, *_),) = [one for record in found for one in record.record.received]
    invite = request_of(data)
    assert invite is not None and invite.method == "INVITE" and origin == invite.get("call-origin")


def test_an_agent_writes_every_record_to_the_octet():
    for record in dialog_records():
        assert record.record.encode().encode("latin-1") == record.raw


def whole_messages(value: Any) -> Iterator[Message]:
    """All that looks like a message in a record."""
    if isinstance(value, str) and "SIP/2.0" in value.partition("\r\n")[0]:
        yield parse(value.encode("latin-1"))
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from whole_messages(each)


def test_the_messages_within_the_records_are_whole():
    found = [message for record in dialog_records() for message in whole_messages(json.loads(record.raw))]
    assert sum(isinstance(message, Response) for message in found) == 3
    for message in found:
        if isinstance(message, Request):
            validate(message)
        assert int(message.get("content-length") or -1) == len(message.body)


def test_both_legs_of_each_call_have_its_call_id():
    legs: dict[str, set[str]] = {}
    for notify in requests("NOTIFY", purpose="takeover")[:2]:
        for record in told(notify):
            legs.setdefault(record.call, set()).add(record.record.dialog.direction)
    assert len(legs) == 3
    assert all(both == {"initiator", "recipient"} for both in legs.values())


def test_the_proofs_hold_and_the_refusal_is_signed():
    for subscribe in requests("SUBSCRIBE"):
        body = json.loads(subscribe.body)
        if "proof" in body:
            proof = Proof.parse(body["proof"])
            assert proof.fault([KEY], "paris") == "" and proof.epoch == body["epoch"]
    (refused,) = [one for one in examples() if isinstance(one, Response) and one.status == 403]
    heard = header.parse(refused.get("heartbeat") or "", [KEY], "SUBSCRIBE", refused.call_id, refused.cseq)
    assert (heard.node, heard.leader, heard.epoch) == ("gw1", "m2", 2)


def table_members(text: str, first: str) -> set[str]:
    """The names in the first column of the table whose first row begins with a name."""
    table = re.search(rf"^\| `{first}`.*?(?=\n\n)", text, re.M | re.S)
    assert table is not None
    return {name for row in table[0].splitlines() for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])}


def test_the_page_names_every_member_that_the_examples_have():
    text = PACKAGE.read_text("utf-8")
    known = table_members(text, "call-id`, `local-tag") | {"ack-cseq"}
    assert known == table_members(WIRE.read_text("utf-8"), "call-id`, `local-tag") | {"ack-cseq"}
    for record in dialog_records():
        assert json.loads(record.raw).keys() <= known
    heads, lines = table_members(text, "site"), table_members(text, "line`, `kind")
    for notify in requests("NOTIFY"):
        head, *rest = [json.loads(piece) for piece in split(notify.body)]
        assert head.keys() == heads
        for record in rest:
            assert "call-id" in record or record.keys() == lines
    asked = table_members(text, "epoch`, `proof")
    for subscribe in requests("SUBSCRIBE"):
        assert json.loads(subscribe.body).keys() <= asked


# -- the same, said to a running agent and a running server ----------------------------------------------------------

PARIS = """
site = { name = "paris", key = { env = "KEY" } }
servers.m1 = { role = "main", listen = "tcp:127.0.0.1:5161", beat = "udp:127.0.0.1:5162" }
servers.m2 = { role = "standby", listen = "tcp:127.0.0.2:5161", beat = "udp:127.0.0.2:5162" }
agents.gw1.sip = "udp:127.0.0.11:5060"
agents.gw2.sip = "udp:127.0.0.12:5060"
lines.alice = { kind = "phone", agent = "gw1", numbers = "1001", password = { env = "WORD" } }
lines.carrier = { kind = "trunk", agent = "gw1", peer = "sip:127.0.0.21", channels = 30 }
lines.pbx = { kind = "trunk", agent = "gw2", peer = "sip:127.0.0.22", channels = 8 }
lines.bob = { kind = "phone", agent = "gw2", numbers = "1002", password = { env = "WORD" } }
lines.carol = { kind = "phone", agent = "gw2", numbers = "1003", password = { env = "WORD" }, recovery = "cold" }
routes = [{ match = "2*", to = "pbx" }]
"""


@pytest.fixture
def sim() -> SiteSimulation:
    """The site of the examples in the World: m1 is active under epoch 1."""
    return SiteSimulation(
        who=(), site=sites.parse(PARIS, Path("paris.toml"), {"KEY": KEY.decode(), "WORD": "secret"})
    )


def say(sim: SiteSimulation, server: str, agent: str, request: Request) -> tuple[Response, list[Request]]:
    """A SUBSCRIBE on the proved connection of a server; the agent's answer and NOTIFYs."""
    core: Agent = sim.agent(agent)
    flow = core.connections.by_name[server].flow
    assert flow is not None
    sim.world.trace.clear()
    sim.world.ask(agent, core.receive, request.to_bytes(), flow)
    sim.world.run(sim.world.now + 0.2)
    sent = [
        parse(line.what)
        for line in sim.world.trace
        if line.source == agent and isinstance(line.what, bytes) and line.mark != "lost"
    ]
    (answer,) = [one for one in sent if isinstance(one, Response) and one.cseq_method == "SUBSCRIBE"]
    return answer, [one for one in sent if isinstance(one, Request) and one.call_id == request.call_id]


def alike(shown: Message, got: Message) -> None:
    """The same header fields, and the same values where these do not name one transaction."""
    assert set(got.names) == set(shown.names)
    for name in ("event", "subscription-state", "content-type", "expires", "call-id", "cseq", "allow"):
        assert got.get(name) == shown.get(name), name


def test_an_agent_answers_the_takeover_as_shown(sim: SiteSimulation):
    (subscribe, _) = requests("SUBSCRIBE", "gw1", purpose="takeover")
    answer, notifies = say(sim, "m2", "gw1", subscribe)
    shown = next(one for one in examples() if isinstance(one, Response) and one.status == 200)
    assert answer.status == 200
    alike(shown, answer)
    alike(requests("NOTIFY", "gw1")[0], notifies[0])
    head, *lines = [json.loads(piece) for piece in split(notifies[0].body)]
    assert head == {**head, "agent": "gw1", "epoch": 2, "version": 1, "part": 1, "complete": True}
    assert [line["line"] for line in lines] == ["alice", "carrier"]
    assert sim.agent("gw1").obedience.adopted == ("m2", 2)


def test_an_agent_answers_the_reset_and_the_fetch_as_shown(sim: SiteSimulation):
    for purpose in ("reset", "observe"):
        (subscribe,) = requests("SUBSCRIBE", "gw2", purpose=purpose)
        answer, notifies = say(sim, "m2", "gw2", subscribe)
        assert answer.status == 200
        alike(requests("NOTIFY", "gw2", purpose=purpose)[0], notifies[0])


def test_an_agent_refuses_the_stale_server_as_shown(sim: SiteSimulation):
    (takeover, stale) = requests("SUBSCRIBE", "gw1", purpose="takeover")
    say(sim, "m2", "gw1", takeover)
    answer, notifies = say(sim, "m1", "gw1", stale)
    (shown,) = [one for one in examples() if isinstance(one, Response) and one.status == 403]
    assert answer.status == 403 and not notifies
    alike(shown, answer)
    heard = header.parse(answer.get("heartbeat") or "", [KEY], "SUBSCRIBE", answer.call_id, answer.cseq)
    assert (heard.leader, heard.epoch) == ("m2", 2)


@pytest.mark.parametrize(
    ("old", "new", "status", "header"),
    [
        (b"purpose=takeover", b"purpose=rehearse", 489, "allow-events"),
        (b"Event: line-dialog", b"Event: presence", 489, "allow-events"),
        (b"Expires: 3600", b"Expires: 30", 423, "min-expires"),
        (b'{"epoch":2', b'["epoch":2', 400, ""),
        (b'{"epoch":2', b'{"epoch":3', 400, ""),
        (b"2|m2|", b"2|m1|", 403, ""),
        (b"2|m2|1|", b"2|m2|2|", 403, "heartbeat"),
    ],
)
def test_an_agent_refuses_what_the_page_says_it_refuses(
    sim: SiteSimulation, old: bytes, new: bytes, status: int, header: str
):
    takeover = requests("SUBSCRIBE", "gw1", purpose="takeover")[0].to_bytes()
    assert old in takeover
    changed = parse(takeover.replace(old, new))
    assert isinstance(changed, Request)
    answer, notifies = say(sim, "m2", "gw1", changed)
    assert answer.status == status and not notifies
    assert not header or answer.get(header)
    assert sim.agent("gw1").obedience.adopted == ("m1", 1)


def test_a_server_takes_the_calls_of_the_lists(sim: SiteSimulation):
    for agent in ("gw1", "gw2"):
        sim.world.ask(agent, lambda now: None)
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["m2"], 10.0)
    sim.world.run(sim.world.now + 1.0)
    server: Server = sim.server("m2")
    for agent in ("gw1", "gw2"):
        (notify, *_) = requests("NOTIFY", agent, purpose="takeover")
        connection = server.agents.connections[agent]
        connection.complete_at = None
        assert sim.world.ask("m2", connection.told, notify, "takeover")
        assert connection.complete
    sim.world.run(sim.world.now + 0.2)
    talking = {record.call for record in dialog_records() if record.record.state == "confirmed"}
    alice = next(record.call for record in dialog_records() if record.record.line == "alice")
    assert alice in talking and alice in server.calls
    assert len(server.calls[alice].bridge.legs) == 2


# -- all pages -------------------------------------------------------------------------------------------------------


def test_the_diagrams_are_current():
    assert diagrams.main(["--check"]) == 0, "run python -m tools.diagrams"


def test_the_diagrams_are_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diagrams, "DOCUMENT", tmp_path / "state-machines.md")
    assert diagrams.main(["--check"]) == 1
    assert diagrams.main([]) == 0
    assert diagrams.main(["--check"]) == 0


def test_every_state_of_a_table_is_drawn():
    for machine in diagrams.MACHINES:
        drawn = diagrams.diagram(machine)
        for state, _ in machine.table:
            assert re.search(rf"^ +{state} --> ", drawn, re.M), (machine.title, state)


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@every_page
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


@every_page
def test_tests_that_are_named_exist(page: Path):
    for path, name in re.findall(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
        assert not name or f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{page.name}: {path}::{name}"


PARTS = "b2bua docker docs examples gateway_agent heartbeat sip tests tools".split()


@every_page
def test_files_that_are_named_exist(page: Path):
    if page.name != "decisions.md":  # a log: it names files of its day
        for path in re.findall(rf"`((?:{'|'.join(PARTS)})/[\w./-]+)`", page.read_text("utf-8")):
            made = path.startswith("docker/secrets/")  # by docker/secrets.sh
            assert made or (ROOT / path).exists(), f"{page.name}: {path}"


def test_pages_that_programs_name_have_these_parts():
    for path in (file for part in PARTS for file in (ROOT / part).rglob("*.py")):
        for page, anchor in re.findall(r"docs/([a-z-]+\.md)(?:#([a-z0-9-]+))?", path.read_text("utf-8")):
            assert (ROOT / "docs" / page).exists(), f"{path}: {page}"
            assert not anchor or anchor in anchors(ROOT / "docs" / page), f"{path}: {page}#{anchor}"


@every_page
def test_times_that_are_named_with_their_key_are_its_default(page: Path):
    for key, seconds in re.findall(r"`([a-z_]+)` \(([\d.]+) s\)", page.read_text("utf-8")):
        found = [getattr(part, key) for part in (TIMING, Failover()) if hasattr(part, key)]
        assert found in ([], [float(seconds)]), f"{page.name}: {key}"


def test_the_takeover_that_is_drawn_has_the_default_times():
    drawn = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
    assert f"every {TIMING.interval:g} s" in drawn and f"{TIMING.dead_after:g} s: dead" in drawn
    assert f"{TIMING.silence:g} s after the last beat" in drawn


def test_every_page_with_commands_is_followed():
    followed = {*guide.PAGES, *guide_beside.PAGES, "rollout.md"}
    assert {page.name for page in PAGES if fences(page.read_text("utf-8"), "sh")} <= followed
    for kind in guide_beside.KINDS:
        assert {page.name for page in PAGES if fences(page.read_text("utf-8"), kind)} <= {*guide_beside.PAGES}


GROUPS: dict[str, click.Group] = {
    "b2bua": b2bua_cli.main,
    "gateway-agent": agent_cli.main,
    "heartbeat": heartbeat_cli.main,
}


@every_page
def test_commands_exist_with_their_options(page: Path):
    text = page.read_text("utf-8")
    said = "\n".join([*fences(text, "", "sh"), *re.findall(r"`([^`\n]+)`", text)])
    for program, verb, rest in re.findall(
        r"^(?:\$ )?(?:sudo -u \S+ )?(?:\S*/)?(b2bua|gateway-agent|heartbeat) ([a-z][a-z-]*)(.*)$", said, re.M
    ):
        command = GROUPS[program].get_command(click.Context(GROUPS[program]), verb)
        if isinstance(command, click.Group) and (inner := rest.split()):
            verb = f"{verb} {inner[0]}"
            command = command.get_command(click.Context(command), inner[0])
        assert command is not None, f"{page.name}: {program} {verb}"
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<=\s)(--?[a-z][\w-]*)", re.split(r" [#|]", rest)[0]):
            assert option in known | {"--help"}, f"{page.name}: {program} {verb} {option}"


def test_every_alert_has_its_section_in_the_runbook_and_names_it():
    rules = [
        rule
        for group in yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]
    sections = re.findall(
        r"^## (Holdfast\w+)\n\n\*(Critical|Warning)", (ROOT / "docs" / "runbook.md").read_text(), re.M
    )
    assert sections == [(rule["alert"], rule["labels"]["severity"].capitalize()) for rule in rules]


def whole_sites() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(fences(page.read_text("utf-8"), "toml")):
            if page != doc.DOCUMENT and "[site]" in block:
                yield f"{page.name} {number}", block
    for file in sorted((ROOT / "examples").rglob("*.toml")):
        yield file.name, file.read_text("utf-8")


def test_the_firewall_of_the_guide_is_taken_by_nftables(tmp_path: Path):
    if os.geteuid() != 0 or shutil.which("nft") is None:
        pytest.skip("nft is tried as root: run 'sh tools/setup.sh peers'")
    for rules in fences((ROOT / "docs" / "deploy.md").read_text("utf-8"), "nft"):
        (tmp_path / "rules").write_text(rules)
        done = subprocess.run(["unshare", "--net", "nft", "-f", tmp_path / "rules"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("where", "text"), [pytest.param(*site, id=site[0]) for site in whole_sites()])
def test_site_files_are_good(where: str, text: str):
    site: Site = sites.parse(text, Path("site.toml"), dict.fromkeys(re.findall(r'env = "(\w+)"', text), "x" * 16))
    assert site.servers
