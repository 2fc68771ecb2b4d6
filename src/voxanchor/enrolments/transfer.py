"""Enrolments moved: to another model, by a map or from kept audio, and to and from a file that any store reads.

The file is JSON lines, in clear or encrypted line by line. The first line is the header, in clear: `{"format":
"voxanchor-enrolments", "version": 1, "id": ..., "sealed": ...}`. A line for each recording follows, in the order of
names, and a last one with their number and the SHA-256 of every byte before it, which reveals a file that was cut or
changed. In an encrypted file each line after the header is base64 of the sealed line, bound to the id of the file and
the number of the line. The audit log is not exported.
"""

import base64
import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxanchor.enrolments.encryption import Seal, read_key, seal_of
from voxanchor.enrolments.records import (
    EnrolmentEmbedding,
    Imported,
    Reembedded,
    checked,
    model_name,
    moment,
    one_line,
    person_name,
    unit,
)
from voxanchor.enrolments.sql import Recording, Session, SqlStore, forget_unused_models, require_dimension, still_there
from voxanchor.errors import EnrolmentError, OutputError, VoxanchorError
from voxanchor.files import replacing
from voxanchor.types import Embeddings

FORMAT, VERSION = "voxanchor-enrolments", 1

_BEGIN = f'{{"format": "{FORMAT}"'.encode("ascii")

_AT_ONCE = 1000
"""Recordings of one person and model that are added together when they follow each other."""

_PEOPLE_AT_ONCE = 1024

_Entry = tuple[str, str, Recording]


class PortableStore(SqlStore):
    """The methods of `voxanchor.enrolments.store.Store`, which describes them, that move enrolments."""

    def carry(self, old: str, new: str, apply: Callable[[Embeddings], Embeddings]) -> int:
        """Map all enrolments of one model to another, in one transaction."""
        old, new = model_name(old), model_name(new)
        if old == new:
            raise EnrolmentError(f"enrolments of the model {old} cannot be carried to that model itself")
        done = 0
        with self._writing() as session:
            for people in _pages(session, "model = ?", old):
                held = {number for number, _ in people if still_there(session, number)}
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
                vectors = np.stack(
                    [self._unpack(stored, "embedding", name, old, place) for place, name, stored in rows]
                )
                carried = np.asarray(apply(vectors))
                if carried.ndim != 2 or len(carried) != len(rows):
                    raise EnrolmentError(
                        f"the map gives {carried.shape} for embeddings {vectors.shape}: give one that fits"
                    )
                require_dimension(session, new, carried.shape[1], rows[0][1])
                for (place, name, _), vector in zip(rows, carried, strict=True):
                    packed = self._pack(unit(vector, f"{name}, as carried"), "embedding", name, new, place)
                    session.rows("UPDATE enrolment SET model = ?, embedding = ? WHERE id = ?", new, packed, place)
                for number, name in people:
                    if number in held:
                        self._recount(session, number, name, [old, new])
                done += len(rows)
            forget_unused_models(session)
        return done

    def reembed(self, old: str | None, new: str, embed: Callable[[bytes], EnrolmentEmbedding]) -> Reembedded:
        """Embed the kept audio of one model's enrolments by another, each person in a transaction."""
        old, new = None if old is None else model_name(old), model_name(new)
        if old == new:
            raise EnrolmentError(f"enrolments of the model {old} are of that model already")
        condition, value = ("model <> ?", new) if old is None else ("model = ?", old)
        done, without_audio, failed = 0, list[str](), list[tuple[str, str]]()
        after = 0
        while True:
            # short transactions: `embed` is slow, and nobody should wait for it to write
            with self._reading() as session:
                people = next(_pages(session, condition, value, after), None)
            if not people:
                break
            after = people[-1][0]
            for number, name in people:
                with self._reading() as session:
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
                        if kept and (audio := self._audio(name, place)) is not None
                    ]
                except VoxanchorError as error:
                    failed.append((name, str(error)))
                    continue
                if fresh:
                    done += self._replace(number, name, new, fresh)
        return Reembedded(done, tuple(sorted(without_audio)), tuple(sorted(failed)))

    def export_to(self, path: str | Path, key: bytes | str | None = None) -> int:
        """Write all enrolments to one file."""
        path, seal = Path(path), seal_of(None if key is None else read_key(key))
        _refuse_other(path)
        identity, count, digest = uuid.uuid4().hex, 0, hashlib.sha256()
        with replacing(path) as temporary, _private(temporary) as file, self._reading() as session:

            def write(line: bytes) -> None:
                file.write(line + b"\n")
                digest.update(line + b"\n")

            header = {"format": FORMAT, "version": VERSION, "id": identity, "sealed": seal.encrypts}
            write(json.dumps(header).encode("ascii"))
            for count, entry in enumerate(self._entries(session), start=1):
                write(_closed(seal, entry, identity, count))
            end = {"recordings": count, "sha256": digest.hexdigest()}
            write(_closed(seal, end, identity, count + 1))
        return count

    def import_from(self, path: str | Path, key: bytes | str | None = None) -> Imported:
        """Add the enrolments of a file, all or none."""
        path, key = Path(path), None if key is None else read_key(key)
        added = skipped = 0
        try:
            with path.open("rb") as file, self._writing() as session:
                for (person, model), entries in groupby(_read(file, path, key), key=lambda entry: entry[:2]):
                    there = self._known(session, person, model)
                    fresh: list[Recording] = []
                    for _, _, recording in entries:
                        if recording.content.embedding.tobytes() in there:
                            skipped += 1
                            continue
                        fresh.append(recording)
                        added += 1
                        if len(fresh) == _AT_ONCE:
                            self._add(session, person, model, fresh)
                            fresh = []
                    if fresh:
                        self._add(session, person, model, fresh)
        except OSError as error:
            raise EnrolmentError(
                f"{path}: cannot be read ({error.strerror}). Give a file that an export wrote."
            ) from None
        return Imported(added, skipped)

    def _audio(self, name: str, place: int) -> bytes | None:
        """Return the audio of one recording; None where it was deleted meanwhile."""
        with self._reading() as session:
            rows = session.rows("SELECT audio FROM enrolment WHERE id = ?", place)
        return self._seal.open(bytes(rows[0][0]), "audio", name, place) if rows else None

    def _replace(self, number: int, name: str, new: str, fresh: list[tuple[int, str, EnrolmentEmbedding]]) -> int:
        """Replace a person's embeddings and return how many; recordings deleted meanwhile are left out."""
        done = 0
        with self._writing() as session:
            if not still_there(session, number):
                return 0
            for place, model, content in fresh:
                require_dimension(session, new, content.embedding.size, name)
                done += len(
                    session.rows(
                        "UPDATE enrolment SET model = ?, embedding = ?, speech_s = ?, snr_db = ? "
                        "WHERE id = ? AND model = ? RETURNING id",
                        new,
                        self._pack(content.embedding, "embedding", name, new, place),
                        content.speech_s,
                        content.snr_db,
                        place,
                        model,
                    )
                )
            olds = {model for _, model, _ in fresh}
            self._recount(session, number, name, [*sorted(olds), new])
            forget_unused_models(session)
        return done

    def _entries(self, session: Session) -> Iterator[dict[str, object]]:
        rows = session.stream(
            "SELECT e.id, p.name, e.model, e.created, e.made_by, e.speech_s, e.snr_db, e.source, e.embedding, e.audio "
            "FROM person p JOIN enrolment e ON e.person_id = p.id ORDER BY p.name, e.model, e.id"
        )
        for place, person, model, created, by, speech_s, snr_db, source, stored, audio in rows:
            vector = self._unpack(stored, "embedding", person, model, place)
            kept = None if audio is None else self._seal.open(bytes(audio), "audio", person, place)
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

    def _known(self, session: Session, person: str, model: str) -> set[bytes]:
        """Return the bytes of a person's embeddings by one model."""
        rows = session.rows(
            "SELECT e.id, e.embedding FROM enrolment e JOIN person p ON p.id = e.person_id "
            "WHERE p.name = ? AND e.model = ?",
            person,
            model,
        )
        return {self._unpack(stored, "embedding", person, model, place).tobytes() for place, stored in rows}


def _pages(session: Session, condition: str, value: str, after: int = 0) -> Iterator[list[tuple[int, str]]]:
    """Yield pages of (id, name) of people whose voices meet a condition on the model, by id."""
    while rows := session.rows(
        "SELECT DISTINCT p.id, p.name FROM voice v JOIN person p ON p.id = v.person_id "
        f"WHERE v.{condition} AND v.person_id > ? ORDER BY p.id LIMIT ?",
        value,
        after,
        _PEOPLE_AT_ONCE,
    ):
        yield [(number, name) for number, name in rows]
        after = rows[-1][0]


def _refuse_other(path: Path) -> None:
    """Raise unless nothing is at `path`, or an older export."""
    if not path.exists():
        return
    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_BEGIN)) == _BEGIN:
                    return
    raise OutputError(f"{path}: is something else than an older export, perhaps a store. Choose another name.")


def _read(file: BinaryIO, path: Path, key: bytes | None) -> Iterator[_Entry]:
    """Yield the recordings of a file. Only its last line shows that it is whole: commit nothing before the end."""
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
    """Return the encryption and the id of a file by its first line."""
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
