"""What an optional package provides says how to get it when it is absent."""

import json
import shutil
import subprocess
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
    from voxanchor.workflows.train import quickstart

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtraError, match=r"voxanchor\[synthetic\]"):
        quickstart(tmp_path / "out")


def test_models_of_transformers_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, *rest)

absent = sys.argv.pop(1).split(",")
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
"""Makes packages absent, as they are where nobody installed them."""

MAIN = "from voxanchor.cli.main import main; main()"


def without(packages: str, *words: str, cwd: Path, code: str = MAIN) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT + code, packages, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path) -> Path:
    """A folder with what commands are given: a model directory, a card, a store, a recording, a corpus, a recipe."""
    from voxanchor.enrolments.store import open_store
    from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

    folder = tmp_path_factory.mktemp("bare")
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(folder / "model")
    (folder / "carded").mkdir()
    (folder / "carded" / "README.md").write_text("# A model\n")
    open_store(folder / "people.db").close()
    shutil.copyfile(voices_folder / "s00" / "0.flac", folder / "a.flac")
    (folder / "speech").symlink_to(voices_folder)
    recipe = "name: r\ndata: {speech: [{path: speech}]}\nstages: {base: {train: {start: scratch}}}\n"
    (folder / "recipe.yaml").write_text(recipe)
    return folder


NEED_TORCH = (
    "quickstart --out q",
    "train recipe.yaml --out t",
    "compare recipe.yaml --out c",
    "robustify --model model --speech speech --out r",
    "train recipe.yaml --out t --plan",
    "evaluate --model model --speech speech --out e",
    "compatibility --old model --new model --speech speech --out m",
    "calibrate --model model --speech speech --out k",
    "embed a.flac --model model --out e.safetensors",
    "embed --speech speech --model model --out es",
    "enroll Ann a.flac --model model --store people.db",
    "verify a.flac a.flac --model model",
    "verify-as Ann a.flac --model model --store people.db",
    "identify a.flac --model model --store people.db",
    "export model --out m.onnx",
    "card model",
    "upgrade a.flac --model model --out u",
    "people upgrade --model model --store people.db",
    "people reembed --model model --store people.db",
    "serve --model model --store people.db --port 0",
)


@pytest.mark.parametrize("line", NEED_TORCH)
def test_commands_without_torch_say_so(line: str, bare: Path) -> None:
    found = without("torch", *line.split(), cwd=bare)
    assert found.returncode == 6, found.stderr
    assert "needs the package 'torch', which is not installed. Install it with: pip install torch" in found.stderr
    assert "Traceback" not in found.stderr
    *before, _ = found.stderr.strip().splitlines()
    assert [text for text in before if not text.endswith(" ...")] == []  # what is about to be done


@pytest.mark.parametrize(
    "line",
    [
        "models",
        "models --json",
        "--help",
        "--version",
        "card carded",
        "verify --help",
        "people list --store people.db",
        "people backup --store people.db --out backup-{}.db",
        "data pack --speech speech --out pack-{}",
    ],
)
def test_what_needs_no_torch(line: str, bare: Path, tmp_path: Path) -> None:
    found = without("torch", *line.format(tmp_path.name).split(), cwd=bare)
    assert found.returncode == 0, found.stderr


def test_an_evaluation_without_jinja_leaves_its_tables(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("name: small\nconditions: [clean, noise_5db]\n")
    words = ["evaluate", "--model", "model", "--speech", "speech", "--suite", str(tmp_path / "small.yaml")]
    found = without("jinja2", *words, "--out", str(tmp_path / "out"), "--segment-s", "1", cwd=bare)
    assert found.returncode == 0, found.stderr
    assert "report.html is not written: Writing a report as a page needs the package 'Jinja2'" in found.stderr
    assert "Install it with: pip install Jinja2" in found.stderr
    assert {"results.csv", "geometry.csv", "summary.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "report.html").exists()
    assert "EER in %" in found.stdout
    assert "report.html" not in found.stdout


def test_hints_where_torch_is_absent_do_not_bring_it_back(bare: Path) -> None:
    words = ["models", "--json"]
    hints = {entry["ref"]: entry["install_hint"] for entry in json.loads(without("torch", *words, cwd=bare).stdout)}
    assert hints["FILE.onnx"] == "pip install onnxruntime"
    hints = {entry["ref"]: entry["install_hint"] for entry in json.loads(without("fastapi", *words, cwd=bare).stdout)}
    assert hints["FILE.onnx"] == "pip install 'voxanchor[onnx]'"
    serve = ["serve", "--model", "m.onnx", "--store", "people.db", "--port", "0"]
    found = without("torch,fastapi", *serve, cwd=bare)
    assert found.returncode == 6
    assert found.stderr.endswith("pip install fastapi uvicorn python-multipart prometheus-client\n")
    assert without("fastapi", *serve, cwd=bare).stderr.endswith("pip install 'voxanchor[serve]'\n")


def test_noise_is_mixed_without_torch(tmp_path: Path) -> None:
    """The service adds noise, and an exported file embeds what comes out."""
    code = """
import numpy as np
from voxanchor.service.backgrounds import backgrounds
from voxanchor.service.routes import with_noise
wave = np.sin(np.arange(32000, dtype=np.float32) / 9) * (np.arange(32000) % 8000 < 5000)
with backgrounds([]) as noise:
    for kind in noise.kinds:
        noisy = with_noise(wave.astype(np.float32), kind, [5.0], noise.bank, 1)
        assert len(noisy.audio) == 2 and noisy.description, kind
"""
    found = without("torch", cwd=tmp_path, code=code)
    assert found.returncode == 0, found.stderr
