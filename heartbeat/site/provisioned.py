"""The provisioned part of a site: lines and routes put by API or command, in addition to the site file. Pure.

It is JSON: ``{"version": "3.7", "lines": {NAME: {KEY: VALUE}}, "routes": {..}}`` with the keys of the site file. Only
the leading server makes a new version, under its epoch, so versions are ordered, and any node can pass the newest one
on. It is sealed with the site key: so a server can verify it when it comes from an agent that does not have this key.
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
"""Bytes of the whole part as JSON."""
MOST_NAMES: Final = 20_000
BEFORE: Final = "before"
"""Key of a route in a change: the provisioned route before which it is inserted. It is not stored."""
KINDS: Final = ("lines", "routes")
_LOCAL_FILES: Final = ("station", "stir_sign", "stir_verify", "ca")
"""Keys of lines that name files of a machine, which cannot be provisioned."""

Table = Mapping[str, Any]


class ProvisionError(ValueError):
    """A provisioned part or a change is invalid; ``complaints`` has one sentence for each error."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(complaints))


class Version(NamedTuple):
    """The version of a provisioned part: the epoch under which it was made, then a number that only rises."""

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
    """A change: tables to put, or None to delete, by name. It is applied as a whole or not at all."""

    lines: Mapping[str, Table | None] = MappingProxyType({})
    routes: Mapping[str, Table | None] = MappingProxyType({})

    @classmethod
    def of(cls, value: object) -> Change:
        """Read a change from JSON: ``{"lines": {NAME: TABLE or null}, "routes": ..}``. Raises
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
        """The change in words, for logs: only names, no values."""
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
    """One version of the provisioned part, immutable."""

    version: Version = NEVER
    """``0.0``: nothing was ever provisioned."""
    lines: Mapping[str, Table] = field(default_factory=_nothing)
    """By name."""
    routes: Mapping[str, Table] = field(default_factory=_nothing)
    """By name, in the order of look-up."""
    seal: str = ""
    """The MAC of the rest under the site key; empty: it was made without a site key, or passed a node of an older
    version without seals."""
    packed: bytes = field(init=False, repr=False, compare=False, default=b"")
    """Its deflated JSON, as passed from node to node. It is made at construction, which may be in a thread."""

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
        """Its JSON, as stored in a file."""
        value = {**self._value, **({"seal": self.seal} if self.seal else {})}
        return json.dumps(value, ensure_ascii=False, indent=1) + "\n"

    @property
    def _value(self) -> dict[str, Any]:
        return {"version": str(self.version), "lines": dict(self.lines), "routes": dict(self.routes)}

    def sealed(self, site: str, key: bytes) -> Provisioned:
        """The part with the seal of the site's servers."""
        return replace(self, seal=mac_of(self._said(site), key))

    def is_sealed(self, site: str, keys: Sequence[bytes]) -> bool:
        """Whether it has a valid seal by any of these keys."""
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
        """The next version after a change, made under ``epoch``. Raises :class:`ProvisionError`."""
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
            if place is not None and (not isinstance(place, str) or place not in routes or place == name):
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
        """Settings that are valid only in the site file, one sentence each."""
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
    """Errors where a value names a file or an environment variable: a client of the API must not be able to use what
    a node can read as a password."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            at = f"{place}.{key}"
            if key in _LOCAL_FILES:
                yield f"{at}: names files of a machine: such a line is written into the site file"
            elif isinstance(item, Mapping) and item.keys() & {"file", "env"}:
                yield f'{at}: must be {{"secret": "NAME"}} in a provisioned line'
            else:
                yield from _local(at, item)
