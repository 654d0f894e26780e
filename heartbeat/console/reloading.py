"""How a running program comes by a changed site: it reads the file again, or the provisioned part is changed.

Both are read and checked by a thread, against the site that the program lives by; what is wrong in any part is taken
in none. The provisioned part is a file in the state directory of each node, written only after it was found right.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from heartbeat.console.contract import Progress, Refused
from heartbeat.console.in_thread import InThread
from heartbeat.console.reload_orders import PROVISION, ReloadOrders
from heartbeat.site.certificates import OwnCertificates, Read
from heartbeat.site.load import PROVISIONED, SiteError, load, parse, read_text
from heartbeat.site.model import Site
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.pitfalls import warnings
from heartbeat.site.provisioned import Change, Provisioned, ProvisionError
from heartbeat.site.reload import changes, reload_complaints, without_late_lines

CLOSED: Final = 'the site file takes nothing by API: say provisioned = "last" (or "first") in its [site]'


class Reloaded(NamedTuple):
    """Who reloads, and how it lives by what was read."""

    name: str
    """The node."""
    state_dir: Path
    """Where it keeps the provisioned part."""
    site: Callable[[], Site]
    """The one that it lives by."""
    misses: Callable[[Site], Iterable[str]]
    """What besides `reload_complaints` keeps it from living by a site, a sentence each."""
    live_by: Callable[[Site, Read], None]
    """Live by a site, with the certificates as they are."""


class _Found(NamedTuple):
    """What was read."""

    site: Site | None
    """None: it cannot be taken."""
    sentences: list[str]
    """Why not; else warnings."""
    read: Read | None = None
    """The certificates as they are."""
    new: str = ""
    """What is new in it."""


class Reloading:
    """Of one process. Its methods return at once; orders say what came of them."""

    def __init__(
        self,
        node: Reloaded,
        certificates: OwnCertificates,
        loop: asyncio.AbstractEventLoop,
        logger: Callable[[], logging.Logger],
    ) -> None:
        self.orders = ReloadOrders()
        self.trouble: list[str] = []
        """Why this node does not live by what another one had, a sentence each."""
        self._node = node
        self._certificates = certificates
        self._loop = loop
        self._logger = logger
        self._reading = InThread(loop, self._read, self._was_read)
        self._changing = False
        self._written: tuple[Provisioned, list[str], bool] | None = None
        """The part of before, what is to be warned of, and whether it was ordered here; until it was read."""

    def ask(self) -> None:
        """Read the site file again."""
        self._reading.ask()

    def order(self) -> Progress:
        """The same, for somebody who wants to know what comes of it. Raises :class:`Refused`."""
        order = self.orders.begin()
        self._reading.ask()
        return order

    def provision(self, change: str, epoch: int) -> Progress:
        """Change the provisioned part (`Change.of` this JSON), as the server that leads under that epoch. Raises
        :class:`Refused`."""
        if self._node.site().identity.provisioned == "no":
            raise Refused(CLOSED)
        if self._changing:
            raise Refused("another change is under way: try again")
        order = self.orders.begin(PROVISION)
        self._begin(partial(self._changed, change, epoch), True)
        return order

    def hand_over(self, packed: bytes, agent: str = "") -> None:
        """Take a newer part that another node had; where a change is under way, it is offered again later. Of an
        ``agent`` only one that a server has sealed."""
        if not self._changing:
            self._begin(partial(self._unpacked, packed, agent), False)

    def _begin(self, make: Callable[[], Provisioned], ordered: bool) -> None:
        self._changing = True
        work = self._loop.run_in_executor(None, self._prepare, make)
        work.add_done_callback(partial(self._prepared, ordered))

    def _changed(self, change: str, epoch: int) -> Provisioned:
        site = self._node.site()
        part, keys = site.provisioned.changed(Change.of(json.loads(change)), epoch), site.membership().keys
        return part.sealed(site.name, keys[0]) if keys else part

    def _unpacked(self, packed: bytes, agent: str) -> Provisioned:
        part, site = Provisioned.unpack(packed), self._node.site()
        if agent and not part.is_sealed(site.name, site.membership().keys):
            raise ProvisionError([f"version {part.version}, which {agent} has, was sealed by no server of this site"])
        return part

    def _prepare(self, make: Callable[[], Provisioned]) -> tuple[Site, list[str], _Found]:
        """In a thread: the new part, checked whole and written; the site of before, what is to be warned of, and the
        site as it is then."""
        old, node = self._node.site(), self._node
        part = make()
        site = parse(read_text(old.path), old.path, node=node.name, provisioned=part)
        if site.identity.provisioned == "no":
            raise SiteError([CLOSED])
        complaints, read = self._complaints(old, site)
        if complaints:
            raise SiteError(complaints)
        known, found = {*warnings(old)}, self._taken(old, site, [], read)
        write(node.state_dir, part)
        return old, [sentence for sentence in found.sentences if sentence not in known], found

    def _prepared(self, ordered: bool, done: asyncio.Future[tuple[Site, list[str], _Found]]) -> None:
        error = done.exception()
        if error is None:
            before, warned, found = done.result()
            self._written = (before.provisioned, warned, ordered)
            if self._reading.busy or self._node.site() is not before:  # the site file may be another one since
                self._reading.ask()
            else:
                self._was_read(found)
            return
        self._changing = False
        said = list(error.complaints) if isinstance(error, SiteError | ProvisionError) else [str(error)]
        if not isinstance(error, SiteError | ProvisionError | OSError):
            self._logger().error("a provisioned part could not be taken", exc_info=error)
        self._refused(said, ordered)

    def _refused(self, said: list[str], ordered: bool) -> None:
        if ordered:
            self.orders.settle(False, said, PROVISION)
        else:
            self.trouble = [f"{self._node.name} does not take what was provisioned: {sentence}" for sentence in said]
            for sentence in self.trouble:
                self._logger().error("%s", sentence)

    def _complaints(self, old: Site, site: Site) -> tuple[list[str], Read]:
        name, read = self._node.name, self._certificates.read(site)
        found = [*missing_secrets(site, name), *reload_complaints(old, site, name), *self._node.misses(site)]
        return [*found, *read.complaints], read

    def _taken(self, old: Site, site: Site, late: list[str], read: Read) -> _Found:
        said = [*late, *warnings(site), *read.expired, *read.warnings]
        return _Found(site, said, read, "; ".join(changes(old, site)) or "nothing is new in it")

    def _read(self) -> _Found:
        """In a thread: the site file."""
        old = self._node.site()
        try:
            site, late = without_late_lines(old, load(old.path, self._node.name, False), self._node.name)
        except SiteError as error:
            return _Found(None, list(error.complaints))
        complaints, read = self._complaints(old, site)
        return _Found(None, complaints) if complaints else self._taken(old, site, late, read)

    def _was_read(self, found: _Found) -> None:
        site, sentences, read, new = found
        written, self._written = self._written, None
        self._changing = self._changing and written is None
        if site is None or read is None:
            said = [f"the site file is not taken: {sentence}" for sentence in sentences]
            for sentence in said:
                self._logger().error("%s", sentence)
            self.orders.settle(False, said)
            if written is not None:  # the file was changed meanwhile
                self._loop.run_in_executor(None, write, self._node.state_dir, written[0])
                self._refused(said, written[2])
            return
        for sentence in sentences:
            self._logger().warning("the site file: %s", sentence)
        self._node.live_by(site, read)
        lives = f"{self._node.name} lives by the site file {site.digest}: {new}"
        self.orders.settle(True, [lives, *sentences])
        if written is not None:
            self.trouble = []
            self.orders.settle(True, [lives, *written[1]], PROVISION)


def write(directory: Path, part: Provisioned) -> None:
    """Keep a provisioned part: all or nothing, also when the power fails. Raises :class:`OSError`."""
    path = directory / PROVISIONED
    new = path.with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(file, "w", encoding="utf-8") as text:
        text.write(part.encode())
        text.flush()
        os.fsync(file)
    os.replace(new, path)
    held = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
