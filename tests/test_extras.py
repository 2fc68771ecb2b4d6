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
