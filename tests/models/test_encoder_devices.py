"""Where a model runs: the name a user gives, weights and inputs that go there, and embeddings that come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import voxanchor
from voxanchor import runtime
from voxanchor.errors import RecipeError
from voxanchor.models import frontend, registry
from voxanchor.models.encoder import ARCHITECTURES, EncoderConfig, SpeakerEncoder
from voxanchor.runtime import best_device, device_named
from voxanchor.verification.embedding import TorchEmbedder

META = torch.device("meta")
"""A device that every torch has, on which tensors have no content: what was not moved there is found out."""


class Seeing(nn.Module):
    """Stands for an encoder: notes where it was computed."""

    fingerprint, embedding_dim, min_samples, hears_level = "f", 4, 1, False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[str, torch.dtype]] = []

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        self.seen = [(x.device.type, x.dtype) for x in (self.weight, waves, lengths)]
        return torch.eye(len(waves), 4, dtype=torch.float64)


def cuda(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


def test_a_name_is_a_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, 2)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert device_named("auto") == best_device() == torch.device("cuda", 0)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert device_named(name) == torch.device(name)
    cuda(monkeypatch, 0)
    assert device_named("auto") == torch.device("cpu")  # MPS only where it is asked for


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("cuda", 0, "no CUDA device here; use --device cpu"),
        ("cuda:1", 0, "no CUDA device here; use --device cpu"),
        ("cuda:1", 1, "there is cuda:0 alone"),
        ("cuda:7", 4, "there is cuda:0 to cuda:3"),
        ("mps", 1, "no MPS device here"),
        ("gpu", 1, "auto, cpu, cuda, one of several as cuda:1, and mps"),
        ("cuda:", 1, "auto, cpu, cuda"),
        ("cpu:0", 1, "auto, cpu, cuda"),
        ("", 1, "auto, cpu, cuda"),
    ],
)
def test_what_is_no_device_here(name: str, count: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, count)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(RecipeError) as caught:
        device_named(name)
    assert str(caught.value).startswith(f"device '{name}': ")
    assert words in str(caught.value)


def test_weights_and_inputs_go_to_the_device_and_embeddings_come_back() -> None:
    encoder: Any = Seeing()
    embedder = TorchEmbedder(encoder, META)
    assert embedder.device == "meta"
    found = embedder.embed(np.zeros((2, 10), np.float32), np.array([10, 5]))
    # lengths stay on the host, where the encoder looks at them before it moves them
    assert encoder.seen == [("meta", torch.float32), ("meta", torch.float32), ("cpu", torch.int64)]
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32


def test_loading_takes_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def named(name: str) -> torch.device:
        asked.append(name)
        return META

    monkeypatch.setattr(runtime, "device_named", named)
    monkeypatch.setattr(registry, "load", lambda _: Seeing())
    cases: list[dict[str, Any]] = [{}, {"device": "cuda:1"}]
    for given in cases:
        embedder: Any = voxanchor.load("any", **given).embedder
        assert embedder.device == "meta"
    assert asked == ["auto", "cuda:1"]


def test_a_device_that_is_not_there_is_told_before_weights_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cuda(monkeypatch, 0)
    monkeypatch.setattr(registry, "load", lambda _: pytest.fail("was read"))
    with pytest.raises(RecipeError, match="no CUDA device here"):
        voxanchor.load("ge2e", store=tmp_path / "people.db", device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_nothing_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda(monkeypatch, 0)
    encoder = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).eval()
    encoder.save(tmp_path / "m")
    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    with torch.no_grad():
        (expected,) = encoder(torch.from_numpy(wave)[None]).numpy()
    cases: list[dict[str, Any]] = [{}, {"device": "auto"}, {"device": "cpu"}]
    for given in cases:
        assert voxanchor.load(tmp_path / "m", **given).embed(wave).tobytes() == expected.tobytes()


class NoDoubles(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch states no types here
    """Refuses what a device without float64 refuses."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        made = function(*arguments, **(named or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{function}: Cannot convert a MPS Tensor to float64 dtype")
        return made


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"python", "transformers"}))
def test_a_device_without_float64_is_given_none(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SpeakerEncoder(EncoderConfig(architecture)).eval()
    waves = 0.1 * torch.randn(2, 48_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([48_000, 40_000])
    with torch.no_grad():
        expected = encoder(waves, lengths)
        monkeypatch.setattr(frontend, "DOUBLES", ())  # as on MPS
        with NoDoubles():  # type: ignore[no-untyped-call]
            found = encoder(waves, lengths)
    assert (found * expected).sum(dim=1).min() > 0.999
