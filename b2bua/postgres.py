"""Call records in a PostgreSQL database (extra ``postgres``: psycopg): one row for each call, whichever server wrote
it.

The table is created and migrated here. A second record of a call is merged into its row as files are merged
(`b2bua.cdr.merge`), so order and repetition do not matter. It blocks: for a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from b2bua.cdr import Cdr, merge
from b2bua.sink_error import Refused, SinkError
from heartbeat.console.journal import json_line
from heartbeat.site.model import PostgresSettings

TABLE: Final = "holdfast_calls"
VERSION_TABLE: Final = "holdfast_schema"
_LOCK: Final = 0x686F6C6466617374 >> 1
"""Key of the advisory lock by which one server at a time creates or migrates the table."""
MIGRATIONS: Final[tuple[str, ...]] = (
    f"""
    CREATE TABLE {TABLE} (
        id text PRIMARY KEY, call_id text NOT NULL, session_id text, site text, node text, epoch bigint,
        caller text, callee text, dialled text, caller_line text, callee_line text, attempts integer,
        started timestamptz, ringing timestamptz, answered timestamptz, ended timestamptz, duration double precision,
        result text, status integer, ended_by text, reason text, transferred_by text, transferred_from text,
        far_status integer, forwarded_by text, codec text, caller_media text, callee_media text,
        caller_packets bigint, caller_lost bigint, caller_jitter_ms double precision, caller_mos double precision,
        callee_packets bigint, callee_lost bigint, callee_jitter_ms double precision, callee_mos double precision,
        cause integer, record jsonb NOT NULL
    );
    CREATE INDEX {TABLE}_started ON {TABLE} (started);
    CREATE INDEX {TABLE}_caller ON {TABLE} (caller);
    CREATE INDEX {TABLE}_callee ON {TABLE} (callee);
    """,
)
"""Each migrates the schema to the next version. Released migrations must not be changed."""
INSTANTS: Final = frozenset({"started", "ringing", "answered", "ended"})
COLUMNS: Final = (*Cdr("").to_json(), "record")
_NAMES: Final = ", ".join(COLUMNS)
_VALUES: Final = ", ".join(f"%({name})s" for name in COLUMNS)
_INSERT: Final = f"INSERT INTO {TABLE} ({_NAMES}) VALUES ({_VALUES}) ON CONFLICT (id) DO NOTHING RETURNING id"
_KNOWN: Final = f"SELECT record FROM {TABLE} WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_UPDATE: Final = f"UPDATE {TABLE} SET ({_NAMES}) = ({_VALUES}) WHERE id = %(id)s"
CONNECT_S: Final = 5
STATEMENT_MS: Final = 20_000


class PostgresSink:
    """See the module."""

    def __init__(self, settings: PostgresSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._connection: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        """Connect, and create or migrate the table. Raises :class:`SinkError`."""
        self._do({})

    def deliver(self, records: list[Cdr]) -> None:
        """Insert the records, or merge them into existing rows. Raises :class:`SinkError`."""
        self._do(_rows(records))

    def _do(self, rows: dict[str, Cdr]) -> None:
        try:
            connection = self._connected()
            if rows:
                with connection.transaction():
                    _write(connection, rows)
        except psycopg.DataError as error:
            raise Refused(_said(error)) from None
        except (psycopg.Error, OSError, LookupError, ValueError) as error:
            self.close()
            raise SinkError(_said(error)) from None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            password = self._settings.password
            connection = psycopg.connect(
                self._settings.connect,
                password=password.reveal().decode().strip() if password is not None else None,
                autocommit=True,
                connect_timeout=CONNECT_S,
                tcp_user_timeout=STATEMENT_MS,
                application_name=f"holdfast {self._node}",
            )
            try:
                connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _write(connection: psycopg.Connection[Any], rows: dict[str, Cdr]) -> None:
    """``rows``: by id, in an order that is the same for all servers, so that two of them cannot deadlock."""
    inserted: set[str] = set()
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [_values(record) for record in rows.values()], returning=True)
        for _ in rows:
            inserted.update(id_ for (id_,) in cursor.fetchall())
            cursor.nextset()
        there = [id_ for id_ in rows if id_ not in inserted]
        if not there:
            return
        changed = []
        for (value,) in cursor.execute(_KNOWN, (there,)).fetchall():
            known = Cdr.from_json(value)
            merged = merge((known, rows[known.id]))
            if merged != known:
                changed.append(_values(merged))
        if changed:
            cursor.executemany(_UPDATE, changed)


def _migrate(connection: psycopg.Connection[Any]) -> None:
    """Migrate the schema to the version of this program; a newer one, of a newer server, is left unchanged."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (VERSION_TABLE,)).fetchone()
        if found is None or not found[0]:  # a role without CREATE may use existing tables
            connection.execute(f"CREATE TABLE {VERSION_TABLE} (version integer NOT NULL)")
            connection.execute(f"INSERT INTO {VERSION_TABLE} VALUES (0)")
        row = connection.execute(f"SELECT version FROM {VERSION_TABLE}").fetchone()
        version = row[0] if row is not None else 0
        for statements in MIGRATIONS[version:]:
            connection.execute(statements.encode())
        if version < len(MIGRATIONS):
            connection.execute(f"UPDATE {VERSION_TABLE} SET version = %s", (len(MIGRATIONS),))


def _rows(records: Iterable[Cdr]) -> dict[str, Cdr]:
    """One record for each call, by id, sorted. Raises :class:`Refused` for one that does not fit the columns."""
    rows: dict[str, Cdr] = {}
    for record in records:
        known = rows.get(record.id)
        rows[record.id] = record if known is None else merge((known, record))
    try:
        for record in rows.values():
            _values(record)
    except (ValueError, OverflowError, OSError) as error:
        raise Refused(f"its instants are no time: {error}") from None
    return dict(sorted(rows.items()))


def _values(record: Cdr) -> Mapping[str, object]:
    value = record.to_json()
    text = json_line(value)
    for name in INSTANTS:
        if value[name] is not None:
            value[name] = datetime.fromtimestamp(value[name], UTC)
    return {**value, "record": text}


def _said(error: Exception) -> str:
    """The first line of the library's error, which contains no password."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
