"""Whole commands before and after: quickstart and robustify, run by an earlier commit and by the working tree in turn.

Takes many minutes: only when asked for.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import recordings
from measure import OURS, Answer, Measure, Row, Settings, in_turn, seconds

ROOT = Path(__file__).parents[2]


def measure(settings: Settings) -> Answer:
    heard = recordings.load(settings.recordings)
    speech, noise = heard.manifest.root, str(heard.noise)
    robustify = ["robustify", "--model", "ge2e", "--speech", speech, "--noise", noise, "--json"]
    quickstart = ["quickstart", "--json"]
    if settings.quick:
        robustify += ["--set", "stages.anchored.train.steps=4"]
        quickstart += ["--set", *(f"stages.{stage}.train.steps=4" for stage in ("base", "anchored", "joint"))]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        trees = {OURS: ROOT}
        if settings.before:
            trees[f"commit {settings.before}"] = _tree(settings.before, Path(folder))
        for command, goal in ((robustify, "at least 2"), (quickstart, "")):
            printed: dict[str, str] = {}
            sides = in_turn(
                {name: _timed(command, tree, name, printed) for name, tree in trees.items()}, settings.repeats, warm=0
            )
            others = [side for name, side in sides.items() if name != OURS]
            note = "; ".join(f"{name}: {found}" for name, found in printed.items())
            what = f"voxanchor {command[0]}, whole command"
            rows.append(Row(what, "s", sides[OURS], others[0] if others else None, goal, note, better="lower"))
    return Answer(rows)


def _tree(commit: str, folder: Path) -> Path:
    """Return a folder with the files of a commit."""
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return folder


def _timed(command: Sequence[str], tree: Path, name: str, printed: dict[str, str]) -> Measure:
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}

    def run() -> None:
        with tempfile.TemporaryDirectory() as out:
            full = [sys.executable, "-m", "voxanchor", *command, "--out", f"{out}/run"]
            done = subprocess.run(full, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(full)}: {done.stderr.strip()[-500:]}")
        printed[name] = _quality(json.loads(done.stdout))

    return lambda: seconds(run)


def _quality(answer: object) -> str:
    """Return the error rates a command reports, in a few words."""
    if not isinstance(answer, dict):
        return ""
    if "after" in answer:
        return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in answer["after"].items())
    systems = answer.get("systems", answer)
    rates = {name: found["avg16"] for name, found in systems.items() if isinstance(found, dict) and "avg16" in found}
    return ", ".join(f"{name} avg16 {value:.2f} %" for name, value in rates.items())
