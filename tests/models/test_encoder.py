import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from voxanchor.errors import AudioError, ModelError, OutputError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

SMALL: dict[str, dict[str, Any]] = {
    "ecapa": {"channels": 16, "embedding_dim": 12, "se_bottleneck": 4, "attention_bottleneck": 4},
    "ge2e": {},
}
every_architecture = pytest.mark.parametrize("architecture", sorted(SMALL))


def encoder_of(architecture: str, seed: int = 0) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig(architecture, SMALL[architecture]), seed).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@every_architecture
def test_gives_unit_vectors_of_the_stated_dimension(architecture: str) -> None:
    encoder = encoder_of(architecture)
    embeddings = encoder(noise(3, 8_000))
    assert embeddings.shape == (3, encoder.embedding_dim)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


@every_architecture
def test_frames_come_with_the_same_embeddings_and_lead_to_them(architecture: str) -> None:
    encoder, waves = encoder_of(architecture), noise(2, 40_000)
    embeddings, frames = encoder.with_frames(waves)
    torch.testing.assert_close(embeddings, encoder(waves))
    network = encoder.network
    with torch.no_grad():
        if architecture == "ge2e":
            assert frames.shape == (4, 160, 256)
            windows = F.normalize(F.relu(network.linear(frames[:, -1])), dim=1)  # type: ignore[operator]
            again = windows.view(2, 2, -1).sum(dim=1)
        else:
            pooled = network.pooled_norm(network.pooling(frames, None))  # type: ignore[operator]
            again = network.embedding_norm(network.projection(pooled))  # type: ignore[operator]
    torch.testing.assert_close(F.normalize(again, dim=1), embeddings, atol=1e-5, rtol=0)


@every_architecture
@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(4_800, 40_000), min_size=1, max_size=4), padding=st.integers(0, 5_000))
def test_a_padded_batch_gives_what_each_recording_gets_alone(
    architecture: str, lengths: list[int], padding: int
) -> None:
    encoder = encoder_of(architecture)
    waves = noise(len(lengths), max(lengths) + padding, seed=padding)
    with torch.no_grad():
        together = encoder(waves, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = encoder(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


@every_architecture
def test_half_precision_autocast_stays_close(architecture: str) -> None:
    encoder = encoder_of(architecture)
    with torch.no_grad():
        exact = encoder(noise(2, 16_000))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = encoder(noise(2, 16_000))
    assert rounded.dtype == torch.float32
    assert ((exact * rounded).sum(dim=1) > 0.99).all()


@every_architecture
def test_weights_come_from_the_seed_alone(architecture: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = encoder_of(architecture)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert encoder_of(architecture).fingerprint == first.fingerprint
    assert encoder_of(architecture, seed=1).fingerprint != first.fingerprint


def test_the_generators_of_accelerators_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    reseeded: list[int] = []
    for backend in ("cuda", "xpu"):  # torch.manual_seed seeds them all
        monkeypatch.setattr(f"torch.{backend}.manual_seed_all", reseeded.append)
    torch.manual_seed(3)
    assert 3 in reseeded
    reseeded.clear()
    encoder_of("ecapa", seed=4)
    assert reseeded == []


def test_lengths_are_looked_at_where_they_are_and_then_follow_the_waveforms(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of("ecapa").to("meta")
    waves = torch.empty(2, 16_000, device="meta")
    monkeypatch.setattr("torch.autocast", lambda *_, **__: contextlib.nullcontext())  # which "meta" does not have
    # a tensor on "meta" has no values: whatever would wait for one fails
    assert encoder(waves, torch.tensor([16_000, 9_000])).shape == (2, 12)
    with pytest.raises(AudioError, match="too short"):
        encoder(waves, torch.tensor([16_000, 900]))


@every_architecture
def test_survives_the_disk(architecture: str, tmp_path: Path) -> None:
    encoder = encoder_of(architecture)
    encoder.save(tmp_path / "model", {"README.md": b"# card\n"})
    loaded = SpeakerEncoder.load(tmp_path / "model")
    assert not loaded.training
    assert loaded.config == encoder.config
    assert loaded.fingerprint == encoder.fingerprint
    assert torch.equal(loaded(noise(2, 8_000)), encoder(noise(2, 8_000)))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["schema_version"] == 1
    assert described["architecture"] == architecture
    assert described["sample_rate"] == 16_000
    assert described["embedding_dim"] == encoder.embedding_dim
    assert described["fingerprint"] == encoder.fingerprint


def test_options_are_kept_with_every_default() -> None:
    options = encoder_of("ecapa").config.options
    assert options["res2_scale"] == 8
    assert options["fbank"]["window"] == "hamming"


def test_a_copy_shares_nothing() -> None:
    encoder = encoder_of("ecapa")
    other = encoder.copy()
    assert other.fingerprint == encoder.fingerprint
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1.0)
    assert other.fingerprint != encoder.fingerprint
    assert encoder.fingerprint == encoder_of("ecapa").fingerprint


def test_training_mode_takes_full_lengths_and_refuses_padding() -> None:
    encoder = encoder_of("ecapa").train()
    encoder(noise(2, 8_000), torch.tensor([8_000, 8_000]))
    with pytest.raises(ModelError, match="same length"):
        encoder(noise(2, 8_000), torch.tensor([8_000, 7_000]))


@every_architecture
def test_too_short_is_an_error_and_never_an_embedding(architecture: str) -> None:
    encoder = encoder_of(architecture)
    shortest = encoder.min_samples
    with pytest.raises(AudioError, match=r"0\.20 s is too short: the model needs 0\.30 s"):
        encoder(noise(1, 3_200))
    with pytest.raises(AudioError, match="too short"):
        encoder(noise(2, 8_000), torch.tensor([8_000, shortest - 1]))
    assert torch.isfinite(encoder(noise(1, shortest))).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    encoder = encoder_of("ecapa")
    with pytest.raises(ModelError, match=r"\(B, T\)"):
        encoder(noise(8_000))
    with pytest.raises(ModelError, match="lengths"):
        encoder(noise(2, 8_000), torch.tensor([8_000]))
    with pytest.raises(ModelError, match="9000 samples in a batch of 8000"):
        encoder(noise(2, 8_000), torch.tensor([8_000, 9_000]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EncoderConfig("ecappa"), "Did you mean 'ecapa'"),
        (EncoderConfig("ecapa", {"chanels": 64}), "Did you mean 'channels'"),
        (EncoderConfig("ecapa", {"fbank": {"window": "ham"}}), "window"),
        (EncoderConfig("ecapa", SMALL["ecapa"], sample_rate=8_000), "8000 Hz"),
        (EncoderConfig("ecapa", SMALL["ecapa"], embedding_dim=99), "dimension 99"),
    ],
)
def test_configurations_that_make_no_encoder(config: EncoderConfig, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SpeakerEncoder(config)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_directories_that_hold_no_sound_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model directory"):
        SpeakerEncoder.load(tmp_path / "absent")
    encoder_of("ecapa").save(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    sound = config.read_text(), weights.read_bytes()

    weights.write_bytes(sound[1][:-100])
    with pytest.raises(ModelError, match="missing or damaged"):
        SpeakerEncoder.load(tmp_path)
    weights.write_bytes(sound[1][:-1] + bytes([sound[1][-1] ^ 1]))
    with pytest.raises(ModelError, match="fingerprint"):
        SpeakerEncoder.load(tmp_path)
    weights.unlink()
    with pytest.raises(ModelError, match="missing or damaged"):
        SpeakerEncoder.load(tmp_path)
    weights.write_bytes(sound[1])

    edit(config, schema_version=2)
    with pytest.raises(ModelError, match="schema version 2"):
        SpeakerEncoder.load(tmp_path)
    for text in ("{", "[]", "3", '{"schema_version": 1}'):
        config.write_text(text)
        with pytest.raises(ModelError, match="not the configuration of a model"):
            SpeakerEncoder.load(tmp_path)
    config.write_text(sound[0])
    edit(config, min_samples=9_999)
    with pytest.raises(ModelError, match="fingerprint"):
        SpeakerEncoder.load(tmp_path)
    config.write_text(sound[0])
    SpeakerEncoder.load(tmp_path)


def test_weights_of_another_architecture_do_not_load(tmp_path: Path) -> None:
    from voxanchor.models import artefact

    config = dataclasses.asdict(encoder_of("ecapa").config)
    artefact.write(tmp_path, config, encoder_of("ge2e").state_dict(), {})
    with pytest.raises(ModelError, match="do not fit"):
        SpeakerEncoder.load(tmp_path)


def test_saving_where_a_file_stands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("something else")
    with pytest.raises(OutputError):
        encoder_of("ecapa").save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "something else"
