"""What the tests of ``b2bua`` share."""

from __future__ import annotations

import pytest

from tests.b2bua.fake_servers import FakeServers


@pytest.fixture
def fake_servers(tmp_path):
    fake_servers = FakeServers(tmp_path)
    yield fake_servers
    fake_servers.close()
