"""Rendering of the console: times and numbers as text, colours of states, and views as tables.

A terminal gets colours and rules; any other output plain aligned text without trailing blanks, fit for ``cut`` and
``grep``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from heartbeat.console.sanitize import HARMLESS
from heartbeat.console.schema import Column, Styled, fields_of

_STATES: Final = {
    "active": "bold green",
    "serving": "green",
    "alive": "green",
    "talking": "green",
    "answered": "green",
    "kept": "green",
    "idle": "dim",
    "standby": "cyan",
    "held": "cyan",
    "ringing": "yellow",
    "dialing": "yellow",
    "transferring": "yellow",
    "replayed": "cyan",
    "carried": "cyan",
    "waiting": "yellow",
    "holding": "bold yellow",
    "suspect": "yellow",
    "draining": "yellow",
    "ending": "dim",
    "drained": "dim",
    "cancelled": "dim",
    "dead": "bold red",
    "silent": "bold red",
    "failed": "red",
    "reset": "red",
    "released": "red",
    "unkept": "red",
    "out of service": "red",
}
NOTHING: Final = "-"


class Console(RichConsole):
    """A console of rich that raises BrokenPipeError, replaces control characters, and writes no trailing blanks to
    what is no terminal."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, highlight=False, emoji=False, markup=False, soft_wrap=False)
        if not self.is_terminal:
            self.width = 1000

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                segment = Segment(segment.text.translate(HARMLESS), segment.style)
            yield segment

    def put(self, shown: RenderableType) -> None:
        if self.is_terminal:
            self.print(shown)
            return
        with self.capture() as captured:
            self.print(shown)
        text = "\n".join(line.rstrip() for line in captured.get().splitlines())
        self.file.write(text + "\n")
        self.file.flush()


def console() -> Console:
    """A console on the present standard output."""
    return Console(sys.stdout)


def state(word: str) -> Text:
    """A state with its colour and a bullet."""
    return Text(f"● {word}", style=_STATES.get(word, "")) if word else Text(NOTHING, style="dim")


def coloured(word: str) -> Text:
    """The same without a bullet."""
    return Text(word or NOTHING, style=_STATES.get(word, "") if word else "dim")


def yes(true: bool) -> Text:
    """``yes`` in green or ``no`` in red."""
    return Text("yes" if true else "no", style="green" if true else "bold red")


def span(seconds: float | None) -> str:
    """A duration, short: ``0.42 s``, ``12 s``, ``4:05``, ``2 h 07``, ``3 d``."""
    if seconds is None:
        return NOTHING
    if seconds < 0:
        seconds = 0.0
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h" if whole < 10 * 86400 else f"{whole // 86400} d"


def clock(at: float | None, *, fine: bool = False) -> str:
    """Epoch seconds as local time, with the date unless it is today; ``fine`` adds milliseconds."""
    if at is None:
        return NOTHING
    then = time.localtime(at)
    day = "" if then[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", then)
    return day + time.strftime("%H:%M:%S", then) + (f".{int(at * 1000) % 1000:03d}" if fine else "")


def count(number: float | None) -> str:
    """``12,345``."""
    return NOTHING if number is None else f"{number:,.0f}"


def several(number: int, one: str, many: str = "") -> str:
    """``1 call``, ``2 calls``, ``no calls``."""
    return f"{count(number) if number else 'no'} {one if number == 1 else many or one + 's'}"


def listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def bar(share: float, width: int = 20) -> Text:
    """A bar that turns yellow above 70 % and red above 90 %."""
    share = min(1.0, max(0.0, share))
    full = round(share * width)
    style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"
    return Text("█" * full, style=style) + Text("░" * (width - full), style="dim")


class _Column:
    """One column of a table: ``>Name`` is aligned right; ``~Name`` and ``~>Name`` are left out if there is no
    room."""

    def __init__(self, spelled: str, cells: list[Text]) -> None:
        self.expendable = spelled.startswith("~")
        spelled = spelled.removeprefix("~")
        self.justify: JustifyMethod = "right" if spelled.startswith(">") else "left"
        self.name = spelled.removeprefix(">")
        self.width = max(cell_len(self.name), *(cell_len(cell.plain) for cell in cells), 0)
        self.is_empty = all(cell.plain in ("", NOTHING) for cell in cells)


class _Grid:
    """A table; on a terminal it has a rule and colours, and columns that do not fit are left out."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, wrap_last: bool) -> None:
        self._rows = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        self._columns = [_Column(name, [row[index] for row in self._rows]) for index, name in enumerate(columns)]
        self._wrap_last = wrap_last

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        gap = 1 if console.is_terminal else 3
        shown = self._fitting(options.max_width, gap + 1)
        table = Table(
            box=box.SIMPLE_HEAD if console.is_terminal else None,
            header_style="bold",
            border_style="dim",
            pad_edge=False,
            show_edge=False,
            padding=(0, gap, 0, 0),
        )
        for index in shown:
            column = self._columns[index]
            wraps = self._wrap_last and index == len(self._columns) - 1
            table.add_column(
                column.name,
                justify=column.justify,
                no_wrap=not wraps,
                overflow="fold" if wraps else "ellipsis",
                min_width=None if index else min(column.width, options.max_width // 2),
            )
        for row in self._rows:
            table.add_row(*(row[index] for index in shown))
        yield table
        if left_out := [column.name for index, column in enumerate(self._columns) if index not in shown]:
            yield Text(f"No room for {listed(left_out)}.", style="dim")

    def _fitting(self, room: int, gap: int) -> list[int]:
        """Indices of the columns to show: if they do not all fit, first empty ones, then expendable ones are left
        out, from the right."""
        shown = list(range(len(self._columns)))
        last = shown[-1] if self._wrap_last else -1
        dropping = [index for index in reversed(shown[1:]) if self._columns[index].is_empty and index != last]
        dropping += [index for index in reversed(shown[1:]) if self._columns[index].expendable]
        for index in dropping:
            width = sum(min(c.width, 40) if n == last else c.width for n, c in enumerate(self._columns) if n in shown)
            if width + gap * (len(shown) - 1) <= room:
                break
            if index in shown:
                shown.remove(index)
        return shown


def grid(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str = "") -> RenderableType:
    """A table; for the column names see :class:`_Column`. Without rows the sentence ``empty``."""
    rows = list(rows)
    return _Grid(columns, rows, wrap_last=False) if rows or not empty else Text(empty, style="dim")


def text(value: Any) -> Text:
    """A value as text; a missing one is a dash."""
    if isinstance(value, Text):
        return value
    if isinstance(value, Styled):
        return Text(value.text or NOTHING, value.style)
    return Text(str(value) if value else NOTHING)


def boot(number: int) -> str:
    """An incarnation. Of one that was counted from the clock, as its file was missing, the last five digits."""
    return f"…{number % 10**5:05}" if number >= 10**6 else str(number or NOTHING)


def age(since: float | None) -> str:
    """Time since ``since``, in epoch seconds."""
    return span(None if since is None else time.time() - since)


LOOKS: Final[Mapping[str, Callable[[Any], str | Text]]] = MappingProxyType(
    {
        "text": text,
        "sentence": lambda value: text(value) if (value.text if isinstance(value, Styled) else value) else "",
        "count": count,
        "span": span,
        "age": age,
        "boot": boot,
        "clock": clock,
        "instant": lambda at: clock(at, fine=True),
        "state": state,
        "word": coloured,
        "yes": yes,
    }
)
"""The formats of a :class:`heartbeat.console.schema.Column`. A last column of sentences may be wrapped."""


def table(
    kind: type[Any],
    rows: Iterable[Any],
    *,
    titles: Mapping[str, str] = MappingProxyType({}),
    without: Iterable[str] = (),
    empty: str = "",
) -> RenderableType:
    """Views of one ``kind`` as a table of their columns, except those of the fields ``without``; ``titles`` replaces
    the titles of some fields. Without rows the sentence ``empty``."""
    fields = [field for field in fields_of(kind) if field.column is not None and field.name not in without]
    columns = [(field.name, field.column) for field in fields if field.column is not None]
    cells = [[_cell(row, name, column) for name, column in columns] for row in rows]
    if not cells and empty:
        return Text(empty, style="dim")
    names = [titles.get(name, column.title) for name, column in columns]
    return _Grid(names, cells, wrap_last=columns[-1][1].look == "sentence")


def _cell(row: Any, name: str, column: Column) -> str | Text:
    return LOOKS[column.look](column.of(row) if column.of is not None else getattr(row, name))


def wide(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> RenderableType:
    """A table whose last column has sentences and may be wrapped."""
    return _Grid(columns, rows, wrap_last=True)


def facts(rows: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    """Names with their values, in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    return table


def line(*parts: str | Text, gap: str = "  ") -> Text:
    """Words on one line."""
    return Text(gap).join([Text(part) if isinstance(part, str) else part for part in parts])


def warnings(sentences: Iterable[str]) -> RenderableType:
    """Warnings, one on each line."""
    return Group(*(Text.assemble(("! ", "bold yellow"), (sentence, "yellow")) for sentence in sentences))


def elsewhere(names: Sequence[str]) -> Text | None:
    """A line with the processes that were not asked, since their APIs are UNIX sockets of other machines."""
    if not names:
        return None
    return Text(f"Never started on this machine, and with an `api` for their own alone: {', '.join(names)}", "dim")


def stack(*parts: RenderableType | None) -> RenderableType:
    """Parts one below the other with empty lines between them; None is left out."""
    shown = [part for part in parts if part is not None]
    return Group(*(part if not index else Padding(part, (1, 0, 0, 0)) for index, part in enumerate(shown)))
