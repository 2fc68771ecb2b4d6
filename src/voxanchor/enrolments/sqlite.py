"""Stores in an SQLite file: connection, deletion without traces, backup, and a search in memory."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import sql
from voxanchor.enrolments.encryption import read_key, seal_of
from voxanchor.enrolments.records import Match, model_name
from voxanchor.enrolments.sql import Row, Session
from voxanchor.enrolments.transfer import PortableStore
from voxanchor.errors import EnrolmentError, OutputError, TracesLeftError
from voxanchor.files import replacing, unwritable
from voxanchor.types import Embeddings, IntArray

APPLICATION = 0x766F7861
"""Marks the file as one of this program's: 'voxa'."""

VERSION = 1

CHANGES_KEPT = 100_000
"""The latest changes that are listed; a process that has missed more reads all voices again."""

_TYPES = {
    "setting": "BLOB",
    "by_key": " WITHOUT ROWID",
    "name": "TEXT",
    "number": "INTEGER",
    "numbered": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "enrolment": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "real": "REAL",
    "vector": "BLOB",
    "blob": "BLOB",
}

_CHANGES = """
CREATE TABLE change (number INTEGER PRIMARY KEY AUTOINCREMENT, person_id INTEGER NOT NULL, model TEXT NOT NULL);
CREATE TRIGGER voice_added AFTER INSERT ON voice BEGIN
    INSERT INTO change (person_id, model) VALUES (new.person_id, new.model);
END;
CREATE TRIGGER voice_changed AFTER UPDATE ON voice BEGIN
    INSERT INTO change (person_id, model) VALUES (new.person_id, new.model);
END;
CREATE TRIGGER voice_deleted AFTER DELETE ON voice BEGIN
    INSERT INTO change (person_id, model) VALUES (old.person_id, old.model);
END;
CREATE TRIGGER change_listed AFTER INSERT ON change BEGIN
    DELETE FROM change WHERE number <= new.number - {kept};
END;
"""
"""By `change` one process learns which voices another has changed: triggers fill it, so no writer can forget to."""

BUSY_S = 30.0
"""How long a change waits for that of another process."""

MEMORY = ":memory:"

BLOCK_ROWS = 16_384
"""Voices in a block: 12 MB at dimension 192, which is what one change copies."""

_LATEST = "SELECT max(number) FROM change"
"""Differs when voices have changed; lines of the audit log leave it as it is."""

_CHECK = b"voxanchor"
"""Sealed into a new store with a key, so that a wrong key is recognised at once."""

_OF_THE_COPY = ("full", "readonly", "disk I/O")
"""SQLite's words for a failure of the file that it writes, where two are open."""

_PRODUCT_NUMBERS = 400_000
"""Numbers of the matrix in one product. One core reads memory about as fast as several, and for so few numbers the
linear algebra library starts no threads. They wait for each other: with other programs on the cores a search took 15
times as long."""

_ROUNDING = 1e-5
"""More than a cosine in float32 may be off by; among those so near each other, float64 decides."""

_NAMES_AT_ONCE = 500


@dataclass(frozen=True)
class Block:
    """Some voices: their people's numbers (P,), and their unit vectors (P, D)."""

    people: IntArray
    voices: Embeddings


@dataclass(frozen=True)
class Matrix:
    """The voiceprints of one model in one state of a store.

    Attributes:
        blocks: the voices.
        state: number of the last change in them.
    """

    blocks: tuple[Block, ...]
    state: int

    def changed(self, touched: IntArray, now: Iterable[Block], state: int) -> "Matrix":
        """Return the matrix after a change: without the people touched, and with what they are now.

        Blocks in which nothing changed are shared with this matrix.
        """
        kept = [_without(block, touched) for block in self.blocks]
        return Matrix((*(block for block in kept if block.people.size), *now), state).packed()

    def packed(self) -> "Matrix":
        """Return the matrix with the small blocks at its end joined, so that many small changes make few blocks."""
        blocks = list(self.blocks)
        while len(blocks) > 1 and blocks[-1].people.size + blocks[-2].people.size <= BLOCK_ROWS:
            last, before = blocks.pop(), blocks.pop()
            people = np.concatenate([before.people, last.people])
            blocks.append(Block(people, np.concatenate([before.voices, last.voices])))
        return Matrix(tuple(blocks), self.state)

    def nearest(self, voice: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Return (person's number, cosine) of the best `top` voices, and of those that are as good as the last of them.

        In no order, cosines in float64. Two equal vectors have the same cosine, wherever they lie.
        """
        if not self.blocks:
            return []
        people = np.concatenate([block.people for block in self.blocks])
        cosines = np.empty(people.size, dtype=np.float32)
        rows = max(1, _PRODUCT_NUMBERS // voice.size)
        parts = (
            block.voices[start : start + rows] for block in self.blocks for start in range(0, block.people.size, rows)
        )
        done = 0
        for part in parts:
            np.dot(part, voice, out=cosines[done : done + len(part)])
            done += len(part)
        if top < cosines.size:
            least = np.partition(cosines, cosines.size - top)[cosines.size - top]
            chosen = np.flatnonzero(cosines >= least - _ROUNDING)
        else:
            chosen = np.arange(cosines.size)
        starts = np.cumsum([0, *(block.people.size for block in self.blocks)])
        found: list[tuple[int, float]] = []
        for block, start in zip(self.blocks, starts, strict=False):
            best = chosen[(chosen >= start) & (chosen < start + block.people.size)] - start
            exact = np.einsum("nd,d->n", block.voices[best].astype(np.float64), voice.astype(np.float64))
            found.extend(zip(people[best + start].tolist(), np.clip(exact, -1.0, 1.0).tolist(), strict=True))
        return found


def _without(block: Block, people: IntArray) -> Block:
    leave = np.isin(block.people, people)
    return Block(block.people[~leave], block.voices[~leave]) if leave.any() else block


class _Session:
    """A transaction on the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement; an empty list for one without a result."""
        return self._connection.execute(statement, values).fetchall()

    def stream(self, statement: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        yield from self._connection.execute(statement, values)


class SqliteStore(PortableStore):
    """A store in one file, as `voxanchor.enrolments.store.Store` describes it.

    The file is in write-ahead mode, its owner's alone, and deleted content is overwritten. One connection behind a lock
    serves all threads: statements are short, since the search runs outside the lock, and a database in memory lives in
    one connection only. Rewriting the file after a deletion takes seconds, and has a connection of its own, so that
    others read meanwhile. Each process opens the file for itself.

    A search is a product with all voiceprints of the model, (P, D) float32 in memory: 4 P D bytes. They are read at the
    first search; each later search asks the file which of them changed, by whatever process, and reads those.

    Args:
        place: path of the file, made where it is missing; `:memory:` for none.
        key: encrypts embeddings and audio (`voxanchor.enrolments.encryption.read_key`).

    Raises:
        EnrolmentError: not such a file, of a later version, locked, in a place that cannot be written, or made with
            another key.
        MissingExtraError: a key, and the package that encrypts is not installed.
    """

    def __init__(self, place: str | Path, key: bytes | str | None = None) -> None:
        super().__init__(seal_of(None if key is None else read_key(key)), str(place))
        self._path = Path(place).absolute()  # now: `_erase` opens it again, perhaps from another working directory
        self._lock = threading.RLock()
        self._changing = threading.RLock()  # taken before the other, by writers only: readers never wait for it
        self._matrices: dict[str, Matrix] = {}
        self._loading = threading.Lock()
        if self._place != MEMORY:
            _make_private(Path(place))
        with self._clear():
            self._connection = sqlite3.connect(
                self._place, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        self._connected(self._connection.close)
        try:
            with self._clear():
                self._prepare()
        except BaseException:
            super().close()
            raise

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the people whose voiceprints are nearest, best first."""
        model = model_name(model)
        with self._loading, self._reading() as session:
            voice = self._query(session, embedding, model, top)
            if voice is None:
                return []
            matrix = self._current(session, model)
        found = matrix.nearest(voice, top)
        with self._reading() as session:
            names = _names(session, [number for number, _ in found])
        matches = [Match(names[number], cosine) for number, cosine in found if number in names]
        return sorted(matches, key=lambda match: (-match.cosine, match.person))[:top]

    def _current(self, session: Session, model: str) -> Matrix:
        """Return the voices as they are now: those in memory, with what has changed since."""
        first, state = session.rows("SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM change")[0]
        known = self._matrices.get(model)
        if known is not None and known.state == state:
            return known
        if known is None or known.state < first - 1:
            matrix = Matrix(tuple(self._blocks(session, model)), state)
        else:
            rows = session.rows(
                "SELECT DISTINCT person_id FROM change WHERE number > ? AND model = ?", known.state, model
            )
            touched = np.array([number for (number,) in rows], dtype=np.int64)
            matrix = known.changed(touched, self._blocks(session, model, known.state), state)
        self._matrices[model] = matrix
        return matrix

    def _blocks(self, session: Session, model: str, since: int | None = None) -> Iterator[Block]:
        """Yield the voices, or only those changed since a state, in blocks."""
        # a plus sign keeps SQLite from the index: reading all rows in the order in which they lie is faster
        where = "+v.model = ?"
        values: list[object] = [model]
        if since is not None:
            where = "v.model = ? AND v.person_id IN (SELECT person_id FROM change WHERE number > ? AND model = ?)"
            values = [model, since, model]
        # names are bound into seals; without a key nothing needs them
        people = "JOIN person p ON p.id = v.person_id" if self._seal.encrypts else ""
        name = "p.name" if people else "''"
        rows = session.stream(f"SELECT v.person_id, v.total, {name} FROM voice v {people} WHERE {where}", *values)
        while block := list(islice(rows, BLOCK_ROWS)):
            yield self._block(block, model)

    def _block(self, rows: list[Row], model: str) -> Block:
        opened = self._seal.open
        content = b"".join([opened(total, "voice", name, model) for _, total, name in rows])
        totals = np.frombuffer(content, "<f4").reshape(len(rows), -1)
        return Block(np.array([row[0] for row in rows], dtype=np.int64), sql.directions(totals))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Session]:
        """Open a transaction that is committed on leaving, and rolled back on an exception."""
        with self._changing:
            # at once: a lock asked for later may come too late
            with self._transaction("BEGIN IMMEDIATE") as session:
                before = session.rows(_LATEST)
                yield session
                changed = session.rows(_LATEST) != before
            if changed:
                self._settle()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Session]:
        """Open a view of one state of the file."""
        with self._transaction("BEGIN") as session:
            yield session

    def _numbers(self, session: Session, count: int) -> range:
        """Return ids for new enrolments: nobody else writes before this transaction ends."""
        ((last,),) = session.rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'enrolment'")
        return range(last + 1, last + 1 + count)

    def _pack(self, vector: NDArray[np.float32], *place: str | int) -> bytes:
        """Return a vector (D,) as 4 D bytes, lowest first, and sealed where there is a key."""
        return self._seal.close(vector.astype("<f4", copy=False).tobytes(), *place)

    def _unpack(self, stored: Any, *place: str | int) -> NDArray[np.float32]:
        """Return a stored vector (D,)."""
        return np.frombuffer(self._seal.open(stored, *place), "<f4")

    def _erase(self) -> None:
        """Rewrite the file and empty the write-ahead log. Others read meanwhile, and wait to write.

        `secure_delete` overwrites a deleted row, but SQLite may have moved rows between pages before that, and copies
        of them then lie in the unused part of some page: one deletion in 350 left bytes behind when it was tried.

        Raises:
            TracesLeftError: another process keeps reading what was there before, or the disk is full.
        """
        with (
            self._changing,
            self._clear("the person is deleted, but bytes of the deleted rows may be left in the file"),
            self._rewriter() as connection,
        ):
            connection.execute("VACUUM")
            ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            reason = "bytes of the deleted rows are in its write-ahead log while another process reads the store"
            raise TracesLeftError(f"{self._place}: the person is deleted, but {reason}. They go when that has ended.")

    @contextlib.contextmanager
    def _rewriter(self) -> Iterator[sqlite3.Connection]:
        """Open a connection that rewrites the file; a database in memory has only one."""
        if self._place == MEMORY:
            with self._lock:
                yield self._connection
            return
        with contextlib.closing(_existing(self._path)) as connection:
            _set_up(connection)
            yield connection

    def close(self) -> None:
        """Close the connection; the last one to the file removes the write-ahead log."""
        with self._lock:
            super().close()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Session]:
        self._require_open()  # before the lock, which a thread may have held when the process was forked
        with self._lock, self._clear():
            self._connection.execute(begin)
            try:
                yield _Session(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _settle(self) -> None:
        """Move changes from the write-ahead log into the file, so that the file alone is a whole copy.

        Only as far as nobody reads an earlier state; the rest is moved after the next change.
        """
        with self._lock, contextlib.suppress(sqlite3.Error):  # the change itself is kept in any case
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _prepare(self) -> None:
        connection = self._connection
        _set_up(connection)
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        with self._transaction("BEGIN IMMEDIATE") as session:
            # A store has its tables before it gets its write-ahead log: without them, they are in a log that is absent.
            if mode == "wal" and _is_bare(connection):
                raise EnrolmentError(
                    f"{self._place}: a copy of a store that was open, without the log beside it ({self._place}-wal) "
                    "that held its people. Copy a store with: voxanchor people backup"
                )
            if _create(connection, self._place):
                sealed = self._seal.close(_CHECK, "check") if self._seal.encrypts else b""
                session.rows("INSERT INTO setting (name, value) VALUES ('check', ?)", sealed)
            ((check,),) = session.rows("SELECT value FROM setting WHERE name = 'check'")
        self._check_key(check)
        if mode == "delete":
            self._write_ahead()

    def _write_ahead(self) -> None:
        """Set the mode, trying again while another process does: SQLite fails at once, without waiting."""
        end = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                # the first query opens the log: until then, others would believe that nobody uses the store
                self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _check_key(self, check: bytes) -> None:
        if check and not self._seal.encrypts:
            raise EnrolmentError(f"{self._place}: encrypted. Give the key it was made with.")
        if not check and self._seal.encrypts:
            advice = "To encrypt it, export it, import the file into a new store made with the key, and delete both."
            raise EnrolmentError(f"{self._place}: made without a key, and a key was given. {advice}")
        if check:
            try:
                self._seal.open(check, "check")
            except EnrolmentError:
                raise EnrolmentError(
                    f"{self._place}: encrypted with another key. Give the one it was made with."
                ) from None

    @contextlib.contextmanager
    def _clear(self, done: str = "") -> Iterator[None]:
        """Turn errors of SQLite into those of a store; `done` says what was done before it failed."""
        try:
            yield
        except sqlite3.Error as error:
            begin = f"{self._place}: {done + ': ' if done else ''}"
            kind = TracesLeftError if done else EnrolmentError
            raise kind(f"{begin}{_meaning(str(error))}") from None


def _create(connection: sqlite3.Connection, path: str) -> bool:
    """Create the tables in an empty file, within an open transaction, and return whether they were missing.

    Raises:
        EnrolmentError: a database of another program, or of a later version of this one.
    """
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if application == APPLICATION:
        if version != VERSION:
            reason = f"its schema is version {version}, this program knows {VERSION}. Update voxanchor to open it."
            raise EnrolmentError(f"{path}: made by another version of voxanchor: {reason}")
        return False
    if not _is_bare(connection):
        raise EnrolmentError(f"{path}: a database of another program. Give the path of a store, or one where none is.")
    statement = ""
    for line in (sql.TABLES.format(**_TYPES) + _CHANGES.format(kept=CHANGES_KEPT)).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):  # one by one: `executescript` would commit the transaction
            connection.execute(statement)
            statement = ""
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    return True


def _is_bare(connection: sqlite3.Connection) -> bool:
    """Return whether a database has neither tables nor the marks of a program."""
    marks = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return not any(marks) and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


def back_up(place: Path, out: Path) -> int:
    """Copy a store, whoever has it open, to a file that its owner alone may read; return how many enrolments it holds.

    What was encrypted stays so: no key is needed.

    Args:
        place: the store.
        out: where nothing is yet. It appears whole or not at all.

    Raises:
        EnrolmentError: `place` is no store, or cannot be read.
        OutputError: something stands at `out`, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(contextlib.closing(_existing(place)))
            known = source.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        except sqlite3.Error as error:
            raise EnrolmentError(f"{place}: {_meaning(str(error))}") from None
        if not known:
            raise EnrolmentError(f"{place}: not a store of enrolments. Give the path of one.")
        temporary = stack.enter_context(replacing(out, new=True))
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.closing(_alone(temporary)) as copy:
                source.backup(copy)
                # one file, without a log beside it; opened as a store, it gets one again
                copy.execute("PRAGMA journal_mode = DELETE")
                # pages are copied as they are: a damaged store would make a copy that fails when it is needed
                if found := _damage(copy):
                    raise EnrolmentError(
                        f"{place}: the store is damaged ({found}), so no copy was made. Restore it from an earlier one."
                    )
                count = int(copy.execute("SELECT count(*) FROM enrolment").fetchone()[0])
        except sqlite3.Error as error:
            for left in ("-journal", "-wal", "-shm"):
                temporary.with_name(temporary.name + left).unlink(missing_ok=True)
            if any(sign in str(error) for sign in _OF_THE_COPY):
                raise OutputError(f"{out}: {_meaning(str(error))}") from None
            raise EnrolmentError(f"{place}: {_meaning(str(error))}") from None
    return count


def _damage(store: sqlite3.Connection) -> str:
    """Return the first fault found in a database, or nothing."""
    try:
        found = str(store.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(found.split())


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")  # a change that was reported survives a loss of power
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _existing(place: Path) -> sqlite3.Connection:
    # an address with `mode=rw` makes no new file; it is quoted, since a path may contain a question mark
    return sqlite3.connect(f"{place.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None)


def remove_empty(path: Path) -> None:
    """Remove an empty store; leave any other, and one that a connection has open."""
    with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(_alone(path)) as connection:
        # only one that is alone gets the file out of write-ahead mode
        if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
            return
        connection.execute("BEGIN EXCLUSIVE")
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        counted = [f"SELECT 1 FROM {name}" for name in ("person", "decision") if name in tables]
        if not any(connection.execute(statement).fetchone() for statement in counted):
            path.unlink()


def _alone(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.0, isolation_level=None)


def _make_private(path: Path) -> None:
    """Create an empty file of mode 600, before SQLite makes one that others may read; its log takes the same mode.

    Raises:
        EnrolmentError: a folder is there, or it cannot be made or written.
    """
    try:
        if path.is_dir():
            raise EnrolmentError(f"{path}: a folder. Give the path of a file, such as {path / 'voices.db'}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise EnrolmentError(str(unwritable(path, error, "opened or made"))) from None


def _meaning(error: str) -> str:
    meanings = {
        "not a database": "not a store of enrolments. Give the path of one, or one where no file is.",
        "locked": f"another process has kept the store locked for {BUSY_S:g} s. Try again when that has ended.",
        "readonly": "cannot be written. Copy the store to where you may write, or have its mode changed.",
        "malformed": "the file is damaged. Restore it from a copy.",
        "full": "the disk is full. Make room on it and try again.",
        "unable to open": "cannot be opened. Give the path of a store that you may read and write.",
        "disk I/O": "the disk failed to read or write the file. Look at the system's log.",
    }
    for sign, meaning in meanings.items():
        if sign in error:
            return meaning
    return f"SQLite reports: {error}"


def _names(session: Session, people: list[int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for start in range(0, len(people), _NAMES_AT_ONCE):
        part = people[start : start + _NAMES_AT_ONCE]
        marks = ", ".join("?" * len(part))
        names.update(dict(session.rows(f"SELECT id, name FROM person WHERE id IN ({marks})", *part)))
    return names
