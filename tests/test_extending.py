"""docs/extending.md runs as it stands: a loss and a backbone of one's own are trained by a recipe and evaluated."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import voxanchor
from voxanchor.cli.main import main
from voxanchor.models import registry
from voxanchor.training.recipe import read_recipe
from voxanchor.workflows.plan import in_words

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
RECIPE, SCRIPT = (re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)[0] for kind in ("yaml", "python"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path) -> Path:
    """Where the script of the page ran."""
    folder = tmp_path_factory.mktemp("extending")
    for speaker in sorted(voices_folder.iterdir())[:8]:
        (folder / "speech" / speaker.name).mkdir(parents=True)
        for take in sorted(speaker.iterdir())[:2]:
            (folder / "speech" / speaker.name / take.name).symlink_to(take)
    (folder / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(SCRIPT, {"__name__": "mine"})
    finally:
        os.chdir(before)
    return folder


@pytest.mark.slow
def test_the_losses_are_trained_by(place: Path) -> None:
    lines = (place / "runs/mine/anchored/training/metrics.jsonl").read_text().splitlines()
    last = [values for line in lines if "loss" in (values := json.loads(line))][-1]
    terms = last["aam"] + 10 * last["anchor"] + 0.1 * last["repel"] + last["norm_gap"]
    assert last["loss"] == pytest.approx(terms, rel=1e-4)
    assert last["repel"] > 0
    assert last["norm_gap"] > 0


@pytest.mark.slow
def test_the_models_are_saved_and_loaded_and_padding_changes_nothing(place: Path) -> None:
    encoder = registry.load(place / "runs/mine/anchored")
    assert (encoder.config.architecture, encoder.config.options["channels"]) == ("tiny", 24)
    waves = torch.randn(2, 16_000)
    together = encoder(waves, torch.tensor([16_000, 9_600]))
    torch.testing.assert_close(together[1:], encoder(waves[1:, :9_600]), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_what_is_evaluated_reads_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    found = voxanchor.evaluate(
        {"mine": Path("runs/mine/anchored")}, Path("speech"), segment_s=1, max_segments=1, out=Path("again")
    )
    assert found.report.exists()
    assert set(found.eer) == {"mine"}
    assert len(found.eer["mine"]) == 16
    assert re.search(r"mine: clean \d+\.\d\d, mean of 15 others \d+\.\d\d", repr(found))


@pytest.mark.slow
def test_the_plan_and_the_words_of_a_comparison_know_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "repel (0.1)" in in_words(read_recipe(place / "mine.yaml"), "anchored")[-1]
    with pytest.raises(SystemExit) as ended:
        main(["train", str(place / "mine.yaml"), "--plan"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert "anchored" in capsys.readouterr().out


@pytest.mark.slow
def test_elsewhere_the_error_says_which_name_is_missing_and_nothing_is_imported(place: Path) -> None:
    # a module of the architecture's name lies there to be imported; a file's word must not do it
    (place / "tiny.py").write_text("raise SystemExit('imported')\n")
    code = f"import voxanchor; voxanchor.load({str(place / 'runs/mine/anchored')!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False)
    assert "encoder architecture 'tiny' is not known here" in done.stderr
    assert "voxanchor.register_backbone" in done.stderr
    assert "imported" not in done.stderr
    code = f"from voxanchor.training.recipe import read_recipe; read_recipe({str(place / 'mine.yaml')!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False)
    assert "loss 'repel' is not known here" in done.stderr


PACKAGE = """
import voxanchor

@voxanchor.register_loss("packaged")
def packaged(embeddings, scale: float):
    return scale * embeddings.sum()
"""


@pytest.mark.parametrize(
    ("offered", "module", "message"),
    [
        ("packaged = my_package_{n}:packaged", PACKAGE, ""),
        ("other = my_package_{n}:packaged", PACKAGE, "registers none of that name"),
        ("packaged = my_package_{n}:packaged", "import absent_thing", "ModuleNotFoundError: No module named 'absent"),
    ],
)
def test_an_installed_package_is_asked_by_its_entry_point(
    tmp_path: Path, offered: str, module: str, message: str
) -> None:
    (tmp_path / "my_package_1.py").write_text(module)
    info = tmp_path / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[voxanchor.losses]\n{offered.format(n=1)}\n")
    name = offered.split(" ")[0]
    recipe = yaml.safe_load(RECIPE)
    recipe["encoder"] = {"architecture": "ecapa"}
    recipe["stages"] = {"base": {"train": {"start": "scratch", "steps": 1, "losses": {name: {"scale": "1e-3"}}}}}
    recipe["evaluation"]["systems"] = ["base"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from voxanchor.errors import RecipeError\n"
        "from voxanchor.training.recipe import read_recipe\n"
        "try: print(read_recipe('r.yaml').stages['base'].train.loss_options('packaged'))\n"
        "except RecipeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (message or "(1.0, {'scale': 0.001})") in done.stdout
    assert not message or "my-package" in done.stdout
