"""Watching a stage on speakers it does not train on: error rates with labels, agreement with the start without."""

import contextlib
from collections.abc import Mapping

import numpy as np

from voxanchor import processes
from voxanchor.audio.bank import NoiseBank
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import Trials, all_pairs
from voxanchor.corpus.utterance import Utterance, read_known
from voxanchor.errors import CorpusError, DivergedError
from voxanchor.evaluation.background import voices
from voxanchor.evaluation.embed import embed
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.precision import best_device
from voxanchor.rng import generator
from voxanchor.scoring.metrics import eer
from voxanchor.scoring.scores import trial_scores
from voxanchor.scoring.similarity import mean_cosine_apart
from voxanchor.types import Embeddings, Waveform

SNR_DB = 5.0
SEGMENT_S = 3.0
MAX_SEGMENTS = 4


class Validation:
    """Measures an encoder on a fixed set of segments, clean and at `SNR_DB`, the kinds of noise taking turns.

    Of several processes the first alone measures; it does so on its accelerator, where it has one.

    Args:
        manifest: recordings of speakers kept out of training.
        bank: the training's noise; the draws are fixed, so every call hears the same audio.
        start: the model the stage starts from, for the agreement of the embeddings with it; None from scratch.
        seed: of the noise.
    """

    def __init__(self, manifest: Manifest, bank: NoiseBank, start: SpeakerEncoder | None, seed: int) -> None:
        self.segments = segment(manifest, SEGMENT_S, max_per_recording=MAX_SEGMENTS)
        if not self.segments.utterances:
            raise CorpusError("no recording of the validation speakers is long enough; set validation_speakers to 0")
        self._waves: dict[str, tuple[Waveform, Waveform]] = {}
        kinds = bank.kinds
        for place, utterance in enumerate(self.segments.utterances):
            clean = read_known(utterance)
            condition = Condition(kinds[place % len(kinds)], SNR_DB)
            draw = generator(seed, 0, utterance.id, "validation noise")
            noisy = render(clean, condition, bank, draw, exclude=voices(utterance))
            self._waves[utterance.id] = (clean, noisy.waveform)
        self._trials: Trials | None = None
        with contextlib.suppress(CorpusError):  # one speaker, or no labels: nothing to verify, agreement remains
            self._trials = all_pairs(self.segments)
        self._reference = None if start is None or not processes.first() else self._embed(start, noisy=False)
        self._alike = 0.0 if self._reference is None else _alike(self._reference, self.segments)

    def measure(self, encoder: SpeakerEncoder) -> Mapping[str, float]:
        """Return ``clean_eer`` and ``noisy_eer`` in percent, ``clean_agreement`` and ``noisy_agreement`` (cosine).

        And ``clean_identity``: the share of the way from the mean cosine of different recordings to 1 that the clean
        agreement is at. Error rates need labels, agreement needs a model to start from; what cannot be measured is
        left out.

        Raises:
            DivergedError: embeddings that are zero or not finite.
        """
        measured: dict[str, float] = {}
        clean, noisy = self._embed(encoder, noisy=False), self._embed(encoder, noisy=True)
        for name, test in (("clean", clean), ("noisy", noisy)):
            if self._trials is not None:
                scores = trial_scores(clean, test, self._trials.enrol, self._trials.test)
                measured[f"{name}_eer"] = round(100 * eer(scores, self._trials.target).eer, 3)
            if self._reference is not None:
                measured[f"{name}_agreement"] = round(float(np.sum(test * self._reference, axis=1).mean()), 5)
        if self._reference is not None:
            agreement = measured["clean_agreement"]
            measured["clean_identity"] = round((agreement - self._alike) / (1.0 - self._alike), 5)
        return measured

    def _embed(self, encoder: SpeakerEncoder, noisy: bool) -> np.ndarray:
        def read(utterance: Utterance) -> Waveform:
            return self._waves[utterance.id][int(noisy)]

        # a model that training starts from lies on the processor: a copy of it is measured, and let go
        device = best_device()
        there = encoder if next(encoder.parameters()).device == device else encoder.copy().to(device)
        found = embed(there, self.segments.utterances, label="validation", read=read)
        lost = int((~(np.abs(found).sum(axis=1) > 0) | ~np.isfinite(found).all(axis=1)).sum())
        if lost:
            raise DivergedError(
                f"the model gives no embedding of finite length for {lost} of {len(found)} segments of the validation "
                "speakers; lower learning_rate.peak, or look at the model that training starts from"
            )
        return found


def _alike(embeddings: Embeddings, segments: Manifest) -> float:
    """Return the mean cosine of segments of different recordings; 0 where there is only one, or all are the same."""
    mean = mean_cosine_apart(embeddings, [utterance.recording or utterance.id for utterance in segments.utterances])
    return mean if mean < 1.0 - 1e-6 else 0.0
