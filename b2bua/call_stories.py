"""Records of the calls that ended last, kept on disk for ``explain`` after a restart.

They are only for display: whether a call record was written is decided by the call records themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from b2bua.call_records import MOST_ENDED, CallRecords, EndedCall
from b2bua.cdr import Cdr
from heartbeat.console.journal import Journal, json_line

MOST_BYTES: Final = 1024 * 1024
"""Bytes of one generation of the file: some 2,000 calls."""


class CallStories:
    """The file of ended calls. `take_up` and `write` block: for a thread."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._journal = Journal(path, most_bytes)

    def note(self, record: str, because: str) -> None:
        """Note an ended call: its call record, a JSON object, and ``because``, the reason of its last routing."""
        self._journal.add_line(f'{record[:-1]},"because":{json_line(because)}}}')

    @property
    def waits(self) -> bool:
        """Whether something is to be written."""
        return self._journal.waits

    def write(self) -> None:
        """Write the noted calls."""
        self._journal.write()

    def take_up(self, records: CallRecords) -> None:
        """Give ``records`` the calls that ended in former runs. Unreadable lines are skipped."""
        for each in self._journal.read():
            try:
                record, because = Cdr.from_json(each), str(each.get("because", ""))
            except (ValueError, TypeError):
                continue
            records.former.pop(record.call_id, None)
            records.former[record.call_id] = EndedCall(record, records.wall_offset, because)
            if len(records.former) > MOST_ENDED:
                records.former.popitem(last=False)
