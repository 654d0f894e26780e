"""What became of the calls that ended last, on disk for the next start: the stories that ``explain`` tells.

They are told to people, and nothing is decided by them: a record counts as written when the call records say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from b2bua.call_records import MOST_ENDED, CallRecords, EndedCall
from b2bua.cdr import Cdr
from heartbeat.console.journal import Journal, json_line

MOST_BYTES: Final = 1024 * 1024
"""Of one generation: some 2,000 calls."""


class CallStories:
    """`take_up` and `write` are called where it may block."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._journal = Journal(path, most_bytes)

    def note(self, record: str, because: str) -> None:
        """A call ended that ``because`` routed last; ``record`` is its call record, a JSON object."""
        self._journal.add_line(f'{record[:-1]},"because":{json_line(because)}}}')

    @property
    def waits(self) -> bool:
        """Whether there is something to write."""
        return self._journal.waits

    def write(self) -> None:
        """Write what waits."""
        self._journal.write()

    def take_up(self, records: CallRecords) -> None:
        """Let it know what former starts saw end. Lines that are none of ours are passed over."""
        for each in self._journal.read():
            try:
                record, because = Cdr.from_json(each), str(each.get("because", ""))
            except (ValueError, TypeError):
                continue
            records.former.pop(record.call_id, None)
            records.former[record.call_id] = EndedCall(record, records.wall_offset, because)
            if len(records.former) > MOST_ENDED:
                records.former.popitem(last=False)
