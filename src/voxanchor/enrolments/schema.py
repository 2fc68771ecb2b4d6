"""The tables of a store in SQLite, and what makes one out of an empty file."""

import sqlite3

from voxanchor.errors import EnrolmentError

APPLICATION = 0x766F7861
"""Marks the file as one of this program's: 'voxa'."""

VERSION = 1

CHANGES_KEPT = 100_000
"""So many of the latest changes are listed; a process that has missed more reads all voices anew."""

TABLES = f"""
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE model (name TEXT PRIMARY KEY, dimension INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE person (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);
CREATE TABLE enrolment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id INTEGER NOT NULL REFERENCES person (id),
    model TEXT NOT NULL REFERENCES model (name),
    created TEXT NOT NULL,
    made_by TEXT NOT NULL,
    speech_s REAL NOT NULL,
    snr_db REAL NOT NULL,
    source TEXT NOT NULL,
    embedding BLOB NOT NULL,
    audio BLOB
);
CREATE INDEX enrolment_of ON enrolment (person_id, model);
CREATE TABLE voice (
    person_id INTEGER NOT NULL REFERENCES person (id),
    model TEXT NOT NULL REFERENCES model (name),
    total BLOB NOT NULL,
    recordings INTEGER NOT NULL,
    speech_s REAL NOT NULL,
    snr_db REAL NOT NULL,
    PRIMARY KEY (person_id, model)
);
CREATE INDEX voice_of ON voice (model, person_id);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    person TEXT,
    kind TEXT NOT NULL,
    decision TEXT NOT NULL,
    score REAL,
    llr REAL,
    threshold REAL,
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL
);
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
    DELETE FROM change WHERE number <= new.number - {CHANGES_KEPT};
END;
"""
"""`change` is how one process learns which voices another has changed: triggers fill it, so no writer can forget to."""


def prepare(connection: sqlite3.Connection, path: str) -> bool:
    """Make the tables in an empty file, inside a transaction that is open; return whether they were made now.

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
    if not is_bare(connection):
        raise EnrolmentError(f"{path}: a database of another program. Give the path of a store, or one where none is.")
    for statement in _statements():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    return True


def is_bare(connection: sqlite3.Connection) -> bool:
    """Return whether a database says nothing of what it is, and has no tables."""
    marks = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return not any(marks) and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


def _statements() -> list[str]:
    """Return the statements one by one: sqlite3's way to run several at once would commit the transaction."""
    found, open_ = [], ""
    for line in TABLES.splitlines():
        open_ += line + "\n"
        if sqlite3.complete_statement(open_):
            found.append(open_)
            open_ = ""
    return found
