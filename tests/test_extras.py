"""What an optional package provides says how to get it when it is absent."""

import sys
from pathlib import Path

import pytest

from voxanchor.errors import MissingExtraError
from voxanchor.training.loop import make_fabric


def test_training_without_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingExtraError, match=r"voxanchor\[train\]"):
        make_fabric("auto")


def test_quickstart_without_the_synthesiser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from voxanchor.workflows.quickstart import quickstart

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"voxanchor\[synthetic\]"):
        quickstart(tmp_path / "out")


def test_models_of_transformers_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import json

    import torch
    from safetensors.torch import save_file

    from voxanchor.models import registry

    config = {"model_type": "wavlm", "architectures": ["WavLMForXVector"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16_000}))
    save_file({"projector.bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voxanchor\[transformers\]'"):
        registry.load(f"transformers:{tmp_path}")
