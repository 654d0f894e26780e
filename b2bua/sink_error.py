"""Errors of sinks of call records."""

from __future__ import annotations


class SinkError(Exception):
    """The sink is not available: the delivery is tried again. The text says why."""


class Refused(SinkError):
    """The sink does not accept these records; trying again is of no use."""
