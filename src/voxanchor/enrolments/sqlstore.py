"""What a store does, whatever its database. Each kind adds its connection and its search."""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import audit, exchange, rewriting, voices
from voxanchor.enrolments.checks import checked, model_name, now, person_name, plain, unit
from voxanchor.enrolments.database import Database, Session
from voxanchor.enrolments.records import Decision, Enrolment, Imported, Person, Print, Reembedded, Voiceprint
from voxanchor.enrolments.sealing import read_key
from voxanchor.errors import EnrolmentError, OtherModelError
from voxanchor.types import Embeddings


class SqlStore:
    """All of `voxanchor.enrolments.store.Store`, which describes the methods, but `search`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enroll(self, person: str, prints: Sequence[Print], model: str, by: str = "") -> None:
        """Add recordings to a person, all of them or none."""
        person, model, by, moment = person_name(person), model_name(model), plain(by), now()
        if not prints:
            raise EnrolmentError(f"{person}: no recording was given to enrol. Give one at least.")
        contents = [checked(content, f"{person}, recording {place + 1}") for place, content in enumerate(prints)]
        dimensions = sorted({content.embedding.size for content in contents})
        if len(dimensions) > 1:
            raise EnrolmentError(f"{person}: the embeddings have {dimensions} dimensions. Embed all by one model.")
        recordings = [voices.Recording(content, moment, by) for content in contents]
        with self._database.writing() as session:
            voices.add(self._database, session, person, model, recordings)

    def people(self) -> list[Person]:
        """Return everybody, in the order of names."""
        with self._database.reading() as session:
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
        with self._database.reading() as session:
            voices.models_of(session, person)
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
        with self._database.reading() as session:
            rows = session.rows("SELECT model, sum(recordings) FROM voice GROUP BY model ORDER BY model")
        return {model: int(count) for model, count in rows}

    def voices(self) -> dict[str, int]:
        """Return how many people are enrolled by each model."""
        with self._database.reading() as session:
            rows = session.rows("SELECT model, count(*) FROM voice GROUP BY model ORDER BY model")
        return {model: int(count) for model, count in rows}

    def voiceprint(self, person: str, model: str) -> Voiceprint:
        """Return one person's voiceprint by one model."""
        person, model = person_name(person), model_name(model)
        with self._database.reading() as session:
            rows = session.rows(
                "SELECT v.total, v.recordings, v.speech_s, v.snr_db FROM voice v JOIN person p ON p.id = v.person_id "
                "WHERE p.name = ? AND v.model = ?",
                person,
                model,
            )
            if not rows:
                others = voices.models_of(session, person)
                raise OtherModelError(_of_other_models(f"'{person}' is enrolled", others, model))
        ((stored, count, speech_s, snr_db),) = rows
        total = self._database.unpack(stored, "voice", person, model)
        return Voiceprint(person, model, voices.directions(total[None])[0], count, speech_s, snr_db / count)

    def carry(self, old: str, new: str, apply: Callable[[Embeddings], Embeddings]) -> int:
        """Make all enrolments of one model into those of another through a map."""
        return rewriting.carry(self._database, model_name(old), model_name(new), apply)

    def reembed(self, old: str | None, new: str, embed: Callable[[bytes], Print]) -> Reembedded:
        """Embed the kept audio of one model's enrolments by another."""
        return rewriting.reembed(self._database, None if old is None else model_name(old), model_name(new), embed)

    def delete(self, person: str) -> int:
        """Delete all that is stored of a person, and the name from the log."""
        person = person_name(person)
        with self._database.writing() as session:
            number = voices.hold(session, person)
            count = len(session.rows("DELETE FROM enrolment WHERE person_id = ? RETURNING id", number))
            session.rows("DELETE FROM voice WHERE person_id = ?", number)
            session.rows("DELETE FROM person WHERE id = ?", number)
            session.rows("UPDATE enrolment SET made_by = '' WHERE made_by = ?", person)
            voices.forget_unused_models(session)
            audit.forget(session, person)
        self._database.erase()
        return count

    def log(self, decision: Decision) -> None:
        """Write a decision to the audit log."""
        with self._database.writing() as session:
            audit.log(session, decision)

    def decisions(self, person: str | None = None, limit: int = 100) -> list[Decision]:
        """Return the latest decisions, newest first."""
        with self._database.reading() as session:
            return audit.decisions(session, None if person is None else person_name(person), limit)

    def export_to(self, path: str | Path, key: bytes | str | None = None) -> int:
        """Write all enrolments to one file."""
        return exchange.export_to(self._database, Path(path), None if key is None else read_key(key))

    def import_from(self, path: str | Path, key: bytes | str | None = None) -> Imported:
        """Add the enrolments of a file."""
        return exchange.import_from(self._database, Path(path), None if key is None else read_key(key))

    def close(self) -> None:
        """Give up the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _query(
        self, session: Session, embedding: NDArray[np.float32], model: str, top: int
    ) -> NDArray[np.float32] | None:
        """Return what to search for as a unit vector; None where nobody at all is enrolled.

        Raises:
            EnrolmentError: it cannot be an embedding of this model, or there are enrolments of other models only.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        vector = unit(embedding, "what is searched for")
        known = session.rows("SELECT dimension FROM model WHERE name = ?", model)
        if not known:
            others = [name for (name,) in session.rows("SELECT name FROM model ORDER BY name")]
            if others:
                raise OtherModelError(_of_other_models("everybody in this store is enrolled", others, model))
            return None
        if known[0][0] != vector.size:
            raise EnrolmentError(voices.wrong_dimension("what is searched for", vector.size, known[0][0], model))
        return vector


def _of_other_models(who: str, others: Sequence[str], model: str) -> str:
    """Return what to say, and what can be done, where there are voiceprints of other models only."""
    several = "the models" if len(others) > 1 else "the model"
    return (
        f"{who} by {several} {', '.join(others)}, not by {model}: their voiceprints cannot be compared. Carry the "
        "enrolments over with the map that came with the new model, embed the audio anew where it was kept, or enrol "
        "again with the model in use."
    )
