"""Channels and unseen noise through the command line: evaluated over, and trained with."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from voxanchor.cli.main import run
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

ECAPA = {"channels": 16, "embedding_dim": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    SpeakerEncoder(EncoderConfig("ecapa", ECAPA)).save(folder)
    return folder


def noises(path: Path, *names: str) -> Path:
    (path / "noise").mkdir(parents=True)
    for number, name in enumerate(names):
        wave = 0.1 * np.random.default_rng(number).standard_normal(16_000)
        soundfile.write(path / "noise" / f"{name}.wav", wave, 16_000)
    return path


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def test_a_suite_of_channels_has_its_table_and_its_report(model: Path, voices_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nconditions: [clean, gsm, reverb_0.3s+clipped_3db, noise_5db+mulaw, noise_10db+mulaw]\n"
    )
    shared = ["--model", str(model), "--speech", str(voices_folder), "--max-segments", "1", "--noise-seeds", "2"]
    for name, suite in (("telephone", "telephone"), ("mine", str(path))):
        assert run(["evaluate", *shared, "--suite", suite, "--out", str(tmp_path / name)]) == 0
    rows = table(tmp_path / "telephone")
    assert [(row["condition"], row["noise"], row["snr_db"]) for row in rows[:3]] == [
        ("clean", "", ""),
        ("telephone", "telephone", ""),
        ("mulaw", "mulaw", ""),
    ]
    assert [row["eer"] for row in rows[:6]] == [row["eer"] for row in rows[6:]]  # nothing is drawn
    report = (tmp_path / "telephone" / "report.html").read_text()
    assert " over channels</title>" in report
    assert "channels<small>mean of 5</small>" in report
    assert "all channels" in report
    assert "signal-to-noise ratio (SNR)" not in report
    rows = table(tmp_path / "mine")
    assert [(row["noise"], row["snr_db"]) for row in rows[1:5]] == [
        ("gsm", ""),
        ("reverb_0.3s+clipped_3db", ""),
        ("noise+mulaw", "5.0"),
        ("noise+mulaw", "10.0"),
    ]
    report = (tmp_path / "mine" / "report.html").read_text()
    assert "in noise and over channels</title>" in report
    assert "all rooms and channels" in report
    assert "noise+mulaw" in report


def test_unseen_noise_goes_by_class_and_leaves_out_what_was_heard(
    model: Path, voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test, train = noises(tmp_path / "test", "rain-1", "wind-1"), noises(tmp_path / "train", "rain-2")
    shared = ["--model", str(model), "--speech", str(voices_folder), "--suite", "unseen-noise", "--max-segments", "1"]
    assert run(["evaluate", *shared, "--out", str(tmp_path / "x")]) == 2
    assert "--noise" in capsys.readouterr().err
    out = tmp_path / "out"
    heard = ["--noise", str(test), "--heard-noise", str(train)]
    assert run(["evaluate", *shared, *heard, "--out", str(out)]) == 0
    assert [row["condition"] for row in table(out)] == ["clean", *(f"wind_{snr}db" for snr in (0, 5, 10, 15, 20))]
    assert "training heard are left out: rain" in capsys.readouterr().err
    assert "training heard are left out: rain" in (out / "report.html").read_text()


def test_a_recipe_trains_over_channels_and_is_evaluated_in_noise_it_never_heard(
    voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage: dict[str, object] = {"steps": 2, "batch_size": 8, "crop_s": 0.6, "validate_every": 0}
    stage["channels"] = {"share": 0.5, "kinds": {"gsm": 1, "opus_6k": 1, "clipped_3db": 1}}
    evaluation: dict[str, object] = {"systems": ["joint"], "suite": "unseen-noise", "segment_s": 1}
    values = {
        "name": "lines",
        "data": {
            "speech": [{"path": str(voices_folder), "hold_out_speakers": 4}],
            "noise": [str(noises(tmp_path / "train", "rain-2"))],
            "validation_speakers": 0,
        },
        "encoder": {"architecture": "ecapa", "options": ECAPA},
        "stages": {"joint": {"train": {"start": "scratch", **stage}}},
        "evaluation": evaluation,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    assert run(["train", str(path), "--out", str(tmp_path / "bare")]) == 2
    assert "--noise" in capsys.readouterr().err
    evaluation["noise"] = [str(noises(tmp_path / "test", "rain-1", "wind-1"))]
    path.write_text(yaml.safe_dump(values))
    assert run(["train", str(path), "--out", str(tmp_path / "out")]) == 0
    assert {row["noise"] for row in table(tmp_path / "out")} == {"", "wind"}
