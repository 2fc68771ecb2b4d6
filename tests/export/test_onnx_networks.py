"""Exports of every network on spectrograms beside the torch models they were made from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voxanchor.export.onnx import export
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {"m_channels": 8, "blocks": [1, 1, 1, 1], "two_emb_layer": True}),
    ("resnet", {"m_channels": 4, "blocks": [1, 1, 1, 1], "block": "bottleneck"}),
    ("campplus", {"growth_rate": 4, "bn_size": 2, "init_channels": 16, "m_channels": 8, "added_variance": 0.0}),
    ("eres2net", {"m_channels": 8, "blocks": [1, 1, 1, 1]}),
]

SECONDS = (0.3, 2.01, 2.05, 4.0, 12.0)
"""The shortest allowed, both sides of a hundred frames after a stride of two, and several segments."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_embeds_as_torch_does(
    tmp_path: Path, voice: Callable[..., np.ndarray], name: str, options: dict[str, Any]
) -> None:
    encoder = SpeakerEncoder(EncoderConfig(name, {"embedding_dim": 16, **options}), seed=1)
    with torch.no_grad():
        for take in range(3):
            encoder(torch.from_numpy(np.stack([voice(speaker, take) for speaker in range(6)])))
    encoder.eval()
    assert export(encoder, tmp_path / "m.onnx", name).max_difference < 1e-5
    exported = ExportedEncoder.load(tmp_path / "m.onnx")
    waves = [voice(1, take, seconds) for take, seconds in enumerate(SECONDS)]
    lengths = np.array([len(wave) for wave in waves])
    with torch.no_grad():
        expected = np.concatenate([encoder(torch.from_numpy(wave)[None]).numpy() for wave in waves])
    alone = np.concatenate([exported.embed(wave[None], lengths[i : i + 1]) for i, wave in enumerate(waves)])
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    padded = np.full((len(waves), lengths.max() + 1_000), 0.7, np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    np.testing.assert_allclose(exported.embed(padded, lengths), alone, atol=1e-5)
    assert np.abs(expected[0] - expected[1:]).max() > 0.01
