"""Bulk embedding in one process: what a window gives, what a shard holds, how a manifest is cut."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest, Part, Unusable, Utterance
from voxanchor.errors import CorpusError
from voxanchor.evaluation.bulk import (
    METADATA_KEY,
    Failure,
    Shard,
    Summary,
    cut,
    embed_window,
    manifest_fingerprint,
    window_path,
)
from voxanchor.evaluation.embed import embed
from voxanchor.models import batches as batching
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

Voice = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).eval()


@pytest.fixture(scope="module")
def manifest(voices_folder: Path) -> Manifest:
    """Recordings of many lengths in no order of length."""
    whole = scan(voices_folder).utterances
    lengths_s = np.random.default_rng(3).uniform(0.4, 2.0, len(whole))
    return Manifest(
        tuple(
            replace(utterance, duration_s=float(length_s), parts=utterance.crop(0.0, float(length_s)))
            for utterance, length_s in zip(whole, lengths_s, strict=True)
        ),
        root=str(voices_folder),
    )


def window(encoder: SpeakerEncoder, manifest: Manifest) -> Shard:
    return embed_window(encoder, manifest, lambda count: None)


def test_a_row_is_the_embedding_its_recording_gets_alone(encoder: SpeakerEncoder, manifest: Manifest) -> None:
    done: list[int] = []
    shard = embed_window(encoder, manifest, done.append)
    assert shard.ids == tuple(utterance.id for utterance in manifest.utterances)
    assert shard.speakers == tuple(utterance.speaker for utterance in manifest.utterances)
    assert not shard.failures
    assert sum(done) == len(manifest)
    with torch.no_grad():
        alone = [encoder(torch.from_numpy(utterance.read())[None])[0].numpy() for utterance in manifest.utterances]
    np.testing.assert_allclose(shard.embeddings, alone, atol=1e-5)
    np.testing.assert_array_equal(shard.embeddings, embed(encoder, manifest.utterances, label="all"))


def bad_recordings(folder: Path, voice: Voice) -> dict[str, str]:
    """Return what is expected to be said of each file that is written."""
    (folder / "noise.flac").write_bytes(b"not audio")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(32_000), 16_000)
    soundfile.write(folder / "short.wav", voice(1, 1, 0.02), 16_000)
    soundfile.write(folder / "long.wav", voice(1, 1, 4.0), 16_000)
    soundfile.write(folder / "huge.wav", 1e30 * voice(1, 1), 16_000, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(32_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    return {
        "noise.flac": "not a readable recording",
        "empty.wav": "empty",
        "silent.wav": "silent",
        "short.wav": "0.02 s is too short",
        "long.wav": "lasts 4 s, more than the 3 s",
        "huge.wav": "not finite",
        "nan.wav": "not finite",
        "gone.wav": "no such file",
    }


def test_what_cannot_be_embedded_is_listed_and_the_rest_goes_on(
    encoder: SpeakerEncoder, manifest: Manifest, voice: Voice, tmp_path: Path
) -> None:
    expected = bad_recordings(tmp_path, voice)
    bad = [Utterance(name, "x", 1.0, (Part(str(tmp_path / name)),)) for name in expected]
    outside = Utterance("outside", "x", 1.0, (Part(str(tmp_path / "long.wav"), 3.5, 1.0),))
    stated = Utterance("stated", "x", 99.0, (Part(str(tmp_path / "long.wav")),))
    good = manifest.utterances[:10]
    mixed = Manifest((*bad[:4], *good[:5], *bad[4:], outside, *good[5:], stated), (Unusable("u.wav", "unread"),))
    shard = embed_window(encoder, mixed, lambda count: None, longest_s=3.0)
    assert shard.ids == tuple(utterance.id for utterance in good)
    np.testing.assert_allclose(shard.embeddings, embed(encoder, good, label="good"), atol=1e-5)
    assert shard.failures[0] == Failure("u.wav", "unread")
    assert [failure.id for failure in shard.failures[1:]] == [*expected, "outside", "stated"]
    reasons = {failure.id: failure.reason for failure in shard.failures}
    for name, words in expected.items():
        assert words in reasons[name]
        assert str(tmp_path / name) not in reasons[name]
    assert "no crop" in reasons["outside"]
    assert "lasts 99 s" in reasons["stated"]


def test_a_disk_that_fails_is_a_failure_of_its_recordings_only(
    encoder: SpeakerEncoder, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Utterance.read

    def failing(self: Utterance) -> np.ndarray:
        if self is manifest.utterances[3]:
            raise OSError(5, "Input/output error")
        return read(self)

    monkeypatch.setattr(Utterance, "read", failing)
    shard = window(encoder, manifest)
    assert shard.failures == (Failure(manifest.utterances[3].id, "cannot be read (Input/output error)"),)
    assert len(shard.ids) == len(shard.embeddings) == len(manifest) - 1


def test_an_error_of_the_program_is_not_taken_for_a_bad_recording(
    encoder: SpeakerEncoder, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Utterance, "read", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        window(encoder, manifest)


def test_a_window_without_any_usable_recording_has_no_rows(encoder: SpeakerEncoder, tmp_path: Path) -> None:
    nothing = Manifest((Utterance("gone", "x", 1.0, (Part(str(tmp_path / "gone.wav")),)),))
    shard = window(encoder, nothing)
    assert shard.embeddings.shape == (0, 16)
    shard.save(tmp_path / "s.safetensors", {})
    assert Summary.read(tmp_path / "s.safetensors") == Summary(0, shard.failures)


def test_files_longer_than_their_manifest_states_do_not_burst_a_batch(
    encoder: SpeakerEncoder, voices_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BATCH_S", 6.0)
    honest = scan(voices_folder)
    understated = Manifest(tuple(replace(utterance, duration_s=0.1) for utterance in honest.utterances))
    shapes: list[torch.Size] = []
    hook = encoder.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    shard = window(encoder, understated)
    hook.remove()
    assert max(shape[0] * shape[1] for shape in shapes) <= 6 * 16_000
    np.testing.assert_allclose(shard.embeddings, embed(encoder, honest.utterances, label="all"), atol=1e-5)


@given(st.lists(st.floats(0.0, 200.0), max_size=300))
def test_batches_hold_everything_once_and_little_padding(durations_s: list[float]) -> None:
    batches = batching.by_length(durations_s)
    assert sorted(place for batch in batches for place in batch) == list(range(len(durations_s)))
    for batch in batches:
        longest = batching.grid_samples(round(max(durations_s[place] for place in batch) * 16_000))
        assert len(batch) == 1 or len(batch) * longest <= 16_000 * batching.BATCH_S
    assert all(durations_s[one[-1]] >= durations_s[two[0]] for one, two in pairwise(batches))


@given(st.integers(1, 600 * 16_000))
def test_padding_to_the_grid_is_little(samples: int) -> None:
    padded = batching.grid_samples(samples)
    assert samples <= padded <= max(4_000, samples * 17 / 16 + 1)
    assert batching.grid_samples(padded) == padded


def test_common_lengths_are_not_padded_and_all_others_share_a_few() -> None:
    assert len({batching.grid_samples(samples) for samples in range(1, 60 * 16_000, 50)}) < 16 * 9
    assert all(batching.grid_samples(8_000 * halves) == 8_000 * halves for halves in range(1, 33))


def test_bfloat16_stays_near_and_gives_unit_vectors(encoder: SpeakerEncoder, manifest: Manifest) -> None:
    exact = window(encoder, manifest).embeddings
    rounded = embed_window(encoder, manifest, lambda count: None, precision="bfloat16").embeddings
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    assert (exact * rounded).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1.0, atol=1e-5)


def test_a_shard_says_what_it_holds_without_being_read_whole(
    encoder: SpeakerEncoder, manifest: Manifest, tmp_path: Path
) -> None:
    shard = replace(window(encoder, manifest), failures=(Failure("ä\udcff.wav", "not audio"),))
    path = tmp_path / "s.safetensors"
    shard.save(path, {"model": "m"})
    assert Summary.read(path) == Summary(len(manifest), shard.failures)
    content = path.read_bytes()
    shard.save(path, {"model": "m"})
    assert path.read_bytes() == content
    for damaged in (b"", b"nonsense", content[:-8], content.replace(METADATA_KEY.encode(), b"somebody_")):
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match="Remove it"):
            Summary.read(path)


@pytest.mark.parametrize("size", [1, 7, 48, 50, 1000])
def test_windows_together_are_the_manifest(manifest: Manifest, tmp_path: Path, size: int) -> None:
    whole = replace(manifest, unusable=(Unusable("a.wav", "silent"), Unusable("b.wav", "short")))
    whole.save(tmp_path / "m.jsonl")
    counts = cut(tmp_path / "m.jsonl", tmp_path / "windows", size)
    windows = [Manifest.load(window_path(tmp_path / "windows", number)) for number in range(len(counts))]
    assert counts == [len(part) for part in windows]
    assert all(len(part) + len(part.unusable) == size for part in windows[:-1])
    assert tuple(utterance for part in windows for utterance in part.utterances) == whole.utterances
    assert [item.reason for part in windows for item in part.unusable] == ["silent", "short"]
    (tmp_path / "m.jsonl").unlink()
    assert cut(tmp_path / "m.jsonl", tmp_path / "windows", size) == counts


def test_a_manifest_that_cannot_be_understood_says_where_and_leaves_nothing(manifest: Manifest, tmp_path: Path) -> None:
    path, windows = tmp_path / "m.jsonl", tmp_path / "windows"
    manifest.save(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + '{"id": "x"}\n' + "".join(lines[4:]))
    with pytest.raises(CorpusError, match=r"m\.jsonl, line 5: "):
        cut(path, windows, 40)
    with pytest.raises(CorpusError, match=r"m\.jsonl, counting its line 3 as line 1, line 3: "):
        cut(path, windows, 2)
    path.write_text("a.wav,b.wav\n" + "".join(lines[1:]))
    with pytest.raises(CorpusError, match=r"m\.jsonl, line 1: not a line of a manifest"):
        cut(path, windows, 40)
    path.write_bytes("".join(lines).encode() + b"\xff\xfe\n")
    with pytest.raises(CorpusError, match="not a line of a manifest"):
        cut(path, windows, 40)
    path.write_text(lines[0])
    with pytest.raises(CorpusError, match="names no recordings"):
        cut(path, windows, 40)
    for missing in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(CorpusError, match="cannot be read"):
            manifest_fingerprint(missing)
    assert not windows.exists()


def test_the_metadata_is_one_entry(encoder: SpeakerEncoder, manifest: Manifest, tmp_path: Path) -> None:
    """Several would be written in an order that changes from process to process."""
    window(encoder, manifest).save(tmp_path / "s.safetensors", {"model": "m"})
    content = (tmp_path / "s.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == [METADATA_KEY]
