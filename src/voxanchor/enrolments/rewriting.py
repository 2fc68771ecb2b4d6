"""Enrolments of one model made into those of another: through a map, or anew from the audio that was kept."""

from collections.abc import Callable, Iterator

import numpy as np

from voxanchor.enrolments import voices
from voxanchor.enrolments.checks import checked, unit
from voxanchor.enrolments.database import Database, Session
from voxanchor.enrolments.records import Print, Reembedded
from voxanchor.errors import EnrolmentError, VoxanchorError
from voxanchor.types import Embeddings

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
            held = {number for number, _ in people if voices.still_there(session, number)}
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
            voices.require_dimension(session, new, carried.shape[1], rows[0][1])
            for (place, name, _), vector in zip(rows, carried, strict=True):
                packed = database.pack(unit(vector, f"{name}, as carried"), "embedding", name, new, place)
                session.rows("UPDATE enrolment SET model = ?, embedding = ? WHERE id = ?", new, packed, place)
            for number, name in people:
                if number in held:
                    voices.recount(database, session, number, name, [old, new])
            done += len(rows)
        voices.forget_unused_models(session)
    return done


def reembed(database: Database, old: str | None, new: str, embed: Callable[[bytes], Print]) -> Reembedded:
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


def _replace(database: Database, number: int, name: str, new: str, fresh: list[tuple[int, str, Print]]) -> int:
    """Write a person's new embeddings, and return how many: fewer where some were deleted meanwhile."""
    done = 0
    with database.writing() as session:
        if not voices.still_there(session, number):
            return 0
        for place, model, content in fresh:
            voices.require_dimension(session, new, content.embedding.size, name)
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
        voices.recount(database, session, number, name, [*sorted(olds), new])
        voices.forget_unused_models(session)
    return done
