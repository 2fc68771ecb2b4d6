"""Exported files beside the torch model they were made from."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import voxanchor
from voxanchor.errors import MissingExtraError, ModelError, OutputError, RecipeError
from voxanchor.export.onnx import export
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder

Voice = Callable[..., np.ndarray]

SECONDS = (0.3, 0.5, 1.96, 1.97, 3.0, 20.0)
"""The shortest allowed, the three promised, and both sides of GE2E's second window."""


def by_torch(encoder: SpeakerEncoder, wave: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        embedding: np.ndarray = encoder(torch.from_numpy(wave)[None]).numpy()[0]
    return embedding


def assert_same(encoder: SpeakerEncoder, exported: ExportedEncoder, voice: Voice) -> None:
    waves = [voice(1, take, seconds) for take, seconds in enumerate(SECONDS)]
    lengths = np.array([len(wave) for wave in waves])
    expected = np.stack([by_torch(encoder, wave) for wave in waves])
    alone = np.concatenate([exported.embed(wave[None], lengths[i : i + 1]) for i, wave in enumerate(waves)])
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    padded = np.full((len(waves), lengths.max() + 1_000), np.nan, np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    together = exported.embed(padded, lengths)
    np.testing.assert_allclose(together, expected, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(expected[0] - expected[1:]).max() > 0.01


def test_ecapa_embeds_as_torch_does(encoder: SpeakerEncoder, exported_path: Path, voice: Voice) -> None:
    assert_same(encoder, ExportedEncoder.load(exported_path), voice)


def test_an_offset_and_a_stretch_of_zeros_change_nothing(
    encoder: SpeakerEncoder, exported_path: Path, voice: Voice
) -> None:
    wave = voice(1, 0, 3.0) + np.float32(0.02)
    wave[20_000:24_000] = 0.0
    found = ExportedEncoder.load(exported_path).embed(wave[None], np.array([len(wave)]))
    np.testing.assert_allclose(found[0], by_torch(encoder, wave), atol=1e-4)


@pytest.mark.slow
def test_ge2e_embeds_as_torch_does(tmp_path: Path, voice: Voice) -> None:
    encoder = SpeakerEncoder(EncoderConfig("ge2e"), seed=1).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(4)  # as they are drawn, all recordings are nearly one to it
    made = export(encoder, tmp_path / "g.onnx", "ge2e")
    assert made.max_difference < 1e-5
    assert_same(encoder, ExportedEncoder.load(tmp_path / "g.onnx"), voice)


@pytest.mark.slow
def test_ge2e_in_int8_is_near_and_says_that_it_is_another(tmp_path: Path, voice: Voice) -> None:
    encoder = SpeakerEncoder(EncoderConfig("ge2e"), seed=1).eval()
    made = export(encoder, tmp_path / "g.onnx", "ge2e", "int8")
    assert made.size_bytes < 2_600_000
    assert made.min_cosine > 0.99
    exported = ExportedEncoder.load(tmp_path / "g.onnx")
    assert exported.precision == "int8"
    assert exported.fingerprint == f"{encoder.fingerprint}-int8"
    wave = voice(1, 1, 3.0)
    found = exported.embed(wave[None], np.array([len(wave)]))[0]
    assert 1e-7 < 1 - float(found @ by_torch(encoder, wave)) < 0.01


def test_the_file_says_what_it_is(encoder: SpeakerEncoder, exported_path: Path) -> None:
    model = onnx.load(exported_path)
    onnx.checker.check_model(model, full_check=True)
    described = {entry.key: entry.value for entry in model.metadata_props}
    assert described.pop("voxanchor.sha256")
    assert described == {
        "voxanchor.format": "voxanchor-onnx-1",
        "voxanchor.name": "small",
        "voxanchor.architecture": "ecapa",
        "voxanchor.fingerprint": encoder.fingerprint,
        "voxanchor.precision": "float32",
        "voxanchor.sample_rate": "16000",
        "voxanchor.embedding_dim": "16",
        "voxanchor.min_samples": "4800",
        "voxanchor.hears_level": "False",
    }
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"waves": ["batch", "samples"], "lengths": ["batch"], "embeddings": ["batch", 16]}
    content = exported_path.read_bytes()
    for place in (Path(voxanchor.__file__).parent, Path(torch.__file__).parent):
        assert str(place).encode() not in content


@pytest.mark.usefixtures("at_once")
def test_an_older_export_is_replaced_and_the_model_left_as_it_was(
    encoder: SpeakerEncoder, exported_path: Path, tmp_path: Path
) -> None:
    training = encoder.copy().train()
    export(training, tmp_path / "new" / "m.onnx", "small")
    made = export(training, tmp_path / "new" / "m.onnx", "small")
    assert (tmp_path / "new" / "m.onnx").read_bytes() == exported_path.read_bytes()
    assert training.training
    assert made.size_bytes == exported_path.stat().st_size
    assert 0 < made.max_difference < 1e-5


@pytest.mark.usefixtures("at_once")
def test_a_file_that_embeds_otherwise_is_not_kept(encoder: SpeakerEncoder, tmp_path: Path) -> None:
    other = SpeakerEncoder(encoder.config, seed=2)
    with pytest.raises(ModelError, match="differs from the model"):
        export(other, tmp_path / "m.onnx", "other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("content", [b"", b"mine", bytes(500)])
def test_what_is_no_export_is_never_replaced(encoder: SpeakerEncoder, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="did not write"):
        export(encoder, path, "small")
    assert path.read_bytes() == content
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OutputError, match="not a file"):
        export(encoder, tmp_path / "folder.onnx", "small")
    with pytest.raises(RecipeError, match=r"must end in \.onnx"):
        export(encoder, tmp_path / "m.bin", "small")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra(
    encoder: SpeakerEncoder, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*voxanchor\[onnx\]"):
        export(encoder, tmp_path / "m.onnx", "small")


def test_a_network_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    class Choosy(torch.nn.Module):
        def forward(self, waves: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return waves[:, :4] if waves.sum() > 0 else waves[:, 4:8]

    choosy = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}))
    choosy.network = Choosy()
    with pytest.raises(ModelError, match=r"choosy: this network cannot be exported"):
        export(choosy, tmp_path / "m.onnx", "choosy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_exported_file_hears_no_level_either(tmp_path: Path) -> None:
    encoder = SpeakerEncoder(EncoderConfig("ge2e"), seed=1).eval()
    path = tmp_path / "m.onnx"
    export(encoder, path, "ge2e")
    exported = ExportedEncoder.load(path)
    assert not exported.hears_level
    draw = np.random.default_rng(0)
    wave = (0.1 * draw.standard_normal(48_000) * np.repeat(draw.random(30), 1_600)).astype(np.float32)
    waves = np.stack([wave, 0.01 * wave, 3.0 * wave, wave + np.float32(0.1)])
    found = exported.embed(waves, np.full(4, 48_000))
    np.testing.assert_allclose(found[1:], np.tile(found[:1], (3, 1)), atol=1e-4)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(waves)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
