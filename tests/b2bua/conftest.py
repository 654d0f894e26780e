"""What the tests of ``b2bua`` share."""

from __future__ import annotations

import pytest

from tests.b2bua.pair import Pair


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.close()
