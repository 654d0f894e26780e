"""References by name between tables of a site file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator


def reference(place: str, name: str, *kinds: tuple[str, Iterable[str]]) -> Iterator[str]:
    """An error if ``name`` is none of the allowed names."""
    known = [known for _, names in kinds for known in names]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        what = " or ".join(kind for kind, _ in kinds)
        yield f"{place}: names {name}, and there is no such {what}" + (f": did you mean {near[0]}?" if near else "")
