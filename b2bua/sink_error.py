"""Why a sink of call records took nothing."""

from __future__ import annotations


class SinkError(Exception):
    """It is not there, or not able now; the text says why."""


class Refused(SinkError):
    """It will never take what it was given."""
