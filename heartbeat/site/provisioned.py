"""The provisioned part of a site: lines and routes put by API or command, beside those of the site file. Pure.

It is JSON, since a program writes it: ``{"version": "3.7", "lines": {NAME: {KEY: VALUE}}, "routes": {..}}`` with the
keys of the site file. Only the server that leads makes a new version, under its epoch, so of two versions one is
newer, and whoever has it can give it to all others. It is sealed with the site key: by that a server knows it for one
of a server's, where it has it of an agent that has not that key.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from heartbeat.mac import is_mac_of, mac_of

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of the whole part as JSON."""
MOST_NAMES: Final = 20_000
BEFORE: Final = "before"
"""Key of a route that is put: the provisioned route before which it shall stand. It is not kept."""
KINDS: Final = ("lines", "routes")
_LOCAL_FILES: Final = ("station", "stir_sign", "stir_verify", "ca")
"""Keys of lines that name files of a machine, which who provisions need not know."""

Table = Mapping[str, Any]


class ProvisionError(ValueError):
    """What is wrong with a provisioned part or with a change of it, one sentence each in ``complaints``."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(complaints))


class Version(NamedTuple):
    """Which of two provisioned parts is newer: by the epoch under which it was made, then by a number that never
    falls."""

    epoch: int = 0
    serial: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.serial}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises :class:`ValueError`."""
        epoch, dot, serial = text.partition(".")
        if not (dot and epoch.isdecimal() and serial.isdecimal() and len(text) <= 33 and text.isascii()):
            raise ValueError("is no version")
        return cls(int(epoch), int(serial))


NEVER: Final = Version()


class Change(NamedTuple):
    """What is to be put (a table) or deleted (None), by name; all of it or nothing."""

    lines: Mapping[str, Table | None] = MappingProxyType({})
    routes: Mapping[str, Table | None] = MappingProxyType({})

    @classmethod
    def of(cls, value: object) -> Change:
        """The change that a JSON value says: ``{"lines": {NAME: TABLE or null}, "routes": ..}``. Raises
        :class:`ProvisionError`."""
        if not isinstance(value, dict) or not value or not all(isinstance(each, dict) for each in value.values()):
            raise ProvisionError(['a change is like {"lines": {NAME: {..}}, "routes": {NAME: null}}'])
        wrong = [f"{key}: is not known: here can stand lines, routes" for key in value if key not in KINDS]
        for kind in KINDS:
            wrong += [
                f"{kind}.{name}: must be a table of keys of the site file, or null"
                for name, table in value.get(kind, {}).items()
                if not (table is None or isinstance(table, dict))
            ]
        if wrong:
            raise ProvisionError(wrong)
        return cls(value.get("lines", {}), value.get("routes", {}))

    @property
    def words(self) -> str:
        """What it does, by names alone: for logs."""
        said = []
        for what, tables in (("line", self.lines), ("route", self.routes)):
            for done, names in (
                ("put", [name for name, table in tables.items() if table is not None]),
                ("deleted", [name for name, table in tables.items() if table is None]),
            ):
                if names:
                    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
                    said.append(f"{what}{'s' if len(names) > 1 else ''} {done}: {', '.join(names[:20])}{more}")
        return "; ".join(said) or "nothing"


def _nothing() -> Mapping[str, Table]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Provisioned:
    """One version of it; no part of it is ever changed."""

    version: Version = NEVER
    """``0.0``: nothing was ever provisioned."""
    lines: Mapping[str, Table] = field(default_factory=_nothing)
    """By name."""
    routes: Mapping[str, Table] = field(default_factory=_nothing)
    """By name, in the order in which they are looked at."""
    seal: str = ""
    """The MAC of the rest under the site key; empty: it was made where there is none, or went through a node of a
    version that knows no seals."""
    packed: bytes = field(init=False, repr=False, compare=False, default=b"")
    """As it is handed over: its JSON, deflated. Made here, where a thread has time for it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", zlib.compress(self.encode().encode()))

    @classmethod
    def unpack(cls, data: bytes) -> Provisioned:
        """Raises :class:`ProvisionError`."""
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(data, MOST_BYTES).decode()
        except (zlib.error, UnicodeDecodeError):
            raise ProvisionError(["it is no provisioned part of a site"]) from None
        return cls.decode(text)

    def encode(self) -> str:
        """As it is kept in a file."""
        value = {**self._value, **({"seal": self.seal} if self.seal else {})}
        return json.dumps(value, ensure_ascii=False, indent=1) + "\n"

    @property
    def _value(self) -> dict[str, Any]:
        return {"version": str(self.version), "lines": dict(self.lines), "routes": dict(self.routes)}

    def sealed(self, site: str, key: bytes) -> Provisioned:
        """The same, sealed by a server of the site."""
        return replace(self, seal=mac_of(self._said(site), key))

    def is_sealed(self, site: str, keys: Sequence[bytes]) -> bool:
        """Whether a server of the site has sealed it, with any of these keys."""
        return is_mac_of(self.seal, self._said(site), keys)

    def _said(self, site: str) -> str:
        return f"provisioned {site} {json.dumps(self._value, ensure_ascii=False, separators=(',', ':'))}"

    @classmethod
    def decode(cls, text: str) -> Provisioned:
        """Raises :class:`ProvisionError`."""
        try:
            value = json.loads(text)
            version = Version.parse(value["version"])
            change = Change.of({kind: value[kind] for kind in KINDS})
            seal = value.get("seal", "")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            if isinstance(error, ProvisionError):
                raise
            raise ProvisionError(["it is no provisioned part of a site"]) from None
        tables = [{name: table for name, table in each.items() if table is not None} for each in change]
        seal = seal if isinstance(seal, str) else ""
        return cls(version, MappingProxyType(tables[0]), MappingProxyType(tables[1]), seal)

    def changed(self, change: Change, epoch: int) -> Provisioned:
        """The version after this one, made under an epoch. Raises :class:`ProvisionError`."""
        wrong = [*_missing("lines", change.lines, self.lines), *_missing("routes", change.routes, self.routes)]
        lines = {**self.lines, **{name: table for name, table in change.lines.items() if table is not None}}
        for name, table in change.lines.items():
            if table is None:
                lines.pop(name, None)
        routes = dict(self.routes)
        for name, table in change.routes.items():
            if table is None:
                routes.pop(name, None)
                continue
            place = table.get(BEFORE)
            routes[name] = {key: value for key, value in table.items() if key != BEFORE}
            if place is not None and (place not in routes or place == name):
                wrong.append(f"routes.{name}.before: names {place!r}, and there is no such other provisioned route")
            elif place is not None:
                routes = _moved(routes, name, place)
        version = Version(max(epoch, self.version.epoch), self.version.serial + 1)
        found = Provisioned(version, MappingProxyType(lines), MappingProxyType(routes))
        wrong += found.faults()
        if wrong:
            raise ProvisionError(wrong)
        return found

    def faults(self) -> list[str]:
        """What may stand in a site file and not here, a sentence each."""
        wrong = [fault for name, table in self.lines.items() for fault in _local(f"lines.{name}", table)]
        if len(self.lines) + len(self.routes) > MOST_NAMES:
            wrong.append(f"at most {MOST_NAMES:,} lines and routes can be provisioned")
        elif len(self.encode()) > MOST_BYTES:
            wrong.append(f"at most {MOST_BYTES // 1024 // 1024} MB can be provisioned")
        return wrong


NOTHING: Final = Provisioned()


def _missing(kind: str, changed: Mapping[str, Table | None], there: Mapping[str, Table]) -> Iterator[str]:
    for name, table in changed.items():
        if table is None and name not in there:
            yield f"{kind}.{name}: is not provisioned, so it cannot be deleted"


def _moved(routes: dict[str, Table], name: str, before: str) -> dict[str, Table]:
    table = routes.pop(name)
    found: dict[str, Table] = {}
    for each, other in routes.items():
        if each == before:
            found[name] = table
        found[each] = other
    return found


def _local(place: str, value: object) -> Iterator[str]:
    """Who provisions is no owner of the machines: files and environments are not his to name, so that no provisioned
    line can make a password of what a node can read."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            at = f"{place}.{key}"
            if key in _LOCAL_FILES:
                yield f"{at}: names files of a machine: such a line is written into the site file"
            elif isinstance(item, Mapping) and item.keys() & {"file", "env"}:
                yield f'{at}: must be {{"secret": "NAME"}} in a provisioned line'
            else:
                yield from _local(at, item)
