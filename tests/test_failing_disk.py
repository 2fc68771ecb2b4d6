"""Each write of a command fails, in every way a disk can: a sentence, exit status 5, and nothing half made."""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from voxanchor.cli import main
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import OutputError
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.files import replacing, reserve, temporary_folder, write_bytes, write_private, write_text, writing
from voxanchor.models import artefact
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.loop import save_state

KINDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.EACCES, errno.EFBIG)


class Disk:
    """Counts what is written, and fails at one place, or from there on."""

    def __init__(self, number: int, fail_at: int, lasting: bool) -> None:
        self.number, self.fail_at, self.lasting = number, fail_at, lasting
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.fail_at or (self.lasting and self.steps > self.fail_at > 0):
            raise OSError(self.number, os.strerror(self.number))


class Written:
    """An open file whose writes are steps."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: Any) -> int:
        self._disk.step()
        return int(self._file.write(content))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


@contextmanager
def failing(number: int = 0, fail_at: int = 0, lasting: bool = False) -> Iterator[Disk]:
    disk = Disk(number, fail_at, lasting)

    def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real_open(file, mode, *rest, **named)
        disk.step()
        return Written(real_open(file, mode, *rest, **named), disk)

    def stepping(call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*given: Any, **named: Any) -> Any:
            if not (call is real_mkdir and Path(given[0]).is_dir()):  # that would write nothing
                disk.step()
            return call(*given, **named)

        return stepped

    def low(path: Any, flags: int, *rest: Any, **named: Any) -> Any:
        if flags & (os.O_WRONLY | os.O_RDWR):
            disk.step()
        return real_low(path, flags, *rest, **named)

    real_open, real_low, real_mkdir = io.open, os.open, os.mkdir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(os, "open", low)
        for name in ("replace", "rename", "link", "mkdir", "fsync"):
            patch.setattr(os, name, stepping(getattr(os, name)))
        yield disk


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if ".tmp" in path.name or path.name.startswith(".lock")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., np.ndarray]) -> Path:
    from voxanchor.audio.io import write

    folder = tmp_path_factory.mktemp("corpus")
    for speaker in range(2):
        for take in range(2):
            path = folder / f"s{speaker}" / f"{take}.flac"
            path.parent.mkdir(exist_ok=True)
            write(path, voice(speaker, take, 1.0))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model: Path, corpus: Path) -> Path:
    place = tmp_path_factory.mktemp("store") / "people.db"
    enrol = ["enroll", "Ann", str(corpus / "s0" / "0.flac"), "--model", str(model), "--store", str(place)]
    assert main.run(enrol) == 0
    return place


COMMANDS = {
    "embed": ["embed", "{corpus}/s0/0.flac", "--model", "{model}", "--out", "{out}/deep/e.safetensors"],
    "embed a corpus": [
        "embed",
        "--speech",
        "{corpus}",
        "--model",
        "{model}",
        "--out",
        "{out}/run",
        "--shard-size",
        "3",
    ],
    "pack": ["data", "pack", "--speech", "{corpus}", "--out", "{out}/pack"],
    "key": ["people", "key", "--out", "{out}/key"],
    "people export": ["people", "export", "--store", "{store}", "--out", "{out}/people.export"],
    "people backup": ["people", "backup", "--store", "{store}", "--out", "{out}/people.db"],
}


@pytest.mark.parametrize(
    ("name", "lasting"),
    [*((name, False) for name in COMMANDS), ("embed", True), ("pack", True), ("people export", True)],
)
def test_each_write_of_a_command(
    name: str, lasting: bool, model: Path, corpus: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def arguments(out: Path) -> list[str]:
        return [word.format(model=model, corpus=corpus, store=store, out=out) for word in COMMANDS[name]]

    (tmp_path / "whole").mkdir()
    with failing() as disk:
        assert main.run(arguments(tmp_path / "whole")) == 0
    assert disk.steps >= 3
    for place in range(1, disk.steps + 1):
        number = KINDS[place % len(KINDS)]
        out = tmp_path / f"{place}"
        out.mkdir()
        capsys.readouterr()
        with failing(number, place, lasting):
            status = main.run(arguments(out))
        told = capsys.readouterr().err
        # a store has a status of its own, whatever is wrong with it
        assert status == 5 or (status == 10 and "people" in name), (place, os.strerror(number), told)
        assert "Traceback" not in told
        assert "defect" not in told
        assert leftovers(out) == []
        if place % 5 == 1:
            assert main.run(arguments(out)) == 0  # what was left is in nobody's way


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text(path, "new" * 1000),
    "bytes": lambda path: write_bytes(path, b"new"),
    "private": lambda path: write_private(path, b"new"),
    "manifest": lambda path: Manifest(()).save(path),
    "state": lambda path: save_state(path, {"weights": torch.zeros(5000)}),
    "cache": lambda path: EmbeddingCache(path).put(np.zeros((2, 3), dtype=np.float32), "a", 1),
    "model": lambda path: artefact.write(path, {}, {"weights": torch.zeros(3)}, {"anchors": b"x"}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_each_write_of_a_file(writer: str, tmp_path: Path) -> None:
    with failing() as disk:
        WRITERS[writer](tmp_path / "whole")
    for number in KINDS:
        for place in range(1, disk.steps + 1):
            path = tmp_path / f"{number}-{place}"
            old = writer not in ("cache", "model")  # these are folders
            if old:
                path.write_bytes(b"old")
            with failing(number, place), pytest.raises(OutputError):
                WRITERS[writer](path)
            assert not old or path.read_bytes() == b"old"
            assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "your quota on this disk is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EIO, "the disk failed"),
        (errno.EPERM, r"cannot be written \(Operation not permitted\)"),
    ],
)
def test_what_is_said(number: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=told), writing(tmp_path):
        raise OSError(number, os.strerror(number))


def test_errors_that_are_not_of_a_disk_pass() -> None:
    with pytest.raises(BrokenPipeError), writing("here"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(TimeoutError), writing("here"):
        raise TimeoutError("waited")


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    done = []
    with pytest.raises(OutputError, match="too long"), replacing(tmp_path / ("n" * 256)):
        done.append("work")
    assert not done
    for name in ("n" * 255, "é" * 127, f"{'n' * 251}.txt"):  # as long as names may be: so must the temporary one
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_a_folder_below_a_place_that_cannot_hold_one() -> None:
    with pytest.raises(OutputError):
        write_text("/proc/voxanchor/out.txt", "x")


def test_text_that_is_no_utf8_is_written_as_json_knows_it(tmp_path: Path) -> None:
    import json

    name = os.fsdecode(b"caf\xe9.wav")
    write_text(tmp_path / "a.json", json.dumps({name: name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {name: name}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_no_place_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(OutputError), temporary_folder("voxanchor-"):
        pass
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OutputError, match="the disk is full"), temporary_folder("voxanchor-") as folder:
        full(folder)
    assert not any(tmp_path.iterdir())


def test_room_for_a_mapped_file_is_taken_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxanchor.audio.pcm import _Blocks

    with (tmp_path / "samples").open("wb") as file:
        reserve(file.fileno(), 1000)
    assert (tmp_path / "samples").stat().st_size == 1000

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="the disk is full"):
        _Blocks(memory_bytes=0).add(np.zeros(10, dtype=np.int16), 10)

    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    with (tmp_path / "samples").open("wb") as file:
        reserve(file.fileno(), 1000)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_that_may_not_be_read_are_not_called_damaged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxanchor.errors import ModelError
    from voxanchor.models.foreign import checkpoint

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / name).touch()
    monkeypatch.setattr(Path, "read_bytes", denied)
    monkeypatch.setattr(Path, "open", denied)
    load = checkpoint._load_pickle if name.endswith(".pt") else checkpoint._load_safetensors
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
        load(tmp_path / name)
