"""The hot modules of `sip` compiled with mypyc, and tests/sip run on them: make compiled

Nothing is installed and nothing beside this clone is touched: the sources are copied to ``build/compiled``, compiled
there in place, and pytest runs in that copy. The command shows that these modules keep to what mypyc can compile
(tables behind their classes, no dynamic attributes); the product runs as plain Python. Arguments go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TREE: Final = ROOT / "build" / "compiled"
COPIED: Final = ("sip", "heartbeat", "b2bua", "gateway_agent", "tests", "examples")
HOT: Final = (
    "sip/wire/build.py",
    "sip/wire/errors.py",
    "sip/wire/framing.py",
    "sip/wire/grammar.py",
    "sip/wire/headers.py",
    "sip/wire/message.py",
    "sip/wire/sdp.py",
    "sip/wire/uri.py",
    "sip/wire/validation.py",
    "sip/b2b/bridge.py",
    "sip/b2b/discarded.py",
    "sip/challenges.py",
    "sip/dialog.py",
    "sip/dialog_sender.py",
    "sip/endpoint.py",
    "sip/header_policy.py",
    "sip/identifiers.py",
    "sip/invite/client_invite.py",
    "sip/invite/dialogs.py",
    "sip/invite/local_tags.py",
    "sip/invite/requests.py",
    "sip/invite/server_invite.py",
    "sip/invite/usage.py",
    "sip/layer.py",
    "sip/next_hop.py",
    "sip/offer_answer.py",
    "sip/receiver.py",
    "sip/responder.py",
    "sip/timers.py",
    "sip/transaction.py",
    "sip/transaction_table.py",
)
"""What every message of a call goes through."""


def compiled_names() -> list[str]:
    """The modules that an interpreter in the copy loads from machine code."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    if importlib.import_module(name).__file__.endswith('.so'): print(name)"
    )
    names = [path.removesuffix(".py").replace("/", ".") for path in HOT]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=TREE, check=True, capture_output=True, text=True)
    return done.stdout.split()


def main(arguments: list[str]) -> int:
    """Exit status: pytest's, 1 when a module did not compile."""
    shutil.rmtree(TREE, ignore_errors=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, TREE / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    print(f"compiling {len(HOT)} modules (a minute)", file=sys.stderr, flush=True)
    done = subprocess.run(["mypyc", *HOT], cwd=TREE, check=False, capture_output=True, text=True, env=_environment())
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        return 1
    names = compiled_names()
    print(f"compiled: {', '.join(names)}", flush=True)
    if len(names) != len(HOT):
        return 1
    settings = ["-c", str(TREE / "pytest.ini"), "--rootdir", str(TREE), "--import-mode=importlib", "-W", "error"]
    (TREE / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers =\n    interop: real processes\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *settings, *(arguments or ["tests/sip"])], cwd=TREE
    ).returncode


def _environment() -> dict[str, str]:
    """mypyc is found beside this interpreter."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
