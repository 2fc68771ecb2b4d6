"""How this process runs: its place among several, device and precision, progress, memory."""

import contextlib
import ctypes
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from rich.progress import Progress, Task


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt`` (malloc.h)."""

_GROW_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make the process keep what it frees for its next allocation, and say whether that could be arranged.

    glibc hands every block above 32 MiB back to the system when it is freed. A model's step frees and takes the same
    blocks again, and each time the system must find and clear their pages: nearly half the time of a training step of
    ECAPA-512 on a processor. Kept, they cost no more than their place: the process stays as large as it has been.

    It concerns the whole process, so only programs of this package call it, never its library. Another allocator, or
    settings of the user's own (``MALLOC_...``, ``GLIBC_TUNABLES``), stay as they are.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # not glibc
    # all three, whatever one of them says
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _GROW_BYTES)])


# The processes of one job: which this is, and waiting for the others.
#
# A launcher (torchrun, SLURM's srun with torchrun's variables) starts the same command several times and tells each its
# place by the environment. A command started alone is the first of one.
#
# Single variables, which a launcher or a shell may have left behind, mean nothing: a stray RANK would make every
# command
# silent. A job of several processes is believed in where the whole set is there that torchrun gives.

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


# Progress with an estimate: a bar on a terminal, a line now and then in a log.
#
# Everything goes to standard error, so that what a command prints on standard output stays clean.

Advance = Callable[[int], None]
"""Called with the number of items finished since the last call; safe to call from any thread."""

LOG_INTERVAL_S = 10.0
"""On a non-terminal a job shows itself at most this often; one that is over sooner writes only its last line."""

QUIET_BELOW_S = 2.0
"""Jobs shorter than this leave no line in a log."""

FEW = 3
"""Items after the first that an estimate needs: the first takes longer than those that follow."""


class _Terminal:
    """One live display shared by nested jobs, because a terminal has room for one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.display: Progress | None = None
        self.jobs = 0

    def open(self) -> "Progress":
        with self.lock:
            if self.display is None:
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
                from rich.text import Text

                class Remaining(TimeRemainingColumn):
                    def render(self, task: "Task") -> "Text":
                        # rich leaves the first item out of its speed, and estimates from the second on
                        if task.completed > FEW:
                            return super().render(task)
                        return Text(f"{_clock(task.elapsed or 0.0)} gone", style="progress.elapsed")

                self.display = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    Remaining(elapsed_when_finished=True),
                    console=console(stderr=True),
                )
                self.display.start()
            self.jobs += 1
            return self.display

    def close(self) -> None:
        with self.lock:
            self.jobs -= 1
            if self.jobs == 0 and self.display is not None:
                self.display.stop()
                self.display = None


_terminal = _Terminal()


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 recording``, ``1,200 recordings``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Advance]:
    """Show a job of `total` items while the block runs; call what it gives with the number of items done.

    Of several processes of a job the first alone shows anything.
    """
    if not first():
        yield lambda _count: None
        return
    if sys.stderr.isatty() and not _dumb():
        display = _terminal.open()
        job = display.add_task(label, total=total)
        try:
            yield lambda count: display.advance(job, count)
        finally:
            _terminal.close()
        return
    with _logged(label, total) as advance:
        yield advance


def log_line(message: str) -> None:
    """Print one line of information on standard error, above any bar; of several processes the first alone does."""
    if not first():
        return
    try:
        if _terminal.display is not None:
            _terminal.display.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # whoever read along has left, as `2>&1 | head` does: the job goes on, unheard
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def console(*, stderr: bool = False) -> "Console":
    """Return what tables and bars are printed with: in colours, unless NO_COLOR or a dumb terminal forbids them."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR")) or _dumb()
    # its own way with NO_COLOR keeps bold and dim
    return Console(stderr=stderr, color_system=None if plain else "auto")


def load_average() -> float:
    """Return how many threads ran or waited for a core in the last minute, on average; 0 where nobody counts them."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return 0.0


def crowded() -> str:
    """Return a remark when more is at work on this machine than it has cores for, and otherwise nothing."""
    load, cores = load_average(), os.cpu_count() or 1
    if load <= cores:
        return ""
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores). Threads that wait for each other make every step"
        " several times as long: set OMP_NUM_THREADS=1"
    )


@contextlib.contextmanager
def _logged(label: str, total: int) -> Iterator[Advance]:
    began = shown = time.monotonic()
    done = 0
    after_first: list[tuple[float, int]] = []
    lock = threading.Lock()

    def advance(count: int) -> None:
        nonlocal done, shown
        with lock:
            done += count
            now = time.monotonic()
            # what was done before, in a run that is resumed, took no time now
            if done and len(after_first) <= FEW:
                after_first.append((now, done))
            if now - shown < LOG_INTERVAL_S or not done:
                return
            shown = now
            line = f"{label}: {done} of {total}, {_clock(now - began)} gone"
            if len(after_first) > FEW:
                since, before = after_first[0]
                left = (now - since) / max(done - before, 1) * max(total - done, 0)
                line += f", about {_clock(left)} left"
        log_line(line)

    yield advance
    taken = time.monotonic() - began
    if taken >= QUIET_BELOW_S:
        log_line(f"{label}: {done} of {total} in {_clock(taken)}")


def _dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# Where a model computes, and in which arithmetic its matrix products run.

Precision = Literal["auto", "float32", "bfloat16"]
"""``auto``: bfloat16 where the device multiplies it natively, otherwise float32."""

_FABRIC: dict[Precision, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bfloat16": "bf16-mixed"}


def best_device() -> "torch.device":
    """Return the accelerator of this process when there is one, otherwise the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    return torch.device("cpu")


def device_named(name: str) -> "torch.device":
    """Return the device that a user names.

    Args:
        name: ``auto`` (`best_device`), ``cpu``, ``cuda``, one of several as in ``cuda:1``, or ``mps``, Apple's.

    Raises:
        RecipeError: no such name, or no such device here.
    """
    import torch

    if name == "auto":
        return best_device()
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name):
        raise RecipeError(f"device '{name}': there are auto, cpu, cuda, one of several as cuda:1, and mps")
    device = torch.device(name)
    instead = "use --device cpu (device='cpu' in Python)"
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise RecipeError(f"device '{name}': no CUDA device here; {instead}")
        if (device.index or 0) >= count:
            there = "cuda:0 alone" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            raise RecipeError(f"device '{name}': no such CUDA device here; there is {there}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RecipeError(f"device '{name}': no MPS device here, which Apple's processors have; {instead}")
    return device


def resolve(precision: Precision, device: "torch.device") -> Precision:
    """Return ``float32`` or ``bfloat16``: what a precision stands for on a device.

    Weights, optimiser, front-end, second moments and losses stay in float32 either way; bfloat16 is for the products in
    between, whose inputs it rounds to 8 bits.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: "torch.device") -> bool:
    """Return whether a device has instructions for products of bfloat16; emulated ones are slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # absent before torch 2.11 or so; a torch that cannot say is taken at its safest
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return False


def fabric_name(precision: Precision) -> Literal["32-true", "bf16-mixed"]:
    """Return what Lightning Fabric calls a resolved precision."""
    return _FABRIC[precision]
