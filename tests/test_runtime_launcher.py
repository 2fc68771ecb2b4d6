"""What the environment says of other processes, and what is believed of it."""

import subprocess
import sys

import pytest
import torch

from voxanchor import runtime
from voxanchor.errors import TrainingError

TOLD = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def tell(monkeypatch: pytest.MonkeyPatch, **told: str) -> None:
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)


def place() -> tuple[int, int, int, bool]:
    return runtime.rank(), runtime.world(), runtime.local_rank(), runtime.first()


def test_a_launcher_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **TOLD)
    assert place() == (1, 2, 1, False)


@pytest.mark.parametrize("name", TOLD)
def test_what_was_left_behind_in_a_shell_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **{other: value for other, value in TOLD.items() if other != name})
    assert place() == (0, 1, 0, True)


@pytest.mark.parametrize(
    "strange", [{"WORLD_SIZE": "1"}, {"RANK": "2"}, {"RANK": "-1"}, {"RANK": "first"}, {"MASTER_ADDR": ""}]
)
def test_a_place_that_no_job_has_is_not(strange: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **{**TOLD, **strange})
    assert place() == (0, 1, 0, True)


def test_a_command_speaks_beside_a_rank_that_was_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, RANK="1", LOCAL_RANK="1")
    line = [sys.executable, "-m", "voxanchor", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("voxanchor ")


@pytest.mark.parametrize(
    "text",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242",
        "NCCL error in: ProcessGroupNCCL.cpp:1970, remote process exited",
        "Connection reset by peer",
    ],
)
def test_an_exchange_that_failed_is_told_plainly(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **TOLD)
    with pytest.raises(TrainingError, match="lost another one"), runtime.others_alive():
        raise RuntimeError(text)
    with pytest.raises(TrainingError, match="lost another one"), runtime.others_alive():
        raise torch.distributed.DistStoreError("wait timeout")


@pytest.mark.parametrize(
    "text",
    ["cannot restore the weights", "no such peer", "the Connection matrix is singular", "size mismatch in store"],
)
def test_any_other_error_keeps_its_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **TOLD)
    with pytest.raises(RuntimeError, match=text), runtime.others_alive():
        raise RuntimeError(text)
