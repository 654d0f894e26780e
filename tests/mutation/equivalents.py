"""Changes after which a module does the same, or nothing that a rule asks for: by name, each with its reason."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[tuple[str, str], str]] = {}
"""Module and name of the mutant."""
