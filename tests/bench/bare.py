"""``python -m tests.bench.bare run ..``: a server that keeps no line states, to compare with."""

from __future__ import annotations

from b2bua import subscription

if __name__ == "__main__":
    subscription.LINE_STATE_TAG = "nothing"  # type: ignore[misc]
    from b2bua.cli import main

    main()
