"""Changing the site of a running program: by reading the site file again, or by a change of its provisioned part.

Both are read and checked in a thread against the present site, and applied as a whole or not at all. The provisioned
part is a file in the state directory of each node, written only after it has been checked.
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
    """The node that reloads."""

    name: str
    """Name of the node."""
    state_dir: Path
    """Directory of its provisioned part."""
    site: Callable[[], Site]
    """Returns the site in use."""
    misses: Callable[[Site], Iterable[str]]
    """Returns faults of a site for this node besides `reload_complaints`, a sentence each."""
    apply: Callable[[Site, Read], None]
    """Makes the node use a site and the certificates that were read."""


class _Found(NamedTuple):
    """The result of reading a site."""

    site: Site | None
    """None: it cannot be used."""
    sentences: list[str]
    """Faults; for a usable site warnings."""
    read: Read | None = None
    """Its certificates."""
    new: str = ""
    """The changes from the site in use."""


class Reloading:
    """Reloads of one process. Its methods return at once; the orders have the results."""

    def __init__(
        self,
        node: Reloaded,
        certificates: OwnCertificates,
        loop: asyncio.AbstractEventLoop,
        logger: Callable[[], logging.Logger],
    ) -> None:
        self.orders = ReloadOrders()
        self.trouble: list[str] = []
        """Why a provisioned part of another node was not applied, a sentence each."""
        self._node = node
        self._certificates = certificates
        self._loop = loop
        self._logger = logger
        self._reading = InThread(loop, self._read, self._was_read)
        self._changing = False
        self._written: tuple[Provisioned, list[str], bool] | None = None
        """While a written part is not in use yet: the part before it, warnings, and whether it was ordered here."""

    def ask(self) -> None:
        """Read the site file again."""
        self._reading.ask()

    def order(self) -> Progress:
        """The same, with a progress. Raises :class:`Refused`."""
        order = self.orders.begin()
        self._reading.ask()
        return order

    def provision(self, change: str, epoch: int) -> Progress:
        """Change the provisioned part by a `Change` in JSON, as the leader of ``epoch``. Raises :class:`Refused`."""
        if self._node.site().identity.provisioned == "no":
            raise Refused(CLOSED)
        if self._changing:
            raise Refused("another change is under way: try again")
        order = self.orders.begin(PROVISION)
        self._begin(partial(self._changed, change, epoch), True)
        return order

    def hand_over(self, packed: bytes, agent: str = "") -> None:
        """Apply a newer part from another node, unless a change is under way (it is offered again later). One from an
        ``agent`` must have been sealed by a server."""
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
        """In a thread: make, check and write the new part. Returns the site in use, new warnings, and the result.
        Raises SiteError, ProvisionError or OSError."""
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
            if self._reading.busy or self._node.site() is not before:  # the site file may have changed since
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
        self._node.apply(site, read)
        lives = f"{self._node.name} lives by the site file {site.digest}: {new}"
        self.orders.settle(True, [lives, *sentences])
        if written is not None:
            self.trouble = []
            self.orders.settle(True, [lives, *written[1]], PROVISION)


def write(directory: Path, part: Provisioned) -> None:
    """Write a provisioned part atomically and durably. Raises :class:`OSError`."""
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
