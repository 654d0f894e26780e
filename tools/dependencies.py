"""What the product is made of besides itself: ``docs/dependencies.md``, and whether it is still true.

::

    python -m tools.dependencies --write           the page anew, from pyproject.toml and what is installed here
    python -m tools.dependencies --check [PATH]    whether the packages in PATH (a site-packages; else this Python's)
                                                   are those of the page, under the licences that it says

Exit code 1 when a package is there that the page does not have, or one has another licence. `make audit` runs the
second on an environment that has the product and nothing else.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "dependencies.md"
NOT_THE_PRODUCT: Final = ("test", "check", "fuzz")
"""Extras for who changes it."""
_OURS: Final = "holdfast"

PURPOSES: Final = {
    "uvloop": "the event loop and its sockets",
    "dnspython": "DNS of SIP (RFC 3263)",
    "click": "commands",
    "rich": "tables and colours in a terminal",
    "aiohttp": "the API, the page, hooks, fetching by HTTP",
    "pydantic": "reading the site file",
    "prometheus-client": "metrics",
    "websockets": "WebSocket frames (RFC 6455)",
    "pjsua2-python": "the telephone of a station",
    "cryptography": "signed callers; encryption of the state that telephones carry for servers",
    "pylibsrtp": "SRTP",
    "aiortc": "ICE, DTLS and codecs for calls with browsers",
    "psycopg": "call records in PostgreSQL",
}
"""What each direct dependency is for."""
_SAID_ELSEWHERE: Final = {"pjsua2-python": "GPL-2.0-or-later"}
"""Licences that a package has and its metadata do not say."""
_CLASSIFIERS: Final = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_HEAD: Final = """\
# What it is made of

Written by `python -m tools.dependencies --write`; do not edit. The product itself is [BSD-3-Clause](../LICENSE).
The packages that it needs come from PyPI and are listed here with their licences (SPDX). An extra is installed by
`pip install '.[NAME]'` where it is wanted; servers and agents run without any. Note two licences before you
distribute the product: `pjsua2-python` (extra `station`) is under the GPL, and only the process of a station
loads it ([stations.md](stations.md)); `psycopg` (extra `postgres`) is under the LGPL.

    make audit

installs the product with all its extras into a separate environment (`build/audit`) and checks there whether
this page is still true. It asks PyPI's database of advisories about each package in its version (`pip-audit`; exit
code 1 when it knows a weakness), and writes `build/audit/sbom.json`, a bill of materials in CycloneDX format, for
your own scanners. Run it before each rollout: only the lowest versions are fixed, so that corrections of these
packages reach you without a new version of Holdfast.
"""


class Package(NamedTuple):
    """A row of the page."""

    name: str
    bound: str
    """The versions that pyproject.toml takes; empty for what comes with others."""
    licence: str
    extras: tuple[str, ...]
    """By which it comes; empty: always."""
    purpose: str


def direct() -> list[tuple[Requirement, str]]:
    """What pyproject.toml names, each with its extra, or an empty one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [(Requirement(text), "") for text in project["dependencies"]]
    for extra, texts in project["optional-dependencies"].items():
        if extra not in NOT_THE_PRODUCT:
            found += [(Requirement(text), extra) for text in texts]
    return found


def licence(package: Distribution) -> str:
    """Its SPDX expression, as well as its metadata say."""
    meta = package.metadata
    name = canonicalize_name(meta["Name"])
    if name in _SAID_ELSEWHERE:
        return _SAID_ELSEWHERE[name]
    if said := meta.get("License-Expression"):
        return str(said)
    classes = [line.rpartition(" :: ")[2] for line in meta.get_all("Classifier", []) if line.startswith("License ::")]
    if found := [_CLASSIFIERS.get(one, one) for one in classes if one != "OSI Approved"]:
        return " AND ".join(found)
    said = (meta.get("License") or "").partition("\n")[0].strip()
    return _CLASSIFIERS.get(said, said) or "not said"


def installed(path: str | None = None) -> dict[str, Distribution]:
    """By normalized name, in that directory or where this Python looks."""
    found = distributions(path=[path]) if path else distributions()
    return {canonicalize_name(one.metadata["Name"]): one for one in found}


def packages() -> Iterator[Package]:
    """All rows: what pyproject.toml names, then what comes with these, by name."""
    here, seen = installed(), dict[str, set[str]]()
    for wanted, extra in direct():
        _follow(wanted, extra, here, seen)
    named: dict[str, list[tuple[Requirement, str]]] = {}
    for wanted, extra in direct():
        named.setdefault(canonicalize_name(wanted.name), []).append((wanted, extra))
    for name in [*named, *sorted(seen.keys() - named.keys())]:
        extras = () if "" in seen[name] else tuple(sorted(seen[name]))
        bound = str(named[name][0][0].specifier) if name in named else ""
        yield Package(name, bound, licence(here[name]), extras, PURPOSES.get(name, ""))


def _follow(wanted: Requirement, extra: str, here: dict[str, Distribution], seen: dict[str, set[str]]) -> None:
    name = canonicalize_name(wanted.name)
    if name not in here:
        raise SystemExit(
            f"{name} is not installed here: run 'make setup', with Python 3.11 or 3.12, which have all extras"
        )
    by = seen.setdefault(name, set())
    if extra in by:
        return
    by.add(extra)
    for text in here[name].requires or ():
        one = Requirement(text)
        asked = [{"extra": own} for own in ("", *wanted.extras)]
        if one.marker is None or any(one.marker.evaluate(environment) for environment in asked):
            _follow(one, extra, here, seen)


def page() -> str:
    """The page as it should be."""
    rows = list(packages())
    lines = [
        _HEAD,
        "## What the product imports\n",
        "| package | versions | extra | licence | for |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.bound:
            lines.append(f"| {row.name} | {row.bound} | {_extras(row)} | {row.licence} | {row.purpose} |")
    lines += ["\n## What comes with it\n", "| package | extra | licence |", "| --- | --- | --- |"]
    lines += [f"| {row.name} | {_extras(row)} | {row.licence} |" for row in rows if not row.bound]
    return "\n".join(lines) + "\n"


def _extras(row: Package) -> str:
    return ", ".join(f"`{extra}`" for extra in row.extras)


def licences_of_page(text: str) -> dict[str, str]:
    """Package -> licence, of both tables."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"[a-z0-9-]+", cells[0]) and cells[0] not in ("package", "---"):
            found[cells[0]] = cells[3] if len(cells) == 5 else cells[2]
    return found


def differences(path: str | None) -> list[str]:
    """What the packages in ``path`` have that the page does not say, a sentence each."""
    said, found = licences_of_page(PAGE.read_text()), []
    for name, package in sorted(installed(path).items()):
        if name in (_OURS, "pip", "setuptools"):
            continue
        if name not in said:
            found.append(f"{name} is there, under {licence(package)}, and not on the page")
        elif licence(package) != said[name]:
            found.append(f"{name} is under {licence(package)} now; the page says {said[name]}")
    return found


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.dependencies", description="What the product is made of.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write docs/dependencies.md anew")
    what.add_argument("--check", nargs="?", const="", metavar="PATH", help="compare with what is installed in PATH")
    options = parser.parse_args()
    if options.write:
        PAGE.write_text(page())
        return 0
    found = differences(options.check or None)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not found:
        print("docs/dependencies.md has all packages and their licences.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
