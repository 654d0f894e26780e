"""Whatever stands in a site file, the answer is a site or sentences."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.site.explain import explain
from heartbeat.site.load import SiteError, build, load
from heartbeat.site.reload import reload_complaints
from heartbeat.site.tables import SiteSource
from heartbeat.site.values import Secret

EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
TABLES = tomllib.loads(EXAMPLE.read_text())
OLD = load(EXAMPLE)
SCALARS = (
    st.integers(-5, 70_000)
    | st.floats()
    | st.booleans()
    | st.text(max_size=5)
    | st.sampled_from(["gw1", "carrier", "sip:x", "*", "tcp:127.0.0.1:1", "[", "inf", "127.0.0.0/8"])
)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3), max_leaves=6
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(places(TABLES)), st.none() | VALUES), min_size=1, max_size=4))
def test_a_changed_example_is_read_or_refused_with_sentences(changes: list[tuple[tuple[Any, ...], Any]]):
    tables = copy.deepcopy(TABLES)
    for path, value in changes:
        inner: Any = tables
        for key in path[:-1]:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and value is None:
            inner.pop(path[-1], None)
        elif isinstance(inner, dict) and isinstance(path[-1], str):  # TOML has no other keys
            inner[path[-1]] = value
    try:
        site = build(tables, SiteSource(EXAMPLE, lambda kind, name: Secret("", b"k" * 16)))
    except SiteError as error:
        assert error.complaints and all(": " in sentence for sentence in error.complaints)
    else:
        assert explain(site).failures
        reload_complaints(OLD, site, "m1")
