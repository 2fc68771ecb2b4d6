"""AS-norm in an evaluation: every model's scores measured against a cohort as that model hears it."""

from collections.abc import Mapping

import numpy as np

from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError
from voxanchor.evaluation.cache import EmbeddingCache
from voxanchor.evaluation.embed import embed_with, embeddings_key
from voxanchor.models.registry import Embedder
from voxanchor.scoring.cohort import Cohort, as_norm
from voxanchor.types import Embeddings, FloatArray, IntArray

TOP = 300
"""How many of the cohort count for a recording: those it scores highest with, or all of a smaller cohort."""


class Normaliser:
    """The cohort's speakers as each model embeds their clean recordings.

    Args:
        models: by name.
        cohort: recordings of speakers who take part in no trial.
        trial_speakers: who does.
        cache: where embeddings are kept.

    Raises:
        CorpusError: a cohort of fewer than two speakers, without labels, or with speakers of the trials.
    """

    def __init__(
        self,
        models: Mapping[str, Embedder],
        cohort: Manifest,
        trial_speakers: set[str],
        cache: EmbeddingCache,
        precision: str = "float32",
    ) -> None:
        speakers = [utterance.speaker for utterance in cohort.utterances]
        if not all(speakers) or len(set(speakers)) < 2:
            raise CorpusError("a cohort needs recordings of at least two speakers, one folder per speaker")
        if shared := sorted(trial_speakers & set(speakers)):
            raise CorpusError(
                f"speaker {', '.join(shared[:5])} is in the cohort and in the trials: give a cohort of other speakers"
            )
        self._cohorts: dict[str, Cohort] = {}
        for name, model in models.items():
            key = (embeddings_key(model, precision), cohort.fingerprint, "clean", "", 0)
            embeddings = cache.get(*key)
            if embeddings is None:
                embeddings = embed_with(
                    [model], cohort.utterances, label=f"cohort, {name.strip(chr(0))}", precision=precision
                )[0]
                cache.put(embeddings, *key)
            self._cohorts[name] = Cohort.of_speakers(embeddings, speakers, min(TOP, len(set(speakers))))

    def apply(
        self,
        scores: FloatArray,
        enrol: tuple[str, Embeddings],
        test: tuple[str, Embeddings],
        enrol_index: IntArray,
        test_index: IntArray,
    ) -> FloatArray:
        """Return the (K,) normalised scores of trials.

        Args:
            scores: (K,) cosines.
            enrol: the model that enrolled, and its (N, D) embeddings.
            test: the model under test, and its (N, D) embeddings.
            enrol_index: (K,) row of each trial's enrolment.
            test_index: (K,) row of each trial's test.
        """
        # each side is measured against the cohort as the other side's model hears it: what its scores are made of
        left = self._cohorts[test[0]].statistics(np.asarray(enrol[1]))
        right = self._cohorts[enrol[0]].statistics(np.asarray(test[1]))
        return as_norm(scores, left, right, enrol_index, test_index)
