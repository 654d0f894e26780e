"""What devices and strangers wrote, fit for a terminal and for a line of a log."""

from __future__ import annotations

import logging
from typing import Final

_CONTROLS: Final = (*range(32), *range(127, 160))
HARMLESS: Final = {code: "\N{REPLACEMENT CHARACTER}" for code in _CONTROLS if code != 10}
"""For ``str.translate``: what would steer a terminal is shown as what it is; line ends stay."""
IN_JSON: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}
"""For JSON written without escapes, in which the controls below 32 are escaped already."""
ONE_LINE: Final = HARMLESS | {10: "\N{REPLACEMENT CHARACTER}"}


class LineFormatter(logging.Formatter):
    """A log in which each record is one line, whatever stands in it; a traceback may follow."""

    _second = -1
    _text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """To the millisecond; all of a second begin with the same text."""
        second = int(record.created)
        if second != self._second:
            self._second, self._text = second, super().formatTime(record, self.default_time_format)
        return f"{self._text},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text if text.isprintable() else text.translate(ONE_LINE)
