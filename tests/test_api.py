"""What ``import voxanchor`` offers: every name, loaded when it is used, and jobs with the paths a Python user has."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

import voxanchor
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.encoder import ARCHITECTURES, EncoderConfig, SpeakerEncoder, make_network
from voxanchor.workflows.robustify import Robustified

QUICK = {
    "stages.anchored.train.steps": 2,
    "stages.anchored.train.batch_size": 4,
    "stages.anchored.train.crop_s": 0.6,
    "stages.anchored.train.validate_every": 1,
    "data.validation_speakers": 3,
    "data.voice_speeds": [],
}


def test_every_name_is_there_and_listed() -> None:
    assert dir(voxanchor) == sorted(voxanchor.__all__)
    for name in voxanchor.__all__:
        assert getattr(voxanchor, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = voxanchor.absent


def test_importing_it_loads_no_torch_and_a_name_loads_what_it_needs() -> None:
    loaded = "print('torch' in sys.modules)"
    code = f"import sys, voxanchor; dir(voxanchor); {loaded}; voxanchor.AAMSoftmax; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(folder)
    return folder


@pytest.mark.slow
def test_robustify_takes_paths_and_returns_figures(
    tmp_path: Path, model: Path, voices_folder: Path, noise_path: Path
) -> None:
    def job(channels: str = "") -> Robustified:
        return voxanchor.robustify(
            model,
            voices_folder,
            [noise_path],
            out=tmp_path / "robust",
            channels=channels or (),
            settings=QUICK,
            force=True,
        )

    made = job()
    assert made.folder == tmp_path / "robust"
    assert set(made.before) == set(made.after) >= {"clean_eer", "noisy_eer"}
    assert repr(made).startswith(f"Robustified('{tmp_path / 'robust'}')\n  clean EER ")
    # the same call, with text for paths and settings, resumes
    again = voxanchor.robustify(
        str(model),
        [str(voices_folder)],
        str(noise_path),
        out=str(tmp_path / "robust"),
        settings=[f"{key}={value}" for key, value in QUICK.items()],
        force=True,
    )
    assert again == made
    with pytest.raises(voxanchor.VoxanchorError, match="gms"):
        job(channels="gms")


@pytest.mark.slow
def test_compare_and_train_run_recipes_by_path(tmp_path: Path, voices_folder: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"""
name: small
data: {{speech: [{{path: {voices_folder}, hold_out_speakers: 4}}], validation_speakers: 2}}
encoder: {{architecture: ecapa, options: {{channels: 16, embedding_dim: 16}}}}
stages:
  base: {{train: {{start: scratch, steps: 1, batch_size: 4, crop_s: 0.6, validate_every: 1}}}}
  anchored: {{extends: base, train: {{steps: 2}}}}
evaluation: {{systems: [base, anchored], suite: noise, segment_s: 1, max_segments: 1}}
comparison: {{seeds: 1}}
"""
    )
    trained = voxanchor.train(recipe, tmp_path / "trained", settings={"stages.base.train.steps": 2})
    assert set(trained.models) == set(trained.summary) == {"base", "anchored"}
    assert voxanchor.load(trained.models["base"]).fingerprint
    compared = voxanchor.compare(str(recipe), tmp_path / "compared", pretrained={"base": trained.models["base"]})
    assert compared.report.exists()
    assert compared.summary


@dataclass(frozen=True)
class Options:
    width: int = 4


@pytest.mark.parametrize(
    ("name", "options", "network", "message"),
    [
        ("ecapa", Options, nn.Linear, "voxanchor's own"),
        ("no-name", Options, nn.Linear, "lower-case"),
        ("plain", dict, nn.Linear, "must be a dataclass"),
        ("plain", Options, Options, "no class of torch.nn.Module"),
    ],
)
def test_backbones_that_cannot_be_registered(name: str, options: type, network: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voxanchor.register_backbone(name, options=options)(network)
    assert name == "ecapa" or name not in ARCHITECTURES


def test_a_backbone_without_what_is_asked_for_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_entries", dict(ARCHITECTURES._entries))

    @voxanchor.register_backbone("bare", options=Options)
    class Bare(nn.Module):
        """Nothing but itself."""

        def __init__(self, config: Options) -> None:
            super().__init__()
            self.embedding_dim = config.width

    assert ARCHITECTURES["bare"].description == "Nothing but itself."
    with pytest.raises(ModelError, match="'bare': its network lacks MIN_SAMPLES, WANTED_INPUT, HEARS_LEVEL"):
        make_network("bare", {})
    with pytest.raises(ModelError, match=r"unknown key 'wdth'. Did you mean 'width'"):
        make_network("bare", {"wdth": 3})
    with pytest.raises(ModelError, match="Did you mean 'bare'"):
        make_network("bear", {})


def test_settings_of_a_recipe_may_be_of_any_value(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a choice"):
        voxanchor.train("compare-ge2e", tmp_path, settings={"stages.anchored.train.anchor": {"kind": "nothing"}})
