"""What an earlier version wrote is still read: tests/artefacts/README.md says what lies there, and who wrote it.

Everything goes through the command line, as users do it; modules may be called differently by now.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import voxanchor

WRITTEN = Path(__file__).parent / "artefacts" / "80a30a4"
HERE = "@HERE@"
TEXT = {".json", ".jsonl", ".yaml", ".txt", ".md", ".scp", ""}
ANSWERS: dict[str, dict[str, Any]] = json.loads((WRITTEN / "answers.json").read_text(encoding="utf-8"))
WORDS = {"reason", "remark", "warnings", "warning", "notes", "note", "facts", "lead", "reasons", "verdict", "noise"}
"""What is said to people: it may be said better by now."""

COMPARED = "compare recipes/compared.yaml --out runs/compared"
FULL = "train recipes/full.yaml --out runs/full"
ROBUST = next(command for command in ANSWERS if command.startswith("robustify")).removesuffix(" --json")


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    out: str
    errors: str

    @property
    def answer(self) -> Any:
        return json.loads(self.out)


def run(command: str) -> Done:
    """``python -m voxanchor`` with these words, `~` for a blank inside one."""
    out, errors = io.StringIO(), io.StringIO()
    arguments, sys.argv = sys.argv, ["voxanchor", *(word.replace("~", " ") for word in command.split())]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as ended:
            runpy.run_module("voxanchor", run_name="__main__")
    finally:
        sys.argv = arguments
    return Done(int(ended.value.code or 0), out.getvalue(), errors.getvalue())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the artefacts, as they lay where they were made; the working directory."""
    place = tmp_path / "copy"
    shutil.copytree(WRITTEN, place)
    for path in place.rglob("*"):
        if path.is_file() and path.suffix in TEXT:
            text = path.read_text(encoding="utf-8")
            if HERE in text:
                path.write_text(text.replace(HERE, str(place)), encoding="utf-8")
    for path in place.glob("*.key"):
        path.chmod(0o600)  # git does not keep it
    monkeypatch.chdir(place)
    return place


DRAWN = re.compile(r"noisy|_\d+db|avg|overall|db_gained")
"""Figures of speech in noise. Since evaluation and training share one noise engine, a seed draws other stretches: such
a figure is still told, but its value is another."""


def same(found: Any, kept: Any, where: str = "answer") -> None:
    """Everything that was told is told, with the same value; more may be told by now."""
    if isinstance(kept, dict):
        for key, value in kept.items():
            if key not in WORDS:
                assert key in found, f"{where}.{key} is not told any more"
                same(found[key], value, f"{where}.{key}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for place, value in enumerate(kept):
            same(found[place], value, f"{where}.{place}")
    elif isinstance(kept, int | float) and not isinstance(kept, bool) and DRAWN.search(where):
        assert isinstance(found, int | float), where
        assert math.isfinite(found), where
    elif where.endswith("db_gained_bound"):
        assert found in ("exact", "at_least", "at_most"), where
    elif isinstance(kept, float):
        # arithmetic differs a little between processors; a search's place in a list of ties does not matter
        assert found == pytest.approx(kept, rel=2e-3, abs=2e-3), where
    else:
        assert found == kept, where


ASKED = [command for command in ANSWERS if command.removesuffix(" --json") not in (FULL, ROBUST, COMPARED)]
SLOW = ("suite recipes/rooms.yaml", "--model models/calibrated --speech people", "compatibility", "lists/nemo")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] * any(part in command for part in SLOW), id=command[:90])
        for command in ASKED
    ],
)
def test_a_command_answers_as_it_did(here: Path, command: str) -> None:
    kept = ANSWERS[command]
    done = run(command)
    assert done.status == kept["status"], done.errors
    if "--json" in command:
        text = done.out.replace(str(here), HERE)
        same(json.loads(text), kept["answer"])
    else:
        assert done.out.strip()


@pytest.mark.parametrize(
    ("command", "models"),
    [
        pytest.param(FULL, ["base", "anchored", "agreeing"], marks=pytest.mark.slow, id="train"),
        pytest.param(ROBUST, ["run/anchored"], id="robustify"),
        pytest.param(COMPARED, ["seed-3/base", "seed-3/anchored"], marks=pytest.mark.slow, id="compare"),
    ],
)
def test_a_finished_run_is_known_and_not_trained_again(here: Path, command: str, models: list[str]) -> None:
    folder = here / command.partition("--out ")[2].split()[0]
    stamps = [stamp(folder / model) for model in models]
    done = run(f"{command} --json")
    assert done.status == 0, done.errors
    assert "finished before" in done.errors
    same(json.loads(done.out.replace(str(here), HERE)), ANSWERS[f"{command} --json"]["answer"])
    assert stamps == [stamp(folder / model) for model in models]


def stamp(model: Path) -> int:
    return (model / "model.safetensors").stat().st_mtime_ns


def metrics(stage: Path) -> list[dict[str, Any]]:
    lines = (stage / "training" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "whole", "killed", "stages"),
    [
        (FULL, "runs/full", "runs/full-killed", ["base", "anchored", "agreeing"]),
        (ROBUST, "runs/robust", "runs/robust-killed", ["run/anchored"]),
    ],
    ids=["train", "robustify"],
)
def test_a_killed_run_goes_on_to_the_same_end(
    here: Path, command: str, whole: str, killed: str, stages: list[str]
) -> None:
    first = here / killed / stages[0]
    before = metrics(first)
    assert not (first / "done.json").exists()
    done = run(command.replace(f"--out {whole}", f"--out {killed}"))
    assert done.status == 0, done.errors
    # went on, and did not begin anew: the lines of before stay, with the seconds that each took
    assert metrics(first)[: len(before)] == before
    recordings = "people/s20/0.flac people/s21/1.flac people/s22/0.flac"
    for stage in stages:
        # the steps after the kill meet other stretches of noise than those of the twin did (`DRAWN`)
        lines, twins = (steady(metrics(here / run_ / stage)) for run_ in (killed, whole))
        assert [sorted(line) for line in lines] == [sorted(line) for line in twins]
        assert [line.get("step") for line in lines] == [line.get("step") for line in twins]
        made, wanted = (
            np.array([item["embedding"] for item in run(f"embed {recordings} --model {run_}/{stage} --json").answer])
            for run_ in (killed, whole)
        )
        assert (np.sum(made * wanted, axis=1) > 0.9).all()
    if whole == "runs/full":
        systems = [[(row["system"], row["condition"]) for row in table(here / place)] for place in (killed, whole)]
        assert systems[0] == systems[1]


def steady(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without times, and without error rates, which jump where scores of a few trials change places."""
    kept = []
    for line in lines:
        values = {**line, **line.get("validation", {})}
        kept.append({k: v for k, v in values.items() if k not in ("seconds", "validation", "clean_eer", "noisy_eer")})
    return kept


RECIPES = [
    path for path in sorted((WRITTEN / "recipes").rglob("*.yaml")) if "conditions:" not in path.read_text("utf-8")
]


FILLED = ("quickstart", "robustify")

GONE = {
    "options": "anchor.kind: 'speaker' was removed",
    "anchor-kind": "anchor.kind: 'speaker' was removed",
    "average": "average was removed",
    "centres": "classification.fixed was removed",
    "cut": "anchor.kind: 'speaker' was removed",
    "distance": "anchor.distance: 'squared_euclidean' was removed",
    "snr-curriculum": "noise.easing_share was removed",
}
"""Recipes with options that are there no more, and how that is said."""

NAMELESS = ("ablations/average", "ablations/snr-curriculum")
"""Packaged ones that went with such an option."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(WRITTEN).as_posix())
def test_a_recipe_is_understood(here: Path, path: Path) -> None:
    names = [path.relative_to(WRITTEN).as_posix()]
    if "packaged" in path.parts:  # a copy that somebody made; the name is known, too
        names.append(packaged_name(path))
    for name in names:
        # the command fills in the folders of quickstart and robustify
        refused = run(f"train {name}" + (" --set data.speech=[{path:~speech}]" if path.stem in FILLED else ""))
        # a recipe that was not understood would be complained of before the folder that is missing
        assert refused.status == 2
        if name in NAMELESS:
            assert f"there is no recipe '{name}'" in refused.errors
        elif name.endswith(".yaml") and path.stem in GONE:
            assert GONE[path.stem] in refused.errors.replace("\n", " ")
        else:
            assert "--plan to look before" in refused.errors, refused.errors


def packaged_name(path: Path) -> str:
    return path.relative_to(WRITTEN / "recipes" / "packaged").with_suffix("").as_posix()


def test_embeddings_are_carried_over_to_the_robust_model(here: Path) -> None:
    for name in ("few.safetensors", "few.npy"):
        done = run(f"upgrade embeddings/{name} --model runs/robust --out {name}")
        assert done.status == 0, done.errors
    rows = load_file(here / "few.safetensors")
    array = np.load(here / "few.npy")
    np.testing.assert_allclose(array, np.stack([rows[name] for name in sorted(rows)]), atol=1e-6)
    again = run(f"embed {' '.join(sorted(rows))} --model runs/robust --json").answer
    # not the same, but nearer to what the robust model says than the old ones are
    old = np.load(here / "embeddings" / "few.npy")
    new = np.array([item["embedding"] for item in again])
    assert ((array * new).sum(axis=1) >= (old * new).sum(axis=1) - 0.05).all()


@pytest.mark.parametrize("store", ["--store people.db", "--store sealed.db --key people.key"], ids=["plain", "sealed"])
def test_a_store_is_upgraded_embedded_anew_and_deleted_from(here: Path, store: str) -> None:
    done = run(f"people upgrade --model runs/robust {store}")
    assert done.status == 0, done.errors
    robust = voxanchor.load("models/calibrated").fingerprint
    assert all(robust in person["models"] for person in run(f"people list {store} --json").answer)
    found = run(f"people reembed --model models/resnet {store} --json").answer
    assert found["done"] == 1
    assert set(found["without_audio"]) == {"Ada Lovelace", "Zoë"}
    assert run(f"people delete Ada~Lovelace {store}").status == 0
    assert [person["name"] for person in run(f"people list {store} --json").answer] == ["Bo", "Zoë"]


@pytest.mark.parametrize(("file", "key"), [("people.export", ""), ("sealed.export", " --file-key other.key")])
def test_exported_people_are_imported(here: Path, file: str, key: str) -> None:
    done = run(f"people import {file} --store new.db{key}")
    assert done.status == 0, done.errors
    kept = ANSWERS["people list --store people.db --json"]["answer"]
    found = run("people list --store new.db --json").answer
    assert [(one["name"], one["recordings"], sorted(one["models"])) for one in found] == [
        (one["name"], one["recordings"], sorted(one["models"])) for one in kept
    ]


def test_a_removed_shard_is_made_again_beside_the_others(here: Path) -> None:
    folder = here / "embeddings" / "corpus"
    lost = folder / "embeddings-00001.safetensors"
    kept, stamps = load_file(lost)["embeddings"], {p: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")}
    lost.unlink()
    done = run("embed --manifest embeddings/corpus/manifest.jsonl --model runs/robust --out other --shard-size 6")
    assert done.status == 0, done.errors
    done = run("embed --speech speech --model runs/robust --out embeddings/corpus --shard-size 6")
    assert done.status == 0, done.errors
    assert {p for p in stamps if p.stat().st_mtime_ns == stamps[p]} == set(stamps) - {lost}
    for again in (lost, here / "other" / lost.name):
        np.testing.assert_allclose(load_file(again)["embeddings"], kept, atol=1e-4)


def test_the_keys_of_a_service_are_read(here: Path) -> None:
    """The command ends, once the keys are read, at a rate that the calibration does not know."""
    wanted = "serve --model models/calibrated --store people.db --false-acceptance 7 --api-keys"
    (here / "short.txt").write_text("desk short\n", encoding="utf-8")
    refused, read = run(f"{wanted} short.txt"), run(f"{wanted} api-keys.txt")
    assert "short.txt" in refused.errors
    assert read.status == refused.status == 2
    assert "keys" not in read.errors


def test_nothing_here_was_changed() -> None:
    """A guard of this test itself: the copies are what is worked on."""
    assert not any(path.name.startswith(".lock") for path in WRITTEN.rglob("*"))
    assert not (WRITTEN / "out").exists()
    assert os.access(WRITTEN / "answers.json", os.R_OK)
