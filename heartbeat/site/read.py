"""From the tables of a site file to its values, every error collected. Pure: secrets come through a function.

One reader serves all tables: the types of the dataclasses in :mod:`heartbeat.site.model` say what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import os.path
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from heartbeat.site.words import Api, Secret, Within, figure

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}")
NUMBER = re.compile(r"[A-Za-z0-9+*#_.!\-]{1,64}")
NAME_SAID = "1 to 32 letters, digits, underscores, dots or hyphens, the first a letter or digit"
BAD: Any = object()
"""Stands for a value whose error is already written down."""


class SiteError(Exception):
    """The site file is refused. ``complaints`` holds one sentence per error, each with its place in the file."""

    def __init__(self, complaints: Iterable[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(self.complaints))


class Kept(NamedTuple):
    """What was found where a secret is kept."""

    value: bytes | None
    problem: str = ""
    """Why there is none, as a half sentence."""


class SiteSource(NamedTuple):
    """Where a site file comes from."""

    path: Path
    """The file; relative paths in it start from its directory."""
    secret: Callable[[Literal["env", "file"], str], Kept]
    """Reads a secret from an environment variable or an (absolute) file."""


class TableReader:
    """Turns TOML values into the types of the dataclasses, and collects complaints."""

    def __init__(self, source: SiteSource) -> None:
        self.complaints: list[str] = []
        self._source = source
        self._base = source.path.absolute().parent

    def complain(self, place: str, sentence: str) -> Any:
        """Write an error down; gives ``BAD``."""
        self.complaints.append(f"{place}: {sentence}")
        return BAD

    def table(self, kind: type[Any], value: object, place: str, name: str = "") -> Any:
        """``value`` as an instance of the dataclass ``kind``; a ``name`` fills the field of that name."""
        if not isinstance(value, Mapping):
            return self.complain(place, f"must be a table, is {value!r}")
        keys = keys_of(kind)
        given: dict[str, Any] = {}
        for key, item in value.items():
            if key in keys and not (name and key == "name"):
                given[keys[key].name] = self.value(hints_of(kind)[keys[key].name], item, _dot(place, key))
            else:
                self.unknown(place, key, [k for k in keys if not (name and k == "name")])
        if name:
            given["name"] = name
        for key, spec in keys.items():
            needed = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
            if needed and spec.name not in given:
                given[spec.name] = self.complain(_dot(place, key), "is missing")
            elif isinstance(spec.default, Path) and spec.name not in given:
                given[spec.name] = self._path(str(spec.default))
        return BAD if any(item is BAD for item in given.values()) else kind(**given)

    def named(self, kind: type[Any], value: object, place: str) -> dict[str, Any]:
        """A table of tables, by name; those with errors are left out."""
        if not isinstance(value, Mapping):
            self.complain(place, f"must be a table of tables [{place}.NAME]")
            return {}
        found = {}
        for name, item in value.items():
            if not NAME.fullmatch(name):
                self.complain(_dot(place, name), f"has a name that is not {NAME_SAID}")
            elif (read := self.table(kind, item, _dot(place, name), name)) is not BAD:
                found[name] = read
        return found

    def value(self, hint: Any, value: object, place: str) -> Any:
        """``value`` as the type ``hint``, or ``BAD``."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            read = self.value(arguments[0], value, place)
            return read if read is BAD else self._limited(read, arguments[1], place)
        if origin in (Union, types.UnionType):
            return self.value(next(a for a in arguments if a is not type(None)), value, place)
        if origin is Literal:
            return self._choice(arguments, value, place)
        if origin is tuple:
            return self._list(arguments, value, place)
        if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
            return self._mapping(arguments[1], value, place)
        if hint is Secret:
            return self._secret(value, place)
        if hasattr(hint, "parse"):
            return self._parsed(hint, value, place)
        if dataclasses.is_dataclass(hint):
            return self.table(typing.cast(type[Any], hint), value, place)
        return self._plain(hint, value, place)

    def _plain(self, hint: Any, value: object, place: str) -> Any:
        if hint is bool:
            return value if isinstance(value, bool) else self.complain(place, f"must be true or false, is {value!r}")
        if hint is int:
            whole = isinstance(value, int) and not isinstance(value, bool)
            return value if whole else self.complain(place, f"must be a whole number, is {value!r}")
        if hint is float:
            number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
            return (
                float(typing.cast(float, value))
                if number
                else self.complain(place, f"must be a number, is {value!r}")
            )
        if not isinstance(value, str):
            return self.complain(place, f"must be a text in quotes, is {value!r}")
        if hint is Path:
            return self._path(value) if value else self.complain(place, "must name a directory, is empty")
        return value

    def _limited(self, value: Any, limit: object, place: str) -> Any:
        if isinstance(limit, Within):
            if value < limit.least:
                return self.complain(place, f"must be at least {figure(limit.least)}, is {figure(value)}")
            if value > limit.most:
                return self.complain(place, f"must be at most {figure(limit.most)}, is {figure(value)}")
        elif limit == "number" and value and not NUMBER.fullmatch(value):
            return self.complain(place, f"must be 1 to 64 letters, digits or any of + * # _ . ! -, is {value!r}")
        elif limit == "host" and value and not re.fullmatch(r"[0-9A-Za-z.:\[\]\-]{1,255}", value):
            return self.complain(place, f"must be a host, with or without a port, is {value!r}")
        elif limit == "name" and not NAME.fullmatch(value):
            return self.complain(place, f"must be {NAME_SAID}, is {value!r}")
        return value

    def _choice(self, choices: tuple[str, ...], value: object, place: str) -> Any:
        if value in choices:
            return value
        said = ", ".join(choices[:-1]) + " or " + choices[-1]
        return self.complain(place, f"must be {said}, is {value!r}")

    def _list(self, arguments: tuple[Any, ...], value: object, place: str) -> Any:
        items = value if isinstance(value, list) else [value]
        if arguments[-1] is Ellipsis:
            read = [self.value(arguments[0], item, _item(place, items, i)) for i, item in enumerate(items)]
        elif len(items) != len(arguments):
            return self.complain(place, f"must be a list of {len(arguments)}, has {len(items)}")
        else:
            read = [self.value(hint, item, place) for hint, item in zip(arguments, items, strict=True)]
        return BAD if any(item is BAD for item in read) else tuple(read)

    def _mapping(self, hint: Any, value: object, place: str) -> Any:
        if not isinstance(value, Mapping):
            return self.complain(place, f"must be a table, is {value!r}")
        read = {key: self.value(hint, item, _dot(place, key)) for key, item in value.items()}
        return BAD if any(item is BAD for item in read.values()) else types.MappingProxyType(read)

    def _parsed(self, hint: Any, value: object, place: str) -> Any:
        if not isinstance(value, str):
            return self.complain(place, f"must be a text in quotes, is {value!r}")
        try:
            read = hint.parse(value)
        except ValueError as error:
            return self.complain(place, str(error))
        return Api(path=str(self._path(read.path))) if isinstance(read, Api) and read.path else read

    def _secret(self, value: object, place: str) -> Any:
        if not isinstance(value, Mapping):
            # The value is not repeated: somebody wrote the secret itself here.
            return self.complain(
                place, 'must be {env = "NAME"} or {file = "PATH"}: secrets themselves do not stand in the site file'
            )
        match dict(value):
            case {"env": str(name), **rest} if name and not rest:
                kept = self._source.secret("env", name)
                return Secret(f"env {name}", kept.value, kept.problem)
            case {"file": str(name), **rest} if name and not rest:
                kept = self._source.secret("file", str(self._path(name)))
                return Secret(f"file {name}", kept.value, kept.problem)
        return self.complain(place, 'must be {env = "NAME"} or {file = "PATH"}, and nothing else')

    def _path(self, text: str) -> Path:
        return Path(os.path.normpath(self._base / text))

    def unknown(self, place: str, key: str, known: list[str]) -> None:
        """Complain about a key that nothing reads, and name the nearest one that is."""
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"here can stand {', '.join(sorted(known))}"
        self.complain(_dot(place, key), f"is not known: {hint}")


_KEYS: dict[type[Any], dict[str, dataclasses.Field[Any]]] = {}
_HINTS: dict[type[Any], dict[str, Any]] = {}


def keys_of(kind: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """The keys that a table of this dataclass may have, and their fields. ``from`` cannot be a name in Python."""
    if kind not in _KEYS:
        _KEYS[kind] = {f.metadata.get("key", f.name): f for f in dataclasses.fields(kind) if f.init}
    return _KEYS[kind]


def hints_of(kind: type[Any]) -> dict[str, Any]:
    """The types of the fields of a dataclass, with their limits."""
    if kind not in _HINTS:
        _HINTS[kind] = typing.get_type_hints(kind, include_extras=True)
    return _HINTS[kind]


def _dot(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _item(place: str, items: list[object], index: int) -> str:
    return place if len(items) == 1 else f"{place}[{index + 1}]"
