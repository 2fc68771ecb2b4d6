"""Files of weights as they are met: plain, wrapped, damaged, and with code that must not run."""

import argparse
import contextlib
import errno
import os
import pickle
import random
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from voxanchor.errors import ModelError
from voxanchor.models.foreign.checkpoint import fitted, read_checkpoint

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
        {"net": STATE},
        {"model": {"state_dict": STATE}},
        {"state_dict": STATE, "ema_state_dict": {name: value + 1 for name, value in STATE.items()}},
        {"encoder": STATE, "classifier": {"weight": torch.ones(3, 3)}},
        {"_orig_mod." + name: value for name, value in STATE.items()},
        {"model._orig_mod.module." + name: value for name, value in STATE.items()},
        {"module.a.weight": STATE["a.weight"], "a.count": STATE["a.count"]},
        {"a._orig_mod.weight": STATE["a.weight"], "a.module.count": STATE["a.count"]},
        {**STATE, "projection.weight": torch.ones(5, 3), "loss_fn.weight": torch.ones(5), "train_acc.n": torch.ones(1)},
        {"epoch": 3, "state_dict": {f"encoder.{name}": value for name, value in STATE.items()}, "loops": {}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_by_name(tmp_path: Path, content: dict[str, Any], zipped: bool) -> None:
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert_is_state(read_checkpoint(tmp_path / "m.pt"))


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    assert_is_state(read_checkpoint(str(tmp_path / "m.safetensors")))


PARTS = st.sampled_from(["module", "_orig_mod", "model", "net", "encoder", "speaker_encoder"])


@given(st.lists(st.lists(PARTS, max_size=3), min_size=5, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_stands_before_names_they_are_those_of_the_network(
    before: list[list[str]], data: st.DataObject
) -> None:
    names = ["a.weight", "a.bias", "layer1.0.conv1.weight", "layer1.0.bn1.running_mean", "out.weight"]
    state = {name: torch.tensor([float(place)]) for place, name in enumerate(names)}
    found = {".".join([*parts, name]): state[name] for name, parts in zip(names, before, strict=True)}
    found["criterion.weight"] = torch.ones(1)
    for holder in data.draw(st.lists(st.sampled_from(["state_dict", "model", "weights"]), max_size=2)):
        found = {holder: found, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}}}  # type: ignore[dict-item]
    with tempfile.TemporaryDirectory() as folder:
        torch.save(found, Path(folder) / "m.pt")
        assert read_checkpoint(Path(folder) / "m.pt") == state


def test_any_prefix_goes_that_stands_before_a_landmark(tmp_path: Path) -> None:
    content = {f"my_wrapper.tower.{name}": value for name, value in STATE.items()}
    torch.save({**content, "my_loss.w": torch.ones(1), "other.w": torch.ones(1)}, tmp_path / "m.pt")
    assert read_checkpoint(tmp_path / "m.pt", ("a.weight",)).keys() == {*STATE, "other.w"}
    torch.save({"weights": content, "teacher": {"b": torch.ones(1)}}, tmp_path / "m.pt")
    assert read_checkpoint(tmp_path / "m.pt", ("a.weight",)).keys() == STATE.keys()


def test_a_network_that_is_there_twice_is_not_chosen_between(tmp_path: Path) -> None:
    once = {f"model.{name}": value for name, value in STATE.items()}
    again = {f"ema.{name}": value for name, value in STATE.items()}
    torch.save({**once, **again}, tmp_path / "m.pt")
    assert_is_state(read_checkpoint(tmp_path / "m.pt", ("a.weight",)))  # it is the same
    torch.save({**once, **again, "ema.a.weight": torch.zeros(2, 3)}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"holds a network twice, as model\.a\.weight and as ema\.a\.weight\. Save"):
        read_checkpoint(tmp_path / "m.pt", ("a.weight",))


@pytest.mark.parametrize("zipped", [True, False])
def test_what_trainings_write_beside_the_weights_is_no_obstacle(tmp_path: Path, zipped: bool) -> None:
    content = {
        "state_dict": STATE,
        "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": {
            "path": Path("data/x"),
            "windows": PureWindowsPath("c:/x"),
            "lr": np.float64(0.1),
            "steps": np.int64(3),
            "flag": np.bool_(True),
            "args": argparse.Namespace(seed=1, out=Path("y")),
        },
        "callbacks": {"best": {"score": torch.tensor(0.3)}},
    }
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    assert_is_state(read_checkpoint(tmp_path / "m.ckpt"))


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="no tensors in it"):
        read_checkpoint(tmp_path / "m.pt")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for suffix in ("pt", "safetensors"):
        (tmp_path / f"m.{suffix}").touch()
    monkeypatch.setattr(Path, "open", refuse)
    for suffix in ("pt", "safetensors"):
        with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)\. Check its permissions"):
            read_checkpoint(tmp_path / f"m.{suffix}")


def test_a_link_to_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.pt").symlink_to("../blobs/0123")
    with pytest.raises(ModelError, match=r"m\.pt: is a link to \.\./blobs/0123, where there is nothing"):
        read_checkpoint(tmp_path / "m.pt")


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


def test_counters_of_batches_may_be_missing() -> None:
    needed = {"bn.weight": torch.ones(2), "bn.num_batches_tracked": torch.tensor(7)}
    found = fitted({"bn.weight": torch.zeros(2)}, needed, "here")
    assert found.keys() == needed.keys()
    assert found["bn.num_batches_tracked"] == 0
    with pytest.raises(ModelError, match=r"missing bn\.weight\. Where the network is a part of a larger one, save"):
        fitted({}, needed, "here")


def test_names_and_shapes_must_be_those_of_the_network() -> None:
    fitted(STATE, STATE, "here")
    fitted({**STATE, "a.count": torch.tensor(3.0)}, STATE, "here")  # the type is no matter
    needed = {f"layer{i}": torch.zeros(2) for i in range(8)}
    with pytest.raises(ModelError) as caught:
        fitted({"layer0": torch.zeros(3), "other": torch.zeros(1)}, needed, "there")
    assert str(caught.value) == (
        "there: not the weights of this network: missing layer1, layer2, layer3, layer4, layer5 and 2 more; "
        "unexpected other; of another shape layer0 (3,) instead of (2,). "
        "Its configuration and its weights must be of one model."
    )
