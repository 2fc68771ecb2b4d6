"""A store in a database of either kind: people, voiceprints, decisions, export and import."""

import base64
import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import sql
from voxanchor.enrolments.encryption import Seal, read_key, seal_of
from voxanchor.enrolments.records import (
    Decision,
    Enrolment,
    EnrolmentEmbedding,
    Imported,
    Person,
    Reembedded,
    Voiceprint,
    checked,
    model_name,
    moment,
    now,
    one_line,
    person_name,
    unit,
)
from voxanchor.enrolments.sql import Database, Recording, Session
from voxanchor.errors import EnrolmentError, OtherModelError, OutputError, VoxanchorError
from voxanchor.files import replacing
from voxanchor.types import Embeddings

DELETED = "(deleted)"
"""What stands in a reason where the name of a deleted person stood."""

_COLUMNS = "person, kind, decision, score, llr, threshold, model, reason, made_by, at"


def log_decision(session: Session, decision: Decision) -> None:
    """Write one line.

    Raises:
        EnrolmentError: a name that no person has, or a time that is none.
    """
    session.rows(
        f"INSERT INTO decision ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    )


def decisions(session: Session, person: str | None, limit: int) -> list[Decision]:
    """Return the latest lines, newest first; of one person where one is named."""
    where, values = ("WHERE person = ?", [person]) if person is not None else ("", [])
    rows = session.rows(f"SELECT {_COLUMNS} FROM decision {where} ORDER BY id DESC LIMIT ?", *values, limit)
    return [Decision(*row) for row in rows]


def forget(session: Session, person: str) -> None:
    """Take a person's name out of every line: as the person, in reasons, and as the one who asked."""
    session.rows("UPDATE decision SET person = NULL WHERE person = ?", person)
    session.rows("UPDATE decision SET made_by = '' WHERE made_by = ?", person)
    whole_word = re.compile(rf"(?<!\w){re.escape(person)}(?!\w)")
    for number, reason in session.rows(
        "SELECT id, reason FROM decision WHERE replace(reason, ?, '') <> reason", person
    ):
        session.rows("UPDATE decision SET reason = ? WHERE id = ?", whole_word.sub(DELETED, reason), number)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


# Enrolments of one model made into those of another: through a map, or anew from the audio that was kept.

_PEOPLE_AT_ONCE = 1024


def carry(database: Database, old: str, new: str, apply: Callable[[Embeddings], Embeddings]) -> int:
    """Return how many enrolments were carried from one model to the other, all in one transaction.

    Raises:
        EnrolmentError: both models are the same, or `apply` gives what cannot be embeddings of the new one.
    """
    if old == new:
        raise EnrolmentError(f"enrolments of the model {old} cannot be carried to that model itself")
    done = 0
    with database.writing() as session:
        for people in _pages(session, "model = ?", old):
            held = {number for number, _ in people if sql.still_there(session, number)}
            found = session.rows(
                "SELECT e.id, p.id, p.name, e.embedding FROM enrolment e JOIN person p ON p.id = e.person_id "
                "WHERE e.model = ? AND e.person_id BETWEEN ? AND ? ORDER BY e.person_id, e.id",
                old,
                people[0][0],
                people[-1][0],
            )
            rows = [(place, name, stored) for place, number, name, stored in found if number in held]
            if not rows:
                continue
            vectors = np.stack([database.unpack(stored, "embedding", name, old, place) for place, name, stored in rows])
            carried = np.asarray(apply(vectors))
            if carried.ndim != 2 or len(carried) != len(rows):
                raise EnrolmentError(
                    f"the map gives {carried.shape} for embeddings {vectors.shape}: give one that fits"
                )
            sql.require_dimension(session, new, carried.shape[1], rows[0][1])
            for (place, name, _), vector in zip(rows, carried, strict=True):
                packed = database.pack(unit(vector, f"{name}, as carried"), "embedding", name, new, place)
                session.rows("UPDATE enrolment SET model = ?, embedding = ? WHERE id = ?", new, packed, place)
            for number, name in people:
                if number in held:
                    sql.recount(database, session, number, name, [old, new])
            done += len(rows)
        sql.forget_unused_models(session)
    return done


def reembed(database: Database, old: str | None, new: str, embed: Callable[[bytes], EnrolmentEmbedding]) -> Reembedded:
    """Embed kept audio anew, a transaction for each person, so that a run that was killed goes on where it was.

    Args:
        database: where the enrolments are.
        old: model whose enrolments are replaced; None for every model but the new one.
        new: model that embeds.
        embed: gives a recording's embedding, seconds of speech and signal-to-noise ratio from a FLAC file's bytes. An
            error of this package is noted as that person's failure.

    Raises:
        EnrolmentError: both models are the same, or `embed` gives what cannot be an embedding of the new one.
    """
    if old == new:
        raise EnrolmentError(f"enrolments of the model {old} are of that model already")
    condition, value = ("model <> ?", new) if old is None else ("model = ?", old)
    done, without_audio, failed = 0, list[str](), list[tuple[str, str]]()
    after = 0
    while True:
        with database.reading() as session:  # a short one each: `embed` takes its time, and may outlast any lock
            people = next(_pages(session, condition, value, after), None)
        if not people:
            break
        after = people[-1][0]
        for number, name in people:
            with database.reading() as session:
                rows = session.rows(
                    "SELECT id, model, audio IS NOT NULL FROM enrolment "
                    f"WHERE person_id = ? AND {condition} ORDER BY id",
                    number,
                    value,
                )
            if not all(kept for _, _, kept in rows):
                without_audio.append(name)
            try:
                fresh = [
                    (place, model, checked(embed(audio), name))
                    for place, model, kept in rows
                    if kept and (audio := _audio(database, name, place)) is not None
                ]
            except VoxanchorError as error:
                failed.append((name, str(error)))
                continue
            if fresh:
                done += _replace(database, number, name, new, fresh)
    return Reembedded(done, tuple(sorted(without_audio)), tuple(sorted(failed)))


def _pages(session: Session, condition: str, value: str, after: int = 0) -> Iterator[list[tuple[int, str]]]:
    """Yield (number, name) of people with enrolments of some model, so many at a time, in the order of numbers."""
    while rows := session.rows(
        "SELECT DISTINCT p.id, p.name FROM voice v JOIN person p ON p.id = v.person_id "
        f"WHERE v.{condition} AND v.person_id > ? ORDER BY p.id LIMIT ?",
        value,
        after,
        _PEOPLE_AT_ONCE,
    ):
        yield [(number, name) for number, name in rows]
        after = rows[-1][0]


def _audio(database: Database, name: str, place: int) -> bytes | None:
    """Return one recording's audio; None where it was deleted meanwhile."""
    with database.reading() as session:
        rows = session.rows("SELECT audio FROM enrolment WHERE id = ?", place)
    return database.seal.open(bytes(rows[0][0]), "audio", name, place) if rows else None


def _replace(
    database: Database, number: int, name: str, new: str, fresh: list[tuple[int, str, EnrolmentEmbedding]]
) -> int:
    """Write a person's new embeddings, and return how many: fewer where some were deleted meanwhile."""
    done = 0
    with database.writing() as session:
        if not sql.still_there(session, number):
            return 0
        for place, model, content in fresh:
            sql.require_dimension(session, new, content.embedding.size, name)
            done += len(
                session.rows(
                    "UPDATE enrolment SET model = ?, embedding = ?, speech_s = ?, snr_db = ? "
                    "WHERE id = ? AND model = ? RETURNING id",
                    new,
                    database.pack(content.embedding, "embedding", name, new, place),
                    content.speech_s,
                    content.snr_db,
                    place,
                    model,
                )
            )
        olds = {model for _, model, _ in fresh}
        sql.recount(database, session, number, name, [*sorted(olds), new])
        sql.forget_unused_models(session)
    return done


# Enrolments as one file that any store reads: JSON lines, in clear or sealed line by line.
#
# The first line is the header, in clear: `{"format": "voxanchor-enrolments", "version": 1, "id": ..., "sealed": ...}`.
# Then comes a line for each recording, in the order of names, and a last one with how many there were and the SHA-256
# of
# every byte before it, by which a file that was cut or changed is known. In a sealed file each line after the header is
# base64 of the sealed line, bound to the file's id and to the line's number. The audit log stays with its store.

FORMAT, VERSION = "voxanchor-enrolments", 1

_BEGIN = f'{{"format": "{FORMAT}"'.encode("ascii")

_AT_ONCE = 1000
"""Recordings of one person and model that are added together when they follow each other."""

_Entry = tuple[str, str, Recording]


def export_to(database: Database, path: Path, key: bytes | None) -> int:
    """Write all enrolments to a file that its owner alone may read, and return how many.

    Raises:
        OutputError: something stands there that no export wrote, such as a store.
    """
    _refuse_other(path)
    seal, identity, count = seal_of(key), uuid.uuid4().hex, 0
    digest = hashlib.sha256()
    with replacing(path) as temporary, _private(temporary) as file, database.reading() as session:

        def write(line: bytes) -> None:
            file.write(line + b"\n")
            digest.update(line + b"\n")

        header = {"format": FORMAT, "version": VERSION, "id": identity, "sealed": seal.encrypts}
        write(json.dumps(header).encode("ascii"))
        for count, entry in enumerate(_entries(database, session), start=1):
            write(_closed(seal, entry, identity, count))
        end = {"recordings": count, "sha256": digest.hexdigest()}
        write(_closed(seal, end, identity, count + 1))
    return count


def import_from(database: Database, path: Path, key: bytes | None) -> Imported:
    """Add the enrolments of a file, all or none, and return how many; those that are there already are skipped.

    Raises:
        EnrolmentError: not such a file, damaged, sealed with another key, or with embeddings that do not fit.
    """
    added = skipped = 0
    try:
        with path.open("rb") as file, database.writing() as session:
            for (person, model), entries in groupby(_read(file, path, key), key=lambda entry: entry[:2]):
                there = _known(database, session, person, model)
                fresh: list[Recording] = []
                for _, _, recording in entries:
                    if recording.content.embedding.tobytes() in there:
                        skipped += 1
                        continue
                    fresh.append(recording)
                    added += 1
                    if len(fresh) == _AT_ONCE:
                        sql.add(database, session, person, model, fresh)
                        fresh = []
                if fresh:
                    sql.add(database, session, person, model, fresh)
    except OSError as error:
        raise EnrolmentError(f"{path}: cannot be read ({error.strerror}). Give a file that an export wrote.") from None
    return Imported(added, skipped)


def _refuse_other(path: Path) -> None:
    if not path.exists():
        return
    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_BEGIN)) == _BEGIN:
                    return
    raise OutputError(f"{path}: is something else than an older export, perhaps a store. Choose another name.")


def _entries(database: Database, session: Session) -> Iterator[dict[str, object]]:
    rows = session.stream(
        "SELECT e.id, p.name, e.model, e.created, e.made_by, e.speech_s, e.snr_db, e.source, e.embedding, e.audio "
        "FROM person p JOIN enrolment e ON e.person_id = p.id ORDER BY p.name, e.model, e.id"
    )
    for place, person, model, created, by, speech_s, snr_db, source, stored, audio in rows:
        vector = database.unpack(stored, "embedding", person, model, place)
        kept = None if audio is None else database.seal.open(bytes(audio), "audio", person, place)
        yield {
            "person": person,
            "model": model,
            "created": created,
            "by": by,
            "speech_s": speech_s,
            "snr_db": snr_db,
            "source": source,
            "embedding": _text(vector.astype("<f4").tobytes()),
            "audio": None if kept is None else _text(kept),
        }


def _known(database: Database, session: Session, person: str, model: str) -> set[bytes]:
    rows = session.rows(
        "SELECT e.id, e.embedding FROM enrolment e JOIN person p ON p.id = e.person_id "
        "WHERE p.name = ? AND e.model = ?",
        person,
        model,
    )
    return {database.unpack(stored, "embedding", person, model, place).tobytes() for place, stored in rows}


def _read(file: BinaryIO, path: Path, key: bytes | None) -> Iterator[_Entry]:
    """Yield what a file holds. Whether it is whole is known only at its end, so nothing may be kept before that."""
    first = file.readline()
    seal, identity = _opened(first, path, key)
    digest = hashlib.sha256(first)
    for count, line in enumerate(file, start=1):
        try:
            text = seal.open(base64.b64decode(line, validate=False), identity, count) if seal.encrypts else line
            values = json.loads(text)
            if "sha256" in values:
                if (values["recordings"], values["sha256"]) != (count - 1, digest.hexdigest()) or file.read(1):
                    raise ValueError("its sum differs")
                return
            entry = _entry(values)
        except EnrolmentError as error:
            raise EnrolmentError(f"{path}, line {count + 1}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"line {count + 1}: {error}") from None
        digest.update(line)
        yield entry
    raise _damaged(path, "it ends too early")


def _opened(first: bytes, path: Path, key: bytes | None) -> tuple[Seal, str]:
    try:
        header = json.loads(first)
        form, version, identity, sealed = (header[name] for name in ("format", "version", "id", "sealed"))
    except (ValueError, KeyError, TypeError):
        form, version, identity, sealed = None, None, "", False
    if form != FORMAT:
        raise EnrolmentError(f"{path}: not a file of enrolments. Give one that an export wrote.")
    if version != VERSION:
        raise EnrolmentError(f"{path}: of format version {version}, this program reads {VERSION}. Update voxanchor.")
    if sealed and key is None:
        raise EnrolmentError(f"{path}: sealed. Give the key that it was exported with.")
    if not sealed and key is not None:
        raise EnrolmentError(f"{path}: in clear, so no key opens it. Import it without one.")
    return seal_of(key), str(identity)


def _entry(values: dict[str, Any]) -> _Entry:
    person = person_name(values["person"])
    audio = values["audio"]
    content = EnrolmentEmbedding(
        np.frombuffer(_bytes(values["embedding"]), "<f4"),
        float(values["speech_s"]),
        float(values["snr_db"]),
        str(values["source"]),
        None if audio is None else _bytes(audio),
    )
    recording = Recording(checked(content, person), moment(values["created"]), one_line(str(values["by"])))
    return person, model_name(values["model"]), recording


def _damaged(path: Path, reason: str) -> EnrolmentError:
    return EnrolmentError(f"{path}: damaged ({reason}), and nothing was imported. Copy it again, or export anew.")


def _private(path: Path) -> BinaryIO:
    """Return a new file, open to be written, that its owner alone may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _closed(seal: Seal, values: dict[str, Any], identity: str, number: int) -> bytes:
    line = json.dumps(values).encode("ascii")
    return base64.b64encode(seal.close(line, identity, number)) if seal.encrypts else line


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# What a store does, whatever its database. Each kind adds its connection and its search.


class SqlStore:
    """All of `voxanchor.enrolments.store.Store`, which describes the methods, but `search`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enroll(self, person: str, prints: Sequence[EnrolmentEmbedding], model: str, by: str = "") -> None:
        """Add recordings to a person, all of them or none."""
        person, model, by, moment = person_name(person), model_name(model), one_line(by), now()
        if not prints:
            raise EnrolmentError(f"{person}: no recording was given to enrol. Give one at least.")
        contents = [checked(content, f"{person}, recording {place + 1}") for place, content in enumerate(prints)]
        dimensions = sorted({content.embedding.size for content in contents})
        if len(dimensions) > 1:
            raise EnrolmentError(f"{person}: the embeddings have {dimensions} dimensions. Embed all by one model.")
        recordings = [sql.Recording(content, moment, by) for content in contents]
        with self._database.writing() as session:
            sql.add(self._database, session, person, model, recordings)

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
            sql.models_of(session, person)
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
                others = sql.models_of(session, person)
                raise OtherModelError(_of_other_models(f"'{person}' is enrolled", others, model))
        ((stored, count, speech_s, snr_db),) = rows
        total = self._database.unpack(stored, "voice", person, model)
        return Voiceprint(person, model, sql.directions(total[None])[0], count, speech_s, snr_db / count)

    def carry(self, old: str, new: str, apply: Callable[[Embeddings], Embeddings]) -> int:
        """Make all enrolments of one model into those of another through a map."""
        return carry(self._database, model_name(old), model_name(new), apply)

    def reembed(self, old: str | None, new: str, embed: Callable[[bytes], EnrolmentEmbedding]) -> Reembedded:
        """Embed the kept audio of one model's enrolments by another."""
        return reembed(self._database, None if old is None else model_name(old), model_name(new), embed)

    def delete(self, person: str) -> int:
        """Delete all that is stored of a person, and the name from the log."""
        person = person_name(person)
        with self._database.writing() as session:
            number = sql.hold(session, person)
            count = len(session.rows("DELETE FROM enrolment WHERE person_id = ? RETURNING id", number))
            session.rows("DELETE FROM voice WHERE person_id = ?", number)
            session.rows("DELETE FROM person WHERE id = ?", number)
            session.rows("UPDATE enrolment SET made_by = '' WHERE made_by = ?", person)
            sql.forget_unused_models(session)
            forget(session, person)
        self._database.erase()
        return count

    def log(self, decision: Decision) -> None:
        """Write a decision to the audit log."""
        with self._database.writing() as session:
            log_decision(session, decision)

    def decisions(self, person: str | None = None, limit: int = 100) -> list[Decision]:
        """Return the latest decisions, newest first."""
        with self._database.reading() as session:
            return decisions(session, None if person is None else person_name(person), limit)

    def export_to(self, path: str | Path, key: bytes | str | None = None) -> int:
        """Write all enrolments to one file."""
        return export_to(self._database, Path(path), None if key is None else read_key(key))

    def import_from(self, path: str | Path, key: bytes | str | None = None) -> Imported:
        """Add the enrolments of a file."""
        return import_from(self._database, Path(path), None if key is None else read_key(key))

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
            raise EnrolmentError(sql.wrong_dimension("what is searched for", vector.size, known[0][0], model))
        return vector


def _of_other_models(who: str, others: Sequence[str], model: str) -> str:
    """Return what to say, and what can be done, where there are voiceprints of other models only."""
    several = "the models" if len(others) > 1 else "the model"
    return (
        f"{who} by {several} {', '.join(others)}, not by {model}: their voiceprints cannot be compared. Carry the "
        "enrolments over with the map that came with the new model, embed the audio anew where it was kept, or enrol "
        "again with the model in use."
    )
