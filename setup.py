"""What pip installs: the packages as they are, or, where HOLDFAST_COMPILED=1 asks for it, with the modules that
handle messages as machine code beside their sources (docs/performance.md).

That takes a C compiler and Python's headers (Debian: gcc, python3-dev) and some minutes. Python prefers a module's
machine code to its source, so nothing else tells the two forms apart.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext

SWITCH = "HOLDFAST_COMPILED"
ROOT = Path(__file__).parent

COMPILED = (
    "sip/**/*.py",
    "b2bua/admission.py",
    "b2bua/agent_connection.py",
    "b2bua/agents.py",
    "b2bua/call.py",
    "b2bua/call_records.py",
    "b2bua/call_state.py",
    "b2bua/core.py",
    "b2bua/destination.py",
    "b2bua/device_leg.py",
    "b2bua/directories.py",
    "b2bua/lines.py",
    "b2bua/list_pace.py",
    "b2bua/media_seen.py",
    "b2bua/onward.py",
    "b2bua/own_lines.py",
    "b2bua/passage.py",
    "b2bua/plan.py",
    "b2bua/routing.py",
    "b2bua/state_token.py",
    "gateway_agent/*.py",
    "gateway_agent/lines/*.py",
    "gateway_agent/webrtc/anchor.py",
)
"""What every message of a call goes through, and what that stands on; patterns of paths."""
NOT_COMPILED = (
    "*/__init__.py",
    "sip/io/*",
    "gateway_agent/api.py",
    "gateway_agent/cli*.py",
    "gateway_agent/server.py",
    "gateway_agent/web_pages.py",
)
"""What touches the world, where machine code would save nothing."""


def compiled_files() -> list[str]:
    """The sources that are compiled, relative to the root, sorted."""
    found = {path.relative_to(ROOT) for pattern in COMPILED for path in ROOT.glob(pattern)}
    return sorted(str(path) for path in found if not any(path.match(pattern) for pattern in NOT_COMPILED))


def extensions() -> list[Extension]:
    """Them, translated to C by mypyc, in the present directory. It ends the process where it cannot."""
    from mypyc.build import mypycify  # pip installs it for the build, not for the questions before that

    # the sources alone say what is compiled how; what they import of others has no types where pip builds
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    return mypycify([*options, *compiled_files()], opt_level="1", debug_level="0", group_name="holdfast")


class Compile(build_ext):
    """Translates them once something is really built."""

    def run(self) -> None:
        self.distribution.ext_modules = extensions()
        self.swig_opts = None  # the one option that is not finalized twice
        self.finalize_options()
        self.parallel = os.cpu_count()
        super().run()


class Compiled(Distribution):
    """A distribution that has extensions, which are not named yet."""

    def has_ext_modules(self) -> bool:
        return True


def main() -> None:
    """Do what the command line says, in the form that is asked for."""
    if os.environ.get(SWITCH, "") not in ("", "0"):
        wanted = [] if find_spec("mypyc") else ["mypy>=1.11"]
        setup(distclass=Compiled, cmdclass={"build_ext": Compile}, setup_requires=wanted)
    else:
        setup()


if __name__ == "__main__":
    main()
