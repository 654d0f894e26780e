"""The tags of ours by which requests in the dialogs of one usage find it (RFC 3261 section 12.2.2)."""

from __future__ import annotations

from typing import Generic, TypeVar

from sip.dialog import dialog_key

Leg = TypeVar("Leg")


class LocalTags(Generic[Leg]):
    """Registers a leg under each of them: several as long as its INVITE has early dialogs of ours."""

    __slots__ = ("_call_id", "_keys", "_legs", "all")

    def __init__(self, legs: dict[str, Leg], leg: Leg, call_id: str, tag: str) -> None:
        """``legs`` are all of a stack by their dialog's key."""
        self._legs = legs
        self._call_id = call_id
        key = dialog_key(call_id, tag)
        self.all: tuple[str, ...] = (tag,)
        self._keys: tuple[str, ...] = (key,)
        legs[key] = leg

    def add(self, tag: str, leg: Leg) -> None:
        """Be found by one more."""
        if tag not in self.all:
            key = dialog_key(self._call_id, tag)
            self.all = (*self.all, tag)
            self._keys = (*self._keys, key)
            self._legs[key] = leg

    def keep(self, tag: str) -> None:
        """Be found by no other; by none when it is ``""``."""
        kept: tuple[str, ...] = ()
        for each, key in zip(self.all, self._keys, strict=True):
            if tag and each == tag:
                kept = (key,)
            else:
                self._legs.pop(key, None)
        self.all, self._keys = ((tag,), kept) if kept else ((), ())

    def rename(self, call_id: str, leg: Leg) -> None:
        """The same dialogs have another Call-ID from now on."""
        tags = self.all
        self.keep("")
        self._call_id = call_id
        for tag in tags:
            self.add(tag, leg)
