"""A node's epochs, grants and incarnation on disk: one file, replaced atomically."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from heartbeat.persistent_state import PersistentState, PersistentStateError, decode, encode

FILE: Final = "epochs.json"


class StoreError(Exception):
    """The state directory cannot be used; the text is a sentence for the operator."""


class DirectoryLock:
    """Lock of a node's state directory while its process lives: two writers of one file would lose grants."""

    def __init__(self, directory: Path, node: str) -> None:
        """Raises :class:`StoreError`."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(
                f"{directory} cannot be used: {error.strerror}; give the program its directory"
            ) from None
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._held)
            raise StoreError(f"another process runs as {node}: it holds {directory}; stop that one first") from None
        except OSError:
            pass  # a file system without locks

    def end(self) -> None:
        os.close(self._held)


class VoteStore:
    """The epoch file of one node. Its methods block: they are called before the loop runs, or in a thread."""

    def __init__(self, directory: Path, node: str) -> None:
        self.directory = directory
        self.path = directory / FILE
        self.took = 0.0
        """Seconds that the last write took."""
        self._node = node

    def start(self) -> PersistentState:
        """Read the state, raise its incarnation by one and write it. Raises :class:`StoreError`."""
        try:
            state = decode(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            # counted from the clock, so that a node that lost its file is still heard: see Beat.order
            state = PersistentState(incarnation=int(time.time()))
        except (PersistentStateError, UnicodeDecodeError) as error:
            fault = error if isinstance(error, PersistentStateError) else "it is not even text"
            raise StoreError(
                f"{self.path} cannot be read: {fault}; move it away, start again, then `b2bua readmit {self._node}`"
                f" if {self._node} is a voter"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be read: {error.strerror}; give the program its directory"
            ) from None
        state = replace(state, incarnation=state.incarnation + 1, serial=state.serial + 1)
        self._write(encode(state))
        return state

    def write(self, name: str, value: str) -> None:
        """Carry out a core's ``Store`` action. Raises :class:`StoreError`."""
        self._write(value)

    def _write(self, text: str) -> None:
        """Write atomically and durably: a new file is synced, then renamed."""
        new, begun = self.path.with_suffix(".new"), time.monotonic()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with open(new, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
            directory = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error.strerror}; free the disk or give the program its directory"
            ) from None
        self.took = time.monotonic() - begun
