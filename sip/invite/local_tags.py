"""The local tags of one usage, by which received requests are matched to it (RFC 3261 section 12.2.2)."""

from __future__ import annotations

from typing import Generic, TypeVar

from sip.dialog import dialog_key

Leg = TypeVar("Leg")


class LocalTags(Generic[Leg]):
    """Registers a leg under each of its local tags. There are several while an INVITE that we received has several
    early dialogs."""

    __slots__ = ("_call_id", "_keys", "_legs", "all")

    def __init__(self, legs: dict[str, Leg], leg: Leg, call_id: str, tag: str) -> None:
        """``legs``: all legs of the stack by ``dialog_key``."""
        self._legs = legs
        self._call_id = call_id
        key = dialog_key(call_id, tag)
        self.all: tuple[str, ...] = (tag,)
        self._keys: tuple[str, ...] = (key,)
        legs[key] = leg

    def add(self, tag: str, leg: Leg) -> None:
        """Register the leg under a further tag."""
        if tag not in self.all:
            key = dialog_key(self._call_id, tag)
            self.all = (*self.all, tag)
            self._keys = (*self._keys, key)
            self._legs[key] = leg

    def keep(self, tag: str) -> None:
        """Remove all tags but this one; ``""`` removes all."""
        kept: tuple[str, ...] = ()
        for each, key in zip(self.all, self._keys, strict=True):
            if tag and each == tag:
                kept = (key,)
            else:
                self._legs.pop(key, None)
        self.all, self._keys = ((tag,), kept) if kept else ((), ())

    def rename(self, call_id: str, leg: Leg) -> None:
        """Register the same tags under another Call-ID."""
        tags = self.all
        self.keep("")
        self._call_id = call_id
        for tag in tags:
            self.add(tag, leg)
