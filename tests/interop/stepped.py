"""python -m tests.interop.stepped FILE -m MODULE ARGUMENT...

Runs a module whose wall clock is wrong by the number of seconds in FILE, as it stands there at that moment: written
while the program runs, it is a step. Linux has namespaces for the monotonic clocks only; a program that reads the
wall clock does so by ``time.time``, which is replaced here before the module is loaded. A supervisor starts its child
by the same command, so the child's clock is wrong as well.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    path, _, module, *arguments = sys.argv[1:]
    true = time.time

    def stepped() -> float:
        with open(path, encoding="ascii") as file:
            return true() + float(file.read() or 0)

    time.time = stepped
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
