"""Rooms through the command line: evaluated in, packed, and given to training."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from voxanchor import config
from voxanchor.cli.main import run
from voxanchor.errors import RecipeError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.stage import Channels, Rooms
from voxanchor.workflows.robustify import CHANNEL_SHARE, ROOM_SHARE, make_recipe

ECAPA = {"channels": 16, "embedding_dim": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    SpeakerEncoder(EncoderConfig("ecapa", ECAPA)).save(folder)
    return folder


def test_the_suite_of_rooms_is_the_same_from_files_and_from_a_pack(
    model: Path, voices_folder: Path, rooms_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "pack", "--rooms", str(rooms_path), "--out", str(tmp_path / "pack"), "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert (packed["kind"], packed["utterances"], packed["unusable"]) == ("rooms", 3, 2)
    shared = ["--model", str(model), "--speech", str(voices_folder), "--suite", "reverb", "--max-segments", "1"]
    tables = []
    for name, rooms in (("files", rooms_path), ("packed", tmp_path / "pack")):
        assert run(["evaluate", *shared, "--rooms", str(rooms), "--out", str(tmp_path / name)]) == 0
        tables.append((tmp_path / name / "results.csv").read_text())
    shown = capsys.readouterr()
    assert "3 room responses" in shown.err
    assert "2 files cannot be used and are left out" in shown.err
    assert "avg_noisy" in shown.out
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert [(row["condition"], row["noise"], row["snr_db"]) for row in rows] == [
        ("clean", "", ""),
        *((name, name, "") for name in ("reverb_0.3s", "reverb_0.6s", "reverb_1s", "reverb")),
    ]
    report = (tmp_path / "files" / "report.html").read_text()
    assert "recorded, 3 rooms" in report
    assert "<b>reverb</b> is a room" in report


def test_measured_rooms_that_are_not_given_are_asked_for_at_once(
    model: Path, voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--model", str(model), "--speech", str(voices_folder), "--suite", "reverb", "--out", str(tmp_path / "x")]
    assert run(["evaluate", *shared]) == 3
    assert "--rooms" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["evaluate", *shared, "--rooms", str(tmp_path / "empty")]) == 3
    assert "a folder of rooms needs files" in capsys.readouterr().err


def test_robustify_is_what_it_was_without_rooms_and_hears_some_with_them() -> None:
    plain = make_recipe("ge2e", ["s"], ["n"], unlabelled=False)
    assert "rooms" not in config.dump(plain)
    heard = make_recipe("ge2e", ["s"], ["n"], rooms=["r"], unlabelled=False)
    assert heard.data.rooms == ("r",)
    assert heard.stages["anchored"].train is not None
    assert heard.stages["anchored"].train.rooms == Rooms(ROOM_SHARE)
    synthetic = make_recipe("ge2e", ["s"], ["n"], unlabelled=False, settings=["stages.anchored.train.rooms.share=0.2"])
    assert synthetic.stages["anchored"].train is not None
    assert synthetic.stages["anchored"].train.rooms == Rooms(0.2)


def test_robustify_hears_channels_where_it_is_told_of_them() -> None:
    assert "channels" not in config.dump(make_recipe("ge2e", ["s"], ["n"], unlabelled=False))
    heard = make_recipe("ge2e", ["s"], ["n"], channels=["gsm", "opus_12k"], unlabelled=False)
    assert heard.stages["anchored"].train is not None
    assert heard.stages["anchored"].train.channels == Channels(CHANNEL_SHARE, {"gsm": 1.0, "opus_12k": 1.0})
    with pytest.raises(RecipeError, match="'phone' is not a channel"):
        make_recipe("ge2e", ["s"], ["n"], channels=["phone"], unlabelled=False)


def test_a_recipe_trains_and_is_evaluated_in_rooms(voices_folder: Path, rooms_path: Path, tmp_path: Path) -> None:
    stage = {"steps": 2, "batch_size": 8, "crop_s": 0.6, "validate_every": 0, "rooms": {"share": 0.5}}
    values = {
        "name": "rooms",
        "data": {
            "speech": [{"path": str(voices_folder), "hold_out_speakers": 4}],
            "rooms": [str(rooms_path)],
            "validation_speakers": 0,
        },
        "encoder": {"architecture": "ecapa", "options": ECAPA},
        "stages": {"joint": {"train": {"start": "scratch", "noise": {"kinds": {"babble": 1}}, **stage}}},
        "evaluation": {
            "systems": ["joint"],
            "suite": str(tmp_path / "rooms.yaml"),
            "segment_s": 1,
            "rooms": [str(rooms_path)],
        },
    }
    (tmp_path / "rooms.yaml").write_text("name: rooms\nconditions: [clean, reverb, reverb_0.4s+babble_5db]\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    assert run(["train", str(path), "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [row["noise"] for row in rows] == ["", "reverb", "reverb_0.4s+babble"]
