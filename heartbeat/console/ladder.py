"""Messages as a ladder diagram: a lane for each end, an arrow for each message, as narrow as the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from heartbeat.console.render import clock
from heartbeat.console.traces import Hop

_NARROWEST: Final = 8
_WIDEST: Final = 24
_TIME: Final = len("12:00:00.000")
_LANE: Final = "│"


class Ladder:
    """A ladder diagram that rich can print."""

    def __init__(self, hops: Sequence[Hop]) -> None:
        self._hops = hops
        self._names = lanes(hops)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else 80
        left = _TIME + 1
        gap = min(_WIDEST, max(_NARROWEST, (width - left) // max(1, len(self._names))))
        middles = [left + gap // 2 + gap * index for index in range(len(self._names))]
        for row in _titles(self._names, gap):
            yield Text(" " * left + row, "bold", no_wrap=True, overflow="crop")
        for hop in self._hops:
            time = clock(hop.at, fine=True)[-_TIME:]  # the day is in the title
            yield _rung(hop, time.ljust(left), self._names, middles)


def lanes(hops: Sequence[Hop]) -> list[str]:
    """The ends from left to right, in the order in which messages reach them."""
    names: list[str] = []
    for hop in hops:
        if hop.source not in names:
            names.insert(names.index(hop.target) if hop.target in names else len(names), hop.source)
        if hop.target not in names:
            names.insert(names.index(hop.source) + 1, hop.target)
    return names


def _titles(names: Sequence[str], gap: int) -> Iterator[str]:
    """The rows of lane titles: the port of a name that is too long is in a second row."""
    split = [(name, "") if cell_len(name) < gap else name.rpartition(":")[::2] for name in names]
    split = [(first or second, second if first else "") for first, second in split]
    for row in (0, 1):
        cells = [_cut(each[row], gap - 1) for each in split]
        if any(cells):
            yield "".join(cell.center(gap) for cell in cells).rstrip()


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _rung(hop: Hop, time: str, names: Sequence[str], middles: Sequence[int]) -> Text:
    source, target = middles[names.index(hop.source)], middles[names.index(hop.target)]
    first, last = min(source, target), max(source, target)
    cells = [" "] * (middles[-1] + 1)
    for middle in middles:
        cells[middle] = _LANE
    room = last - first - 2
    label = _cut(what(hop.text), room) if room > 0 else ""
    arrow = f"{label:─^{max(room, 0)}}"
    if source < target:
        cells[first + 1 : last] = f"{arrow}▶"
    elif source > target:
        cells[first + 1 : last] = f"◀{arrow}"
    else:
        cells[first:], last = f"↺ {what(hop.text)}", first + 1
    text = Text(time, "dim", no_wrap=True, overflow="crop")
    row = "".join(cells)[len(time) :]
    begin = first + 1 - len(time)
    text.append(row[:begin], "dim")
    text.append(row[begin : last - len(time)], _style(hop.text))
    text.append(row[last - len(time) :], "dim")
    return text


def what(text: str) -> str:
    """A message in a word or two: ``INVITE SDP``, ``180 Ringing``, ``200 OK SDP``, ``200 BYE``."""
    start, _, rest = text.partition("\r\n")
    head = rest.partition("\r\n\r\n")[0].lower()
    sdp = " SDP" if "application/sdp" in head or "multipart/" in head else ""
    first, _, second = start.partition(" ")
    if first.upper() != "SIP/2.0":
        return first + sdp
    status, _, phrase = second.partition(" ")
    method = next(
        (line.split()[-1].upper() for line in head.split("\r\n") if line[:5] == "cseq:" and " " in line), ""
    )
    # the method is left out of a 2xx with SDP, where it is plain, since there is little room
    return f"{status} {phrase if status[:1] != '2' or sdp else method}{sdp}".strip()


def _style(text: str) -> str:
    if text[:8].upper() != "SIP/2.0 ":
        return "bold cyan"
    return {"1": "yellow", "2": "green"}.get(text[8:9], "red")
