"""Damaged files of every container through `Verifier.verify`, and corpora of them through the commands and the service.

    python -m docs.figures.mutated_files                                # from the folder with src and tests in it
    python -m docs.figures.mutated_files --only 4711                    # one file of the series, and what it comes to

File N of a seed is damaged in the same way in every run; libsndfile and FFmpeg write times and random numbers into
some of the whole ones, so that the files of findings are kept (`--keep`). A finding is what must not be: an exception
that is no error of voxanchor, a warning of Python, a score that is not finite, a line on standard output, a process
that dies, more than 30 s or 512 MiB for one file; a command that takes more than 1 GiB, ends otherwise than documented
or loses a file; an answer of the service that is no decision and no refusal. Status 1 if there is any.
"""

import argparse
import ctypes
import http.client
import importlib.util
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tests.audio.mutations import FFMPEG, SNDFILE, by_ffmpeg, by_sndfile, mutant
from tests.conftest import make_voice

from voxanchor.audio.io import AUDIO_SUFFIXES, find_audio
from voxanchor.errors import VoxanchorError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.verification.loading import load

RATE = 16_000
MOST_S = 30.0
MOST_BYTES = 512 * 2**20
MOST_COMMAND_BYTES = 2**30
"""Memory of a command or the service, torch and the tiny model included: 0.3 GiB before anything is read."""

SPARE_BYTES = 2 * 2**30
"""Address space that a worker may have beyond what it has when its model is loaded: it bounds what is asked for and
never used, too."""

SPEAKERS = 20
MONO = ("gsm.wav", "g721.wav", "nms.wav", "g723.au", "svx", "sds", "xi", "htk", "amr", "g722.wav", "g726.wav")
REFUSALS = {200, 413, 422}


@dataclass
class Tally:
    """What became of files.

    Attributes:
        keep: the folder that gets the files of findings.
        outcomes: how many came to what.
        findings: what must not be, with the file it was.
        longest_s: of one file.
        most_bytes: memory that one file took.
    """

    keep: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    most_bytes: int = 0

    def add(self, name: str, content: bytes, outcome: str, seconds: float = 0.0, taken: int = 0) -> None:
        """Count one file."""
        if seconds > MOST_S:
            outcome = f"took {seconds:.1f} s"
        if taken > MOST_BYTES:
            outcome = f"took {taken / 2**20:.0f} MiB"
        known = outcome in ("decision", "abstention", "refusal")
        self.outcomes[outcome if known else "finding"] += 1
        if not known:
            self.findings.append(f"{name}: {outcome}")
            print(f"  FINDING {name}: {outcome}", flush=True)
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / name).write_bytes(content)
        self.longest_s, self.most_bytes = max(self.longest_s, seconds), max(self.most_bytes, taken)


def whole_files(kinds: Sequence[str]) -> dict[str, bytes]:
    """Return a voice of 2 s at 16 kHz in every container, and two of 1 s at 48 kHz where it holds two channels."""
    one = make_voice(0, 0, 2.0)
    two = np.repeat(np.stack([make_voice(1, 0, 1.0), make_voice(2, 0, 1.0)], axis=1), 3, axis=0)
    found: dict[str, bytes] = {}
    for kind in kinds:
        write = by_sndfile if kind in SNDFILE else by_ffmpeg
        found[kind] = write(kind, one, RATE)
        if kind not in MONO:
            found[f"two.{kind}"] = write(kind, two, 3 * RATE)
    return found


# ------------------------------------------------------------------------------------------------------ verification


def status_bytes(name: str, process: int | str = "self") -> int:
    """Return a line of a process's status in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def work(model: str, known: str, pipe: Connection) -> None:
    """Verify the files that come through a pipe against a known voice, in this process, within limits."""
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the MP3 decoder writes warnings of its own
    printed = os.open(Path(known).with_name("printed"), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(printed, 1)
    libc = ctypes.CDLL(None)
    warnings.simplefilter("error")
    verifier = load(model)
    (clean,) = verifier.load_audio(known)
    verifier.embed(clean)
    limit = status_bytes("VmSize") + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send("ready")
    while path := pipe.recv():
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, begun = status_bytes("VmRSS"), time.monotonic()
        try:
            found = verifier.verify(path, clean)
            outcome = "abstention" if found.decision == "abstained" else "decision"
            if found.score is not None and not np.isfinite(found.score):
                outcome = f"a score of {found.score}"
            json.dumps(found.to_dict(), allow_nan=False)
        except VoxanchorError as error:
            outcome = "refusal" if path in str(error) else f"does not name the file: {error}"
            if "memory" in str(error):
                outcome = f"asks for too much: {error}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        libc.fflush(None)
        if os.fstat(printed).st_size:
            outcome = "prints to standard output"
            os.ftruncate(printed, 0)
        pipe.send((outcome, time.monotonic() - begun, status_bytes("VmHWM") - before))


class Worker:
    """A process that verifies; another takes its place when it dies or hangs."""

    def __init__(self, model: str, known: str) -> None:
        self._made_with = (model, known)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(*self._made_with, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def verify(self, path: str) -> tuple[str, float, int]:
        """Return outcome, seconds, and bytes of memory."""
        self._pipe.send(path)
        try:
            if self._pipe.poll(MOST_S):
                found: tuple[str, float, int] = self._pipe.recv()
                return found
            outcome, seconds = "hangs", MOST_S
        except EOFError:
            outcome, seconds = "kills the process", 0.0
        self._process.kill() if outcome == "hangs" else None
        self._process.join()
        if outcome != "hangs":
            outcome += f" ({signal.Signals(-self._process.exitcode).name})" if self._process.exitcode else ""
        self._start()
        return outcome, seconds, 0

    def close(self) -> None:
        self._pipe.send("")
        self._process.join()


def verify(files: dict[str, bytes], seed: int, numbers: Sequence[int], model: str, folder: Path, tally: Tally) -> None:
    """Verify damaged files, each for itself."""
    known = folder / "known.wav"
    soundfile.write(known, make_voice(0, 1), RATE)
    worker = Worker(model, str(known))
    for count, number in enumerate(numbers, start=1):
        name, content = mutant(files, seed, number)
        path = folder / name
        path.write_bytes(content)
        tally.add(name, content, *worker.verify(str(path)))
        path.unlink()
        if count % 1000 == 0:
            print(f"  {count} files: {dict(tally.outcomes)}", flush=True)
    worker.close()


# ---------------------------------------------------------------------------------------------------------- commands


def corpus(files: dict[str, bytes], seed: int, count: int, folder: Path) -> int:
    """Write a folder of speakers with damaged files among whole ones; return how many the folder lists."""
    for speaker in range(SPEAKERS):
        (folder / f"s{speaker:02d}").mkdir(parents=True)
        for take in range(2):
            soundfile.write(folder / f"s{speaker:02d}" / f"whole-{take}.flac", make_voice(speaker, take), RATE)
    for number in range(count):
        name, content = mutant(files, seed, number)
        name += "" if Path(name).suffix in AUDIO_SUFFIXES else ".wav"  # in a folder the suffix says what a recording is
        (folder / f"s{number % SPEAKERS:02d}" / name).write_bytes(content)
    return len(find_audio(folder))


def command(*arguments: str | Path, limit_s: float) -> tuple[int, str, float, int]:
    """Run voxanchor; return status, what it printed, seconds and its peak memory."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "voxanchor", *map(str, arguments)], stdout=output, stderr=subprocess.STDOUT
        )
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() - begun > limit_s:
                process.kill()
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        output.seek(0)
        return process.returncode, output.read(), time.monotonic() - begun, 1024 * ended[2].ru_maxrss


def ended(tally: Tally, name: str, found: tuple[int, str, float, int], expected: int) -> None:
    """Note how a command ended."""
    status, printed, seconds, peak = found
    print(f"  {name}: status {status}, {seconds:.0f} s, peak {peak / 2**20:.0f} MiB", flush=True)
    claim(tally, f"{name}: took {peak >> 20} MiB", peak < MOST_COMMAND_BYTES)
    if status != expected or "Traceback" in printed or re.search(r"[A-Z]\w+Warning: ", printed):
        tally.findings.append(f"{name}: status {status}, expected {expected}\n{printed[-3000:]}")
        print(f"  FINDING {tally.findings[-1]}", flush=True)


def claim(tally: Tally, name: str, true: bool) -> None:
    """Note what does not hold."""
    if not true:
        tally.findings.append(name)
        print(f"  FINDING {name}", flush=True)


def embed(files: dict[str, bytes], seed: int, count: int, model: str, folder: Path, tally: Tally) -> None:
    """Embed a corpus of damaged files."""
    speech, out = folder / "speech", folder / "embeddings"
    listed = corpus(files, seed, count, speech)
    arguments = ("embed", "--speech", speech, "--layout", "speakers", "--model", model, "--out", out)
    begun = command(*arguments, "--max-unusable", "1", limit_s=60 + count)
    ended(tally, "embed", begun, 0)
    if begun[0] != 0:
        return
    index = json.loads((out / "index.json").read_text())
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    tally.outcomes.update(embedding=index["embeddings"], failure=index["failures"])
    claim(tally, "embed: a file is neither embedded nor listed", index["embeddings"] + index["failures"] == listed)
    claim(tally, "embed: failures.jsonl lacks one", len(failures) == index["failures"])
    claim(tally, "embed: a failure without a reason", all(line["reason"].strip() for line in failures))
    ended(tally, "embed, few failures allowed", command(*arguments, "--max-unusable", "0.01", limit_s=60 + count), 3)


def evaluate(files: dict[str, bytes], seed: int, count: int, model: str, folder: Path, tally: Tally) -> None:
    """Evaluate on a corpus of damaged files: segments in noise, and whole recordings by the loudest channel."""
    speech = folder / "speech"
    listed = corpus(files, seed, count, speech)
    suite = folder / "suite.yaml"
    suite.write_text("name: short\nconditions: [clean, noise_5db]\n")
    arguments = ("evaluate", "--speech", speech, "--layout", "speakers", "--model", model)
    limit_s = 120.0 + 2 * count
    for name, flags in {
        "evaluate": ("--suite", suite, "--segment-s", "1"),
        "evaluate, whole": ("--suite", suite, "--segment-s", "0", "--channel", "loudest"),
    }.items():
        out = folder / name.replace(", ", "-")
        found = command(*arguments, *flags, "--out", out, "--max-unusable", "1", limit_s=limit_s)
        ended(tally, name, found, 0)
        if found[0] != 0:
            continue
        said = re.search(r"([\d,]+) utterances.* ([\d,]+) recordings left out", found[1])
        usable, unusable = (int(number.replace(",", "")) for number in said.groups()) if said else (0, 0)
        left_out = (out / "left_out.txt").read_text().splitlines()  # also what is shorter than a segment
        tally.outcomes.update({f"{name}: evaluated": usable, f"{name}: left out": unusable})
        told = f"{name}: of {listed} files {usable} are evaluated, {unusable} left out and {len(left_out)} listed"
        claim(tally, told, usable + unusable == listed and len(left_out) >= unusable)
        claim(tally, f"{name}: a file without a reason", all(line.partition(": ")[2].strip() for line in left_out))
    found = command(*arguments, "--suite", suite, "--out", folder / "few", limit_s=limit_s)
    ended(tally, "evaluate, few failures allowed", found, 3)


# ----------------------------------------------------------------------------------------------------------- service


@contextmanager
def service(model: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the service; give its process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "voxanchor", "serve", "--model", model, "--store", folder / "people.db", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=(folder / "errors").open("w"),
        text=True,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(60)


def form(**parts: bytes) -> bytes:
    made = b""
    for name, content in parts.items():
        made += f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="blob"\r\n\r\n'.encode()
        made += content + b"\r\n"
    return made + b"--edge--\r\n"


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Return status and answer of the service."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MOST_S)
    try:
        connection.request(method, path, body, {"Content-Type": "multipart/form-data; boundary=edge"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def serve(files: dict[str, bytes], seed: int, count: int, model: str, folder: Path, tally: Tally) -> None:
    """Send damaged files to the service."""
    known = by_sndfile("flac", make_voice(0, 1), RATE)
    (folder / "temporary").mkdir()
    with service(model, folder) as (process, port):
        enrolled, _ = ask(port, "POST", "/v1/people/anna", form(recordings=known))
        claim(tally, f"serve: enrolment answers {enrolled}", enrolled == 201)
        for number in range(count):
            name, content = mutant(files, seed, number)
            way = (("verify", {"first": known, "second": content}), ("embed", {"recording": content}),
                   ("identify", {"recording": content}))[number % 3]  # fmt: skip
            begun = time.monotonic()
            try:
                status, answer = ask(port, "POST", f"/v1/{way[0]}", form(**way[1]))
            except (OSError, ValueError, http.client.HTTPException) as error:
                tally.add(name, content, f"{way[0]} answers nothing: {type(error).__name__}: {error}")
                continue
            outcome = f"{way[0]} answers {status}: {answer}"
            if status in REFUSALS:
                outcome = "refusal" if status != 200 else "decision"
                outcome = "abstention" if status == 200 and answer.get("decision") == "abstained" else outcome
            tally.add(name, content, outcome, time.monotonic() - begun)
            if number % 1000 == 999:
                print(f"  {number + 1} requests: {status_bytes('VmRSS', process.pid) >> 20} MiB", flush=True)
        claim(tally, "serve: is ill afterwards", ask(port, "GET", "/health")[0] == 200)
        left = [path.name for path in (folder / "temporary").iterdir() if path.is_file()]
        claim(tally, f"serve: uploads stay: {left}", not left)
        opened = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        claim(tally, f"serve: {opened} files stay open", opened < 64)
        peak = status_bytes("VmHWM", process.pid)
        print(f"  peak {peak >> 20} MiB; {opened} open files")
        claim(tally, f"serve: took {peak >> 20} MiB", peak < MOST_COMMAND_BYTES)
    claim(tally, f"serve: ends with {process.returncode}", process.returncode == 0)
    left = [path.name for path in (folder / "temporary").iterdir()]
    claim(tally, f"serve: temporary files stay: {left}", not left)
    errors = (folder / "errors").read_text(errors="replace")
    claim(tally, f"serve: writes a traceback\n{errors[-3000:]}", "Traceback" not in errors)


def main() -> int:
    """Run what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, help="so many through verify")
    parser.add_argument("--corpus", type=int, default=1_500, help="so many through embed, and as many others, evaluate")
    parser.add_argument("--requests", type=int, default=1_500, help="so many to the service")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--containers", nargs="+", help="only these, by their keys in tests/audio/mutations.py")
    parser.add_argument("--model", default="", help="by default a tiny one with random weights")
    parser.add_argument("--only", type=int, help="the number of one file, which goes through verify")
    parser.add_argument("--keep", type=Path, default=Path("runs/mutated"), help="folder for the files of findings")
    asked = parser.parse_args()
    kinds = asked.containers or [*SNDFILE, *(FFMPEG if importlib.util.find_spec("av") else ())]
    files = whole_files(kinds)
    numbers = [asked.only] if asked.only is not None else range(asked.files)
    corpora, requests = (0, 0) if asked.only is not None else (asked.corpus, asked.requests)
    print(f"{len(files)} whole files of {len(kinds)} containers; seed {asked.seed}", flush=True)
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or str(Path(folder, "model"))
        if not asked.model:
            SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).save(Path(model))
        jobs: list[tuple[Callable[..., None], int | Sequence[int]]]
        jobs = [(verify, numbers), (embed, corpora), (evaluate, corpora), (serve, requests)]
        for place, (job, count) in enumerate(jobs):
            if not count:
                continue
            own = Path(folder, job.__name__)
            own.mkdir()
            print(f"{job.__name__}:", flush=True)
            tally = Tally(asked.keep)
            job(files, asked.seed + 1000 * place, count, model, own, tally)  # other files for each
            print(f"  {dict(tally.outcomes)}", end="")
            print(f"; longest {tally.longest_s:.2f} s, most memory {tally.most_bytes / 2**20:.0f} MiB")
            found += len(tally.findings)
    print(f"{found} findings")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
