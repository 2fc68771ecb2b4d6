"""What holds for every network, whatever it is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from voxanchor.errors import ModelError
from voxanchor.models.encoder import ARCHITECTURES, EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign.user import trust

SMALL: dict[str, dict[str, Any]] = {
    "ecapa": {"channels": 16, "embedding_dim": 12, "se_bottleneck": 8, "attention_bottleneck": 8},
    "resnet": {"m_channels": 4, "blocks": [1, 1, 1, 1], "embedding_dim": 12},
    "campplus": {"growth_rate": 8, "bn_size": 4, "init_channels": 8, "m_channels": 4, "embedding_dim": 12},
    "eres2net": {"m_channels": 8, "blocks": [1, 1, 1, 1], "embedding_dim": 12},
    "ge2e": {},
    "python": {"target": f"{__name__}:build"},
}

ELSEWHERE = {"transformers"}
"""Swept by tests/models/foreign/test_transformers.py, where its package is installed."""

every = pytest.mark.parametrize("name", SMALL)


class Own(nn.Module):
    """A user's module: it takes no lengths and shows no frames."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 32, kernel_size=400, stride=160)
        self.norm = nn.BatchNorm1d(32)
        self.embed = nn.Linear(64, 24)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.norm(torch.log1p(100 * self.frames(waves.unsqueeze(1)).abs()))
        embeddings: torch.Tensor = self.embed(torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1))
        return embeddings


def build() -> nn.Module:
    return Own()


trust(SMALL["python"]["target"])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(name: str) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig(name, SMALL[name]), seed=1)


def settled(name: str) -> SpeakerEncoder:
    """In eval mode, with statistics of batch normalisation that are not those of a fresh one."""
    encoder = make(name)
    with torch.no_grad():
        for seed in range(3):
            encoder(noise(6, 16_000, seed=seed) * 0.1)
    return encoder.eval()


def test_every_architecture_is_swept() -> None:
    assert SMALL.keys() | ELSEWHERE == ARCHITECTURES.keys()


@every
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_trains(name: str, precision: torch.dtype) -> None:
    encoder = make(name)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        embeddings = encoder(noise(6, 16_000) * 0.1)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    (embeddings * noise(*embeddings.shape, seed=3)).sum().backward()
    gradients = {name: weight.grad for name, weight in encoder.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert [
        name for name, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()
    ] == []
    # A bias just before a normalisation that removes the mean has a gradient of 0 up to rounding.
    idle = [name for name, gradient in gradients.items() if gradient is not None and not gradient.any()]
    assert [name for name in idle if not name.endswith("bias")] == []


@every
def test_a_padded_batch_gives_each_recording_what_it_gets_alone(name: str) -> None:
    encoder = settled(name)
    # more than one segment of CAM++ and window of GE2E, the shortest, and lengths that no stride divides
    lengths = torch.tensor([40_000, encoder.min_samples, 33_333, 16_161])
    waves = noise(4, 40_000) * 0.1
    padded = waves.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:] = 1e3 * noise(40_000 - length, seed=5)
    with torch.no_grad():
        together = encoder(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)
    assert (together[0] - together[1:]).abs().amax(dim=1).min() > 5e-5  # an untrained LSTM hears little


@every
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    encoder = settled(name)
    encoder.save(tmp_path)
    loaded = SpeakerEncoder.load(tmp_path)
    assert loaded.fingerprint == encoder.fingerprint
    waves = noise(2, 20_000) * 0.1
    assert torch.equal(loaded(waves), encoder(waves))


@every
def test_frames_are_those_that_are_pooled(name: str) -> None:
    encoder = settled(name)
    waves = noise(2, 40_000) * 0.1
    if not encoder.shows_frames:
        with pytest.raises(ModelError, match="frame"):
            encoder.with_frames(waves)
        return
    embeddings, frames = encoder.with_frames(waves)
    assert torch.equal(embeddings, encoder(waves))
    expected = {"ecapa": (2, 248, 48), "resnet": (2, 31, 320), "campplus": (2, 124, 125), "eres2net": (2, 31, 1280)}
    assert frames.shape == expected.get(name, (4, 160, 256))
