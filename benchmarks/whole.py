"""Whole commands, run by the working tree and by an earlier commit in turn."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import OURS, Measure, Row, Settings, in_turn, seconds

ROOT = Path(__file__).parents[1]
BEFORE = "the earlier commit"


def row(what: str, now: Sequence[str], then: Sequence[str], settings: Settings, goal: str = "") -> Row:
    """Return the seconds of a command in this tree and, where `settings` names one, in that of an earlier commit."""
    printed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {OURS: _timed(now, ROOT, OURS, printed)}
        if settings.before:
            jobs[BEFORE] = _timed(then, _tree(settings.before, Path(folder)), BEFORE, printed)
        sides = in_turn(jobs, settings.repeats, warm=0)
    note = "; ".join(f"{name}: {found}" for name, found in printed.items())
    if settings.before:
        note = f"the earlier commit is {settings.before}. {note}"
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
