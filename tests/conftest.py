"""No test may fail for the time it takes, on whatever machine: hypothesis is told so once for all."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("untimed"), max_examples=100_000)
settings.load_profile("untimed")
