"""Whatever ends a command is a sentence and an exit status, on any terminal."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxanchor.cli import main
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import open_store
from voxanchor.errors import MissingExtraError, VoxanchorError

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def ending(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def command() -> int:
        """Fail."""
        raise error

    monkeypatch.setitem(main.COMMANDS, "models", command)
    return main.run(["models"])


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (VoxanchorError("said"), 1, "said"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/a"), 5, "/out/a: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 5, "/x: cannot be used (No such file"),
        (MemoryError("Unable to allocate 8 GiB"), 1, "not enough memory (Unable to allocate 8 GiB)"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "not enough memory"),
        (ModuleNotFoundError("No module named 'numpy.new'", name="numpy.new"), 6, "numpy.new'). Install it anew"),
        (ImportError("cannot import name 'old'", name="voxanchor.audio"), 70, "a defect of the program: ImportError"),
        (ZeroDivisionError("division by\nzero"), 70, "ZeroDivisionError: division by zero. Please report it"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), 70, "a defect of the program"),
        (KeyboardInterrupt(), 130, "start the same command again"),
    ],
)
def test_an_error_is_a_sentence(
    error: BaseException,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ending(error, monkeypatch) == status
    said = capsys.readouterr().err
    assert said.startswith("voxanchor: ")
    assert told in said
    assert "Traceback" not in said
    assert said.count("\n") == 1
    monkeypatch.setenv("VOXANCHOR_TRACEBACK", "1")
    assert ending(error, monkeypatch) == status
    assert "Traceback" in capsys.readouterr().err


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert ending(ModuleNotFoundError("import of av halted; None in sys.modules", name="av"), monkeypatch) == 6
    assert "the package 'av', which is not installed. Install it with: pip install" in capsys.readouterr().err


def run(*words: str, env: dict[str, str] | None = None, **named: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "voxanchor", *words]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False, **named)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    place = tmp_path / "people.db"
    with open_store(place) as store:
        store.enroll("Zoë 🎤", [EnrolmentEmbedding(np.array([1.0, 0.0], dtype=np.float32), 1.0, 20.0)], "m")
    return place


@pytest.mark.parametrize("env", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_terminal_that_cannot_show_a_name(env: dict[str, str], people: Path) -> None:
    found = run("people", "list", "--store", str(people), env=env, stdout=subprocess.PIPE)
    assert found.returncode == 0, found.stderr
    assert b"\\U0001f3a4" in found.stdout
    found = run("people", "list", "--store", str(people), "--json", env=env, stdout=subprocess.PIPE)
    assert json.loads(found.stdout)[0]["name"] == "Zoë 🎤"


@pytest.mark.parametrize("env", [ASCII, {}])
def test_a_name_that_is_typed_where_the_locale_says_ascii(env: dict[str, str], people: Path) -> None:
    found = run("people", "show", "Zoë 🎤", "--store", str(people), env=env, stdout=subprocess.PIPE)
    assert found.returncode == 0, found.stderr
    found = run("people", "show", os.fsdecode(b"Zo\xeb"), "--store", str(people), env=env, stdout=subprocess.PIPE)
    assert found.returncode == 10
    assert b"half a surrogate pair" in found.stderr


def test_a_name_of_another_encoding_in_a_message(tmp_path: Path) -> None:
    named = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.db")
    found = run("people", "list", "--store", named, env=ASCII, stdout=subprocess.PIPE)
    assert found.returncode == 10
    assert b"no such store" in found.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full(people: Path) -> None:
    with Path("/dev/full").open("w") as full:
        found = run("people", "list", "--store", str(people), stdout=full)
    assert found.returncode == 5
    assert found.stderr.count(b"\n") == 1
    assert b"the disk is full" in found.stderr


def test_a_reader_that_leaves(people: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    found = run("people", "list", "--store", str(people), stdout=writing)
    os.close(writing)
    assert (found.returncode, found.stderr) == (main.PIPE_CLOSED, b"")  # as of any program that the system stops


def test_a_decision_keeps_its_status_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 lets somebody in, so it must not come of a pipe that was closed."""

    def unread() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    for step, status in (("ending", 11), ("printing", main.PIPE_CLOSED)):
        closed = io.StringIO()
        monkeypatch.setattr(closed, "flush", unread)
        monkeypatch.setattr(sys, "stdout", closed)

        def decide(words: list[str], step: str = step) -> int:
            if step == "printing":
                unread()
            return 11

        monkeypatch.setattr(main, "dispatch", decide)
        assert main.run(["verify"]) == status


def test_a_job_goes_on_where_nobody_reads_its_progress(people: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from voxanchor.runtime import log_line, track\n"
        "log_line('one')\nwith track('work', 2) as advance: advance(2)\nlog_line('two')\nPath(sys.argv[1]).touch()\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "done")], stderr=writing, check=False)
    os.close(writing)
    assert ended.returncode == 0
    assert (tmp_path / "done").exists()


def test_errors_of_workers_come_through_a_pipe() -> None:
    import pickle

    error = MissingExtraError("onnxruntime", "the model", "pip install onnxruntime")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.package == "onnxruntime"


def test_what_is_written_of_names_that_are_no_utf8(tmp_path: Path) -> None:
    from voxanchor.config import fingerprint
    from voxanchor.corpus.manifest import Manifest, Unusable
    from voxanchor.rng import generator

    name = os.fsdecode(b"caf\xe9.wav")
    Manifest((), (Unusable(f"/corpus/{name}", "odd"),), "/corpus").save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl").unusable[0].path == f"/corpus/{name}"
    assert len(fingerprint({"path": name})) == 16
    assert generator(0, 0, name, "noise").random() != generator(0, 0, "other", "noise").random()
