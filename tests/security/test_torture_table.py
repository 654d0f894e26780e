"""docs/torture.md says what the tests ask for."""

from __future__ import annotations

from tests.security.test_torture_kinds import ANSWERS
from tests.security.torture_table import PAGE, RFC_4475, page


def test_the_page_is_what_the_tests_say() -> None:
    assert set(RFC_4475) == set(ANSWERS)
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.security.torture_table"
