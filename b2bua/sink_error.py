"""Why a sink of call records took nothing."""

from __future__ import annotations


class SinkError(Exception):
    """The sink is not there, or not able now: it is tried again. The text says why."""


class Refused(SinkError):
    """The sink will never take what it was given."""
