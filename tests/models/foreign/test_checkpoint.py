"""Files of weights as they are met: plain, wrapped, damaged, and with code that must not run."""

import contextlib
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from voxanchor.errors import ModelError
from voxanchor.models.foreign.checkpoint import check_names, read_checkpoint, without

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"state_dict": STATE, "epoch": 3},
        {"model_state_dict": STATE, "optimizer": {"lr": torch.ones(())}},
        {"model": STATE, "args": {"lr": 0.1, "name": "x"}},
        {"module." + name: value for name, value in STATE.items()},
        {**STATE, "version": 3, "note": None},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_by_name(tmp_path: Path, content: dict[str, Any], zipped: bool) -> None:
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert_is_state(read_checkpoint(tmp_path / "m.pt"))


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    assert_is_state(read_checkpoint(str(tmp_path / "m.safetensors")))


def test_a_network_that_is_called_module_keeps_its_name_beside_others(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "m.pt")
    assert read_checkpoint(tmp_path / "m.pt").keys() == {"module.a", "b"}


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_float32(tmp_path: Path, precision: torch.dtype) -> None:
    torch.save({name: value.to(precision) if value.ndim else value for name, value in STATE.items()}, tmp_path / "m")
    found = read_checkpoint(tmp_path / "m")
    assert_is_state(found)
    assert (found["a.weight"].dtype, found["a.count"].dtype) == (torch.float32, torch.int64)


def test_nothing_that_is_no_data_is_run(tmp_path: Path) -> None:
    for zipped in (True, False):
        content = {**STATE, "extra": Malicious(tmp_path / "was-run")}
        torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError, match=r"m\.pt: holds more than data, and nothing of it was run"):
            read_checkpoint(tmp_path / "m.pt")
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "was-run"), protocol=2))
    with pytest.raises(ModelError, match="holds more than data"):
        read_checkpoint(tmp_path / "m.pt")
    torch.save(torch.nn.Linear(2, 3), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"save its state_dict\(\) alone"):
        read_checkpoint(tmp_path / "m.pt")
    assert not (tmp_path / "was-run").exists()


def test_a_program_of_torchscript_is_no_data(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt", "a") as archive:
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises(ModelError, match="holds more than data"):
        read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3}, {"state_dict": {"a": "b"}}, torch.ones(2)])
def test_files_without_tensors_by_name(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"m\.pt: (holds \w+, not weights by name|no tensors in it)"):
        read_checkpoint(tmp_path / "m.pt")


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pt", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            read_checkpoint(path)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    for content in (b"", b"nonsense" * 100, pointer, bytes(1000), pickle.dumps({"a": 1}, protocol=4)[:-3]):
        for suffix in ("pt", "safetensors"):
            path = tmp_path / f"m.{suffix}"
            path.write_bytes(content)
            with pytest.raises(ModelError, match=rf"m\.{suffix}: damaged"):
                read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_whatever_happened_to_a_file_it_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.pt")
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    whole, draw, read = path.read_bytes(), random.Random(0), 0
    for attempt in range(300):
        content = bytearray(whole)
        if attempt % 3 == 0:
            del content[draw.randrange(len(content)) :]
        else:
            content[draw.randrange(min(len(content), 900))] = draw.randrange(256)
        path.write_bytes(content)
        with contextlib.suppress(ModelError):  # and nothing else
            read_checkpoint(path)
            read += 1
    assert read < 150


def test_parts_can_be_left_out() -> None:
    assert without(STATE, ("a.count",)).keys() == {"a.weight"}
    assert without(STATE, ("projection.", "a.")) == {}


def test_names_and_shapes_must_be_those_of_the_network() -> None:
    check_names(STATE, STATE, "here")
    check_names({**STATE, "a.count": torch.tensor(3.0)}, STATE, "here")  # the type is no matter
    needed = {f"layer{i}": torch.zeros(2) for i in range(8)}
    with pytest.raises(ModelError) as caught:
        check_names({"layer0": torch.zeros(3), "other": torch.zeros(1)}, needed, "there")
    assert str(caught.value) == (
        "there: not the weights of this network: missing layer1, layer2, layer3, layer4, layer5 and 2 more; "
        "unexpected other; of another shape layer0 (3,) instead of (2,)"
    )
