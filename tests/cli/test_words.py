"""What commands say on their way: what they load, what is wrong before anything is announced, and what comes next."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxanchor.cli.arguments import Group, parse
from voxanchor.cli.main import find, run
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.recipe import packaged_recipes
from voxanchor.workflows import robustify as workflow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(folder)
    return folder


def test_speech_is_looked_at_before_anything_is_said_of_noise(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(6):
        wave = 0.1 * np.random.default_rng(number).standard_normal(16_000)
        soundfile.write(tmp_path / "flat" / f"{number}.wav", wave, 16_000)
    for folder, message in (("flat", "no speaker labels"), ("missing", "no such folder")):
        asked = ["robustify", "--model", str(model), "--speech", str(tmp_path / folder), "--out", str(tmp_path / "out")]
        assert run(asked) == 3
        said = capsys.readouterr().err
        assert said.startswith(f"loading {model} ...\n")
        assert message in said
        assert not re.search(r"noise|babble", said.replace(str(tmp_path), ""))


def test_a_busy_machine_is_named_before_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("voxanchor.training.run.crowded", lambda: "the machine is busy")
    for threads, told in ((2, True), (1, False)):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr("voxanchor.training.run.best_device", lambda: torch.device("cpu"))
        asked = ["robustify", "--model", str(model), "--speech", str(tmp_path), "--out", str(tmp_path / "out")]
        assert run(asked) == 3
        assert ("the machine is busy" in capsys.readouterr().err) == told


@pytest.mark.parametrize("place", ["runs/robust", "my models/robust"])
def test_robustify_ends_with_commands_to_paste(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = workflow.Robustified(Path(place), {"clean_eer": 2.0}, {"clean_eer": 1.0}, None, "")
    monkeypatch.setattr(workflow, "robustify", lambda *_, **__: made)
    assert run(["robustify", "--model", "ge2e", "--speech", "my-speech", "--out", place]) == 0
    said = capsys.readouterr().out
    assert "..." not in said
    following = [shlex.split(line) for line in said.splitlines() if line.startswith("  voxanchor ")]
    assert [words[1] for words in following] == ["evaluate", "calibrate"]
    for words in following:
        name, command, rest = find(words[1:])
        assert not isinstance(command, Group)
        parse(name, command, rest)
        assert place in words


def test_what_answers_says_nothing_of_loading_to_a_program(
    model: Path, voices_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["verify", *(str(voices_folder / "s00" / f"{take}.flac") for take in (0, 1)), "--model", str(model)]
    assert run(asked) == 8
    assert "loading" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(asked) == 8
    assert capsys.readouterr().err.startswith(f"loading {model} ...\n")


def test_recipes_are_listed_printed_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert re.findall(r"^(\S+) ", listed, re.MULTILINE) == list(packaged_recipes())
    assert max(map(len, listed.splitlines())) <= 120
    assert run(["recipes", "voxceleb1"]) == 0
    text = packaged_recipes()["voxceleb1"].read_text(encoding="utf-8")
    assert capsys.readouterr().out == text
    copy = tmp_path / "mine.yaml"
    assert run(["recipes", "voxceleb1", "--out", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == text
    assert run(["recipes", "voxceleb1", "--out", str(copy)]) == 5
    capsys.readouterr()
    assert run(["recipes", "voxcelb1"]) == 2
    assert "Did you mean 'voxceleb1'?" in capsys.readouterr().err
    assert run(["train", "librispech-musan", "--plan"]) == 2
    assert "Did you mean 'librispeech-musan'?" in capsys.readouterr().err
