"""The compatibility report on the tiny corpus: through the real command line, and as robustify calls it."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from voxanchor.cli.main import run
from voxanchor.conditions.bank import noise_bank
from voxanchor.corpus.layouts import scan
from voxanchor.errors import CorpusError, ModelError, RecipeError
from voxanchor.evaluation.compatibility_text import compatibility_markdown, plain
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.evaluation.settings import Examination
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.workflows.compatibility import QUICK, compatibility, write_findings

SUITE = "name: small\nconditions: [clean, noise_5db, babble_5db]\n"
FILES = ("compatibility.json", "compatibility.csv", "compatibility.md", "compatibility.html")


def voxanchor(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning", "COLUMNS": "100"}
    command = [sys.executable, "-m", "voxanchor", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, seed, dimension in (("old", 1, 16), ("new", 2, 16), ("other", 3, 8)):
        SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": dimension}), seed).save(folder / name)
    (folder / "small.yaml").write_text(SUITE)
    return folder


@pytest.fixture
def command(models: Path, voices_folder: Path, noise_path: Path) -> list[str | Path]:
    return [
        "compatibility", "--old", models / "old", "--new", models / "new", "--speech", voices_folder,
        "--noise", noise_path, "--suite", models / "small.yaml", "--segment-s", "1", "--max-segments", "1",
    ]  # fmt: skip


def test_the_command_prints_a_verdict_and_leaves_its_files(command: list[str | Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = voxanchor(*command, "--out", out).stdout
    content = json.loads((out / "compatibility.json").read_text())
    verdict = content["verdict"]
    assert verdict["decision"] == "unknown"  # a random model nearly guesses
    assert "hardly tells these speakers apart" in verdict["lead"]
    assert " ".join(said.split()).count(" ".join(verdict["lead"].split())) == 1
    assert "old enrolment, new test" in said
    assert "compatibility.html" in said
    with (out / "compatibility.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["condition"], row["pair"]) for row in rows[:4]] == [
        ("clean", "old"), ("clean", "mixed"), ("clean", "new"), ("noise_5db", "old"),
    ]  # fmt: skip
    assert len(rows) == 9
    assert float(rows[1]["eer"]) == pytest.approx(content["eer"]["clean"]["mixed"]["value"])
    assert 0.9 < float(rows[0]["false_acceptance_1"]) <= 1
    assert rows[0]["false_acceptance_01"] == ""  # 1,056 pairs of different speakers
    assert float(rows[0]["similarity"]) == pytest.approx(1)
    assert (content["old"]["reference"], content["new"]["reference"]) == ("old", "new")
    assert content["material"]["speakers"] == 12
    assert verdict["lead"] in (out / "compatibility.md").read_text()
    before = {name: (out / name).read_bytes() for name in FILES}
    stamps = {path.name: path.stat().st_mtime_ns for path in (out / "embeddings").iterdir()}
    again = voxanchor(*command, "--out", out, "--json")
    assert json.loads(again.stdout) == content
    assert {name: (out / name).read_bytes() for name in FILES} == before
    assert {path.name: path.stat().st_mtime_ns for path in (out / "embeddings").iterdir()} == stamps
    other = voxanchor(*command, "--out", out, "--noise-seeds", "2", status=5).stderr
    assert "noise_seeds: 1 -> 2" in other


def test_recordings_of_nobody_in_particular_give_drift_alone(
    command: list[str | Path], voices_folder: Path, tmp_path: Path
) -> None:
    said = voxanchor(*command, "--layout", "flat", "--out", tmp_path / "out").stdout
    assert "No verdict: error rates need to know who speaks." in said
    content = json.loads((tmp_path / "out" / "compatibility.json").read_text())
    assert content["verdict"]["decision"] == "unknown"
    assert content["eer"] == {"conditions": {}}
    assert -1 < content["drift"]["p05"] <= content["drift"]["mean"] < 1
    assert content["scores"]["mixed"]["different recordings"]["count"] == 48 * 47 / 2


def test_what_cannot_serve_is_refused_with_a_reason(
    command: list[str | Path], models: Path, voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str | Path, status: int) -> str:
        assert run([str(argument) for argument in arguments]) == status
        return capsys.readouterr().err

    out: list[str | Path] = ["--out", tmp_path / "out"]
    places = {name: command.index(name) + 1 for name in ("--new", "--speech", "--suite")}

    def changed(name: str, value: str | Path) -> list[str | Path]:
        return [*command[: places[name]], value, *command[places[name] + 1 :], *out]

    apart = refused(*changed("--new", models / "other"), status=4)
    assert "old has 16 dimensions and other 8" in apart
    assert "one dimension" not in apart
    alone = tmp_path / "alone" / "s00"
    alone.mkdir(parents=True)
    for path in (voices_folder / "s00").iterdir():
        (alone / path.name).write_bytes(path.read_bytes())
    assert "it has 1 speaker; add another" in refused(*changed("--speech", alone.parent), status=3)
    assert "unseen-noise" in refused(*changed("--suite", "unseen-nois"), status=2)
    assert "leave segment_s out" in refused(*command, *out, "--trials", "list.txt", status=2)
    assert not (tmp_path / "out" / "run.json").exists()  # nothing bars the corrected command


def test_a_trial_list_decides_who_is_compared(models: Path, voices_folder: Path, tmp_path: Path) -> None:
    trials = tmp_path / "trials.txt"
    trials.write_text(
        "1 s00/0.flac s00/1.flac\n0 s00/0.flac s01/1.flac\n1 s01/0.flac s01/1.flac\n0 s01/2.flac s02/0.flac\n"
    )
    examination = Examination(suite=str(models / "small.yaml"), trials=str(trials), segment_s=0, replicates=20)
    cache = EmbeddingCache(tmp_path / "cache")
    findings = compatibility(str(models / "old"), str(models / "new"), scan(voices_folder), None, cache, examination)
    assert (findings.material.trials, findings.material.targets, findings.material.segments) == (4, 2, 6)
    assert findings.material.note == "trial list trials.txt"


def test_encoders_and_a_bank_do_as_well_as_references_and_folders(
    models: Path, voices_folder: Path, noise_path: Path, tmp_path: Path
) -> None:
    recordings = scan(voices_folder)
    asked = replace(QUICK, suite=str(models / "small.yaml"), segment_s=1, max_segments=1, replicates=20)
    bank = noise_bank([str(noise_path)], recordings, built_in_share=0.0, for_evaluation=True)
    encoders = [registry.load(models / name) for name in ("old", "new")]
    cache = EmbeddingCache(tmp_path / "cache")
    one = compatibility(encoders[0], encoders[1], recordings, bank, cache, asked, ("a", "b"))
    folders = replace(asked, noise=(str(noise_path),))
    two = compatibility(str(models / "old"), str(models / "new"), recordings, None, cache, folders, ("a", "b"))
    assert one == two
    assert one.old.reference == "a"
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    write_findings(one, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert (tmp_path / "out" / "compatibility.md").read_text() == compatibility_markdown(one)
    assert json.loads((tmp_path / "out" / "compatibility.json").read_text()) == json.loads(json.dumps(plain(one)))
    plainly = compatibility(encoders[0], str(models / "new"), recordings, bank, cache, asked)
    assert (plainly.old.reference, plainly.new.reference) == ("old", str(models / "new"))
    with pytest.raises(ModelError, match="dimensions"):
        compatibility(encoders[0], str(models / "other"), recordings, bank, cache, asked)
    with pytest.raises(RecipeError, match="give folders"):
        compatibility(encoders[0], encoders[1], recordings, bank, cache, replace(asked, suite="unseen-noise"))
    with pytest.raises(CorpusError, match="1 speaker"):
        compatibility(encoders[0], encoders[1], recordings.select(["s00"]), bank, cache, asked)


def test_classes_of_noise_that_were_heard_are_left_out(models: Path, voices_folder: Path, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    for folder, names in (("train", ("rain", "wind")), ("test", ("rain", "bell"))):
        for name in names:
            (tmp_path / folder / "noise" / name).mkdir(parents=True)
            wave = 0.1 * np.random.default_rng(len(name)).standard_normal(16_000)
            soundfile.write(tmp_path / folder / "noise" / name / "1.wav", wave, 16_000)
    asked = Examination(
        noise=(str(tmp_path / "test"),),
        suite="unseen-noise",
        segment_s=1,
        max_segments=1,
        heard_noise=(str(tmp_path / "train"),),
        replicates=20,
    )
    recordings = scan(voices_folder).select(["s00", "s01", "s02"])
    cache = EmbeddingCache(tmp_path / "cache")
    findings = compatibility(str(models / "old"), str(models / "new"), recordings, None, cache, asked)
    assert list(findings.conditions) == ["clean", *(f"bell_{level}db" for level in (0, 5, 10, 15, 20))]
    assert findings.remarks == ("Classes of noise that the training heard are left out: rain.",)
    assert findings.remarks[0] in compatibility_markdown(findings)


@pytest.mark.parametrize("wrong", [{"noise_seeds": 0}, {"trials": "list.txt"}])
def test_an_examination_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        replace(QUICK, **wrong)  # type: ignore[arg-type]
