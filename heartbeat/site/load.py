"""Reads the site file, the TOML file of all servers and agents of a site, into :mod:`heartbeat.site.model`.

A shell: it reads the file, the secrets that it names and the part provisioned by API. Single tables are checked by
:mod:`heartbeat.site.tables`, rules across them by :mod:`heartbeat.site.check`.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from heartbeat.site.check import complaints
from heartbeat.site.model import Site, digest
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.provisioned import NOTHING, Provisioned, ProvisionError
from heartbeat.site.tables import NAMED, SINGLE, SiteSource, TableReader, table_of, unknown
from heartbeat.site.values import Secret

SECRETS: Final = "secrets"
"""The directory beside the site file whose files are secrets by name."""
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The environment variable with the directory of a systemd unit's credentials."""
PROVISIONED: Final = "provisioned.json"
"""The file of the provisioned part in a program's state directory."""


class SiteError(Exception):
    """The site file is refused. ``complaints`` holds one sentence per error, each with its place in the file."""

    def __init__(self, complaints: Iterable[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(self.complaints))


def load(path: str | Path, node: str | None = None, needs_secrets: bool = True) -> Site:
    """Read a site file for ``node``, a server or an agent, with the provisioned part that this node has; without a
    node, with the newest one that is readable here.

    With ``needs_secrets`` the secrets that the node needs must exist; without a node (``b2bua check``) none has to.
    Raises :class:`SiteError` with all errors, one sentence each.
    """
    path = Path(path)
    site = parse(read_text(path), path, node=node)
    if node is not None:
        if node not in site.servers and node not in site.agents:
            names = ", ".join([*site.servers, *site.agents])
            raise SiteError([f"{path}: has no server or agent {node}: it has {names}"])
        if needs_secrets and (missing := missing_secrets(site, node)):
            raise SiteError(missing)
    return site


def read_text(path: Path) -> str:
    """The text of a site file. Raises :class:`SiteError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: cannot be read: {_reason(error)}"]) from None


def parse(
    text: str,
    path: Path,
    environment: Mapping[str, str] = os.environ,
    node: str | None = None,
    provisioned: Provisioned | None = None,
) -> Site:
    """The site of ``text``, as if it was read from ``path``; with the part ``provisioned``, else with the stored one
    (see `load`), where the text allows provisioning. Raises :class:`SiteError`."""
    if text.startswith("\ufeff"):
        raise SiteError([f"{path}: begins with a byte order mark (BOM): save it as UTF-8 without one"])
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise SiteError([f"{path}: is not TOML of a site: its lists or tables are too deep"]) from None
    except ValueError as error:  # not only TOMLDecodeError: a number may have too many digits
        raise SiteError([f"{path}: is not TOML: {error}"]) from None

    def secret(kind: str, name: str) -> Secret:
        if kind == "file":
            return _kept_in_file(Path(name))
        if kind == "secret":
            return _kept_by_name(path.absolute().parent / SECRETS / name, environment.get(CREDENTIALS))
        if value := environment.get(name):
            return Secret("", os.fsencode(value))
        return Secret("", None, f"the environment variable {name} is not set")

    source = SiteSource(path, secret)
    if table_of(tables.get("site")).get("provisioned", "no") == "no":
        provisioned = NOTHING
    return build(tables, source, _kept(tables, source, node) if provisioned is None else provisioned)


def _kept(tables: Mapping[str, Any], source: SiteSource, node: str | None) -> Provisioned:
    """The provisioned part stored by ``node``, or the newest of those of all nodes that is readable."""
    programs = {**table_of(tables.get("servers")), **table_of(tables.get("agents"))}
    newest = NOTHING
    for name, program in programs.items():
        state = table_of(program).get("state", "state")
        if node in (None, name) and isinstance(state, str) and "\0" not in state:
            path = source.absolute(state) / name / PROVISIONED
            try:
                found = Provisioned.decode(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, ProvisionError) as error:
                if node is None:
                    continue
                mend = "move it away, and it comes anew from the other nodes"
                raise SiteError([f"{path}: cannot be read: {_reason(error)}: {mend}"]) from None
            newest = max(newest, found, key=lambda one: one.version)
    return newest


def _kept_in_file(path: Path) -> Secret:
    try:
        value, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        return Secret("", None, f"the file {path} cannot be read: {_reason(error)}")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        return Secret("", None, f"the file {path} is empty")
    warning = f"everybody on this machine may read {path}: chmod 600 it" if mode & stat.S_IROTH else ""
    return Secret("", value, warning=warning)


def _kept_by_name(path: Path, credentials: str | None) -> Secret:
    """A secret in the directory of secrets, else in systemd's credentials, which do not change after the start."""
    if credentials and not path.exists() and (other := Path(credentials) / path.name).exists():
        return _kept_in_file(other)
    return _kept_in_file(path)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def build(tables: Mapping[str, Any], source: SiteSource, provisioned: Provisioned = NOTHING) -> Site:
    """The site of a file's tables and the provisioned part. Raises :class:`SiteError` with all errors."""
    reader = TableReader(source)
    tables = reader.with_provisioned(tables, provisioned)
    single: dict[str, Any] = {key: reader.table(kind, tables.get(key, {}), key) for key, kind in SINGLE.items()}
    named = {key: reader.named(kind, tables.get(key, {}), key) for key, kind in NAMED.items()}
    first = table_of(tables.get("site")).get("provisioned") == "first"
    routes = reader.routes(tables.get("routes", []), provisioned, first)
    known = [*SINGLE, *NAMED, "routes"]
    found = [f"{key}: {unknown(key, known)}" for key in tables if key not in known] + reader.complaints
    for name, line in table_of(tables.get("lines")).items():
        if table_of(line).get("kind") == "trunk" and "channels" not in line:
            found.append(f"lines.{name}.channels: is missing: say how many calls at once the trunk carries")
    # cross references are checked only among valid tables; a name of an invalid table is not dangling
    if None not in single.values():
        site = Site(
            identity=single["site"],
            timing=single["timing"],
            failover=single["failover"],
            trace=single["trace"],
            bans=single["bans"],
            records=single["records"],
            hooks=single["hooks"],
            servers=MappingProxyType(named["servers"]),
            agents=MappingProxyType(named["agents"]),
            lines=MappingProxyType(named["lines"]),
            groups=MappingProxyType(named["groups"]),
            routes=tuple(routes.values()),
            digest="",
            digest_without_keys="",
            path=source.path.absolute(),
            provisioned=provisioned,
        )
        written = {key: frozenset(table_of(tables.get(key))) for key in NAMED}
        found += complaints(site, written, tuple(routes))
    if found:
        raise SiteError(found)
    return dataclasses.replace(site, digest=digest(site), digest_without_keys=digest(site, with_keys=False))
