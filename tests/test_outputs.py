import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from voxanchor import outputs
from voxanchor.errors import CorpusError, OutputError
from voxanchor.files import replacing, write_text
from voxanchor.outputs import IDENTITY_FILE, LOCK_FILE, OWNER_ENDING, lock_run_dir, locked


def test_the_same_job_resumes_and_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert not (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {"steps": 3, "paths": ("a",)}):
        pass
    assert (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {"steps": 3, "paths": ("a",)}):
        pass
    with (
        pytest.raises(OutputError, match=r"identity.steps: 3 -> 4"),
        lock_run_dir(out, "train", {"steps": 4, "paths": ("a",)}),
    ):
        pass
    with pytest.raises(OutputError, match="kind"), lock_run_dir(out, "evaluate", {"steps": 3, "paths": ("a",)}):
        pass


def test_foreign_files_are_never_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"), lock_run_dir(tmp_path, "train", {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="is a file"), lock_run_dir(tmp_path / "thesis.txt", "train", {}):
        pass


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        lock_run_dir(tmp_path / "run", "train", {}),
        pytest.raises(OutputError, match="at work"),
        lock_run_dir(tmp_path / "run", "train", {}),
    ):
        pass


def test_a_damaged_identity_is_an_error(tmp_path: Path) -> None:
    with lock_run_dir(tmp_path / "run", "train", {}):
        pass
    (tmp_path / "run" / IDENTITY_FILE).write_text("{")
    with pytest.raises(OutputError, match="cannot be read"), lock_run_dir(tmp_path / "run", "train", {}):
        pass


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_text(path, "old")
    with contextlib.suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    write_text(path, json.dumps({"new": 1}))
    assert json.loads(path.read_text()) == {"new": 1}
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_what_is_flushed_was_opened_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows flushes no other file."""
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        os.write(descriptor, b"")  # fails where it was opened for reading
        flushed.append("yes")

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.json", "whole")
    assert (tmp_path / "a.json").read_text() == "whole"
    assert flushed == ["yes"]


def test_an_unwritable_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "file" / "inside.txt", "x")


def test_a_job_that_made_nothing_leaves_the_folder_free(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(CorpusError), lock_run_dir(out, "train", {"speech": "mistyped"}):
        raise CorpusError("no such folder")
    assert not (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {"speech": "right"}):
        (out / "recipe.yaml").write_text("")
    with pytest.raises(CorpusError), lock_run_dir(out, "train", {"speech": "right"}):
        raise CorpusError("gone meanwhile")
    assert (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {"speech": "right"}):
        pass


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_folder_made_for_a_job_that_made_nothing_is_removed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder, stays in ((tmp_path / "new", False), (mine, True)):
        with (
            pytest.raises(CorpusError),
            lock_run_dir(folder, "robustify", {}),
            lock_run_dir(folder / "run", "train", {}),
        ):
            raise CorpusError("no such speech")
        assert folder.exists() is stays
    assert list(mine.iterdir()) == []


def test_what_a_job_made_before_it_failed_stays(tmp_path: Path) -> None:
    with pytest.raises(CorpusError), lock_run_dir(tmp_path / "run", "train", {}):
        fail_after(tmp_path / "run" / "stage" / "done.json")
    assert (tmp_path / "run" / IDENTITY_FILE).exists()


def fail_after(path: Path) -> None:
    write_text(path, "{}")
    raise CorpusError("the second stage")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_locks(monkeypatch, number)
    out = tmp_path / "run"
    assert not (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {}):
        assert (out / f"{LOCK_FILE}{OWNER_ENDING}").exists()
        with (
            pytest.raises(OutputError, match=rf"at work in this folder: process {os.getpid()} on"),
            lock_run_dir(out, "train", {}),
        ):
            pass
    assert "has no locks" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [IDENTITY_FILE]
    assert (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "train", {}):
        pass


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, number)
    with pytest.raises(OutputError, match="at work"), lock_run_dir(tmp_path / "run", "train", {}):
        pass


def test_a_job_refused_early_leaves_nothing_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    with pytest.raises(CorpusError), lock_run_dir(tmp_path / "run", "train", {}):
        raise CorpusError("no such folder")
    assert not (tmp_path / "run").exists()


HOLDER = """
import errno, fcntl, os, pathlib, sys, time
def flock(*_): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
from voxanchor.outputs import locked
folder = pathlib.Path(sys.argv[1])
with locked(folder / ".lock", folder):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_is_freed_while_another_run_looks_at_it_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    path = tmp_path / (LOCK_FILE + OWNER_ENDING)
    made, asked = outputs._made, 0

    def meanwhile(own: Path) -> bool:
        """The holder ends before its file is read, and a third run makes one before it could be removed."""
        nonlocal asked
        asked += own == path
        if own == path and asked == 1:
            return False
        if own == path and asked == 2:
            assert made(path)  # the third run
        return made(own)

    monkeypatch.setattr(outputs, "_made", meanwhile)
    with pytest.raises(OutputError, match="at work"), lock_run_dir(tmp_path, "train", {}):
        pass
    assert path.exists()


def test_a_file_system_without_links_replaces_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    write_text(tmp_path / "new.txt", "first", new=True)
    with pytest.raises(OutputError, match="is there already"):
        write_text(tmp_path / "new.txt", "second", new=True)
    assert (tmp_path / "new.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["new.txt"]


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {holder.pid} on"), locked(tmp_path / LOCK_FILE, tmp_path):
            pass
        holder.kill()
    with locked(tmp_path / LOCK_FILE, tmp_path):
        pass
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"process_started": "1"}, True),  # its number was given to this process
        ({"pid": 2**22 + 1}, True),  # there is no such process
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        ({"pid": 2**22 + 1, "numbering": "pid:[1]"}, False),  # of another container
        ({"machine": "m", "boot": "before"}, True),  # the machine was started anew
        ({"machine": "", "boot": "before"}, False),
        ({"machine": "other", "boot": "before"}, False),
        ({"pid": "words"}, False),
    ],
)
def test_who_holds_a_lock(change: dict[str, Any], free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    here = {"host": "node7", "machine": "m", "boot": "now", "numbering": "pid:[2]"}
    monkeypatch.setattr(outputs, "_here", lambda: here)
    started = outputs._started(os.getpid())
    owner = {**here, "pid": os.getpid(), "process_started": started, "at": "2026-05-01 12:00:00", **change}
    path = tmp_path / f"{LOCK_FILE}{OWNER_ENDING}"
    path.write_text(json.dumps(owner))
    with contextlib.ExitStack() as stack:
        if not free:
            stack.enter_context(pytest.raises(OutputError, match=rf"remove {path}"))
        with locked(tmp_path / LOCK_FILE, tmp_path):
            assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.exists() != free


def test_half_a_note_of_who_holds_a_lock_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.ENOSYS)
    (tmp_path / f"{LOCK_FILE}{OWNER_ENDING}").touch()
    with pytest.raises(OutputError, match="if there is none, remove"), locked(tmp_path / LOCK_FILE, tmp_path):
        pass


def test_a_place_is_the_same_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here/speech", "here/models", "there"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    here, out = tmp_path / "here", tmp_path / "run"
    monkeypatch.chdir(here)

    def identity(speech: str, model: str = "speechbrain:models", noise: str = "speech::odd") -> dict[str, Any]:
        return {"speech": speech, "comparison": {"models": {model: model}, "noise": [noise]}, "steps": 3}

    with lock_run_dir(out, "evaluate", identity("speech")):
        pass
    for spelt in ("speech", "./speech/", "../here/speech", str(here / "speech"), str(tmp_path / "link" / "speech")):
        assert (out / IDENTITY_FILE).exists()
        with lock_run_dir(out, "evaluate", identity(spelt)):
            pass
    monkeypatch.chdir(tmp_path / "there")
    full = identity(str(here / "speech"), f"speechbrain:{here / 'models'}", f"{tmp_path / 'link' / 'speech'}::odd")
    assert (out / IDENTITY_FILE).exists()
    with lock_run_dir(out, "evaluate", full):
        pass
    for other in (identity(str(here)), {**full, "steps": 4}, {**full, "comparison": {"models": {}, "noise": []}}):
        with pytest.raises(OutputError, match="holds another run"), lock_run_dir(out, "evaluate", other):
            pass
    (tmp_path / "there" / "speech").mkdir()  # the same word for another place
    with pytest.raises(OutputError, match="holds another run"), lock_run_dir(out, "evaluate", identity("speech")):
        pass


def test_a_word_that_is_no_path_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/noise", "b/noise"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    with lock_run_dir(tmp_path / "run", "evaluate", {"suite": "noise"}):
        pass
    monkeypatch.chdir(tmp_path / "b")
    assert (tmp_path / "run" / IDENTITY_FILE).exists()
    with lock_run_dir(tmp_path / "run", "evaluate", {"suite": "noise"}):
        pass


def test_a_run_of_before_resumes_in_the_folder_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "run").mkdir()
    old = {"kind": "train", "identity": {"speech": "speech"}}
    (tmp_path / "run" / IDENTITY_FILE).write_text(json.dumps(old))
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / "run" / IDENTITY_FILE).exists()
    with lock_run_dir(tmp_path / "run", "train", {"speech": str(tmp_path / "speech")}):
        pass
