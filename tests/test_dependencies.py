"""What the product is made of: the page is that of pyproject.toml, and says what is not on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.test_layers import HOMES
from tools import dependencies

IMPORTED_AS = {"dnspython": "dns", "pjsua2-python": "pjsua2", "prometheus-client": "prometheus_client"}


def test_the_page_has_what_pyproject_names() -> None:
    text = dependencies.PAGE.read_text()
    for wanted, extra in dependencies.direct():
        row = next(line for line in text.splitlines() if line.startswith(f"| {canonicalize_name(wanted.name)} | >="))
        assert f"| {wanted.specifier} |" in row
        assert not extra or f"`{extra}`" in row
        assert f"| {dependencies.PURPOSES[canonicalize_name(wanted.name)]} |" in row


def test_what_is_imported_is_named() -> None:
    """`av` and `aioice` are aiortc's own, which its public interfaces take and give; `ssl` is Python's."""
    named = {IMPORTED_AS.get(name, name) for name in dependencies.PURPOSES}
    assert HOMES.keys() - {"ssl", "av", "aioice"} == named


@pytest.mark.parametrize(
    "metadata, licence",
    [
        ("License-Expression: MIT\nLicense: something", "MIT"),
        ("Classifier: License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("Classifier: License :: OSI Approved\nLicense: BSD License", "BSD-3-Clause"),
        ("License: Apache-2.0", "Apache-2.0"),
        ("Summary: says nothing", "not said"),
    ],
)
def test_a_package_that_is_not_on_the_page_is_told_with_its_licence(
    tmp_path: Path, metadata: str, licence: str
) -> None:
    _install(tmp_path, "stranger", metadata)
    assert dependencies.differences(str(tmp_path)) == [f"stranger is there, under {licence}, and not on the page"]


def test_a_licence_that_changed_is_told(tmp_path: Path) -> None:
    _install(tmp_path, "click", "License-Expression: SSPL-1.0")
    assert dependencies.differences(str(tmp_path)) == ["click is under SSPL-1.0 now; the page says BSD-3-Clause"]


def test_what_the_page_says_is_no_difference(tmp_path: Path) -> None:
    _install(tmp_path, "Click", "License-Expression: BSD-3-Clause")
    _install(tmp_path, "mdurl", "License-Expression: MIT")
    _install(tmp_path, "holdfast", "License-Expression: none")
    assert dependencies.differences(str(tmp_path)) == []


def _install(directory: Path, name: str, metadata: str) -> None:
    where = directory / f"{name}-1.0.dist-info"
    where.mkdir()
    (where / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
