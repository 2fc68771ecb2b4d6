"""The whole job of calibrating on a tiny corpus: what it writes, refuses, and resumes."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

import voxanchor
from voxanchor.errors import CorpusError, ModelError, OutputError, RecipeError
from voxanchor.evaluation import calibrate as calibrate_module
from voxanchor.evaluation import embed
from voxanchor.evaluation.calibrate import CalibrationTrials, Group
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.calibration import COHORT_FILE, FILE, TEXT_FILE, CalibrationRecord, Kind
from voxanchor.scoring.cohort import Cohort
from voxanchor.workflows import calibrate as job
from voxanchor.workflows.calibrate import WORK_FOLDER, Material, calibrate

Voice = Callable[..., np.ndarray]

SUITE = "name: small\nconditions: [clean, noise_5db, babble_5db]\n"
CONDITIONS = ["all", "clean", "noise_5db", "babble_5db"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    config = EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})
    SpeakerEncoder(config, 1).save(folder, {"README.md": b"# a card\n"})
    return folder


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path, noise_path: Path) -> Material:
    suite = tmp_path_factory.mktemp("suite") / "small.yaml"
    suite.write_text(SUITE)
    return Material(str(voices_folder), (str(noise_path),), suite=str(suite))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory, voice: Voice) -> str:
    folder = tmp_path_factory.mktemp("strangers")
    for speaker in range(100, 106):
        (folder / f"x{speaker}").mkdir()
        for take in range(2):
            soundfile.write(folder / f"x{speaker}" / f"{take}.flac", voice(speaker, take, 1.5), 16_000)
    return str(folder)


@pytest.fixture(scope="module")
def made(model: Path, material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CalibrationRecord]:
    out = tmp_path_factory.mktemp("calibrated") / "out"
    return out, calibrate(str(model), material, out)


@pytest.fixture(scope="module")
def with_cohort(
    model: Path, material: Material, strangers: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, CalibrationRecord]:
    out = tmp_path_factory.mktemp("cohort") / "out"
    return out, calibrate(str(model), replace(material, cohort=strangers), out)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_new_directory_gets_the_model_and_its_calibration(made: tuple[Path, CalibrationRecord], model: Path) -> None:
    out, record = made
    assert names(out) == names(model) | {FILE, TEXT_FILE}
    assert {name: content for name, content in contents(out).items() if name not in (FILE, TEXT_FILE)} == contents(
        model
    )
    assert CalibrationRecord.parse((out / FILE).read_text(), "here") == record
    assert record.model == voxanchor.load(model).fingerprint
    assert record.calibration.measures == ("speech", "snr")
    assert [item.condition for item in record.figures][:4] == CONDITIONS
    assert "12 speakers" in record.material["speech"]
    text = (out / TEXT_FILE).read_text()
    assert all(f"| {name} |" in text for name in CONDITIONS)
    assert "not stated" in text
    assert [item.people for item in record.searches if item.purpose == "prior"] == [1, 2, 5, 10]
    assert "### Searches among many" in text
    assert all(f"\n| {people} | " in text for people in (1, 2, 5, 10))


def test_the_model_s_own_directory_gets_the_calibration_added(
    made: tuple[Path, CalibrationRecord], model: Path, material: Material, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    before = contents(own)
    assert calibrate(str(own), material, own) == made[1]
    assert names(own) == names(made[0])
    assert {name: content for name, content in contents(own).items() if name in before} == before
    # and again, into what is calibrated now
    assert calibrate(str(own), material, own) == made[1]
    assert contents(own) == contents(made[0])


@pytest.mark.parametrize("most", [60, calibrate_module.MOST_SEARCHED])
def test_pieces_are_looked_for_among_a_clean_piece_of_every_speaker(
    made: tuple[Path, CalibrationRecord],
    model: Path,
    material: Material,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr(calibrate_module, "MOST_SEARCHED", most)
    seen: list[tuple[CalibrationTrials, list[Group]]] = []

    class Spied(CalibrationTrials):
        def searches(self, cohort: Cohort | None = None, kind: Kind = "cosine") -> Iterator[Group]:
            seen.append((self, list(super().searches(cohort, kind))))
            return iter(seen[-1][1])

    monkeypatch.setattr(job, "CalibrationTrials", Spied)
    record = calibrate(str(model), material, tmp_path / "out")
    ((trials, groups),) = seen
    assert [group.condition for group in groups] == CONDITIONS[1:]
    speakers = np.array([utterance.speaker for utterance in trials.pieces.utterances])
    recordings = np.array([utterance.recording for utterance in trials.pieces.utterances])
    assert record.searches[0].searches == sum(len(group.target) // 12 for group in groups)
    for group in groups:
        enrolled, heard = (index.reshape(-1, 12) for index in (group.trials.enrol_index, group.trials.test_index))
        assert len(heard) == min(max(most // 12, 1), len(speakers))
        assert (heard == heard[:, :1]).all()
        assert all(sorted(row) == sorted(set(speakers)) == list(row) for row in speakers[enrolled])
        own = speakers[enrolled] == speakers[heard]
        assert (own.sum(axis=1) == 1).all()
        np.testing.assert_array_equal(own.ravel(), group.target)
        assert (recordings[enrolled][own] != recordings[heard][own]).all()
    assert (most > 60) == (record == made[1])


def test_what_was_calibrated_decides(made: tuple[Path, CalibrationRecord], voice: Voice) -> None:
    verifier = voxanchor.load(made[0])
    assert verifier.calibrated
    same, other = verifier.verify(voice(1, 1), voice(1, 1)), verifier.verify(voice(1, 1), voice(2, 1))
    assert same.decision in ("accepted", "rejected")
    assert same.llr is not None
    assert other.llr is not None
    assert same.llr > other.llr
    assert same.threshold == pytest.approx(np.log(99))


def test_a_cohort_is_stored_and_taken_into_account(with_cohort: tuple[Path, CalibrationRecord], voice: Voice) -> None:
    out, record = with_cohort
    assert record.calibration.measures == ("speech", "snr", "cohort_mean")
    assert record.cohort_top == 6
    assert (out / COHORT_FILE).stat().st_mode & 0o777 == 0o600
    embeddings = load_file(out / COHORT_FILE)["embeddings"]
    assert embeddings.shape == (6, 16)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert "6 speakers" in record.material["cohort"]
    assert voxanchor.load(out).verify(voice(1, 1), voice(2, 1)).llr is not None


def test_scores_may_be_normalised_by_the_cohort(
    model: Path, material: Material, strangers: str, voice: Voice, tmp_path: Path
) -> None:
    record = calibrate(str(model), replace(material, cohort=strangers), tmp_path / "out", normalise=True)
    assert record.calibration.kind == "as-norm"
    assert record.calibration.measures == ("speech", "snr")
    verifier = voxanchor.load(tmp_path / "out")
    found = verifier.verify(voice(1, 1), voice(1, 1))
    assert found.llr is not None
    assert found.score is not None
    assert found.score > 1  # in standard deviations


def test_calibrating_anew_without_a_cohort_removes_the_old_one(
    with_cohort: tuple[Path, CalibrationRecord],
    made: tuple[Path, CalibrationRecord],
    material: Material,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(with_cohort[0], out)
    assert calibrate(str(out), material, out) == made[1]
    assert names(out) == names(made[0])


def test_normalising_needs_a_cohort(model: Path, material: Material, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--cohort"):
        calibrate(str(model), material, tmp_path / "out", normalise=True)
    assert not (tmp_path / "out").exists()


def test_another_model_s_directory_is_refused(model: Path, material: Material, tmp_path: Path) -> None:
    other = tmp_path / "other"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), 2).save(other)
    before = contents(other)
    with pytest.raises(OutputError, match="something else"):
        calibrate(str(model), material, other)
    assert contents(other) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    with pytest.raises(OutputError, match="something else"):
        calibrate(str(model), material, tmp_path / "thesis")
    (tmp_path / "file").write_text("words")
    with pytest.raises(OutputError, match="something else"):
        calibrate(str(model), material, tmp_path / "file")


def test_a_cohort_of_the_calibration_s_own_recordings_is_refused(
    model: Path, material: Material, voices_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError, match="recordings of the calibration"):
        calibrate(str(model), replace(material, cohort=str(voices_folder)), tmp_path / "out")
    # the same folder under other names
    (tmp_path / "link").symlink_to(voices_folder)
    monkeypatch.chdir(voices_folder.parent)
    for spelling in (str(tmp_path / "link"), voices_folder.name, f"{voices_folder}/../{voices_folder.name}"):
        with pytest.raises(CorpusError, match="recordings of the calibration"):
            calibrate(str(model), replace(material, cohort=spelling), tmp_path / "out")


def test_a_cohort_of_one_speaker_or_of_nobody_in_particular_is_refused(
    model: Path, material: Material, strangers: str, voice: Voice, tmp_path: Path
) -> None:
    alone, flat = tmp_path / "alone", tmp_path / "flat"
    shutil.copytree(Path(strangers) / "x100", alone / "x100")
    shutil.copytree(Path(strangers) / "x100", flat)
    for folder in (alone, flat):
        with pytest.raises(CorpusError, match="at least two speakers"):
            calibrate(str(model), replace(material, cohort=str(folder)), tmp_path / "out")


def test_too_few_speakers_are_refused(model: Path, material: Material, voices_folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for speaker in range(7):
        shutil.copytree(voices_folder / f"s{speaker:02d}", few / f"s{speaker:02d}")
    with pytest.raises(CorpusError, match="at least 8 speakers"):
        calibrate(str(model), replace(material, speech=str(few)), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_run_that_was_stopped_goes_on_with_what_it_lacks(
    made: tuple[Path, CalibrationRecord],
    model: Path,
    material: Material,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded: list[str] = []
    whole = embed.embed_with

    def embed_or_stop(*arguments: Any, label: str, **others: Any) -> Any:
        if stop and label == stop:
            raise KeyboardInterrupt
        embedded.append(label)
        return whole(*arguments, label=label, **others)

    monkeypatch.setattr(embed, "embed_with", embed_or_stop)
    stop, out = "noise_5db, noise seed 0", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        calibrate(str(model), material, out)
    assert embedded == ["clean"]
    assert names(out) > {WORK_FOLDER.as_posix()}
    assert not (out / FILE).exists()
    stop = ""
    assert calibrate(str(model), material, out) == made[1]
    assert embedded == ["clean", "noise_5db, noise seed 0", "babble_5db, noise seed 0"]
    assert names(out) == names(made[0])


def test_a_run_that_was_stopped_while_writing_leaves_no_mixed_calibration(
    with_cohort: tuple[Path, CalibrationRecord], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(with_cohort[0], out)

    def full(path: Path, text: str) -> None:
        raise OutputError(f"{path}: the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(job, "write_text", full)
        with pytest.raises(OutputError, match="full"):
            calibrate(str(out), material, out)
    assert not voxanchor.load(out).calibrated


def test_speakers_that_the_model_was_trained_on_are_named(
    model: Path, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    save_file({"anchors": np.eye(2, 16, dtype=np.float32)}, own / "anchors.safetensors", {"speakers": '["s03", "zz"]'})
    said: list[str] = []
    monkeypatch.setattr(job, "log_line", said.append)
    record = calibrate(str(own), material, tmp_path / "out")
    assert any("1 of the speakers" in text and "s03" in text for text in said)
    assert record.material["heard in training"].startswith("1 speakers")
    assert (tmp_path / "out" / "anchors.safetensors").exists()


def test_a_calibration_of_another_model_is_refused(made: tuple[Path, CalibrationRecord], tmp_path: Path) -> None:
    other = tmp_path / "other"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), 2).save(other)
    shutil.copy(made[0] / FILE, other / FILE)
    with pytest.raises(ModelError, match="its calibration is for the model"):
        voxanchor.load(other)


def test_a_missing_or_damaged_cohort_is_refused(with_cohort: tuple[Path, CalibrationRecord], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(with_cohort[0], out)
    whole = (out / COHORT_FILE).read_bytes()
    for content in (b"", whole[:50], b"nonsense" * 20):
        (out / COHORT_FILE).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            voxanchor.load(out)
    (out / COHORT_FILE).unlink()
    with pytest.raises(ModelError, match=f"needs {COHORT_FILE}"):
        voxanchor.load(out)


def test_a_calibration_that_takes_a_cohort_is_not_used_without_one(
    with_cohort: tuple[Path, CalibrationRecord], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(with_cohort[0], out)
    values = json.loads((out / FILE).read_text())
    (out / FILE).write_text(json.dumps({**values, "cohort_top": 0}))
    with pytest.raises(ModelError, match="cohort"):
        voxanchor.load(out)
