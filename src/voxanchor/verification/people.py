"""The people in a store, as voices to compare with: their own voiceprints, and those of the model that was replaced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.enrolments.records import Voiceprint
from voxanchor.enrolments.store import Store
from voxanchor.errors import EnrolmentError
from voxanchor.types import Embeddings
from voxanchor.verification.judge import Voices
from voxanchor.verification.older import OlderModel
from voxanchor.verification.result import Side


@dataclass(frozen=True)
class People:
    """Who is enrolled, as one model may compare with them.

    Attributes:
        store: where they are.
        model: fingerprint of the model.
        older: the model whose voiceprints it may use, if there is one.
    """

    store: Store
    model: str
    older: OlderModel | None = None

    def voice(self, name: str) -> tuple[Voices, Side]:
        """Return a person's voice and what it is worth.

        Raises:
            EnrolmentError: nobody of that name, or enrolled by models alone that this one cannot be compared with.
        """
        warnings: tuple[str, ...] = ()
        try:
            found = self.store.voiceprint(name, self.model)
            embedding = found.embedding
        except EnrolmentError:
            if self.older is None or self.older.fingerprint not in self._models_of(name):
                raise
            found, warnings = self.store.voiceprint(name, self.older.fingerprint), (self.older.warning,)
            embedding = self.older.carried(found.embedding[None])[0]
        quality = Quality(found.speech_s, found.speech_s, found.snr_db, 0.0)
        return _voices([found], embedding[None]), Side(quality, found.recordings, warnings)

    def nearest(self, embedding: Embeddings, top: int) -> tuple[list[str], Voices]:
        """Return the names nearest to a (1, D) embedding, at most `top` of each model, and their voices.

        Raises:
            EnrolmentError: people are enrolled, but nobody by a model that this one may be compared with.
        """
        found = dict(self._nearest(embedding, top))
        names = list(found)
        empty = np.zeros((0, embedding.shape[1]), dtype=np.float32)
        embeddings = np.concatenate([found[name][1] for name in names]) if names else empty
        return names, _voices([found[name][0] for name in names], embeddings)

    def count(self) -> int:
        """Return how many people are enrolled by models that this one may be compared with."""
        usable = {self.model} | ({self.older.fingerprint} if self.older else set())
        return sum(1 for person in self.store.people() if usable & set(person.models))

    def _nearest(self, embedding: Embeddings, top: int) -> Iterator[tuple[str, tuple[Voiceprint, Embeddings]]]:
        models = self.store.models()
        if self.older and self.older.fingerprint in models:
            # the map may change the space, so that a search in the old one would need its inverse: all are looked at
            for person in self.store.people():
                if self.older.fingerprint in person.models and self.model not in person.models:
                    found = self.store.voiceprint(person.name, self.older.fingerprint)
                    yield person.name, (found, self.older.carried(found.embedding[None]))
        if self.model in models or not (self.older and self.older.fingerprint in models):
            for match in self.store.search(embedding[0], self.model, top):
                found = self.store.voiceprint(match.person, self.model)
                yield match.person, (found, found.embedding[None])

    def _models_of(self, name: str) -> Sequence[str]:
        return [enrolment.model for enrolment in self.store.enrolments(name)]


def _voices(prints: Sequence[Voiceprint], embeddings: Embeddings) -> Voices:
    return Voices(embeddings, np.array([item.speech_s for item in prints]), np.array([item.snr_db for item in prints]))
