"""What a line wants of the device side, as a plain value; both programs fill it from the site file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinePolicy:
    """How one line meets its devices. Times in seconds."""

    name: str
    """The line's."""
    phone: bool = False
    """Devices register here and are reached by the flow of their registration; else a peer at known addresses."""
    nat: bool = False
    """A peer whose Contact cannot be reached: requests go back by the flow that the dialog came by."""
    answer_within: float = 4.0
    """To the first response to an INVITE, after which the next place is tried."""
    advertise: str = ""
    """Our ``host:port`` to be written into messages to its devices, ``""``: that of the listener."""
