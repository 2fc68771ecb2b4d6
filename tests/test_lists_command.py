"""Lists of other toolkits through the command line: evaluated, packed, embedded, planned and trained on."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voxanchor
from voxanchor.cli.main import run
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.lists import KINDS
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.metrics import eer

SPEAKERS, TAKES = 4, 3
NAMES = [(f"s{speaker}/{take}.wav", f"s{speaker}") for speaker in range(SPEAKERS) for take in range(TAKES)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).save(folder)
    return folder


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., np.ndarray]) -> Path:
    """A folder of speakers with a list of every format beside it, all of which call its recordings as it does."""
    top = tmp_path_factory.mktemp("corpus")
    root = top / "speech"
    for name, who in NAMES:
        (root / who).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, voice(int(who[1:]), int(name[3])), 16_000)
    write(top / "kaldi" / "wav.scp", [f"{name} {root / name}" for name, _ in NAMES])
    write(top / "kaldi" / "utt2spk", [f"{name} {who}" for name, who in NAMES])
    nemo = [{"audio_filepath": name, "offset": 0, "duration": 2.0, "label": who} for name, who in NAMES]
    write(root / "nemo.json", [json.dumps(record) for record in nemo])
    rows = [f"{name},2.0,{root / name},0,32000,{who}" for name, who in NAMES]
    write(top / "speechbrain.csv", ["ID,duration,wav,start,stop,spk_id", *rows])
    write(root / "table.csv", ["path,speaker", *(f"{name},{who}" for name, who in NAMES)])
    write(top / "cuts.jsonl", [json.dumps(cut(root, name, who)) for name, who in NAMES])
    write(top / "trials", [f"{a} {b} {'' if p == q else 'non'}target" for a, p in NAMES for b, q in NAMES if a < b])
    return top


def cut(root: Path, name: str, who: str) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": str(root / name)}
    sound = {"id": name, "sources": [source], "sampling_rate": 16_000, "num_samples": 32_000, "duration": 2.0}
    said = [{"id": name, "recording_id": name, "start": 0.0, "duration": 2.0, "channel": 0, "speaker": who}]
    times = {"start": 0.0, "duration": 2.0, "channel": 0}
    return {"id": name, **times, "supervisions": said, "recording": sound, "type": "MonoCut"}


PLACES = {
    "kaldi": "kaldi",
    "nemo": "speech/nemo.json",
    "speechbrain": "speechbrain.csv",
    "csv": "speech/table.csv",
    "lhotse": "cuts.jsonl",
}


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("suite") / "two.yaml", ["name: two", "conditions: [clean, noise_5db]"])


@pytest.fixture(scope="module")
def of_folder(corpus: Path, model: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("folder") / "out"
    assert run(evaluation(model, corpus / "speech", suite, out)) == 0
    return rows(out)


def evaluation(model: Path, speech: Path, suite: Path, out: Path) -> list[str]:
    return ["evaluate", "--model", str(model), "--speech", str(speech), "--suite", str(suite), "--out", str(out)]


@pytest.mark.parametrize("kind", PLACES)
def test_a_list_evaluates_as_the_folder_does(
    kind: str,
    corpus: Path,
    model: Path,
    suite: Path,
    of_folder: list[dict[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(evaluation(model, corpus / PLACES[kind], suite, tmp_path / "out")) == 0
    assert rows(tmp_path / "out") == of_folder
    assert float(of_folder[0]["eer"]) > 0.0
    assert KINDS[kind] in " ".join(capsys.readouterr().err.split())
    assert f"<dt>layout</dt><dd>{kind}</dd>" in (tmp_path / "out" / "report.html").read_text()
    given = [*evaluation(model, corpus / PLACES[kind], suite, tmp_path / "named"), "--layout", kind]
    assert run([*given, "--trials", str(corpus / "trials")]) == 0
    assert [row["trials"] for row in rows(tmp_path / "named")] == [str(12 * 11 // 2)] * 2


@pytest.mark.parametrize("kind", PLACES)
def test_a_list_is_packed_and_embedded(
    kind: str, corpus: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(corpus / PLACES[kind])
    assert run(["data", "pack", "--speech", place, "--out", str(tmp_path / "pack"), "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert (packed["layout"], packed["utterances"], packed["speakers"]) == (kind, 12, SPEAKERS)
    assert scan(tmp_path / "pack").fingerprint == scan(place).fingerprint
    assert run(["embed", "--speech", place, "--model", str(model), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["embeddings"] == 12


@pytest.mark.slow
def test_a_recipe_takes_lists(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = "{start: scratch, steps: 2, batch_size: 4, crop_s: 0.5, validate_every: 0}"
    recipe = write(
        tmp_path / "r.yaml",
        [
            "name: lists",
            f"data: {{speech: [{{path: {corpus}/kaldi, layout: kaldi}}], validation_speakers: 1}}",
            "encoder: {architecture: ecapa, options: {channels: 16, embedding_dim: 16}}",
            f"stages: {{base: {{train: {train}}}}}",
            f"evaluation: {{systems: [base], speech: {corpus}/cuts.jsonl, trials: {corpus}/trials, segment_s: 0}}",
        ],
    )
    assert run(["train", str(recipe), "--plan", "--json"]) == 0
    plan = capsys.readouterr().out
    assert '"layout": "kaldi"' in plan
    assert run(["train", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert {row["trials"] for row in rows(tmp_path / "run")} == {"66"}


def test_models_of_several_recordings_are_evaluated(
    corpus: Path, model: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [f"s{number}" for number in range(SPEAKERS)]
    models = write(tmp_path / "spk2utt", [f"{who} {who}/0.wav {who}/1.wav" for who in people])
    pairs = [(who, other) for who in people for other in people]
    trials = write(tmp_path / "trials", [f"{a} {b}/2.wav {'' if a == b else 'non'}target" for a, b in pairs])
    asked = [*evaluation(model, corpus / "kaldi", suite, tmp_path / "out"), "--trials", str(trials)]
    assert run([*asked, "--enrolments", str(models)]) == 0
    encoder, found = voxanchor.load(str(model)), {}
    for name, _ in NAMES:
        found[name] = np.asarray(encoder.embed(str(corpus / "speech" / name)), dtype=np.float64).ravel()
    means = {who: found[f"{who}/0.wav"] + found[f"{who}/1.wav"] for who in people}
    scores = [means[a] @ found[f"{b}/2.wav"] / np.linalg.norm(means[a]) for a, b in pairs]
    expected = eer(np.array(scores), np.array([a == b for a, b in pairs]))
    clean, noisy = rows(tmp_path / "out")
    assert float(clean["eer"]) == pytest.approx(100 * expected.eer, abs=0.01)
    assert (clean["trials"], clean["targets"]) == ("16", "4")
    assert noisy["condition"] == "noise_5db"
    assert "4 models of spk2utt, each the mean of 2 to 2 recordings" in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    wrong = evaluation(model, corpus / "kaldi", suite, tmp_path / "wrong")
    assert run([*wrong, "--enrolments", str(models)]) == 2
    assert "give trials" in capsys.readouterr().err
