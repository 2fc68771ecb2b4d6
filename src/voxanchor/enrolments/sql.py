"""Sessions with a database, and voiceprints as rows in it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxanchor.config import nearest
from voxanchor.enrolments.encryption import Seal
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.errors import EnrolmentError, UnknownPersonError

Row = tuple[Any, ...]


class Session(Protocol):
    """One transaction. A `?` in a statement stands for a value, whatever the database."""

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement; none for one that gives none."""
        ...

    def stream(self, statement: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        ...


class Database(Protocol):
    """Where the tables of `voxanchor.enrolments.sqlite` lie. Safe for threads."""

    @property
    def seal(self) -> Seal:
        """The encryption of embeddings and audio."""
        ...

    def writing(self) -> AbstractContextManager[Session]:
        """Give a transaction that is kept as a whole on leaving, and undone as a whole on an exception."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """Give a view of one state of the database, whatever others write meanwhile."""
        ...

    def numbers(self, session: Session, count: int) -> Sequence[int]:
        """Return numbers for that many new enrolments, never given before."""
        ...

    def pack(self, vector: NDArray[np.float32], *place: str | int) -> object:
        """Return a vector (D,) as it is stored; `place` says whose it is."""
        ...

    def unpack(self, stored: Any, *place: str | int) -> NDArray[np.float32]:
        """Return what was given to `pack` with the same place: (D,) float32.

        Raises:
            EnrolmentError: sealed with another key, for another place, or changed.
        """
        ...

    def erase(self) -> None:
        """Remove what deleted rows left behind in files, as far as this database can.

        Raises:
            EnrolmentError: it could not be done now.
        """
        ...

    def close(self) -> None:
        """Give up the connections."""
        ...


# Enrolments within a transaction: adding recordings, and the one row per person and model that a search reads.
#
# Beside its recordings each person has a row in `voice` for each model: the sum of the unit vectors, how many they are,
# and the sums of what is known of them. It is written in the transaction that changes the recordings. A search among a
# million people then reads a million rows in the order they lie in, and not every recording of every person.

_NAMES_AROUND = 500
"""Names before and after an unknown one, in the order of the alphabet, among which the nearest is looked for."""

_FEW_NAMES = 20
"""So many names at most are listed in an error."""

_LEAST_LENGTH = 1e-3
"""Length of the mean of unit vectors below which it points nowhere."""


@dataclass(frozen=True)
class Recording:
    """One recording on its way into the store: what it is, when it was enrolled, and by whom."""

    content: EnrolmentEmbedding
    created: str
    by: str


def add(database: Database, session: Session, person: str, model: str, recordings: Sequence[Recording]) -> None:
    """Add recordings, of which there is one at least, to a person, who need not be known yet.

    Raises:
        EnrolmentError: the model's embeddings have another dimension, or the recordings' mean points nowhere.
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
    for place, recording in zip(database.numbers(session, len(recordings)), recordings, strict=True):
        content = recording.content
        audio = content.audio
        session.rows(
            "INSERT INTO enrolment (id, person_id, model, created, made_by, speech_s, snr_db, source, embedding, audio)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            place,
            number,
            model,
            recording.created,
            recording.by,
            content.speech_s,
            content.snr_db,
            content.source,
            database.pack(content.embedding, "embedding", person, model, place),
            None if audio is None else database.seal.close(audio, "audio", person, place),
        )
    recount(database, session, number, person, [model])


def recount(database: Database, session: Session, number: int, person: str, models: Iterable[str]) -> None:
    """Write a person's rows in `voice` for these models anew from the recordings.

    Raises:
        EnrolmentError: the mean of the recordings points nowhere.
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
        vectors = np.stack([database.unpack(row[1], "embedding", person, model, row[0]) for row in rows])
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
            database.pack(total.astype(np.float32), "voice", person, model),
            len(rows),
            sum(row[2] for row in rows),
            sum(row[3] for row in rows),
        )


def directions(totals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums of unit vectors (N, D) as unit vectors."""
    lengths = np.sqrt(np.einsum("nd,nd->n", totals, totals, dtype=np.float64))
    unit: NDArray[np.float32] = totals / lengths[:, None].astype(np.float32)
    return unit


def require_dimension(session: Session, model: str, dimension: int, person: str) -> None:
    """Note the dimension of a model's embeddings, or compare it with the one that is noted.

    Raises:
        EnrolmentError: they differ.
    """
    session.rows("INSERT INTO model (name, dimension) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", model, dimension)
    ((known,),) = session.rows("SELECT dimension FROM model WHERE name = ?", model)
    if known != dimension:
        raise EnrolmentError(wrong_dimension(f"{person}: the embedding", dimension, known, model))


def wrong_dimension(what: str, dimension: int, known: int, model: str) -> str:
    """Return what to say of an embedding of another dimension."""
    reason = "Give the fingerprint of the model that made the embedding."
    return f"{what} has {dimension} dimensions, those of the model {model} in this store have {known}. {reason}"


def forget_unused_models(session: Session) -> None:
    """Remove the dimensions noted for models of which no enrolment is left."""
    session.rows("DELETE FROM model WHERE NOT EXISTS (SELECT 1 FROM voice WHERE voice.model = model.name)")


def hold(session: Session, person: str) -> int:
    """Return a person's number, and keep others from changing the person until the transaction ends.

    Raises:
        EnrolmentError: nobody of that name is enrolled.
    """
    found = session.rows("UPDATE person SET updated = updated WHERE name = ? RETURNING id", person)
    if not found:
        raise unknown(session, person)
    number: int = found[0][0]
    return number


def still_there(session: Session, number: int) -> bool:
    """Return whether a person was not deleted meanwhile, and keep others from it until the transaction ends."""
    return bool(session.rows("UPDATE person SET updated = updated WHERE id = ? RETURNING id", number))


def unknown(session: Session, person: str) -> UnknownPersonError:
    """Return the error for somebody who is not enrolled; it names who was perhaps meant."""
    before = session.rows("SELECT name FROM person WHERE name < ? ORDER BY name DESC LIMIT ?", person, _NAMES_AROUND)
    after = session.rows("SELECT name FROM person WHERE name >= ? ORDER BY name LIMIT ?", person, _NAMES_AROUND)
    names = [name for (name,) in [*reversed(before), *after]]
    hint = nearest(person, names)
    if len(names) > _FEW_NAMES and hint.startswith("Known:"):
        hint = "No name in the store is near it."
    return UnknownPersonError(f"nobody called '{person}' is enrolled. {hint}")


def models_of(session: Session, person: str) -> list[str]:
    """Return the models by which a person is enrolled.

    Raises:
        EnrolmentError: nobody of that name is enrolled.
    """
    found = session.rows("SELECT id FROM person WHERE name = ?", person)
    if not found:
        raise unknown(session, person)
    rows = session.rows("SELECT model FROM voice WHERE person_id = ? ORDER BY model", found[0][0])
    return [model for (model,) in rows]
