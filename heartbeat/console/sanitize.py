"""Making text from the network safe for a terminal and for a line of a log."""

from __future__ import annotations

import logging
from typing import Final

_CONTROLS: Final = (*range(32), *range(127, 160))
HARMLESS: Final = {code: "\N{REPLACEMENT CHARACTER}" for code in _CONTROLS if code != 10}
"""For ``str.translate``: replaces control characters except line feeds."""
IN_JSON: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}
"""For JSON written with ``ensure_ascii=False``, in which only controls below 32 are escaped."""
ONE_LINE: Final = HARMLESS | {10: "\N{REPLACEMENT CHARACTER}"}


class LineFormatter(logging.Formatter):
    """Formats each record as one line, whatever its text; a traceback may follow."""

    _second = -1
    _text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time to the millisecond; the text of a second is made once."""
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, super().formatTime(record, self.default_time_format)
        return f"{self._text},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text if text.isprintable() else text.translate(ONE_LINE)
