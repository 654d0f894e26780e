"""How a program comes by a changed site: reloads and provisioned parts that cross, and files that are wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heartbeat.console.contract import Progress, Refused
from heartbeat.console.reloading import CLOSED, Reloaded, Reloading, write
from heartbeat.site.certificates import OwnCertificates, Read
from heartbeat.site.load import PROVISIONED, load
from heartbeat.site.model import Site
from heartbeat.site.provisioned import NOTHING, Change, Provisioned

TEXT = """
[site]
name = "paris"
key = { file = "key" }
provisioned = "last"
[servers.m1]
listen = "tcp:127.0.0.1:5161"
[agents.gw1]
sip = "udp:127.0.0.11:5060"
"""
TRUNK = '{"kind": "trunk", "agent": "gw1", "peer": "sip:127.0.0.9", "channels": 1}'
PUT = f'{{"lines": {{"a": {TRUNK}}}}}'


class Node:
    """m1 of a site, which lives by whatever was taken."""

    def __init__(self, directory: Path, text: str = TEXT) -> None:
        self.path = directory / "site.toml"
        self.kept = directory / "state" / "m1" / PROVISIONED
        self.kept.parent.mkdir(parents=True)
        (directory / "key").write_text("0123456789abcdef")
        (directory / "key").chmod(0o600)
        self.path.write_text(text)
        self.site: Site = load(self.path, "m1")
        self.missing: list[str] = []

    def replace(self, text: str) -> None:
        """Another site file at once, as an editor saves one."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def apply(self, site: Site, read: Read) -> None:
        self.site = site

    async def settled(self, order: Progress) -> Progress:
        while (found := self.reloading.orders.progress(order.id)) is None or found.state == "running":
            await asyncio.sleep(0.005)
        return found

    def tell(self, story: Callable[[Node], Awaitable[Any]]) -> None:
        async def run() -> None:
            lives = Reloaded("m1", self.kept.parent, lambda: self.site, lambda site: self.missing, self.apply)
            loop = asyncio.get_running_loop()
            self.reloading = Reloading(lives, OwnCertificates(self.site, "m1"), loop, logging.getLogger)
            await asyncio.wait_for(story(self), 20.0)

        asyncio.run(run())


def test_what_is_put_is_lived_by_and_on_the_disk(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        done = await node.settled(node.reloading.provision(PUT, 4))
        assert done.state == "done" and "line new: a; provisioned version 4.1, 0.0 before" in done.sentence
        assert list(node.site.lines) == ["a"] and Provisioned.decode(node.kept.read_text()) == node.site.provisioned
        assert node.kept.stat().st_mode & 0o777 == 0o600

    Node(tmp_path).tell(story)


def test_one_change_at_a_time_and_none_where_the_file_takes_none(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        order = node.reloading.provision(PUT, 1)
        with pytest.raises(Refused, match="another change is under way"):
            node.reloading.provision(PUT, 1)
        await node.settled(order)
        node.path.write_text(TEXT.replace('provisioned = "last"\n', ""))
        assert (await node.settled(node.reloading.order())).state == "done"
        assert node.site.lines == {}
        with pytest.raises(Refused, match="takes nothing by API") as refused:
            node.reloading.provision(PUT, 1)
        assert refused.value.sentence == CLOSED and node.kept.exists(), "it is there again when the file wants it"

    Node(tmp_path).tell(story)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            '{"lines": {"a": {"kind": "fone"}}}',
            "lines.a.kind: must be trunk, phone, station, web or direct, is 'fone'",
        ),
        ('{"lines": {"a": null}}', "lines.a: is not provisioned, so it cannot be deleted"),
        ("[]", 'a change is like {"lines": {NAME: {..}}, "routes": {NAME: null}}'),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, change: str, said: str) -> None:
    async def story(node: Node) -> None:
        before = node.site
        done = await node.settled(node.reloading.provision(change, 1))
        assert done.state == "failed" and said in done.sentence.splitlines()
        assert node.site is before and not node.kept.exists()
        assert (await node.settled(node.reloading.provision(PUT, 1))).state == "done", "the next one is taken"

    Node(tmp_path).tell(story)


def test_a_site_file_that_is_wrong_keeps_what_was_put_out(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        node.path.write_text(TEXT + "[lines.b]\n")
        done = await node.settled(node.reloading.provision(PUT, 1))
        assert done.state == "failed" and "lines.b.kind: is missing" in done.sentence
        assert not node.kept.exists()

    Node(tmp_path).tell(story)


def test_a_reload_meanwhile_is_not_undone(tmp_path: Path) -> None:
    """The site file was changed and read while a change was checked against the one of before."""

    async def story(node: Node) -> None:
        for round_ in range(5):
            put = PUT.replace('"a"', f'"a{round_}"').replace("127.0.0.9", f"127.0.0.{round_ + 20}")
            order = node.reloading.provision(put, 1)
            node.replace(TEXT + f"[bans]\nafter = {round_ + 100}\n")
            reload = node.reloading.order()
            states = (await node.settled(order)).state, (await node.settled(reload)).state
            assert states == ("done", "done")
            assert node.site.bans.after == round_ + 100 and f"a{round_}" in node.site.lines

    Node(tmp_path).tell(story)


def test_a_part_of_another_node_is_taken_or_it_is_said_why_not(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        part = NOTHING.changed(Change.of({"lines": {"a": {"kind": "trunk", "agent": "gw9"}}}), 1)
        node.reloading.hand_over(part.packed)
        while not node.reloading.trouble:
            await asyncio.sleep(0.005)
        assert any("lines.a.agent: names gw9" in sentence for sentence in node.reloading.trouble)
        assert all(one.startswith("m1 does not take what was provisioned: ") for one in node.reloading.trouble)
        node.reloading.hand_over(b"garbage")
        good = NOTHING.changed(Change.of({"lines": {}, "routes": {}}), 7)
        while node.site.provisioned != good:
            node.reloading.hand_over(good.packed)
            await asyncio.sleep(0.005)
        assert node.reloading.trouble == []

    Node(tmp_path).tell(story)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(node: Node) -> None:
        node.kept.with_suffix(".new").mkdir()
        done = await node.settled(node.reloading.provision(PUT, 1))
        assert done.state == "failed" and "Is a directory" in done.sentence and node.site.lines == {}

    Node(tmp_path).tell(story)


def test_a_part_is_written_whole_over_the_former(tmp_path: Path) -> None:
    write(tmp_path, NOTHING)
    part = NOTHING.changed(Change.of({"routes": {"r": {"match": "1", "refuse": 404}}}), 2)
    write(tmp_path, part)
    assert Provisioned.decode((tmp_path / PROVISIONED).read_text()) == part
    assert [path.name for path in tmp_path.iterdir()] == [PROVISIONED]


def test_of_an_agent_only_what_a_server_has_sealed_is_taken(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        await node.settled(node.reloading.provision(PUT, 4))
        mine = node.site.provisioned
        assert mine.is_sealed("paris", (b"0123456789abcdef",))
        later = mine.changed(Change(lines={"a": None}), 5)
        node.reloading.hand_over(later.packed, "gw1")
        while not node.reloading.trouble:
            await asyncio.sleep(0.005)
        assert node.reloading.trouble == [
            "m1 does not take what was provisioned: version 5.2, which gw1 has, was sealed by no server of this site"
        ]
        assert node.site.provisioned == mine
        good = later.sealed("paris", b"0123456789abcdef")
        while node.site.provisioned != good:
            node.reloading.hand_over(good.packed, "gw1")
            await asyncio.sleep(0.005)
        assert node.reloading.trouble == []

    Node(tmp_path).tell(story)
