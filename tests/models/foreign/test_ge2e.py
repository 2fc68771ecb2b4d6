from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from voxanchor.errors import MissingExtraError, ModelError
from voxanchor.models import references
from voxanchor.models.foreign import ge2e
from voxanchor.models.foreign.ge2e import GE2E, GE2EConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "ge2e.safetensors"
needs_weights = pytest.mark.skipif(ge2e.weights_path() is None, reason=f"needs {ge2e.INSTALL_HINT}")


def network() -> GE2E:
    loaded = GE2E(GE2EConfig())
    loaded.load_state_dict(ge2e.pretrained_weights())
    return loaded.eval()


@needs_weights
@pytest.mark.parametrize("index", range(4))
def test_reproduces_the_package(index: int) -> None:
    golden = load_file(GOLDEN)
    wave = torch.from_numpy(golden[f"wave_{index}"].astype(np.float32) / 32768)
    with torch.no_grad():
        embedding = torch.nn.functional.normalize(network()(wave[None])[0], dim=0)
    expected = golden[f"embedding_{index}"]
    assert float(embedding.numpy() @ expected) > 0.99999
    np.testing.assert_allclose(embedding.numpy(), expected, atol=1e-5)


def written_out(samples: int) -> list[int]:
    """First frames of the windows, by the steps of the published rule (rate 1.3 a second, coverage 0.75)."""
    frames = int(np.ceil((samples + 1) / 160))
    step = int(np.round((16_000 / 1.3) / 160))
    starts = list(range(0, max(1, frames - 160 + step + 1), step))
    coverage = (samples - starts[-1] * 160) / (160 * 160)
    return starts[:-1] if coverage < 0.75 and len(starts) > 1 else starts


@settings(max_examples=300, deadline=None)
@given(samples=st.integers(1, 400_000))
def test_windows_follow_the_published_rule(samples: int) -> None:
    assert ge2e.windows(samples) == len(written_out(samples))


@pytest.mark.parametrize(("duration_s", "count"), [(0.3, 1), (1.6, 1), (1.96, 1), (1.97, 2), (5.7, 6)])
def test_windows_of_known_lengths(duration_s: float, count: int) -> None:
    assert ge2e.windows(round(duration_s * 16_000)) == count


@settings(max_examples=300, deadline=None)
@given(samples=st.integers(1, 400_000))
def test_windows_are_one_division(samples: int) -> None:
    steps = (samples + ge2e._FIRST_STEP_SAMPLES) // ge2e._STEP_SAMPLES
    assert ge2e.windows(samples) == max(1, steps)


def test_the_form_that_is_exported_gives_the_same() -> None:
    torch.manual_seed(0)
    random = GE2E(GE2EConfig()).eval()
    lengths = torch.tensor([50_000, 4_800, 31_519, 31_520])
    waves = torch.randn(4, 60_000)
    waves[1, 4_800:] = torch.nan
    with torch.no_grad():
        torch.testing.assert_close(random._forward_any_shape(waves, lengths), random(waves, lengths))


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    random = GE2E(GE2EConfig()).eval()
    lengths = torch.tensor([50_000, 4_800, 25_600, 31_680])
    waves = torch.randn(4, 50_000)
    waves[1, 4_800:] = torch.nan
    with torch.no_grad():
        together = random(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = random(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


def test_recording_of_several_windows_is_their_mean() -> None:
    torch.manual_seed(0)
    random = GE2E(GE2EConfig()).eval()
    # Silence around each window's own centre keeps the neighbours' samples out of the edge frames.
    waves = torch.zeros(1, 77 * 160 + 25_600)
    waves[0, 400:12_000] = torch.randn(11_600)
    waves[0, 13_000:25_000] = torch.randn(12_000)
    first, second = waves[:, :25_600], waves[:, 77 * 160 :]
    with torch.no_grad():
        parts = torch.nn.functional.normalize(torch.cat([random(first), random(second)]), dim=1)
        whole = torch.nn.functional.normalize(random(waves), dim=1)
    torch.testing.assert_close(whole[0], torch.nn.functional.normalize(parts.mean(dim=0), dim=0))


@needs_weights
def test_every_weight_gets_a_gradient_from_one_crop() -> None:
    tuned = network().train()
    generator = torch.Generator().manual_seed(0)
    embeddings = tuned(torch.randn(2, 25_600, generator=generator) * 0.05)
    (embeddings * torch.randn(2, 256, generator=generator)).sum().backward()
    missing = [name for name, weight in tuned.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missing == []


def test_absent_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "GE2E_PACKAGE", "a-package-that-nobody-has")
    assert ge2e.weights_path() is None
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps resemblyzer==0\.1\.4"):
        ge2e.pretrained_weights()


def test_unreadable_weights_are_reported_with_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "pretrained.pt"
    damaged.write_bytes(b"not a checkpoint")
    monkeypatch.setattr(ge2e, "weights_path", lambda: damaged)
    with pytest.raises(ModelError, match=r"pretrained\.pt: not the weights"):
        ge2e.pretrained_weights()
