"""The people in a store, as voices to compare with: their own voiceprints, and those of models that may be compared."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.enrolments.records import Voiceprint
from voxanchor.enrolments.store import Store
from voxanchor.errors import OtherModelError, UnknownPersonError
from voxanchor.scoring.judge import Voices
from voxanchor.types import Embeddings
from voxanchor.verification.older import OlderModel, variant
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
        relative = self._relative_of(name)
        if relative is None:
            found = self.store.voiceprint(name, self.model)
            embedding, warning = found.embedding[None], ""
        else:
            found = self.store.voiceprint(name, relative.fingerprint)
            embedding, warning = relative.carried(found.embedding[None]), relative.warning
        quality = Quality(found.speech_s, found.speech_s, found.snr_db, 0.0)
        return _voices([found], embedding), Side(quality, found.recordings, (warning,) if warning else ())

    def nearest(self, embedding: Embeddings, top: int) -> list["Neighbour"]:
        """Return who is nearest to a (1, D) embedding, at most `top` by each model, in no order.

        Each by the one voiceprint that `voice` takes, too. Of a model whose voiceprints go through a map it is
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
                    found.append(Neighbour(name, stored, relative.carried(stored.embedding[None]), relative.warning))
        if self.model in models or not relatives:
            found += [
                Neighbour(match.person, stored, stored.embedding[None])
                for match in self.store.search(embedding[0], self.model, top)
                if (stored := self._still_there(match.person, self.model))
            ]
        return found

    def count(self) -> int:
        """Return how many people are enrolled by models that this one may be compared with, at most.

        Whoever is enrolled by several of them is counted for each.
        """
        voices = self.store.voices()
        usable = [self.model, *(relative.fingerprint for relative in self._relatives(voices))]
        return sum(voices.get(model, 0) for model in usable)

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
class Neighbour:
    """Somebody near to what was heard.

    Attributes:
        name: of the person.
        voiceprint: as it is stored.
        embedding: (1, D) unit vector to compare with.
        warning: what to know when it decides; empty where there is nothing.
    """

    name: str
    voiceprint: Voiceprint
    embedding: Embeddings
    warning: str = ""


def together(neighbours: Sequence[Neighbour]) -> Voices:
    """Return the voices of N neighbours, N at least 1."""
    return _voices([item.voiceprint for item in neighbours], np.concatenate([item.embedding for item in neighbours]))


def _voices(prints: Sequence[Voiceprint], embeddings: Embeddings) -> Voices:
    return Voices(embeddings, np.array([item.speech_s for item in prints]), np.array([item.snr_db for item in prints]))
