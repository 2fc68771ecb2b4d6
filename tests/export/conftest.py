"""One small network, exported once for all tests that need a file."""

import copy
from pathlib import Path

import onnx
import pytest

from voxanchor.export import onnx as exporting
from voxanchor.export.onnx import export
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder


@pytest.fixture(scope="session")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).eval()


@pytest.fixture(scope="session")
def exported_path(encoder: SpeakerEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export(encoder, path, "small")
    return path


@pytest.fixture
def at_once(exported_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's part is taken by the file that it made before."""
    model = onnx.load(exported_path)
    del model.metadata_props[:]
    monkeypatch.setattr(exporting, "_graph", lambda encoder, name: copy.deepcopy(model))
