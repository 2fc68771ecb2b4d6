import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from voxanchor.conditions.bank import NoiseBank, noise_bank, voices
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import AudioError, CorpusError, ModelError
from voxanchor.evaluation.embed import EmbeddingCache, embed, embed_with
from voxanchor.evaluation.protocol import Keep, Outcome, Setup, bootstrap_of, evaluate
from voxanchor.models.batches import pad
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.bootstrap import interval
from voxanchor.types import FloatArray

SUITE = Suite("small", (Condition(), Condition("noise", 5.0), Condition("babble", 0.0)))


def make_encoder(seed: int, dim: int = 16) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": dim}), seed=seed).eval()


@pytest.fixture(scope="module")
def manifest(voices_folder: Path) -> Manifest:
    return segment(scan(voices_folder), 1.0, 1)


@pytest.fixture(scope="module")
def bank(manifest: Manifest, noise_path: Path) -> NoiseBank:
    return noise_bank([str(noise_path)], manifest, built_in_share=0.0, for_evaluation=True)


@pytest.fixture(scope="module")
def trials(manifest: Manifest) -> TrialList:
    return all_pairs(manifest)


class Deaf(SpeakerEncoder):
    """Fails when it is asked to listen."""

    def forward(self, waves: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        raise AssertionError("embedded again")


def listen(
    systems: dict[str, SpeakerEncoder],
    manifest: Manifest,
    trials: TrialList,
    bank: NoiseBank,
    folder: Path,
    setup: Setup,
) -> Outcome:
    return evaluate(systems, manifest, trials, bank, setup, EmbeddingCache(folder))


def test_embeddings_do_not_depend_on_company_or_order(manifest: Manifest) -> None:
    encoder = make_encoder(0)
    lengths = [0.4 + 0.012 * i for i in range(len(manifest.utterances))]
    mixed = [replace(u, parts=u.crop(0, s), duration_s=s) for u, s in zip(manifest.utterances, lengths, strict=False)]
    together = embed(encoder, mixed, label="t")
    backwards = embed(encoder, mixed[::-1], label="t")[::-1]
    with torch.no_grad():
        alone = np.concatenate([encoder(torch.from_numpy(u.read())[None]).numpy() for u in mixed])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(backwards, alone, atol=1e-5)


def test_embedding_leaves_the_mode_of_the_model_as_it_was(manifest: Manifest) -> None:
    encoder = make_encoder(0).train()
    embed(encoder, manifest.utterances[:3], label="t")
    assert encoder.training


def test_too_short_a_recording_is_named(manifest: Manifest) -> None:
    short = replace(manifest.utterances[0], parts=manifest.utterances[0].crop(0, 0.1), duration_s=0.1)
    with pytest.raises(AudioError, match=r"s00/0.*too short"):
        embed_with([make_encoder(0)], [short], label="t")


def test_padding_is_behind_the_end() -> None:
    padded, lengths = pad([np.ones(3, np.float32), np.ones(5, np.float32)])
    assert padded.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert lengths.tolist() == [3, 5]


def test_every_system_hears_the_same_and_the_order_of_systems_does_not_matter(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    one, two = make_encoder(1), make_encoder(2)
    both = listen({"one": one, "two": two}, manifest, trials, bank, tmp_path / "a", Setup(SUITE))
    turned = listen({"two": two, "one": one}, manifest, trials, bank, tmp_path / "b", Setup(SUITE))
    assert {(r.system, r.condition): r.eer for r in both.rows} == {(r.system, r.condition): r.eer for r in turned.rows}
    assert len(both.rows) == 6
    assert both.rows[0].trials == len(trials)


def test_protocols_differ_in_noise_and_agree_on_clean(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    systems = {"one": make_encoder(1)}
    clean = listen(systems, manifest, trials, bank, tmp_path, Setup(SUITE))
    noisy = listen(systems, manifest, trials, bank, tmp_path, Setup(SUITE, protocol="both-noisy"))
    assert clean.rows[0].eer == noisy.rows[0].eer
    assert clean.rows[1].eer != noisy.rows[1].eer
    assert noisy.rows[1].protocol == "both-noisy"


def test_other_levels_are_other_audio_under_another_name(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    model, whole = {"one": make_encoder(1)}, replace(SUITE, snr="whole")
    cache, keep = EmbeddingCache(tmp_path), Keep(tuple(condition.name for condition in SUITE.conditions))
    usual = evaluate(model, manifest, trials, bank, Setup(SUITE), cache, keep=keep)
    other = evaluate(model, manifest, trials, bank, Setup(whole), cache, keep=keep)
    assert {row.suite for row in usual.rows} == {"small"}
    assert {row.suite for row in other.rows} == {row.suite for row in other.geometry} == {"small-whole-snr"}
    assert [row.condition for row in other.rows] == [row.condition for row in usual.rows]
    same = {
        name: np.array_equal(made, other.embeddings[key]) for key, made in usual.embeddings.items() for name in key[1:]
    }
    assert same == {"clean": True, "noise_5db": False, "babble_0db": False}
    deaf: dict[str, SpeakerEncoder] = {"one": Deaf(make_encoder(1).config, seed=1)}
    assert listen(deaf, manifest, trials, bank, tmp_path, Setup(SUITE)).rows == usual.rows
    assert listen(deaf, manifest, trials, bank, tmp_path, Setup(whole)).rows == other.rows


def test_the_interval_is_of_the_convention_of_the_error_rate(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    scores: dict[str, FloatArray] = {}

    def keep(system: str, condition: Condition, seed: int, found: FloatArray) -> None:
        scores[condition.name] = found

    setup = Setup(SUITE, eer_method="convex_hull")
    found = evaluate({"one": make_encoder(1)}, manifest, trials, bank, setup, EmbeddingCache(tmp_path), scored=keep)
    bootstrap = bootstrap_of(manifest, trials, setup.replicates)
    for row in found.rows:
        hull, linear = (bootstrap.eer(scores[row.condition], method) for method in ("convex_hull", "linear"))
        assert (row.eer_low, row.eer_high) == interval(100 * hull)
        assert interval(100 * hull) != interval(100 * linear)
        np.testing.assert_array_equal(found.replicates["one", row.condition, 0], 100 * hull)


def test_noise_seeds_give_other_noise_and_the_same_clean(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    found = listen({"one": make_encoder(1)}, manifest, trials, bank, tmp_path, Setup(SUITE, noise_seeds=(0, 1)))
    by_seed = [[row.eer for row in found.rows if row.noise_seed == seed] for seed in (0, 1)]
    assert by_seed[0][0] == by_seed[1][0]
    assert by_seed[0][1:] != by_seed[1][1:]


def test_a_second_evaluation_reads_what_the_first_one_embedded(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    first = listen({"one": make_encoder(1)}, manifest, trials, bank, tmp_path, Setup(SUITE))
    deaf = Deaf(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)
    again = listen({"one": deaf}, manifest, trials, bank, tmp_path, Setup(SUITE))
    assert again.rows == first.rows
    damaged = next(tmp_path.iterdir())
    damaged.write_bytes(b"half")
    with pytest.raises(AssertionError, match="embedded again"):
        listen({"one": deaf}, manifest, trials, bank, tmp_path, Setup(SUITE))


def test_old_enrolments_are_compared_with_new_tests(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    old, new = make_encoder(1), make_encoder(2)
    cache = EmbeddingCache(tmp_path)
    same = evaluate({"old": old}, manifest, trials, bank, Setup(SUITE), cache, enrol=old)
    plain = evaluate({"old": old}, manifest, trials, bank, Setup(SUITE), cache)
    crossed = evaluate({"new": new}, manifest, trials, bank, Setup(SUITE), cache, enrol=old)
    assert [row.eer for row in same.rows] == [row.eer for row in plain.rows]
    assert crossed.rows[0].eer > plain.rows[0].eer  # two unrelated random models: chance
    with pytest.raises(ModelError, match="cannot be compared"):
        evaluate({"x": make_encoder(0, 8)}, manifest, trials, bank, Setup(SUITE), cache, enrol=old)


def test_nobody_is_heard_in_the_background_of_their_own_trial(manifest: Manifest) -> None:
    utterance = manifest.utterances[0]
    assert voices(utterance) == {utterance.speaker, utterance.parts[0].path}
    assert voices(replace(utterance, speaker="")) == {utterance.parts[0].path}


def test_rooms_are_drawn_per_seed_and_the_clean_reference_stays(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, noise_path: Path, rooms_path: Path, tmp_path: Path
) -> None:
    conditions = ("clean", "reverb_0.6s", "reverb", "reverb+noise_5db", "noise_5db")
    rooms = Suite("rooms", tuple(Condition.parse(name) for name in conditions))
    with pytest.raises(CorpusError, match="--rooms"):
        listen({"one": Deaf(make_encoder(1).config)}, manifest, trials, bank, tmp_path / "none", Setup(rooms))
    held = noise_bank([str(noise_path)], manifest, built_in_share=0.0, for_evaluation=True, rooms=[str(rooms_path)])
    setup = Setup(rooms, noise_seeds=(0, 1))
    found = listen({"one": make_encoder(1)}, manifest, trials, held, tmp_path, setup)
    assert [(row.condition, row.noise, row.snr_db) for row in found.rows[:5]] == [
        ("clean", "", None),
        ("reverb_0.6s", "reverb_0.6s", None),
        ("reverb", "reverb", None),
        ("reverb+noise_5db", "reverb+noise", 5.0),
        ("noise_5db", "noise", 5.0),
    ]
    by_seed = [[row.eer for row in found.rows if row.noise_seed == seed] for seed in (0, 1)]
    assert by_seed[0][0] == by_seed[1][0]
    assert all(one != two for one, two in zip(by_seed[0][1:], by_seed[1][1:], strict=True))
    assert set(found.det) == {("one", panel) for panel in ("clean", "all rooms", "all noise at 5 dB")}
    plain = listen({"one": make_encoder(1)}, manifest, trials, bank, tmp_path / "plain", Setup(SUITE))
    assert plain.rows[0].eer == found.rows[0].eer
    assert plain.rows[1].eer == found.rows[4].eer
    # what is in the cache is found again, in this order or another, and no room is drawn twice
    deaf = Deaf(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)
    turned = Suite("rooms", (rooms.conditions[0], *rooms.conditions[:0:-1]))
    again = listen({"one": deaf}, manifest, trials, held, tmp_path, Setup(turned, noise_seeds=(0, 1)))
    assert sorted(row.eer for row in again.rows) == sorted(row.eer for row in found.rows)


def test_training_and_evaluation_never_share_built_in_music(manifest: Manifest) -> None:
    training = noise_bank([], manifest, built_in_share=0.5, for_evaluation=False)
    evaluation = noise_bank([], manifest, built_in_share=0.0, for_evaluation=True)
    assert training.fingerprint != evaluation.fingerprint
    assert training.kinds == evaluation.kinds == ("babble", "music", "noise")


def test_embeddings_in_bfloat16_are_kept_apart_and_nearly_the_same(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    model = {"a": make_encoder(0)}
    cache, keep = EmbeddingCache(tmp_path), Keep(tuple(condition.name for condition in SUITE.conditions))
    exact = evaluate(model, manifest, trials, bank, Setup(SUITE), cache, keep=keep)
    quick = evaluate(model, manifest, trials, bank, Setup(SUITE, precision="bfloat16"), cache, keep=keep)
    assert len(exact.embeddings) == len(SUITE.conditions)
    for key, embeddings in exact.embeddings.items():
        agreement = np.sum(embeddings * quick.embeddings[key], axis=1)
        assert not np.array_equal(embeddings, quick.embeddings[key])
        assert agreement.min() > 0.999
    again = listen(model, manifest, trials, bank, tmp_path, Setup(SUITE))
    assert again.rows == exact.rows


def test_noise_that_cannot_be_used_is_told_of(
    manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    (tmp_path / "b.wav").write_bytes(b"not audio")
    noise_bank([str(tmp_path)], manifest, built_in_share=0.0, for_evaluation=True)
    told = f"{tmp_path}: 1 file cannot be used and is left out, for example:\n  b.wav: is not a readable recording"
    assert told in capsys.readouterr().err


class Watched(EmbeddingCache):
    """Keeps nothing, and counts how many of the embeddings that went through it are still in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.alive: list[weakref.ref[NDArray[np.float32]]] = []
        self.most = 0

    def get(self, *key: str | int) -> NDArray[np.float32] | None:
        return None

    def put(self, embeddings: NDArray[np.float32], *key: str | int) -> None:
        self.alive = [one for one in self.alive if one() is not None] + [weakref.ref(embeddings)]
        self.most = max(self.most, len(self.alive))


def test_memory_does_not_grow_with_the_conditions(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    suite = Suite("long", (Condition(), *(Condition("noise", float(ratio)) for ratio in range(8))))
    systems = {"one": make_encoder(1), "two": make_encoder(2)}
    cache = Watched(tmp_path)
    outcome = evaluate(systems, manifest, trials, bank, Setup(suite, noise_seeds=(0, 1), replicates=2), cache)
    assert len(outcome.rows) == 2 * 2 * 9
    assert outcome.embeddings == {}
    assert cache.most == 2 * 2  # clean, and the condition that was listened to last, of either model


def test_embeddings_are_kept_of_what_was_asked_for(
    manifest: Manifest, trials: TrialList, bank: NoiseBank, tmp_path: Path
) -> None:
    places = np.array([5, 0, 3])
    cache, model = EmbeddingCache(tmp_path), {"one": make_encoder(1)}
    whole = evaluate(
        model, manifest, trials, bank, Setup(SUITE), cache, keep=Keep(("clean", "noise_5db", "babble_0db"))
    )
    part = evaluate(model, manifest, trials, bank, Setup(SUITE), cache, keep=Keep(("clean", "noise_5db"), places))
    assert set(part.embeddings) == {("one", "clean"), ("one", "noise_5db")}
    for key, rows in part.embeddings.items():
        np.testing.assert_array_equal(rows, whole.embeddings[key][places])
        assert rows.base is None  # not a window into the whole array, which would then stay
