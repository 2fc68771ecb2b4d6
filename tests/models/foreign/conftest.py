"""The golden tensors: what other toolkits compute from models of random weights. They lie beside the project."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parents[3].parent / "shared" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden models; without it a test that needs it is skipped."""
    if not GOLDEN.is_dir():
        pytest.skip(f"needs the golden models in {GOLDEN}")
    return GOLDEN


@pytest.fixture(scope="session")
def inputs(golden: Path) -> dict[str, Tensor]:
    """``wav.1.3s`` and ``wav.3.0s``, (T,) waveforms, and ``feat.ref``, (200, 80) made-up features."""
    return load_file(golden / "inputs.safetensors")


@pytest.fixture(scope="session")
def expected(golden: Path) -> Callable[[str], dict[str, Tensor]]:
    """From the name of a golden model to what its toolkit computed."""
    return lambda name: load_file(golden / name / "golden.safetensors")
