"""python -m tests.fuzz.one TARGET DIRECTORY [LIBFUZZER-OPTION ...]: one target, for ``tests.fuzz``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sip", "heartbeat", "gateway_agent", "b2bua"]):
    from tests.fuzz.targets import TARGETS

name, *rest = sys.argv[1:]
atheris.Setup([sys.argv[0], *rest], TARGETS[name].run)
atheris.Fuzz()
