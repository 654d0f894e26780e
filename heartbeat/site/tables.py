"""Reads tables of the site file into the dataclasses of :mod:`heartbeat.site.model`. Only this module uses pydantic.

From the field types of each dataclass a pydantic model is made, whose errors are reported together, as sentences with
their places in the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import GenericAlias, MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    create_model,
)

from heartbeat.site.lines import Group, LineSettings, Route
from heartbeat.site.model import Agent, Bans, Failover, HookSettings, Identity, Records, Server, Trace
from heartbeat.site.provisioned import Provisioned
from heartbeat.site.texts import NAME, NAME_RULE, TEXTS, shown
from heartbeat.site.values import Api, Secret, Within, figure
from heartbeat.timing import Timing

SINGLE: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "site": Identity,
        "timing": Timing,
        "failover": Failover,
        "bans": Bans,
        "trace": Trace,
        "records": Records,
        "hooks": HookSettings,
    }
)
"""Tables that occur once, such as ``[timing]``."""
NAMED: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {"servers": Server, "agents": Agent, "lines": LineSettings, "groups": Group}
)
"""Tables by name, such as ``[lines.NAME]``."""
A_SECRET: Final = 'must be {secret = "NAME"}, {env = "NAME"} or {file = "PATH"}'
A_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
STRICT: Final = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "is missing",
        "bool_type": "must be true or false, is {was}",
        "int_type": "must be a whole number, is {was}",
        "float_type": "must be a number, is {was}",
        "finite_number": "must be a number, is {was}",
        "string_type": "must be a text in quotes, is {was}",
        "literal_error": "must be {expected}, is {was}",
        "greater_than_equal": "must be at least {ge}, is {was}",
        "less_than_equal": "must be at most {le}, is {was}",
        "dict_type": "must be a table, is {was}",
        "model_type": "must be a table, is {was}",
        "value_error": "{error}",
    }
)
"""Pydantic's error types -> sentences."""

T = TypeVar("T")


class SiteSource(NamedTuple):
    """The origin of a site file."""

    path: Path
    """The file; paths in it are relative to its directory."""
    secret: Callable[[str, str], Secret]
    """Reads a secret from ``env``, ``file`` or ``secret``, and the variable, absolute path or name."""

    def absolute(self, text: str) -> Path:
        """The absolute path of ``text`` in that file."""
        return Path(os.path.normpath(self.path.absolute().parent / text))


class TableReader:
    """Reads tables one by one, so that an error in one does not hide errors in others."""

    def __init__(self, source: SiteSource) -> None:
        self.complaints: list[str] = []
        self._source = source

    def table(self, kind: type[T], value: object, place: str, **given: str) -> T | None:
        """``value`` as the dataclass ``kind``; None: it has errors, which were noted. ``given``: fields that are not
        keys of the table."""
        try:
            return _made(kind, _model(kind).model_validate(value, context=self._source), self._source, **given)
        except ValidationError as error:
            self.complaints += [_complaint(kind, value, place, each) for each in error.errors(include_url=False)]
            return None

    def named(self, kind: type[T], value: object, place: str) -> dict[str, T]:
        """Tables by name; those with errors are left out."""
        if not isinstance(value, Mapping):
            self.complaints.append(f"{place}: must be a table of tables [{place}.NAME]")
            return {}
        found = {}
        for name, item in value.items():
            if not NAME.fullmatch(name):
                self.complaints.append(f"{place}.{name}: has a name that is not {NAME_RULE}")
            elif (read := self.table(kind, item, f"{place}.{name}", name=name)) is not None:
                found[name] = read
        return found

    def with_provisioned(self, tables: Mapping[str, Any], provisioned: Provisioned) -> Mapping[str, Any]:
        """The tables with the provisioned lines. A line that is in both is an error: neither way may change what was
        written by the other."""
        self.complaints += provisioned.faults()
        lines = tables.get("lines", {})
        if not provisioned.lines or not isinstance(lines, Mapping):
            return tables
        for name in lines.keys() & provisioned.lines.keys():
            self.complaints.append(f"lines.{name}: is provisioned, and in {self._source.path.name} too: delete one")
        return {**tables, "lines": {**provisioned.lines, **lines}}

    def routes(self, value: object, provisioned: Provisioned, first: bool) -> dict[str, Route]:
        """The routes by their names in messages, in order, the provisioned ones ``first`` or last; those with errors
        are left out."""
        if not isinstance(value, list):
            self.complaints.append("routes: must be written as [[routes]]")
            return {}
        written: dict[str, Any] = {}
        for index, item in enumerate(value, 1):
            name = table_of(item).get("name")
            place = f"routes.{name}" if name and isinstance(name, str) else f"routes[{index}]"
            if place in written or (isinstance(name, str) and name in provisioned.routes):
                self.complaints.append(f"routes[{index}].name: another route is called {name}, too")
            written[place] = item
        named = {f"routes.{name}": {**table, "name": name} for name, table in provisioned.routes.items()}
        read = {}
        for place, item in ({**named, **written} if first else {**written, **named}).items():
            if (route := self.table(Route, item, place)) is not None:
                read[place] = route
        return read


def table_of(value: object) -> Mapping[str, Any]:
    """``value`` if it is a table, else an empty one; the error is reported elsewhere."""
    return value if isinstance(value, Mapping) else {}


def keys_of(kind: type[Any]) -> Mapping[str, dataclasses.Field[Any]]:
    """The keys of the table of this dataclass, and their fields. They differ from the field names for ``from``, a
    keyword of Python, and without ``name``, which is in the table's header."""
    specs = [spec for spec in dataclasses.fields(kind) if spec.name != "name" or kind not in NAMED.values()]
    return {spec.metadata.get("key", spec.name): spec for spec in specs}


def hints_of(kind: type[Any]) -> Mapping[str, Any]:
    """The types of the fields of a dataclass, with their limits."""
    return typing.get_type_hints(kind, include_extras=True)


_MODELS: dict[type[Any], type[BaseModel]] = {}


def _model(kind: type[Any]) -> type[BaseModel]:
    """The pydantic model of a table."""
    if kind in _MODELS:
        return _MODELS[kind]
    fields: dict[str, Any] = {}
    for key, spec in keys_of(kind).items():
        needed = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        # with an underscore, since a key like "register" is a method of BaseModel
        fields[f"{spec.name}_"] = (_readable(hints_of(kind)[spec.name]), Field(... if needed else None, alias=key))
    _MODELS[kind] = create_model(kind.__name__, __config__=STRICT, **fields)
    return _MODELS[kind]


def _made(kind: type[T], read: BaseModel, source: SiteSource, **given: str) -> T:
    """The dataclass with the values read, and its defaults for the others."""
    values: dict[str, Any] = {name.removesuffix("_"): getattr(read, name) for name in read.model_fields_set}
    for spec in keys_of(kind).values():
        if isinstance(spec.default, Path):
            values.setdefault(spec.name, source.absolute(str(spec.default)))
    return kind(**given, **values)


def _readable(hint: Any) -> Any:
    """A field's type with the validators by which pydantic reads it from TOML."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limit = arguments[1]
        inside = Field(ge=limit.least, le=limit.most) if isinstance(limit, Within) else AfterValidator(TEXTS[limit])
        return Annotated[_readable(arguments[0]), inside]
    if origin in (Union, types.UnionType):
        return _readable(arguments[0])
    if origin is tuple and arguments[-1] is Ellipsis:
        return Annotated[GenericAlias(tuple, (_readable(arguments[0]), ...)), BeforeValidator(_listed)]
    if origin is tuple:
        so_many = BeforeValidator(functools.partial(_so_many, len(arguments)))
        return Annotated[GenericAlias(tuple, tuple(map(_readable, arguments))), so_many]
    if origin is Mapping:
        return Annotated[GenericAlias(dict, (str, _readable(arguments[1]))), AfterValidator(MappingProxyType)]
    if hint is float:
        return Annotated[float, Field(allow_inf_nan=False)]
    if hint in (Path, Secret):
        return Annotated[hint, PlainValidator(_path if hint is Path else _secret)]
    if hasattr(hint, "parse"):
        return Annotated[hint, PlainValidator(functools.partial(_parsed, hint))]
    if dataclasses.is_dataclass(hint):
        kind = typing.cast(type[Any], hint)
        return Annotated[_model(kind), AfterValidator(functools.partial(_inner, kind))]
    return hint


def _inner(kind: type[T], read: BaseModel, info: ValidationInfo) -> T:
    return _made(kind, read, typing.cast(SiteSource, info.context))


def _listed(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _so_many(number: int, value: object) -> tuple[object, ...]:
    items = _listed(value)
    if len(items) != number:
        raise ValueError(f"must be a list of {number}, has {len(items)}")
    return items


def _parsed(kind: Any, value: object, info: ValidationInfo) -> Any:
    read = kind.parse(_text(value))
    return Api(path=str(_absolute(read.path, info))) if isinstance(read, Api) and read.path else read


def _path(value: object, info: ValidationInfo) -> Path:
    if not _text(value):
        raise ValueError("must name a file or directory, is empty")
    return _absolute(_text(value), info)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(SENTENCES["string_type"].format(was=shown(value)))
    return value


def _absolute(text: str, info: ValidationInfo) -> Path:
    if "\0" in text:
        raise ValueError(f"must be a path, is {text!r}")
    return typing.cast(SiteSource, info.context).absolute(text)


def _secret(value: object, info: ValidationInfo) -> Secret:
    if not isinstance(value, Mapping):
        # the value is not repeated, since it is probably the secret itself
        raise ValueError(f"{A_SECRET}: secrets themselves do not stand in the site file")
    match [*value.items()]:
        case [("env" | "file" as kind, str(name))] if name:
            place = str(_absolute(name, info)) if kind == "file" else name
            kept = typing.cast(SiteSource, info.context).secret(kind, place)
            return dataclasses.replace(kept, source=f"{kind} {name}")
        case [("secret", str(name))]:
            if not A_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a secret: letters, digits, dots, underscores and hyphens")
            kept = typing.cast(SiteSource, info.context).secret("secret", name)
            return dataclasses.replace(kept, source=f"secret {name}")
    raise ValueError(f"{A_SECRET}, and nothing else")


def _complaint(kind: type[Any], value: object, place: str, error: Mapping[str, Any]) -> str:
    """An error of pydantic as a sentence; ``value``: the value at ``place``."""
    *way, last = error["loc"] or (None,)
    for step in error["loc"]:
        if isinstance(step, int):
            items = value if isinstance(value, list) else [value]
            place += f"[{step + 1}]" if len(items) > 1 else ""
            value = items[step]
        else:
            place += f".{step}"
            value = table_of(value).get(step)
    if error["type"] == "extra_forbidden":
        for step in way:
            kind = _innermost(hints_of(kind)[keys_of(kind)[step].name]) if isinstance(step, str) else kind
        return f"{place}: {unknown(str(last), [*keys_of(kind)])}"
    words = {"msg": error["msg"], "was": shown(error["input"])}
    for key, word in error.get("ctx", {}).items():
        words[key] = figure(word) if isinstance(word, int | float) else str(word)
    if error["type"] == "literal_error":
        words["expected"] = words["expected"].replace("'", "")
    return f"{place}: {SENTENCES.get(error['type'], 'is not right: {msg}, is {was}').format(**words)}"


def _innermost(hint: Any) -> Any:
    """The dataclass in a type such as ``tuple[X, ...]`` or ``X | None``."""
    while arguments := typing.get_args(hint):
        hint = arguments[0]
    return hint


def unknown(key: str, known: Iterable[str]) -> str:
    """The sentence about an unknown key, which names the most similar known one."""
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"here can stand {', '.join(sorted(known))}"
    return f"is not known: {hint}"
