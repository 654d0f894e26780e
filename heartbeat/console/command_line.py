"""The command line of a program: its commands, loaded on demand, and its exit codes.

Exit codes: 0 healthy, 1 degraded or not done, 2 no active server, 3 wrong usage or unreachable, 4 a bad site file,
130 interrupted. Tracebacks are shown only with ``HOLDFAST_DEBUG=1``. Modules that draw screens are not imported here,
so that a restarted server does not spend time on them.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from heartbeat import form, version
from heartbeat.console.errors import ConsoleError
from heartbeat.site.load import SiteError, load
from heartbeat.site.model import Agent, Site

HEALTHY: Final = 0
DEGRADED: Final = 1
NO_ACTIVE: Final = 2
UNREACHABLE: Final = 3
BAD_SITE: Final = 4
INTERRUPTED: Final = 130

_UNWRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


class _ReaderGone(Exception):
    """The reader of our output has closed the pipe."""


class Program(click.Group):
    """A command line whose commands return their exit code, and which never shows a traceback."""

    def __init__(self, *args: Any, later: Mapping[str, str] | None = None, **attributes: Any) -> None:
        """``later``: commands to be loaded on demand, by name the module that has a command of that name (with ``_``
        for ``-``)."""
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        super().__init__(*args, **{"context_settings": settings, **attributes})
        self._later = dict(later or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return [*self.commands, *(name for name in self._later if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded if need be."""
        module = self._later.get(cmd_name)
        if module is not None:
            found = getattr(import_module(module), cmd_name.replace("-", "_"))
            assert isinstance(found, click.Command)
            return found
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, ExceptionGroup) as error:
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            if isinstance(cause, BrokenPipeError):
                # click would make a failure of it, but `| head` is no failure.
                raise _ReaderGone from None
            raise cause from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            answer = super().main(args, prog_name, complete_var, False, **extra)
            code = answer if isinstance(answer, int) else HEALTHY
            sys.stdout.flush()
        except ConsoleError as error:
            code = _say(error.sentence, error.code)
        except click.ClickException as error:
            error.show()
            code = UNREACHABLE
        except (click.Abort, KeyboardInterrupt):
            code = _say("Stopped.", INTERRUPTED)
        except (_ReaderGone, BrokenPipeError):
            # Nobody reads any message.
            _discard_output()
            code = HEALTHY
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _UNWRITTEN:
                _discard_output()
                code = _say(f"The output cannot be written: {error.strerror}.", UNREACHABLE)
            elif os.environ.get("HOLDFAST_DEBUG"):
                raise
            else:
                text = f"An error of ours: {type(error).__name__}: {error}. HOLDFAST_DEBUG=1 shows where."
                code = _say(text, UNREACHABLE)
        sys.exit(code)


def _discard_output() -> None:
    """Redirect standard output, so that the interpreter's last flush of what cannot be written does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(sentence: str, code: int) -> int:
    click.echo(click.style(sentence, fg="red") if sys.stderr.isatty() else sentence, err=True)
    return code


def open_site(path: str | None) -> Site:
    """The site file. Raises :class:`ConsoleError` with all faults of it."""
    chosen = path or ("site.toml" if Path("site.toml").exists() else None)
    if chosen is None:
        raise ConsoleError("Which site? Say --site FILE, or set HOLDFAST_SITE, or run this beside a site.toml.")
    try:
        return load(chosen)
    except SiteError as error:
        where = "" if error.complaints[0].startswith(str(chosen)) else f"The site file {chosen} is not right:\n"
        raise ConsoleError(where + str(error), BAD_SITE) from None
    except OSError as error:
        raise ConsoleError(f"The site file {chosen} cannot be read: {error.strerror or error}.") from None


def agent_of(site: Site, name: str) -> Agent:
    """An agent of the site file. Raises :class:`ConsoleError`."""
    if name not in site.agents:
        raise ConsoleError(f"The site {site.name} has no agent {name!r}; it has {', '.join(site.agents) or 'none'}.")
    return site.agents[name]


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"{ctx.find_root().info_name} of holdfast {version()} ({form()})")
        ctx.exit()


version_option = click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
)
site_option = click.option(
    "--site", "site_path", metavar="FILE", envvar="HOLDFAST_SITE", help="The site file (or HOLDFAST_SITE)."
)
