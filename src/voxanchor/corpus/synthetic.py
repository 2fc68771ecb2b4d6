"""A corpus of synthetic speakers on a machine that has no recordings: eSpeak NG with a new voice for every speaker."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import voxanchor
from voxanchor.corpus.espeak import engine_version
from voxanchor.corpus.speak import speaker_name
from voxanchor.errors import OutputError, RecipeError, VoxanchorError
from voxanchor.files import write_text, writing
from voxanchor.progress import Advance

MARKER = "synthetic.json"
"""File in the corpus folder that says what the corpus was made from, and whether it is complete."""

_FORMAT = 1  # raised whenever the same parameters would give other audio
_MOST_PER_PROCESS = 50  # an engine per speaker leaves a few hundred kilobytes behind in its process


def _write_marker(folder: Path, parameters: dict[str, object]) -> None:
    write_text(folder / MARKER, json.dumps(parameters, indent=2) + "\n")


def _found(folder: Path, wanted: dict[str, object]) -> dict[str, object] | None:
    marker = folder / MARKER
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; synthetic voices need a folder. Choose another one")
    if not marker.exists():
        if any(folder.iterdir()):
            raise OutputError(f"{folder} holds files that are not synthetic voices; choose an empty folder")
        return None
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        differing = [f"{key} {found.get(key)} (asked: {value})" for key, value in wanted.items() if found[key] != value]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise OutputError(f"{marker} cannot be read; delete {folder} or choose another folder") from None
    if differing:
        raise OutputError(
            f"{folder} holds synthetic voices made with {', '.join(differing)}; delete it or choose another folder"
        )
    return dict(found)


def _jobs(folder: Path, missing: list[int], utterances: int, seed: int, workers: int) -> Iterator[dict[str, object]]:
    size = min(_MOST_PER_PROCESS, -(-len(missing) // workers))
    for start in range(0, len(missing), size):
        yield {
            "folder": str(folder.absolute()),
            "speakers": missing[start : start + size],
            "utterances": utterances,
            "seed": seed,
        }


class _Workers:
    """The processes that speak, one per job, and what they report."""

    def __init__(self) -> None:
        self.reports: Queue[int | BaseException | None] = Queue()
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def run(self, job: dict[str, object]) -> None:
        """Put each speaker's number on the queue as its process reports it, then None; or the error that ended it."""
        try:
            self._run(job)
            self.reports.put(None)
        except BaseException as error:
            self.reports.put(error)

    def _run(self, job: dict[str, object]) -> None:
        environment = dict(os.environ)
        here = str(Path(voxanchor.__file__).parents[1])  # the child finds this package, however it was found here
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "voxanchor.corpus.speak"]
        with (
            writing("the folder for temporary files (TMPDIR)"),
            tempfile.TemporaryFile("w+") as complaints,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
            ) as process,
        ):
            self._processes.append(process)
            if self._stopped:
                process.terminate()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # a process that failed at once says so below
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            said = ""
            for line in process.stdout:
                report = json.loads(line)
                if isinstance(report, str):
                    said = report
                else:
                    self.reports.put(report)
            status = process.wait()
            complaints.seek(0)
            said = said or (complaints.read().strip().splitlines() or [f"exit status {status}"])[-1]
        if status != 0:
            kind = OutputError if status == OutputError.exit_code else VoxanchorError
            raise kind(f"making synthetic voices in {job['folder']} failed: {said}")

    def stop(self) -> None:
        """End every process, and those about to start."""
        self._stopped = True
        for process in self._processes:
            process.terminate()


def generate(
    folder: Path | str,
    speakers: int,
    utterances_per_speaker: int,
    seed: int = 0,
    progress: Advance | None = None,
) -> Path:
    """Return ``folder``, filled with ``<speaker>/<n>.flac``: 16 kHz mono, 3 to 6 s each, active level about -26 dBFS.

    Every speaker has a pitch, pitch range, formants, spectral tilt, accent, rate and breathiness of its own
    (`voxanchor.corpus.voices.draw_voice`); each utterance is another sentence on another occasion (pitch, rate,
    articulation and level vary a little). The same parameters give the same files. A finished folder is reused at
    once; a run that was killed goes on where it stopped, a speaker at a time.

    Args:
        folder: where the corpus goes; new, empty, or made by the same call before.
        speakers: how many, any number from 1.
        utterances_per_speaker: how many each, from 1.
        seed: of everything random; another seed gives other speakers.
        progress: called with the number of utterances finished since its last call, in the calling thread.

    Raises:
        RecipeError: if a count is below 1.
        OutputError: if the folder holds something else, or voices made with other parameters, or cannot be written.
        MissingExtraError: if the extra ``synthetic`` is not installed (a finished folder needs it no more).
    """
    folder = Path(folder)
    for name, value in (("speakers", speakers), ("utterances_per_speaker", utterances_per_speaker)):
        if value < 1:
            raise RecipeError(f"{name} is {value}; it must be at least 1")
    parameters: dict[str, object] = {
        "format": _FORMAT,
        "speakers": speakers,
        "utterances_per_speaker": utterances_per_speaker,
        "seed": seed,
    }
    found = _found(folder, parameters)
    advance = progress or (lambda _count: None)
    if found is not None and found.get("complete"):
        advance(speakers * utterances_per_speaker)
        return folder
    parameters["engine"] = f"eSpeak NG {engine_version()}"
    if found is not None:
        _found(folder, parameters)  # half a corpus of one engine is not completed by another
    else:
        with writing(folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)
        _write_marker(folder, parameters | {"complete": False})
    missing = [index for index in range(speakers) if not (folder / speaker_name(index)).exists()]
    advance((speakers - len(missing)) * utterances_per_speaker)
    count = min(os.cpu_count() or 1, 8)
    jobs = list(_jobs(folder, missing, utterances_per_speaker, seed, count)) if missing else []
    workers = _Workers()
    with ThreadPoolExecutor(count) as pool:
        try:
            for job in jobs:
                pool.submit(workers.run, job)
            running = len(jobs)
            while running:
                message = workers.reports.get()
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    running -= 1
                else:
                    advance(utterances_per_speaker)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            workers.stop()
            raise
    _write_marker(folder, parameters | {"complete": True})
    return folder
