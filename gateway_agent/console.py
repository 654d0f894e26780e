"""What an agent answers its operator: the pages and verbs of its API, and which of them a server may pass on."""

from __future__ import annotations

from typing import Final

from heartbeat.line_tests import TEST

VIEWS: Final = frozenset("status calls lines call-ids trace history bans audit-log test progress".split())
VERBS: Final = frozenset("drain stop resume reload unban log-level test".split())
ORDERS: Final = frozenset({TEST})
"""What a server may pass on: what changes the agent is ordered on its own machine."""
