"""A store in an SQL database, whatever its dialect: schema, statements, people and voiceprints, and the audit log."""

import os
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from voxanchor.config import nearest
from voxanchor.enrolments.encryption import Seal
from voxanchor.enrolments.records import (
    Decision,
    Enrolment,
    EnrolmentEmbedding,
    Match,
    Person,
    Voiceprint,
    checked,
    model_name,
    moment,
    now,
    one_line,
    person_name,
    unit,
)
from voxanchor.errors import EnrolmentError, OtherModelError, UnknownPersonError

TABLES = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value {setting} NOT NULL){by_key};
CREATE TABLE model (name {name} PRIMARY KEY, dimension INTEGER NOT NULL){by_key};
CREATE TABLE person (
    id {numbered},
    name {name} NOT NULL UNIQUE,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);
CREATE TABLE enrolment (
    id {enrolment},
    person_id {number} NOT NULL REFERENCES person (id),
    model {name} NOT NULL REFERENCES model (name),
    created TEXT NOT NULL,
    made_by TEXT NOT NULL,
    speech_s {real} NOT NULL,
    snr_db {real} NOT NULL,
    source TEXT NOT NULL,
    embedding {vector} NOT NULL,
    audio {blob}
);
CREATE INDEX enrolment_of ON enrolment (person_id, model);
CREATE TABLE voice (
    person_id {number} NOT NULL REFERENCES person (id),
    model {name} NOT NULL REFERENCES model (name),
    total {vector} NOT NULL,
    recordings INTEGER NOT NULL,
    speech_s {real} NOT NULL,
    snr_db {real} NOT NULL,
    PRIMARY KEY (person_id, model)
);
CREATE INDEX voice_of ON voice (model, person_id);
CREATE TABLE decision (
    id {numbered},
    at TEXT NOT NULL,
    person TEXT,
    kind TEXT NOT NULL,
    decision TEXT NOT NULL,
    score {real},
    llr {real},
    threshold {real},
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL
);
"""
"""The tables of every dialect, which fills in its types. `voice` follows from `enrolment`: one row for each person and
model, with the sum of the unit vectors, how many there are, and the sums of what is known of them. A search among a
million people then reads a million rows in the order in which they lie, not every recording of every person."""

DELETED = "(deleted)"
"""Replaces the name of a deleted person in a reason."""

_NAMES_AROUND = 500
"""Names before and after an unknown one, in alphabetical order, among which the nearest is looked for."""

_FEW_NAMES = 20
"""At most so many names are listed in an error."""

_LEAST_LENGTH = 1e-3
"""Length of the mean of unit vectors below which it has no direction."""

_HOLD = "UPDATE person SET updated = updated"
"""Changes nothing, but locks the row in either dialect, so that nobody deletes the person meanwhile."""

_DECISION = "person, kind, decision, score, llr, threshold, model, reason, made_by, at"

Row = tuple[Any, ...]


class Session(Protocol):
    """One transaction. A `?` in a statement stands for a value, whatever the dialect."""

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement; an empty list for one without a result."""
        ...

    def stream(self, statement: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        ...


@dataclass(frozen=True)
class Recording:
    """One recording on its way into the store: what it is, when it was enrolled, and by whom."""

    content: EnrolmentEmbedding
    created: str
    by: str


class SqlStore(ABC):
    """People, voiceprints and the audit log of `voxanchor.enrolments.store.Store`, which describes the methods.

    A dialect adds transactions, how a vector is stored, and the search.

    Args:
        seal: encrypts embeddings and audio.
        place: where the store is, as errors name it.
    """

    def __init__(self, seal: Seal, place: str) -> None:
        self._seal = seal
        self._place = place
        self._process = os.getpid()

    def _connected(self, disconnect: Callable[[], object]) -> None:
        """Have `disconnect` called once: by `close`, or when a store that nobody closed is collected."""
        # a forked process inherits the connection, and must not end that of its parent
        self._disconnect = weakref.finalize(self, _in_process, self._process, disconnect)

    def _require_open(self) -> None:
        """Raise unless the store is open, and was opened in this process."""
        if os.getpid() != self._process:
            raise EnrolmentError(
                f"{self._place}: opened in another process. Open the store in each process for itself."
            )
        if not self._disconnect.alive:
            raise EnrolmentError(f"{self._place}: the store was closed")

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Session]:
        """Open a transaction that is committed on leaving, and rolled back on an exception."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Session]:
        """Open a view of one state of the database, whatever others write meanwhile."""

    @abstractmethod
    def _numbers(self, session: Session, count: int) -> Sequence[int]:
        """Return ids for `count` new enrolments, never used before; their seals need them before the rows exist."""

    @abstractmethod
    def _pack(self, vector: NDArray[np.float32], *place: str | int) -> object:
        """Return a vector (D,) as it is stored; `place` says to whom it belongs."""

    @abstractmethod
    def _unpack(self, stored: Any, *place: str | int) -> NDArray[np.float32]:
        """Return what was given to `_pack` with the same place: (D,) float32.

        Raises:
            EnrolmentError: sealed with another key, for another place, or changed.
        """

    @abstractmethod
    def _erase(self) -> None:
        """Remove what deleted rows left behind in files, as far as this database can.

        Raises:
            EnrolmentError: it could not be done now.
        """

    @abstractmethod
    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the people whose voiceprints are nearest, best first."""

    def close(self) -> None:
        """Close the connections."""
        self._disconnect()

    def enroll(self, person: str, prints: Sequence[EnrolmentEmbedding], model: str, by: str = "") -> None:
        """Add recordings to a person, all of them or none."""
        person, model, by, created = person_name(person), model_name(model), one_line(by), now()
        if not prints:
            raise EnrolmentError(f"{person}: no recording was given to enrol. Give one at least.")
        contents = [checked(content, f"{person}, recording {place + 1}") for place, content in enumerate(prints)]
        dimensions = sorted({content.embedding.size for content in contents})
        if len(dimensions) > 1:
            raise EnrolmentError(f"{person}: the embeddings have {dimensions} dimensions. Embed all by one model.")
        recordings = [Recording(content, created, by) for content in contents]
        with self._writing() as session:
            self._add(session, person, model, recordings)

    def people(self) -> list[Person]:
        """Return everybody, in the order of names."""
        with self._reading() as session:
            rows = session.stream(
                "SELECT p.name, v.model, v.recordings, p.created, p.updated "
                "FROM person p JOIN voice v ON v.person_id = p.id ORDER BY p.name, v.model"
            )
            found = []
            for name, group in groupby(rows, key=itemgetter(0)):
                of_models = list(group)
                count = sum(row[2] for row in of_models)
                found.append(Person(name, count, tuple(row[1] for row in of_models), *of_models[0][3:]))
            return found

    def enrolments(self, person: str) -> list[Enrolment]:
        """Return a person's recordings, oldest first."""
        person = person_name(person)
        with self._reading() as session:
            _models_of(session, person)
            rows = session.rows(
                "SELECT e.id, p.name, e.model, e.created, e.made_by, e.speech_s, e.snr_db, e.source, "
                "e.audio IS NOT NULL FROM enrolment e JOIN person p ON p.id = e.person_id "
                "WHERE p.name = ? ORDER BY e.id",
                person,
            )
        return [
            Enrolment(number, name, model, created, by, speech_s, snr_db, source, bool(kept))
            for number, name, model, created, by, speech_s, snr_db, source, kept in rows
        ]

    def models(self) -> dict[str, int]:
        """Return how many enrolments there are of each model."""
        return self._by_model("sum(recordings)")

    def voices(self) -> dict[str, int]:
        """Return how many people are enrolled by each model."""
        return self._by_model("count(*)")

    def voiceprint(self, person: str, model: str) -> Voiceprint:
        """Return one person's voiceprint by one model."""
        person, model = person_name(person), model_name(model)
        with self._reading() as session:
            rows = session.rows(
                "SELECT v.total, v.recordings, v.speech_s, v.snr_db FROM voice v JOIN person p ON p.id = v.person_id "
                "WHERE p.name = ? AND v.model = ?",
                person,
                model,
            )
            if not rows:
                others = _models_of(session, person)
                raise OtherModelError(_of_other_models(f"'{person}' is enrolled", others, model))
        ((stored, count, speech_s, snr_db),) = rows
        total = self._unpack(stored, "voice", person, model)
        return Voiceprint(person, model, directions(total[None])[0], count, speech_s, snr_db / count)

    def delete(self, person: str) -> int:
        """Delete all that is stored of a person, and the name from the log."""
        person = person_name(person)
        with self._writing() as session:
            found = session.rows(f"{_HOLD} WHERE name = ? RETURNING id", person)
            if not found:
                raise _unknown(session, person)
            ((number,),) = found
            count = len(session.rows("DELETE FROM enrolment WHERE person_id = ? RETURNING id", number))
            session.rows("DELETE FROM voice WHERE person_id = ?", number)
            session.rows("DELETE FROM person WHERE id = ?", number)
            session.rows("UPDATE enrolment SET made_by = '' WHERE made_by = ?", person)
            forget_unused_models(session)
            _forget(session, person)
        self._erase()
        return count

    def log(self, decision: Decision) -> None:
        """Write a decision to the audit log."""
        values = [
            None if decision.person is None else person_name(decision.person),
            decision.kind,
            one_line(decision.decision),
            _number(decision.score),
            _number(decision.llr),
            _number(decision.threshold),
            one_line(decision.model),
            one_line(decision.reason),
            one_line(decision.by),
            moment(decision.at) if decision.at else now(),
        ]
        with self._writing() as session:
            session.rows(f"INSERT INTO decision ({_DECISION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)

    def decisions(self, person: str | None = None, limit: int = 100) -> list[Decision]:
        """Return the latest decisions, newest first."""
        where, values = ("", []) if person is None else ("WHERE person = ?", [person_name(person)])
        with self._reading() as session:
            rows = session.rows(f"SELECT {_DECISION} FROM decision {where} ORDER BY id DESC LIMIT ?", *values, limit)
        return [Decision(*row) for row in rows]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _by_model(self, figure: str) -> dict[str, int]:
        with self._reading() as session:
            rows = session.rows(f"SELECT model, {figure} FROM voice GROUP BY model ORDER BY model")
        return {model: int(value) for model, value in rows}

    def _query(
        self, session: Session, embedding: NDArray[np.float32], model: str, top: int
    ) -> NDArray[np.float32] | None:
        """Return the query as a unit vector; None where nobody is enrolled at all.

        Raises:
            EnrolmentError: it cannot be an embedding of this model, or there are enrolments of other models only.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        vector = unit(embedding, "the query")
        known = session.rows("SELECT dimension FROM model WHERE name = ?", model)
        if not known:
            others = [name for (name,) in session.rows("SELECT name FROM model ORDER BY name")]
            if others:
                raise OtherModelError(_of_other_models("everybody in this store is enrolled", others, model))
            return None
        if known[0][0] != vector.size:
            raise EnrolmentError(_wrong_dimension("the query", vector.size, known[0][0], model))
        return vector

    def _add(self, session: Session, person: str, model: str, recordings: Sequence[Recording]) -> None:
        """Add recordings, at least one, to a person, who need not exist yet.

        Raises:
            EnrolmentError: the model's embeddings have another dimension, or the recordings' mean has no direction.
        """
        require_dimension(session, model, recordings[0].content.embedding.size, person)
        times = [recording.created for recording in recordings]
        ((number,),) = session.rows(
            "INSERT INTO person (name, created, updated) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "created = CASE WHEN excluded.created < person.created THEN excluded.created ELSE person.created END, "
            "updated = CASE WHEN excluded.updated > person.updated THEN excluded.updated ELSE person.updated END "
            "RETURNING id",
            person,
            min(times),
            max(times),
        )
        for place, recording in zip(self._numbers(session, len(recordings)), recordings, strict=True):
            content, audio = recording.content, recording.content.audio
            session.rows(
                "INSERT INTO enrolment (id, person_id, model, created, made_by, speech_s, snr_db, source, embedding, "
                "audio) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                place,
                number,
                model,
                recording.created,
                recording.by,
                content.speech_s,
                content.snr_db,
                content.source,
                self._pack(content.embedding, "embedding", person, model, place),
                None if audio is None else self._seal.close(audio, "audio", person, place),
            )
        self._recount(session, number, person, [model])

    def _recount(self, session: Session, number: int, person: str, models: Iterable[str]) -> None:
        """Rewrite a person's rows in `voice` for these models from the recordings.

        Raises:
            EnrolmentError: the mean of the recordings has no direction.
        """
        for model in models:
            rows = session.rows(
                "SELECT id, embedding, speech_s, snr_db FROM enrolment WHERE person_id = ? AND model = ? ORDER BY id",
                number,
                model,
            )
            if not rows:
                session.rows("DELETE FROM voice WHERE person_id = ? AND model = ?", number, model)
                continue
            vectors = np.stack([self._unpack(row[1], "embedding", person, model, row[0]) for row in rows])
            total = vectors.sum(axis=0, dtype=np.float64)
            if np.linalg.norm(total) < _LEAST_LENGTH * len(rows):
                reason = "point in opposite directions, so that they have no mean. Are all of one person?"
                raise EnrolmentError(f"{person}: the {len(rows)} recordings {reason}")
            session.rows(
                "INSERT INTO voice (person_id, model, total, recordings, speech_s, snr_db) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (person_id, model) DO UPDATE SET total = excluded.total, "
                "recordings = excluded.recordings, speech_s = excluded.speech_s, snr_db = excluded.snr_db",
                number,
                model,
                self._pack(total.astype(np.float32), "voice", person, model),
                len(rows),
                sum(row[2] for row in rows),
                sum(row[3] for row in rows),
            )


def _in_process(process: int, do: Callable[[], object]) -> None:
    if os.getpid() == process:
        do()


def directions(totals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums of unit vectors (N, D) as unit vectors."""
    lengths = np.sqrt(np.einsum("nd,nd->n", totals, totals, dtype=np.float64))
    unit: NDArray[np.float32] = totals / lengths[:, None].astype(np.float32)
    return unit


def require_dimension(session: Session, model: str, dimension: int, person: str) -> None:
    """Check the dimension of a model's embeddings, which its first enrolment sets.

    Raises:
        EnrolmentError: they differ.
    """
    session.rows("INSERT INTO model (name, dimension) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", model, dimension)
    ((known,),) = session.rows("SELECT dimension FROM model WHERE name = ?", model)
    if known != dimension:
        raise EnrolmentError(_wrong_dimension(f"{person}: the embedding", dimension, known, model))


def _wrong_dimension(what: str, dimension: int, known: int, model: str) -> str:
    """Return the message for an embedding of another dimension."""
    reason = "Give the fingerprint of the model that made the embedding."
    return f"{what} has {dimension} dimensions, those of the model {model} in this store have {known}. {reason}"


def forget_unused_models(session: Session) -> None:
    """Remove models without enrolments, and with them their dimensions."""
    session.rows("DELETE FROM model WHERE NOT EXISTS (SELECT 1 FROM voice WHERE voice.model = model.name)")


def still_there(session: Session, number: int) -> bool:
    """Return whether a person still exists, and lock the row until the transaction ends."""
    return bool(session.rows(f"{_HOLD} WHERE id = ? RETURNING id", number))


def _unknown(session: Session, person: str) -> UnknownPersonError:
    """Return the error for a name that is not enrolled, with the nearest name that is."""
    before = session.rows("SELECT name FROM person WHERE name < ? ORDER BY name DESC LIMIT ?", person, _NAMES_AROUND)
    after = session.rows("SELECT name FROM person WHERE name >= ? ORDER BY name LIMIT ?", person, _NAMES_AROUND)
    names = [name for (name,) in [*reversed(before), *after]]
    hint = nearest(person, names)
    if len(names) > _FEW_NAMES and hint.startswith("Known:"):
        hint = "No name in the store is near it."
    return UnknownPersonError(f"nobody called '{person}' is enrolled. {hint}")


def _models_of(session: Session, person: str) -> list[str]:
    """Return the models by which a person is enrolled.

    Raises:
        EnrolmentError: nobody of that name is enrolled.
    """
    found = session.rows("SELECT id FROM person WHERE name = ?", person)
    if not found:
        raise _unknown(session, person)
    rows = session.rows("SELECT model FROM voice WHERE person_id = ? ORDER BY model", found[0][0])
    return [model for (model,) in rows]


def _of_other_models(who: str, others: Sequence[str], model: str) -> str:
    """Return the message, with what can be done, where there are voiceprints of other models only."""
    several = "the models" if len(others) > 1 else "the model"
    return (
        f"{who} by {several} {', '.join(others)}, not by {model}: their voiceprints cannot be compared. Carry the "
        "enrolments over with the map that came with the new model, embed the audio anew where it was kept, or enrol "
        "again with the model in use."
    )


def _forget(session: Session, person: str) -> None:
    """Remove a person's name from the audit log: as the person, in reasons, and as the one who asked."""
    session.rows("UPDATE decision SET person = NULL WHERE person = ?", person)
    session.rows("UPDATE decision SET made_by = '' WHERE made_by = ?", person)
    whole_word = re.compile(rf"(?<!\w){re.escape(person)}(?!\w)")
    for number, reason in session.rows(
        "SELECT id, reason FROM decision WHERE replace(reason, ?, '') <> reason", person
    ):
        session.rows("UPDATE decision SET reason = ? WHERE id = ?", whole_word.sub(DELETED, reason), number)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
