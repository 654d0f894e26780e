"""The site file: one TOML that servers and agents of a site all run from, read into :mod:`heartbeat.site.model`.

A shell, and the one home of pydantic. What may stand in a table is told by the types of the model's dataclasses; from
each of them a pydantic model is made, whose errors become sentences with their places in the file, all at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import stat
import tomllib
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

from heartbeat.site.check import complaints
from heartbeat.site.lines import Group, LineSettings, Route
from heartbeat.site.model import Agent, Bans, Failover, HookSettings, Identity, Records, Server, Site, Trace, digest
from heartbeat.site.needed_secrets import missing_secrets
from heartbeat.site.provisioned import NOTHING, Provisioned, ProvisionError
from heartbeat.site.values import Api, Secret, Within, figure, split_host_port
from heartbeat.timing import Timing
from sip.device.header_rules import PROTECTED, field_of

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
NAMED: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {"servers": Server, "agents": Agent, "lines": LineSettings, "groups": Group}
)
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}")
NAME_SAID: Final = "1 to 32 letters, digits, underscores, dots or hyphens, the first a letter or digit"
FIELD: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}")
ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
URL: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?(?:/[!-~]*)?")
HTTPS: Final = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/?=&-]{1,500}")
NUMBER: Final = re.compile(r"[A-Za-z0-9+*#_.!\-]{1,64}")
A_SECRET: Final = 'must be {secret = "NAME"}, {env = "NAME"} or {file = "PATH"}'
SECRETS: Final = "secrets"
"""The directory beside the site file whose files are secrets by name."""
A_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd says where the credentials of a unit are."""
PROVISIONED: Final = "provisioned.json"
"""The file in a program's state directory that has what was put by API."""
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
"""Pydantic's kinds of error in words."""

T = TypeVar("T")


class SiteError(Exception):
    """The site file is refused. ``complaints`` holds one sentence per error, each with its place in the file."""

    def __init__(self, complaints: Iterable[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(self.complaints))


class SiteSource(NamedTuple):
    """Where a site file comes from."""

    path: Path
    """The file; relative paths in it start from its directory."""
    secret: Callable[[str, str], Secret]
    """Reads a secret from ``env``, ``file`` or ``secret``, and the variable, absolute path or name."""

    def absolute(self, text: str) -> Path:
        return Path(os.path.normpath(self.path.absolute().parent / text))


def load(path: str | Path, node: str | None = None, needs_secrets: bool = True) -> Site:
    """Read a site file for ``node``, a server or an agent of it, with the provisioned part as that node has it, or,
    without a node, the newest that can be read here.

    The secrets that the node needs must be there, where it ``needs_secrets``; without a node (``b2bua check``) none
    must. Raises
    :class:`SiteError` with every error that was found, one sentence each.
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
    """A site file as text. Raises :class:`SiteError`."""
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
    """The site that ``text`` says, as if read from ``path``; with ``provisioned``, else with what is kept of it (see
    `load`), where the text wants such a part at all. Raises :class:`SiteError`."""
    if text.startswith("\ufeff"):
        raise SiteError([f"{path}: begins with a byte order mark (BOM): save it as UTF-8 without one"])
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise SiteError([f"{path}: is not TOML of a site: its lists or tables are too deep"]) from None
    except ValueError as error:  # a number of too many digits is no TOMLDecodeError
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
    if _table(tables.get("site")).get("provisioned", "no") == "no":
        provisioned = NOTHING
    return build(tables, source, _kept(tables, source, node) if provisioned is None else provisioned)


def _kept(tables: Mapping[str, Any], source: SiteSource, node: str | None) -> Provisioned:
    """The provisioned part that ``node`` has, or the newest of all nodes' that can be read."""
    programs = {**_table(tables.get("servers")), **_table(tables.get("agents"))}
    newest = NOTHING
    for name, program in programs.items():
        state = _table(program).get("state", "state")
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
    """A secret in the directory of secrets, else among systemd's credentials, which are as they were at the start."""
    if credentials and not path.exists() and (other := Path(credentials) / path.name).exists():
        return _kept_in_file(other)
    return _kept_in_file(path)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def build(tables: Mapping[str, Any], source: SiteSource, provisioned: Provisioned = NOTHING) -> Site:
    """The site that the tables of a file say, and the provisioned part. Raises :class:`SiteError` with every error
    that is found."""
    reader = _Reader(source)
    tables = reader.with_provisioned(tables, provisioned)
    single: dict[str, Any] = {key: reader.table(kind, tables.get(key, {}), key) for key, kind in SINGLE.items()}
    named = {key: reader.named(kind, tables.get(key, {}), key) for key, kind in NAMED.items()}
    first = _table(tables.get("site")).get("provisioned") == "first"
    routes = reader.routes(tables.get("routes", []), provisioned, first)
    known = [*SINGLE, *NAMED, "routes"]
    found = [f"{key}: {_unknown(key, known)}" for key in tables if key not in known] + reader.complaints
    for name, line in _table(tables.get("lines")).items():
        if _table(line).get("kind") == "trunk" and "channels" not in line:
            found.append(f"lines.{name}.channels: is missing: say how many calls at once the trunk carries")
    # Cross references are looked at only among tables that could be read; what could not be read is no dangling name.
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
        written = {key: frozenset(_table(tables.get(key))) for key in NAMED}
        found += complaints(site, written, tuple(routes))
    if found:
        raise SiteError(found)
    return dataclasses.replace(site, digest=digest(site), digest_without_keys=digest(site, with_keys=False))


class _Reader:
    """Reads tables one by one, so that an error in one hides none in another."""

    def __init__(self, source: SiteSource) -> None:
        self.complaints: list[str] = []
        self._source = source

    def table(self, kind: type[T], value: object, place: str, **given: str) -> T | None:
        """``value`` as the dataclass ``kind``; None after complaints. ``given`` are fields that are no keys of it."""
        try:
            return _made(kind, _model(kind).model_validate(value, context=self._source), self._source, **given)
        except ValidationError as error:
            self.complaints += [_complaint(kind, value, place, each) for each in error.errors(include_url=False)]
            return None

    def named(self, kind: type[T], value: object, place: str) -> dict[str, T]:
        """A table of tables, by name; those with errors are left out."""
        if not isinstance(value, Mapping):
            self.complaints.append(f"{place}: must be a table of tables [{place}.NAME]")
            return {}
        found = {}
        for name, item in value.items():
            if not NAME.fullmatch(name):
                self.complaints.append(f"{place}.{name}: has a name that is not {NAME_SAID}")
            elif (read := self.table(kind, item, f"{place}.{name}", name=name)) is not None:
                found[name] = read
        return found

    def with_provisioned(self, tables: Mapping[str, Any], provisioned: Provisioned) -> Mapping[str, Any]:
        """The tables with the provisioned lines. A line that is in both is a mistake of whoever was second: neither
        way may change what the other one wrote."""
        self.complaints += provisioned.faults()
        lines = tables.get("lines", {})
        if not provisioned.lines or not isinstance(lines, Mapping):
            return tables
        for name in lines.keys() & provisioned.lines.keys():
            self.complaints.append(f"lines.{name}: is provisioned, and in {self._source.path.name} too: delete one")
        return {**tables, "lines": {**provisioned.lines, **lines}}

    def routes(self, value: object, provisioned: Provisioned, first: bool) -> dict[str, Route]:
        """The routes by how they are called, in their order, the provisioned ones ``first`` or last; those with
        errors are left out."""
        if not isinstance(value, list):
            self.complaints.append("routes: must be written as [[routes]]")
            return {}
        written: dict[str, Any] = {}
        for index, item in enumerate(value, 1):
            name = _table(item).get("name")
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


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def keys_of(kind: type[Any]) -> Mapping[str, dataclasses.Field[Any]]:
    """The keys that a table of this dataclass may have, and their fields. ``from`` cannot be a name in Python; the
    ``name`` of a table of tables stands in its header."""
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
        # The underscore keeps a key like "register" apart from the methods of BaseModel.
        fields[f"{spec.name}_"] = (_readable(hints_of(kind)[spec.name]), Field(... if needed else None, alias=key))
    _MODELS[kind] = create_model(kind.__name__, __config__=STRICT, **fields)
    return _MODELS[kind]


def _made(kind: type[T], read: BaseModel, source: SiteSource, **given: str) -> T:
    """The dataclass of what was read; what was left out has its default there."""
    values: dict[str, Any] = {name.removesuffix("_"): getattr(read, name) for name in read.model_fields_set}
    for spec in keys_of(kind).values():
        if isinstance(spec.default, Path):
            values.setdefault(spec.name, source.absolute(str(spec.default)))
    return kind(**given, **values)


def _readable(hint: Any) -> Any:
    """A type of the model with all that pydantic needs to read it from TOML."""
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
        raise ValueError(SENTENCES["string_type"].format(was=_shown(value)))
    return value


def _absolute(text: str, info: ValidationInfo) -> Path:
    if "\0" in text:
        raise ValueError(f"must be a path, is {text!r}")
    return typing.cast(SiteSource, info.context).absolute(text)


def _secret(value: object, info: ValidationInfo) -> Secret:
    if not isinstance(value, Mapping):
        # The value is not repeated: somebody wrote the secret itself here.
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


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"must be {NAME_SAID}, is {text!r}")
    return text


def _number(text: str) -> str:
    if text and not NUMBER.fullmatch(text):
        raise ValueError(f"must be 1 to 64 letters, digits or any of + * # _ . ! -, is {text!r}")
    return text


def _host(text: str) -> str:
    try:
        if text:
            split_host_port(text)
    except ValueError:
        raise ValueError(f"must be a host, with or without a port, is {text!r}") from None
    return text


def _origin(text: str) -> str:
    if text != "*" and not ORIGIN.fullmatch(text):
        raise ValueError(f"must be like https://phone.example.com or https://phone.example.com:8443, is {text!r}")
    return text


def _url(text: str) -> str:
    if text and not URL.fullmatch(text):
        raise ValueError(f"must be like https://noc.example.com/holdfast, is {_shown(text)}")
    return text


def _https(text: str) -> str:
    if text and not HTTPS.fullmatch(text):
        raise ValueError(f"must be like https://example.com/certificate.pem, is {text!r}")
    return text


def _field(text: str) -> str:
    if text and not FIELD.fullmatch(text):
        raise ValueError(f"must be the name of a header field, is {text!r}")
    if field_of(text) in PROTECTED:
        raise ValueError(f"no rule may touch {text}: it is the dialog's or the body's")
    return text


def _header_line(text: str) -> str:
    if text:
        name, colon, value = text.partition(":")
        if not colon:
            raise ValueError(f"must be like X-Site: paris, is {text!r}")
        _field(name)
        _header_text(value)
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression, is {text!r}: {error}") from None
    return text


def _header_text(text: str) -> str:
    if any(c < " " or c == "\x7f" for c in text) or len(text) > 1000:
        raise ValueError("must be at most 1000 characters without controls")
    return text


TEXTS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "name": _name,
        "number": _number,
        "host": _host,
        "origin": _origin,
        "URL": _url,
        "https URL": _https,
        "field": _field,
        "header line": _header_line,
        "regular expression": _regex,
        "header text": _header_text,
    }
)
"""What the limits of a text, by their words in the model, let pass."""


def _complaint(kind: type[Any], value: object, place: str, error: Mapping[str, Any]) -> str:
    """An error of pydantic as a sentence; ``value`` is what stands at ``place``."""
    *way, last = error["loc"] or (None,)
    for step in error["loc"]:
        if isinstance(step, int):
            items = value if isinstance(value, list) else [value]
            place += f"[{step + 1}]" if len(items) > 1 else ""
            value = items[step]
        else:
            place += f".{step}"
            value = _table(value).get(step)
    if error["type"] == "extra_forbidden":
        for step in way:
            kind = _innermost(hints_of(kind)[keys_of(kind)[step].name]) if isinstance(step, str) else kind
        return f"{place}: {_unknown(str(last), [*keys_of(kind)])}"
    words = {"msg": error["msg"], "was": _shown(error["input"])}
    for key, word in error.get("ctx", {}).items():
        words[key] = figure(word) if isinstance(word, int | float) else str(word)
    if error["type"] == "literal_error":
        words["expected"] = words["expected"].replace("'", "")
    return f"{place}: {SENTENCES.get(error['type'], 'is not right: {msg}, is {was}').format(**words)}"


def _innermost(hint: Any) -> Any:
    """The dataclass of which a list is, or that may be left out."""
    while arguments := typing.get_args(hint):
        hint = arguments[0]
    return hint


def _shown(value: object) -> str:
    """A value as sentences show it; what is in a table may be a secret."""
    if isinstance(value, Mapping | list | tuple):
        return "a table" if isinstance(value, Mapping) else "a list"
    if isinstance(value, float) and value == value:
        return figure(value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown(key: str, known: Iterable[str]) -> str:
    """About a key that nothing reads: the nearest one that is."""
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"here can stand {', '.join(sorted(known))}"
    return f"is not known: {hint}"
