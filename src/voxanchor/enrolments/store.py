"""The contract of a store of enrolments, and how one is opened."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments.postgres import PostgresStore
from voxanchor.enrolments.records import (
    Decision,
    Enrolment,
    EnrolmentEmbedding,
    Imported,
    Match,
    Person,
    Reembedded,
    Voiceprint,
)
from voxanchor.enrolments.sqlite import SqliteStore
from voxanchor.types import Embeddings


class Store(Protocol):
    """People, their enrolments, and the log of what was decided about them. Safe for threads.

    A person is known by a name, which is kept and compared in Unicode's composed form. Each recording belongs to the
    model that embedded it, named by its fingerprint; recordings of different models are never compared or averaged.
    """

    def enroll(self, person: str, prints: Sequence[EnrolmentEmbedding], model: str, by: str = "") -> None:
        """Add recordings to a person, who need not be known yet: all of them or none.

        Raises:
            EnrolmentError: a name that no person has; no recording; an embedding that is not finite, not of length 1 to
                0.001, or of another dimension than the model's others; recordings whose mean points nowhere.
        """
        ...

    def people(self) -> list[Person]:
        """Return everybody who is enrolled, in the order of names."""
        ...

    def enrolments(self, person: str) -> list[Enrolment]:
        """Return a person's recordings, by all models, oldest first.

        Raises:
            EnrolmentError: nobody of that name is enrolled.
        """
        ...

    def models(self) -> dict[str, int]:
        """Return how many enrolments there are by each model, by fingerprint."""
        ...

    def voices(self) -> dict[str, int]:
        """Return how many people are enrolled by each model, by fingerprint; quick however many there are."""
        ...

    def voiceprint(self, person: str, model: str) -> Voiceprint:
        """Return a person's voiceprint from the recordings of one model.

        Raises:
            EnrolmentError: nobody of that name is enrolled, or only by other models.
        """
        ...

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the `top` people whose voiceprints are nearest to (D,) `embedding`, best first, ties by name.

        Fewer where fewer are enrolled by this model; none where the store is empty.

        Raises:
            EnrolmentError: people are enrolled, but nobody by this model; or it cannot be an embedding of this model.
            ValueError: `top` is less than 1.
        """
        ...

    def carry(self, old: str, new: str, apply: Callable[[Embeddings], Embeddings]) -> int:
        """Map all enrolments of the model `old` to `new`, in one transaction, and return how many.

        Args:
            old: fingerprint of the model whose enrolments are mapped.
            new: fingerprint of the model in whose space the map ends.
            apply: map of (N, D) embeddings of the one to (N, E) of the other; must not use this store.

        Raises:
            EnrolmentError: both are the same, or the map gives what cannot be embeddings of `new`.
        """
        ...

    def reembed(self, old: str | None, new: str, embed: Callable[[bytes], EnrolmentEmbedding]) -> Reembedded:
        """Replace enrolments of `old`, or of every model but `new`, by what `embed` makes of the audio that was kept.

        Each person is a transaction: a run that was stopped goes on where it was. What is known of where, when and by
        whom a recording was enrolled stays; so does its audio.

        Args:
            old: fingerprint of the model whose enrolments are replaced; None for all others than `new`.
            new: fingerprint of the model that embeds.
            embed: of a FLAC file's bytes. Its errors of this package are noted as that person's failure.

        Raises:
            EnrolmentError: both are the same, or `embed` gives what cannot be an embedding of `new`.
        """
        ...

    def delete(self, person: str) -> int:
        """Delete everything of a person and return how many recordings that were.

        Lines of the log stay, without the name. In an SQLite store no byte of it is left in the files; PostgreSQL keeps
        deleted rows until its next vacuum, and in its backups.

        Raises:
            EnrolmentError: nobody of that name is enrolled; or all is deleted, but the files could not be cleaned now.
        """
        ...

    def log(self, decision: Decision) -> None:
        """Write a decision to the audit log, with the present time where it has none."""
        ...

    def decisions(self, person: str | None = None, limit: int = 100) -> list[Decision]:
        """Return the latest decisions, newest first; those about one person where one is named."""
        ...

    def export_to(self, path: str | Path, key: bytes | str | None = None) -> int:
        """Write all enrolments to one file that its owner alone may read, and return how many.

        In clear, audio included and even from a store with a key, unless a key is given here.

        Raises:
            OutputError: it cannot be written there, or something stands there that no export wrote, such as a store.
        """
        ...

    def import_from(self, path: str | Path, key: bytes | str | None = None) -> Imported:
        """Add the enrolments of a file that `export_to` wrote, all or none.

        A recording whose person, model and embedding are in the store already is skipped and counted.

        Raises:
            EnrolmentError: not such a file, damaged, sealed with another key, or with embeddings that do not fit.
        """
        ...

    def close(self) -> None:
        """Close the connection; the store cannot be used afterwards. Also done when a store is garbage-collected."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_store(place: str | Path, key: bytes | str | None = None) -> Store:
    """Return the store at a place, made where it is missing.

    Args:
        place: path of an SQLite file; `:memory:` for one that ends with the process; `postgresql://...` for a database
            with pgvector.
        key: encrypts embeddings and audio: urlsafe base64 of 32 bytes, or the path of a file with that. A store is made
            with a key or without, and stays so.

    Raises:
        EnrolmentError: it cannot be opened, or not with this key.
        MissingExtraError: a package for this kind of store is not installed.
    """
    if str(place).startswith(("postgresql://", "postgres://")):
        return PostgresStore(str(place), key)
    return SqliteStore(place, key)
