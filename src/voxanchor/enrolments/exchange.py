"""Enrolments as one file that any store reads: JSON lines, in clear or sealed line by line.

The first line is the header, in clear: `{"format": "voxanchor-enrolments", "version": 1, "id": ..., "sealed": ...}`.
Then comes a line for each recording, in the order of names, and a last one with how many there were and the SHA-256 of
every byte before it, by which a file that was cut or changed is known. In a sealed file each line after the header is
base64 of the sealed line, bound to the file's id and to the line's number. The audit log stays with its store.
"""

import base64
import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxanchor.enrolments import voices
from voxanchor.enrolments.checks import checked, model_name, moment, person_name, plain
from voxanchor.enrolments.database import Database, Session
from voxanchor.enrolments.records import Imported, Print
from voxanchor.enrolments.sealing import Seal, seal_of
from voxanchor.enrolments.voices import Recording
from voxanchor.errors import EnrolmentError, OutputError
from voxanchor.files import replacing

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
                        voices.add(database, session, person, model, fresh)
                        fresh = []
                if fresh:
                    voices.add(database, session, person, model, fresh)
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
    content = Print(
        np.frombuffer(_bytes(values["embedding"]), "<f4"),
        float(values["speech_s"]),
        float(values["snr_db"]),
        str(values["source"]),
        None if audio is None else _bytes(audio),
    )
    recording = Recording(checked(content, person), moment(values["created"]), plain(str(values["by"])))
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
