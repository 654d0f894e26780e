"""The deeper searches, by hand: ``python -m tests.search --help`` (``make search ARGS=...``).

Exit code 0: nothing is broken; 1: a rule is, and how is told; 2: a planted fault was not found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.search.explorer import MISFORTUNES, Explorer, Result
from tests.search.planted import PLANTED
from tests.search.sites import site


def _progress(began: float) -> Callable[[Result, int], None]:
    told = [began]

    def tell(result: Result, waiting: int) -> None:
        now = time.monotonic()
        if now - told[0] >= 1.0:
            told[0] = now
            line = f"{now - began:6.0f} s  {result.states:,} states, {waiting:,} to do, {result.steps:,} steps"
            print(f"\r{line}, {result.events:,} events, depth {result.depth}", end="", file=sys.stderr)

    return tell


def _say(result: Result, seconds: float) -> None:
    print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr)
    whole = "nothing new comes any more" if result.whole else "stopped at the limit, not whole"
    print(
        f"{result.states:,} states, {result.steps:,} steps, {result.events:,} events of single nodes,"
        f" depth {result.depth}, {seconds:.0f} s: {'a rule is broken' if result.found else whole}"
    )
    if result.found is not None:
        print(result.found)


def _search_planted(names: list[str], most_states: int) -> int:
    missed = 0
    for fault in PLANTED:
        if names != ["all"] and fault.name not in names:
            continue
        began = time.monotonic()
        with fault.planted():
            explorer = Explorer(site(), fault.kinds, fault.most)
            result = explorer.search(fault.begin, most_states, _progress(began))
        print(f"-- without the rule: {fault.rule}")
        _say(result, time.monotonic() - began)
        missed += result.found is None
    return 2 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.search", description=__doc__)
    parser.add_argument("--misfortunes", type=int, default=2, metavar="N", help="at most N in one run (2)")
    parser.add_argument(
        "--kinds", default="all", help=f"which, by commas: {', '.join(sorted(MISFORTUNES))} (default: all)"
    )
    parser.add_argument(
        "--agents", type=int, default=3, choices=(2, 3), help="of the site; with 2 the stand-by votes"
    )
    parser.add_argument("--begin", default="peace", choices=("peace", "first_start", "won"), help="where it begins")
    parser.add_argument("--most-states", type=int, default=5_000_000, metavar="N", help="stop there (5,000,000)")
    parser.add_argument("--planted", nargs="*", metavar="NAME", help="plant faults instead, all or by name")
    options = parser.parse_args()
    if options.planted is not None:
        return _search_planted(options.planted or ["all"], options.most_states)
    kinds = MISFORTUNES if options.kinds == "all" else frozenset(options.kinds.split(","))
    unknown = ", ".join(sorted(kinds - MISFORTUNES))
    if unknown:
        parser.error(f"no kind of misfortune: {unknown}; there are {', '.join(sorted(MISFORTUNES))}")
    began = time.monotonic()
    explorer = Explorer(site(options.agents), kinds, options.misfortunes)
    result = explorer.search(options.begin, options.most_states, _progress(began))
    _say(result, time.monotonic() - began)
    return 1 if result.found else 0


if __name__ == "__main__":
    sys.exit(main())
