"""The pages about models: every command runs as it stands, with golden models in the place of published ones."""

import re
import shutil
from pathlib import Path

import pytest
import soundfile

from voxanchor.cli.main import run

DOCS = Path(__file__).parents[1] / "docs"
GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
PAGES = {
    "bring-your-own-model.md": {"my-model": "wespeaker-campplus"},
    "models/speechbrain.md": {"spkrec-ecapa-voxceleb": "speechbrain-ecapa_tdnn"},
    "models/wespeaker.md": {"voxceleb_resnet34_LM": "wespeaker-resnet34"},
    "models/3dspeaker.md": {"campplus_cn_common.bin": "3dspeaker-campplus/campplus_cn_common.bin"},
    "models/ge2e.md": {},
}
FEW = [
    f"stages.anchored.train.{setting}"
    for setting in ("steps=4", "batch_size=8", "crop_s=0.6", "validate_every=2", "checkpoint_every=2")
]
SHORTER = {
    # of models with random weights nothing is asked but that they go the whole way
    "robustify": ["--force", *(part for setting in FEW for part in ("--set", setting))],
    "evaluate": ["--suite", "small.yaml", "--segment-s", "1", "--max-segments", "1"],
    "compatibility": ["--suite", "small.yaml", "--segment-s", "1", "--max-segments", "1"],
}


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    return [line[1:] for line in lines if line[:1] == ["voxanchor"]]


@pytest.fixture
def place(tmp_path: Path, voices_folder: Path, noise_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with everything that the pages name."""
    shutil.copytree(voices_folder, tmp_path / "my-speech")
    for number in range(3):
        shutil.copytree(voices_folder / f"s{number:02d}", tmp_path / "test-speech" / f"s{number:02d}")
    for name in ("my-noise", "test-noise"):
        shutil.copytree(noise_path, tmp_path / name)
    for number, name in enumerate(("enrolment", "test", "a", "b")):
        wave, rate = soundfile.read(voices_folder / f"s{number:02d}" / "0.flac")
        soundfile.write(tmp_path / f"{name}.wav", wave, rate)
    (tmp_path / "small.yaml").write_text("name: small\nconditions: [clean, noise_5db]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def go_through(page: str, place: Path, exporting: bool) -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"needs the golden models in {GOLDEN}")
    for name, source in PAGES[page].items():
        found = GOLDEN / source
        (shutil.copytree if found.is_dir() else shutil.copyfile)(found, place / name)
    for command in commands(page):
        if exporting or (command[0] != "export" and "robust.onnx" not in command):
            undecided = command[0] == "verify"  # these models have no calibration: a score alone
            assert run([*command, *SHORTER.get(command[0], [])]) == (8 if undecided else 0), command


@pytest.mark.parametrize("page", PAGES)
def test_every_page_goes_the_whole_way(page: str) -> None:
    assert {"robustify", "card", "evaluate", "export"} <= {command[0] for command in commands(page)}


# the other pages take up to half a minute each, and are gone through with their exports below
@pytest.mark.parametrize("page", ["models/ge2e.md"])
def test_every_command_of_a_page_runs(page: str, place: Path) -> None:
    go_through(page, place, exporting=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_and_so_does_the_export(page: str, place: Path) -> None:
    go_through(page, place, exporting=True)


def test_every_page_about_a_model_is_gone_through() -> None:
    about = {f"models/{path.name}" for path in (DOCS / "models").glob("*.md")}
    # those two have tests of their own: a module to import, and a package that is not installed everywhere
    assert about - set(PAGES) <= {"models/python.md", "models/transformers.md"}
