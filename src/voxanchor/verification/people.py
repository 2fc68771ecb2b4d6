"""Enrolments of people as one side of a trial, also those that an older model made."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.quality import Quality
from voxanchor.enrolments.records import Voiceprint
from voxanchor.enrolments.store import Store
from voxanchor.errors import ModelError, OtherModelError, UnknownPersonError
from voxanchor.scoring.backend import EmbeddingSet
from voxanchor.types import Embeddings
from voxanchor.verification.recordings import LoadedAudio
from voxanchor.verification.result import Side

COMPATIBILITY_FILE = "compatibility.json"
MAP_FILE = "enrolment_map.safetensors"

USABLE = ("keep", "new threshold", "upgrade")
"""Decisions of `voxanchor compatibility` with which old voiceprints stay in use."""

VARIANT = "variant"


@dataclass(frozen=True)
class OlderModel:
    """A model whose voiceprints the present one may be compared with, by its own statement.

    Attributes:
        fingerprint: of the older model.
        matrix: (D, E) map of its voiceprints into the present model's space; None where they are used as they are.
        decision: what `voxanchor compatibility` found; or that it is the same model, exported in another precision.
    """

    fingerprint: str
    matrix: NDArray[np.float32] | None
    decision: str

    def carried(self, embeddings: Embeddings) -> Embeddings:
        """Return (N, E) unit vectors of (N, D) voiceprints by the older model."""
        if self.matrix is None:
            return embeddings
        moved = embeddings @ self.matrix
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), dtype=np.float32)

    @property
    def warning(self) -> str:
        """What to know when such a voiceprint decides; empty where there is nothing."""
        if self.decision == VARIANT:
            return ""
        return (
            f"the voiceprint was made by the model that this one replaced ({self.fingerprint}); the calibration is for "
            "voiceprints of this one. Enrol again where you can, or see the model's compatibility.md"
        )


def variant(fingerprint: str, of: str) -> OlderModel | None:
    """Return a model as the present one in another precision, or None where it is not.

    `voxanchor export` puts the precision behind the model's fingerprint, and keeps a file only where its embeddings are
    near the model's (docs/export.md), so that voiceprints of the two may be compared.

    Args:
        fingerprint: of the model.
        of: of the present one.
    """
    same = fingerprint != of and fingerprint.partition("-")[0] == of.partition("-")[0]
    return OlderModel(fingerprint, None, VARIANT) if same else None


def older_model(report: str, matrix: NDArray[np.float32] | None, where: str) -> OlderModel | None:
    """Return the older model that a compatibility report names, or None where it says to enrol again.

    Args:
        report: content of ``compatibility.json``.
        matrix: of the enrolment map that lies beside it, if one does.
        where: its place, for messages.

    Raises:
        ModelError: not such a report.
    """
    try:
        values: Mapping[str, Any] = json.loads(report)
        fingerprint, decision = str(values["old"]["fingerprint"]), str(values["verdict"]["decision"])
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{where}: not a report of voxanchor compatibility. Copy the model directory again.") from None
    return OlderModel(fingerprint, matrix, decision) if decision in USABLE else None


# Recordings as one side of a trial.

SAME_RECORDING = 0.9999
"""Nobody says something twice so alike: from this cosine on it is the same recording."""

REPLAYED = "the same recording as the other side's: was it played again?"


def embedding_set(audio: Sequence[LoadedAudio], rows: Embeddings) -> EmbeddingSet:
    """Return N recordings as one side of trials: their (N, D) embeddings and quality measures."""
    return EmbeddingSet(
        rows,
        np.array([item.quality.speech_s for item in audio]),
        np.array([item.quality.snr_db for item in audio]),
    )


def replayed(one: Embeddings, other: Embeddings) -> tuple[str, ...]:
    """Return the warning that two recordings, (1, D) unit vectors, are the same one; nothing where they are not."""
    return (REPLAYED,) if float(one[0] @ other[0]) > SAME_RECORDING else ()


def joint_quality(audio: Sequence[LoadedAudio]) -> Quality:
    """Return the quality of several recordings together: durations and speech summed, the others averaged.

    The bandwidth is that of the narrowest, and the peak the highest.
    """
    qualities = [item.quality for item in audio]

    def known(name: str) -> list[float]:
        return [value for item in qualities if (value := getattr(item, name)) is not None]

    def mean(name: str) -> float | None:
        return float(np.mean(values)) if (values := known(name)) else None

    return Quality(
        sum(item.duration_s for item in qualities),
        sum(item.speech_s for item in qualities),
        float(np.mean([item.snr_db for item in qualities])),
        float(np.mean([item.clipped for item in qualities])),
        mean("level_db"),
        mean("dc"),
        min(known("bandwidth_hz"), default=None),
        max(known("peak"), default=None),
    )


# The people in a store as enrolments: voiceprints of this model, and of others that it may be compared with.


@dataclass(frozen=True)
class People:
    """The enrolments of a store that one model may compare with.

    Attributes:
        store: where they are.
        model: fingerprint of the model.
        older: the model whose voiceprints it may use, if there is one.
    """

    store: Store
    model: str
    older: OlderModel | None = None

    def enrolment(self, name: str) -> tuple[EmbeddingSet, Side]:
        """Return a person's voiceprint as one side of a trial, and its quality.

        Raises:
            EnrolmentError: nobody of that name, or enrolled by models alone that this one cannot be compared with.
        """
        relative = self._relative_of(name)
        if relative is None:
            found = self.store.voiceprint(name, self.model)
            embedding, warning = found.embedding[None], ""
        else:
            found = self.store.voiceprint(name, relative.fingerprint)
            embedding, warning = relative.carried(found.embedding[None]), relative.warning
        quality = Quality(found.speech_s, found.speech_s, found.snr_db, 0.0)
        return _stored_set([found], embedding), Side.with_quality(
            quality, found.recordings, (warning,) if warning else ()
        )

    def nearest(self, embedding: Embeddings, top: int) -> list["NearEnrolment"]:
        """Return the enrolments nearest to a (1, D) test embedding, at most `top` by each model, in no order.

        Each by the one voiceprint that `enrolment` takes, too. Of a model whose voiceprints go through a map it is
        everybody, person by person: among many people `voxanchor people upgrade` first.

        Raises:
            EnrolmentError: people are enrolled, but nobody by a model that this one may be compared with.
        """
        models = self.store.voices()
        relatives = self._relatives(models)
        found = []
        for relative in relatives:
            for name in self._names_near(relative, embedding, top):
                taken = self._relative_of(name)
                if taken is None or taken.fingerprint != relative.fingerprint:
                    continue
                if stored := self._still_there(name, relative.fingerprint):
                    found.append(
                        NearEnrolment(name, stored, relative.carried(stored.embedding[None]), relative.warning)
                    )
        if self.model in models or not relatives:
            found += [
                NearEnrolment(match.person, stored, stored.embedding[None])
                for match in self.store.search(embedding[0], self.model, top)
                if (stored := self._still_there(match.person, self.model))
            ]
        return found

    def count(self) -> int:
        """Return how many people are enrolled by models that this one may be compared with, at most.

        Whoever is enrolled by several of them is counted for each.
        """
        people = self.store.voices()
        usable = [self.model, *(relative.fingerprint for relative in self._relatives(people))]
        return sum(people.get(model, 0) for model in usable)

    def _still_there(self, name: str, model: str) -> Voiceprint | None:
        """Return a voiceprint; None of somebody who was deleted, or carried to another model, since the search."""
        try:
            return self.store.voiceprint(name, model)
        except (UnknownPersonError, OtherModelError):
            return None

    def _names_near(self, relative: OlderModel, embedding: Embeddings, top: int) -> Sequence[str]:
        if relative.matrix is None:
            return [match.person for match in self.store.search(embedding[0], relative.fingerprint, top)]
        # a search in the space before the map would find other neighbours: all are looked at
        return [person.name for person in self.store.people() if relative.fingerprint in person.models]

    def _relative_of(self, name: str) -> OlderModel | None:
        """Return the model to take a person's voiceprint of; None for this one, and where there is none to take."""
        try:
            made_by = {enrolment.model for enrolment in self.store.enrolments(name)}
        except UnknownPersonError:
            return None
        return None if self.model in made_by else next(iter(self._relatives(made_by)), None)

    def _relatives(self, models: Collection[str]) -> list[OlderModel]:
        """Return those of some models, by fingerprint, whose voiceprints may be used: variants of this one first."""
        found = [relative for model in models if (relative := variant(model, self.model))]
        return found + ([self.older] if self.older and self.older.fingerprint in models else [])


@dataclass(frozen=True)
class NearEnrolment:
    """An enrolment that a search found near to a test embedding.

    Attributes:
        person: the name.
        voiceprint: as it is stored.
        embedding: (1, D) unit vector in the space of the test.
        warning: what to know before trusting a decision on it; empty where there is nothing.
    """

    person: str
    voiceprint: Voiceprint
    embedding: Embeddings
    warning: str = ""


def stacked(enrolments: Sequence[NearEnrolment]) -> EmbeddingSet:
    """Return N enrolments, N at least 1, as one side of N trials."""
    return _stored_set(
        [item.voiceprint for item in enrolments], np.concatenate([item.embedding for item in enrolments])
    )


def _stored_set(prints: Sequence[Voiceprint], embeddings: Embeddings) -> EmbeddingSet:
    return EmbeddingSet(
        embeddings, np.array([item.speech_s for item in prints]), np.array([item.snr_db for item in prints])
    )
