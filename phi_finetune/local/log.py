"""The log of a folder: every request and report that changed something, in order, in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from phi_finetune.errors import ConfigurationError

__all__ = ["Entry", "Log"]

FILE: Final = "state.sqlite"
FORMAT: Final = 1
"""Counts up whenever what an older log holds would no longer be carried out in the same way."""

_APPLICATION: Final = 0x70686966
_BUSY_S: Final = 120.0
"""How long a process waits for another one's request to end."""

_TABLES: Final = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, body BLOB, digest TEXT
);
"""

Kind = Literal["request", "report", "model"]


@attrs.frozen
class Entry:
    """One line of the log.

    Attributes:
        number: Its place, from 1.
        at: The folder's time at which it came.
        kind: A request of a client, a report of what became of a job or server, or a model that was added.
        what: What was asked or told, as JSON has it.
        body: The body of a request, where it is small.
        digest: The body's digest, where it is not.
    """

    number: int
    at: datetime
    kind: Kind
    what: Mapping[str, Any]
    body: bytes = b""
    digest: str | None = None


class Log:
    """The log of a folder, which several processes share. One thread at a time uses an object.

    Args:
        folder: The folder; made where it is not there.
        settings: What a new folder is to remember.

    Attributes:
        settings: What the folder remembers from its making.

    Raises:
        ConfigurationError: It is no folder of this kind, of a newer version, damaged, or cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        with self._explained():
            _make_folder(folder)
            self.settings = self._open(settings)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from handling a request. What is appended within is kept, or none of it is."""
        with self._explained():
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        with self._explained():
            connection.execute("COMMIT")

    def after(self, number: int) -> Iterator[Entry]:
        """The entries after that number."""
        with self._explained():
            rows = self._connect().execute(
                "SELECT number, at, kind, what, body, digest FROM entries WHERE number > ? ORDER BY number",
                (number,),
            )
            for row in rows.fetchall():
                yield Entry(
                    row[0], datetime.fromisoformat(row[1]), row[2], json.loads(row[3]), row[4] or b"", row[5]
                )

    def append(self, entry: Entry) -> None:
        """Write an entry; within :meth:`locked`."""
        row = (
            entry.number,
            entry.at.isoformat(),
            entry.kind,
            json.dumps(entry.what),
            entry.body,
            entry.digest,
        )
        with self._explained():
            self._connect().execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    def _connect(self) -> sqlite3.Connection:
        # SQLite's connections do not survive a fork.
        if self._connection is None or self._process != os.getpid():
            self._process = os.getpid()
            self._connection = sqlite3.connect(
                self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        return self._connection

    def _open(self, settings: Mapping[str, str]) -> dict[str, str]:
        if not self._file.exists():
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR))
        connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check(connection, settings)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return dict(connection.execute("SELECT name, value FROM settings").fetchall())

    def _check(self, connection: sqlite3.Connection, settings: Mapping[str, str]) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            for statement in _TABLES.strip().split(";")[:-1]:
                connection.execute(statement)
            connection.executemany("INSERT INTO settings VALUES (?, ?)", sorted(settings.items()))
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            return
        if application != _APPLICATION:
            raise self._refused("its state.sqlite was made by another program", "take another folder")
        if version != FORMAT:
            raise self._refused(
                f"its format is {version}, and this version of phi-finetune reads format {FORMAT}",
                "open it with the version that made it, or take another folder",
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._of_sqlite(error) from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise self._refused(why, "take a folder that you may write to") from error

    def _of_sqlite(self, error: sqlite3.DatabaseError) -> ConfigurationError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._refused("another process has been using it for two minutes", "call again")
        if code in (
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_FULL,
        ):
            return self._refused(
                f"it cannot be written ({error})",
                "make room and grant the right to write, or take another folder",
            )
        return self._refused(
            f"its state.sqlite is damaged ({error})", "put a copy of it back, or take another folder"
        )

    def _refused(self, why: str, next_call: str) -> ConfigurationError:
        return ConfigurationError(
            "The folder cannot be used as a local workspace",
            resource=f"folder {self._folder}",
            why=why,
            next_call=next_call,
        )


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite's own file is there first, so whoever makes the folder at the same time finds it.
    others = [path.name for path in folder.iterdir() if not path.name.startswith(FILE)]
    if others and not (folder / FILE).exists():
        raise ConfigurationError(
            "The folder cannot be used as a local workspace",
            resource=f"folder {folder}",
            why=f"it holds something else already ({min(others)})",
            next_call="take an empty folder, or one that is not there yet",
        )
