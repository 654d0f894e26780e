"""Programs out of Debian packages that are unpacked, not installed: see tests/peers/unpack.sh."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from examples.demo_processes import ROOT


class Unpacked(NamedTuple):
    """A tree of packages; ``because`` says why there is none."""

    root: Path
    because: str

    @property
    def libraries(self) -> Path:
        return next((self.root / "usr" / "lib").glob("*-linux-gnu"))

    @property
    def environment(self) -> dict[str, str]:
        """In which its programs find their libraries."""
        libraries = [*(self.root / "usr" / "lib").glob("*-linux-gnu"), *(self.root / "lib").glob("*-linux-gnu")]
        inner = [*libraries, *(each for lib in libraries for each in lib.iterdir() if each.is_dir())]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, inner))}

    def program(self, name: str) -> str:
        return next(str(path) for place in ("bin", "sbin") if (path := self.root / "usr" / place / name).exists())


@cache
def unpacked(name: str, packages: Sequence[str] = ()) -> Unpacked:
    """``packages``: where they are others than that name. Unpacks them where that is not done."""
    command = [ROOT / "tests" / "peers" / "unpack.sh", name, *(packages or (name,))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Unpacked(Path(), done.stderr.strip().splitlines()[-1])
    return Unpacked(Path(done.stdout.strip()), "")
