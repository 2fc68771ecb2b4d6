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

BEFORE = "the earlier commit"

FIRST_RUN = (
    "stages.anchored.train.steps=300",
    "data.voice_speeds=[]",
    "stages.anchored.train.blend=1",
    "stages.anchored.train.learning_rate.peak=5e-4",
)
"""Settings with which `robustify` makes the run of the first issue again, as commit 91180cd does without any."""


def measure(settings: Settings) -> Answer:
    heard = recordings.load(settings.recordings)
    speech, noise = heard.manifest.root, str(heard.noise)
    robustify = ["robustify", "--model", "ge2e", "--speech", speech, "--noise", noise, "--json"]
    quickstart = ["quickstart", "--json"]
    first_run = ["--set", *FIRST_RUN]
    if settings.quick:
        first_run += ["stages.anchored.train.steps=4"]
        robustify += ["--set", "stages.anchored.train.steps=4"]
        quickstart += ["--set", *(f"stages.{stage}.train.steps=4" for stage in ("base", "anchored", "joint"))]
    with tempfile.TemporaryDirectory() as folder:
        before = _tree(settings.before, Path(folder)) if settings.before else None
        rows = [
            _row(
                "robustify, the run of the first issue", [*robustify, *first_run], robustify, before, settings.repeats
            ),
            _row("robustify as it is now", robustify, robustify, None, settings.repeats),
            _row("quickstart", quickstart, quickstart, before, settings.repeats),
        ]
    return Answer(rows)


def _row(what: str, now: Sequence[str], then: Sequence[str], before: Path | None, repeats: int) -> Row:
    """Return the seconds of a command in this tree and, where there is one, in that of the earlier commit."""
    printed: dict[str, str] = {}
    jobs = {OURS: _timed(now, ROOT, OURS, printed)}
    if before is not None:
        jobs[BEFORE] = _timed(then, before, BEFORE, printed)
    sides = in_turn(jobs, repeats, warm=0)
    note = "; ".join(f"{name}: {found}" for name, found in printed.items())
    goal = "at least 2" if before is not None and now != then else ""
    return Row(f"{what}, whole command", "s", sides[OURS], sides.get(BEFORE), goal, note, better="lower")


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
