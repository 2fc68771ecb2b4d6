"""AS-norm through an evaluation, beside the same done by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import all_pairs
from voxanchor.errors import CorpusError
from voxanchor.evaluation.embed import EmbeddingCache, embed
from voxanchor.evaluation.protocol import Setup, evaluate
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.metrics import eer

SETUP = Setup(Suite("clean", (Condition(),)))


def make_encoder(seed: int) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=seed).eval()


@pytest.fixture(scope="module")
def parts(voices_folder: Path) -> tuple[Manifest, Manifest]:
    """Eight speakers for the trials, four for the cohort."""
    return scan(voices_folder).hold_out(4, seed=0)


@pytest.fixture(scope="module")
def bank(parts: tuple[Manifest, Manifest]) -> NoiseBank:
    return noise_bank([], parts[0], built_in_share=0.0, for_evaluation=True)


@pytest.mark.parametrize("older", [False, True])
def test_scores_are_normalised_with_the_cohort_as_the_other_side_hears_it(
    parts: tuple[Manifest, Manifest], bank: NoiseBank, tmp_path: Path, older: bool
) -> None:
    manifest, cohort = segment(parts[0], 1.0, 1), parts[1]
    trials = all_pairs(manifest)
    new = make_encoder(1)
    old = make_encoder(2) if older else new
    outcome = evaluate(
        {"new": new}, manifest, trials, bank, SETUP, EmbeddingCache(tmp_path), old if older else None, cohort
    )
    means, sides = {}, {}
    for name, model in (("new", new), ("old", old)):
        embeddings = embed(model, cohort.utterances, label="t").astype(np.float64)
        owners = np.array([u.speaker for u in cohort.utterances])
        sums = np.stack([embeddings[owners == speaker].sum(axis=0) for speaker in sorted(set(owners))])
        means[name] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        sides[name] = embed(model, manifest.utterances, label="t").astype(np.float64)
    expected = np.empty(len(trials.target))
    for k, (i, j) in enumerate(zip(trials.enrol, trials.test, strict=True)):
        raw = sides["old"][i] @ sides["new"][j]
        left, right = means["new"] @ sides["old"][i], means["old"] @ sides["new"][j]
        expected[k] = ((raw - left.mean()) / left.std() + (raw - right.mean()) / right.std()) / 2
    assert outcome.rows[0].eer == pytest.approx(100 * eer(expected, trials.target).eer, abs=1e-6)
    plain = evaluate({"new": new}, manifest, trials, bank, SETUP, EmbeddingCache(tmp_path), old if older else None)
    assert plain.rows[0].eer != outcome.rows[0].eer


def test_a_cohort_of_speakers_of_the_trials_is_refused(
    parts: tuple[Manifest, Manifest], bank: NoiseBank, tmp_path: Path
) -> None:
    manifest = segment(parts[0], 1.0, 1)
    trials, cache = all_pairs(manifest), EmbeddingCache(tmp_path)
    with pytest.raises(CorpusError, match="in the cohort and in the trials"):
        evaluate({"m": make_encoder(1)}, manifest, trials, bank, SETUP, cache, None, parts[0])
    nameless = replace(parts[1], utterances=tuple(replace(u, speaker="") for u in parts[1].utterances))
    with pytest.raises(CorpusError, match="one folder per speaker"):
        evaluate({"m": make_encoder(1)}, manifest, trials, bank, SETUP, cache, None, nameless)
