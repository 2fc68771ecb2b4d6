"""The processes of one job: which this is, and waiting for the others.

A launcher (torchrun, SLURM's srun with torchrun's variables) starts the same command several times and tells each its
place by the environment. A command started alone is the first of one.

Single variables, which a launcher or a shell may have left behind, mean nothing: a stray RANK would make every command
silent. A job of several processes is believed in where the whole set is there that torchrun gives.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import TrainingError

PATIENCE = timedelta(hours=24)
"""How long a process waits for another: an evaluation by the first may take its time."""


_MEETING = ("MASTER_ADDR", "MASTER_PORT")
"""Where the processes of a job meet: without it there is no job of several."""

_EXCHANGE = re.compile(r"\bgloo\b|\bNCCL\b|\bProcessGroup|\bConnection (?:closed|reset|refused)\b", re.IGNORECASE)
"""What errors of exchanges say, which gloo raises as errors without a type of their own."""


def rank() -> int:
    """Return the number of this process, from 0."""
    return _place()[0]


def world() -> int:
    """Return how many processes the job has."""
    return _place()[1]


def local_rank() -> int:
    """Return the number of this process among those of its machine, which is the accelerator it uses."""
    return _place()[2]


def _place() -> tuple[int, int, int]:
    """Return rank, world and local rank; those of a command that was started alone unless all are told, and fit."""
    told = os.environ
    try:
        rank, world, local = int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"])
    except (KeyError, ValueError):
        return 0, 1, 0
    if world > 1 and 0 <= local <= rank < world and all(told.get(name) for name in _MEETING):
        return rank, world, local
    return 0, 1, 0


def first() -> bool:
    """Return whether this process is the one that writes files and shows progress."""
    return rank() == 0


def connect() -> None:
    """Meet the other processes of the job; does nothing when there are none, or when they have met.

    Raises:
        TrainingError: they do not come.
    """
    if world() == 1:
        return
    import torch

    if torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    try:
        # both: tensors of the processor are exchanged too, anchors for example
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            f"process {rank()} of {world()} cannot reach the others ({error}). Start the command with torchrun, which "
            "sets MASTER_ADDR and MASTER_PORT; see docs/scale.md"
        ) from None


def wait() -> None:
    """Return when every process of the job has come here.

    Raises:
        TrainingError: one of them ended.
    """
    if world() == 1:
        return
    import torch

    with others_alive():
        torch.distributed.barrier()


def gather_rows(mine: NDArray[np.float32], total: int) -> NDArray[np.float32]:
    """Return (total, D) float32, the rows of all processes: row i is from process i % `world`, in its order.

    Args:
        mine: (n, D) float32, this process's rows.
        total: rows of all together.
    """
    if world() == 1:
        return mine
    import torch

    longest = -(-total // world())
    padded = np.zeros((longest, mine.shape[1]), dtype=np.float32)
    padded[: len(mine)] = mine
    gathered = [torch.empty(padded.shape) for _ in range(world())]
    with others_alive():
        torch.distributed.all_gather(gathered, torch.from_numpy(padded))
    rows: NDArray[np.float32] = torch.stack(gathered, dim=1).flatten(0, 1)[:total].numpy()
    return rows


def agreed(value: bool) -> bool:
    """Return what the first process says, in every one of them."""
    if world() == 1:
        return value
    import torch

    said = torch.tensor([int(value)])
    with others_alive():
        torch.distributed.broadcast(said, 0)
    return bool(said.item())


@contextlib.contextmanager
def others_alive() -> Iterator[None]:
    """Turn the failure of an exchange with a process that ended into an error that says so.

    Raises:
        TrainingError: an exchange inside failed.
    """
    import torch

    try:
        yield
    except (RuntimeError, torch.distributed.DistError) as error:
        if world() == 1 or isinstance(error, TrainingError) or not _is_exchange(error):
            raise
        raise TrainingError(
            f"process {rank()} of {world()} lost another one: see its own message above, or whether the system ended "
            "it for want of memory. Start the same command again: it resumes from the last state."
        ) from error


def _is_exchange(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.distributed.DistError) or bool(_EXCHANGE.search(str(error)))
