"""python -m tests.fuzz [TARGET ...] [--seconds 60] [--replay FILE]

Fuzzes by coverage what strangers and peers may send (``tests.fuzz.targets``), with atheris (the extra ``fuzz``): one
target after the other, so many seconds each. What was found worth keeping goes into build/fuzz, from where the next
run goes on. An input that makes a target fail is kept there too; ``--replay`` runs it again, without atheris. Ends
with 1 when there was one.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from hashlib import sha1
from pathlib import Path

from examples.demo_processes import ROOT
from tests.fuzz.targets import TARGETS

CORPUS = ROOT / "build" / "fuzz"


def fuzz(name: str, seconds: int) -> bool:
    """One target in a process of its own, since the library never returns; whether nothing fell out."""
    directory = CORPUS / name
    directory.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds:
        (directory / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    print(f"{name}: {seconds} s, from {len(list(directory.iterdir()))} inputs", flush=True)
    words = [sys.executable, "-m", "tests.fuzz.one", name, str(directory), f"-max_total_time={seconds}"]
    words += [
        f"-artifact_prefix={CORPUS}/{name}-",
        "-max_len=8192",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-verbosity=0",
    ]
    return subprocess.run([*words, "-print_final_stats=1"], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one target on one input")
    options = parser.parse_args()
    wanted = options.targets or list(TARGETS)
    if unknown := [name for name in wanted if name not in TARGETS]:
        parser.error(f"{unknown[0]} is no target: there are {', '.join(TARGETS)}")
    if options.replay is not None:
        for name in wanted:
            TARGETS[name].run(options.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install -e '.[fuzz]'")
    found = [name for name in wanted if not fuzz(name, options.seconds)]
    if found:
        print(f"fell out: {', '.join(found)}; the inputs are in {CORPUS}, see --replay", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
