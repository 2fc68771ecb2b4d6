from pathlib import Path

import pytest
import torch

from voxanchor.errors import MissingExtraError, ModelError
from voxanchor.models import references, registry
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.foreign import ge2e
from voxanchor.models.references import available

CONFIG = EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 12})


def test_built_encoders_are_ready_to_train() -> None:
    assert registry.build(CONFIG).training
    assert registry.build(CONFIG, seed=1).fingerprint == registry.build(CONFIG, seed=1).fingerprint


def test_a_model_directory_is_a_reference(tmp_path: Path) -> None:
    encoder = registry.build(CONFIG)
    encoder.save(tmp_path / "model")
    for ref in (tmp_path / "model", str(tmp_path / "model")):
        loaded = registry.load(ref)
        assert loaded.fingerprint == encoder.fingerprint
        assert not loaded.training


@pytest.mark.skipif(ge2e.weights_path() is None, reason=f"needs {ge2e.INSTALL_HINT}")
def test_ge2e_becomes_a_model_directory_like_any_other(tmp_path: Path) -> None:
    encoder = registry.load("ge2e")
    assert encoder.embedding_dim == 256
    encoder.save(tmp_path)
    waves = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert torch.equal(registry.load(tmp_path)(waves), encoder(waves))


def test_ge2e_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "GE2E_PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(MissingExtraError, match="pip install"):
        registry.load("ge2e")
    reference = next(reference for reference in available() if reference.ref == "ge2e")
    assert not reference.installed


def test_unknown_references_say_what_one_may_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'ge2e'\? A model reference is one of ge2e, DIR, "):
        registry.load("ge2")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        registry.load(tmp_path / "model.bin")
    with pytest.raises(ModelError, match="not a model directory"):
        registry.load(tmp_path)
