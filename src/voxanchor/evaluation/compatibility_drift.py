"""How far embeddings and scores move from the old model to the new one: what can be said without knowing who speaks."""

from collections.abc import Mapping

import numpy as np

from voxanchor.conditions.spec import Condition
from voxanchor.corpus.manifest import Manifest
from voxanchor.evaluation.audience import Audience
from voxanchor.evaluation.compatibility_figures import ALL_PAIRS, MIXED, NEW, OLD, UPGRADED, Pair
from voxanchor.evaluation.protocol import Setup
from voxanchor.rng import generator
from voxanchor.scoring.scores import trial_scores
from voxanchor.scoring.similarity import Similarity, Spread
from voxanchor.types import Embeddings, IntArray

MOST_PAIRS = 500_000
"""Pairs of segments whose scores are looked at, where nobody says who speaks."""

_SIDES: dict[Pair, tuple[str, str]] = {
    OLD: (OLD, OLD),
    MIXED: (OLD, NEW),
    UPGRADED: (UPGRADED, NEW),
    NEW: (NEW, NEW),
}

Alike = Mapping[tuple[str, int], Mapping[str, Similarity]]
"""(condition, noise seed) -> pair -> how alike the clean enrolment and the test of one segment are."""


def similarities(audience: Audience, setup: Setup) -> Alike:
    """Return how alike clean enrolment and test of one segment are, of models called old, new and maybe upgraded."""
    clean = audience.hear(Condition(), setup.noise_seeds[0])
    found = {}
    for seed in setup.noise_seeds:
        for condition in setup.suite.conditions:
            heard = clean if condition.is_clean else audience.hear(condition, seed)
            found[condition.name, seed] = {
                str(pair): Similarity.of(clean[enrol], heard[test])
                for pair, (enrol, test) in _SIDES.items()
                if enrol in clean
            }
    return found


def over_seeds(alike: Alike) -> dict[str, dict[str, Similarity]]:
    """Return the same, noise seeds averaged: condition -> pair -> similarity."""
    found: dict[str, dict[str, Similarity]] = {}
    for condition in dict.fromkeys(condition for condition, _ in alike):
        seeds = [pairs for (name, _), pairs in alike.items() if name == condition]
        found[condition] = {
            pair: Similarity(*np.mean([(own[pair].mean, own[pair].p05) for own in seeds], axis=0).tolist())
            for pair in ALL_PAIRS
            if pair in seeds[0]
        }
    return found


def unlabelled_spreads(clean: Mapping[str, Embeddings], segments: Manifest) -> dict[str, dict[str, Spread]]:
    """Return how clean scores of segments from different recordings are spread, whoever speaks in them.

    Empty where there is a single recording.
    """
    enrol, test = _pairs(segments)
    if not enrol.size:
        return {}
    return {
        pair: {"different recordings": Spread.of(trial_scores(clean[one], clean[other], enrol, test))}
        for pair, (one, other) in _SIDES.items()
        if one in clean
    }


def _pairs(segments: Manifest) -> tuple[IntArray, IntArray]:
    """Return pairs of segments that are not from one recording, all of them or as many as are looked at."""
    count = len(segments)
    if count * (count - 1) // 2 <= MOST_PAIRS:
        enrol, test = np.triu_indices(count, 1)
    else:
        enrol, test = generator(0, 0, 0, "compatibility/pairs").integers(0, count, (2, MOST_PAIRS))
    names = [utterance.recording or utterance.id for utterance in segments.utterances]
    recording = np.unique(names, return_inverse=True)[1]
    apart = recording[enrol] != recording[test]
    return enrol[apart], test[apart]
