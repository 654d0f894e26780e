"""Annotations of the fields of a view: columns of its table and metrics; and its conversion to and from JSON.

:mod:`heartbeat.console.render` makes the tables, :mod:`heartbeat.console.metrics` the text for Prometheus.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union

T = TypeVar("T")

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
"""A metric that only grows while the process lives; its exported name ends in ``_total``."""


HISTOGRAM: Final = "histogram"
"""Counts by bucket; its value is a view with ``cumulative`` and ``total``."""


class Styled(NamedTuple):
    """Text with a style of rich, such as ``bold red``."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    """With ``>`` in front it is aligned right; with ``~`` in front of that it is left out if there is no room."""
    look: str = "text"
    """Format of its values, one of ``heartbeat.console.render.LOOKS``."""
    of: Callable[[Any], Any] | None = None
    """Makes the value from the whole row; None: it is the field's. Must be a named function if it uses names of its
    module, which a lambda in an annotation cannot see."""


class Metric(NamedTuple):
    """A metric for Prometheus."""

    name: str
    """Name without the prefix ``holdfast_`` and, for a counter, without ``_total``."""
    meaning: str
    kind: str = GAUGE
    of: Callable[[Any], Any] | None = None
    """Makes the figure from the field's value; None: it is the value."""
    label: str = ""
    """For a mapping: name of the label whose values are its keys."""
    labels: Mapping[str, str] = MappingProxyType({})
    """Constant labels."""


class Label(NamedTuple):
    """Marks a field as a label of all metrics of its view and of the views in it."""

    name: str


class Described(NamedTuple):
    """A field of a view, with its annotations."""

    name: str
    hint: Any
    is_needed: bool
    """Whether it has no default."""
    column: Column | None
    metrics: tuple[Metric, ...]
    label: str


_DESCRIBED: dict[type[Any], tuple[Described, ...]] = {}


def fields_of(kind: type[Any]) -> tuple[Described, ...]:
    """The fields of a view, cached."""
    if kind not in _DESCRIBED:
        hints = typing.get_type_hints(kind, include_extras=True)
        _DESCRIBED[kind] = tuple(_described(spec, hints[spec.name]) for spec in dataclasses.fields(kind))
    return _DESCRIBED[kind]


def _described(spec: dataclasses.Field[Any], hint: Any) -> Described:
    hint, *extras = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    columns = [extra for extra in extras if isinstance(extra, Column)]
    return Described(
        spec.name,
        hint,
        spec.default is MISSING and spec.default_factory is MISSING,
        columns[0] if columns else None,
        tuple(extra for extra in extras if isinstance(extra, Metric)),
        next((extra.name for extra in extras if isinstance(extra, Label)), ""),
    )


class Figure(NamedTuple):
    """A metric with its value."""

    metric: Metric
    labels: Mapping[str, str]
    value: Any
    """A number; for a histogram its view."""


def figures_of(view: Any) -> Iterator[Figure]:
    """All metrics of a view and of the views in it."""
    fields = fields_of(type(view))
    labels = {field.label: str(getattr(view, field.name)) for field in fields if field.label}
    for field in fields:
        value = getattr(view, field.name)
        for metric in field.metrics:
            if metric.label:
                numbers = metric.of(value) if metric.of is not None else value
                for key, number in numbers.items():
                    yield Figure(metric, {**labels, **metric.labels, metric.label: key}, float(number))
            elif value is not None or metric.of is not None:
                number = metric.of(value) if metric.of is not None else value
                found = number if metric.kind == HISTOGRAM else float(number)
                yield Figure(metric, {**labels, **metric.labels}, found)
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner):
                yield from (figure._replace(labels={**labels, **figure.labels}) for figure in figures_of(inner))


def as_json(value: Any) -> Any:
    """A view as values that ``json`` can write."""
    if dataclasses.is_dataclass(value):
        return {spec.name: as_json(getattr(value, spec.name)) for spec in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def can_be_shown(instant: float) -> bool:
    """Whether epoch seconds are in the range of 32 bits, so that they can be shown and written to a capture file."""
    return 0 <= instant < 2.0**32


def of_json(kind: type[T], value: Any) -> T:
    """A view from its JSON; unknown members are ignored. Raises :class:`KeyError` if a member without a default is
    missing, :class:`TypeError` if one has another type."""
    fields = [field for field in fields_of(kind) if field.is_needed or field.name in value]
    return kind(**{field.name: _of_json(field.hint, value[field.name]) for field in fields})


def _of_json(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None and hint not in _TYPES:
        return None
    if origin in (Union, types.UnionType):
        return _of_json(arguments[0], value)
    if origin is tuple:
        return tuple(_of_json(arguments[0], item) for item in value)
    if origin is Mapping:
        return {key: _of_json(arguments[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return of_json(typing.cast(type[Any], hint), value)
    if (types_of := _TYPES.get(hint)) is not None and not isinstance(value, types_of):
        raise TypeError(f"{hint.__name__} in place of {type(value).__name__}")
    return value


_TYPES: Final[Mapping[Any, tuple[type, ...]]] = MappingProxyType(
    {str: (str,), float: (int, float), int: (int, float), bool: (bool,)}
)
"""Types that JSON values of a field's type may have; an integer may come as a float."""
