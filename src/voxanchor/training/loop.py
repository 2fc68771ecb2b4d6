"""One training loop on Lightning Fabric. It knows nothing about speakers: a task gives losses, and it takes steps."""

import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from voxanchor import runtime
from voxanchor.errors import DivergedError, TrainingError
from voxanchor.extras import missing
from voxanchor.files import replacing, write_text, writing
from voxanchor.rng import torch_seed
from voxanchor.runtime import Precision, best_device, fabric_name, log_line, resolve, track
from voxanchor.training.batches import Batch, prefetch
from voxanchor.training.stage import Train


def compile_network(network: nn.Module) -> bool:
    """Let torch compile a network when it is first called, and say whether it will; names and weights stay.

    Compiling takes minutes and needs a compiler on the machine (C++ for a processor, Triton for a GPU): a small
    function is tried first, on the device that will train, and where that fails the network stays as it is, with a line
    that says why.
    """
    try:
        torch.compile(torch.sin)(torch.ones(8, device=best_device()))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        log_line(f"torch cannot compile here ({type(error).__name__}: {reason}); training goes on without")
        return False
    network.compile(dynamic=False)
    log_line("the network is compiled in the first step, which takes minutes")
    return True


def uncompiled() -> AbstractContextManager[None]:
    """Take compiled networks as they were, inside: lengths they have not seen compile nothing."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


# The complete state of a stage between two steps, written atomically, so that a killed run resumes bit for bit.

FORMAT = 2


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`; a reader finds the old state or the whole new one.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:
            # of a full disk torch says that a position was unexpected; what the file said comes before that
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state at `path`, or None when there is none yet. Data only: nothing is unpickled into code.

    Raises:
        TrainingError: a file that is not a state of this version.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path}: not a resume state ({error}). Remove it to start the stage again.") from None
    if state.get("format") != FORMAT:
        raise TrainingError(f"{path}: written by another version. Remove it to start the stage again.")
    return state


STATE_FILE = "state.pt"
METRICS_FILE = "metrics.jsonl"
LOG_EVERY = 10


class ValidationResult(NamedTuple):
    """What validation found after a step.

    Attributes:
        values: by name.
        go_on: whether training is to go on.
    """

    values: Mapping[str, float]
    go_on: bool = True


class Task(nn.Module):
    """What is optimised: a module that returns ``loss`` and its parts of a batch and a step.

    Attributes:
        leaves_out: whether the loss of a step may have no use for some of the parameters.
    """

    leaves_out: bool = False


class Source(Protocol):
    """What batches come from: a pure function of the step, made on `device`."""

    device: torch.device

    def render(self, step: int) -> Batch:
        """Return the batch of a step."""
        ...


def make_fabric(precision: Precision, *, leaves_out: bool = False) -> tuple[Any, Precision]:
    """Return a Fabric on the accelerator when there is one and otherwise on the processor, and its precision.

    One device, or, in a job of several processes, one for each of them.

    Args:
        precision: of the matrix products.
        leaves_out: whether a step may leave parameters out (`Task`).

    Raises:
        MissingExtraError: Lightning Fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise missing("lightning_fabric", "training") from None
    # it announces the precision at every stage and every measurement; the stage says it once
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # one place decides the device: Fabric by itself would take Apple's, on which batches cannot be made (no float64)
    device = best_device()
    chosen = resolve(precision, device)
    if runtime.world() == 1:
        fabric = Fabric(accelerator=device.type, devices=1, precision=fabric_name(chosen))
    else:
        from lightning_fabric.strategies.ddp import DDPStrategy

        if leaves_out:
            # looking for what a step leaves out is the safe choice, not a mistake, where it then leaves nothing out
            warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", runtime.world()))
        fabric = Fabric(
            accelerator=device.type,
            devices=here,
            num_nodes=runtime.world() // here,
            # The anchors are a buffer, and need not travel at every step. Parameters that no process used get no
            # gradient, as in one process; to freeze them instead would forget those that only some steps use.
            strategy=DDPStrategy(forward_sync_buffers=False, find_unused_parameters=leaves_out),
            precision=fabric_name(chosen),
        )
    fabric.launch()
    return fabric, chosen


def train(
    task: Task,
    source: Source,
    stage: Train,
    folder: Path,
    *,
    seed: int,
    label: str,
    validate: Callable[[int], ValidationResult] | None = None,
    workers: int | None = None,
) -> bool:
    """Optimise `task` for the steps of `stage`, resuming from `folder` when a state lies there.

    Returns whether it came to the last step; not where a validation said to stop.

    Every `LOG_EVERY` steps and at each validation a line goes to ``metrics.jsonl``. On the processor the result does
    not depend on where, or whether, the run was interrupted. Several processes share each batch; the first validates
    and writes. A state may be resumed by another number of processes.

    Raises:
        DivergedError: a loss that is not finite; the last good state stays on disk.
        TrainingError: a process that was lost; likewise.
        OutputError: `folder` cannot be written; likewise.
    """
    if stage.batch_size % (runtime.world() * stage.accumulate):
        raise TrainingError(
            f"a batch of {stage.batch_size} cannot be shared equally by {runtime.world()} processes that work "
            f"through it in {stage.accumulate} parts: change batch_size"
        )
    with writing(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    state = load_state(folder / STATE_FILE)
    # resumed on another machine, a run keeps the arithmetic that it began with
    precision = stage.precision if state is None else state["precision"]
    fabric, precision = make_fabric(precision, leaves_out=task.leaves_out)
    optimizer = torch.optim.AdamW(_groups(task, stage.weight_decay), lr=stage.learning_rate.peak, fused=True)
    first = 0
    if state is not None:
        task.load_state_dict(state["task"])
        first = state["step"]
    # the task's state goes in before it is wrapped; the optimiser's after, for its moments follow the moved parameters
    module, optimizer = fabric.setup(task, optimizer)
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
    source.device = fabric.device
    on_cpu = fabric.device.type == "cpu"
    healthy = torch.ones((), dtype=torch.bool, device=fabric.device)
    with (
        writing(folder),
        _Metrics(folder / METRICS_FILE if runtime.first() else None, -1 if state is None else first) as metrics,
        track(label, stage.steps) as advance,
        runtime.others_alive(),
    ):
        advance(first)
        # of the start, once: a run that is resumed has that line already
        if validate is not None and stage.validate_every and first == 0:
            _validate(validate, 0, metrics)
        # making a batch takes a few milliseconds: beside a processor at work a thread would only be in its way
        threads = (0 if on_cpu else 2) if workers is None else workers
        batches = prefetch(source.render, range(first, stage.steps), threads, device=fabric.device)
        for step, batch in zip(range(first, stage.steps), batches, strict=True):
            began = time.perf_counter()
            losses, norm = _step(fabric, module, optimizer, batch, stage, step, seed)
            advance(1)
            done = step + 1
            healthy &= torch.isfinite(losses["loss"]) & torch.isfinite(norm)
            saving = done % stage.checkpoint_every == 0 or done == stage.steps
            # looking at a value makes an accelerator wait, so there it is done now and then, and before every save
            if (on_cpu or saving or done % LOG_EVERY == 0) and not healthy:
                raise DivergedError(
                    f"step {done}: the loss is not finite. Lower learning_rate.peak (now "
                    f"{stage.learning_rate.peak:g}), then start the same command again: it resumes from the last good "
                    "state."
                )
            if done % LOG_EVERY == 0 or done == stage.steps:
                # every process takes part in the exchange, though only the first writes
                means = {name: fabric.all_reduce(value, reduce_op="mean") for name, value in losses.items()}
                _log(metrics, done, stage, means, norm, time.perf_counter() - began)
            if (
                validate is not None
                and stage.validate_every
                and (done % stage.validate_every == 0 or done == stage.steps)
                and not _validate(validate, done, metrics)
            ):
                return False
            if saving and runtime.first():
                # Lines first, state second: after a crash between them the lines beyond the state are cut off on
                # resuming (`_Metrics`), whereas a state beyond its lines would leave a gap for good.
                metrics.flush()
                trained = {"task": task.state_dict(), "optimizer": optimizer.state_dict()}
                save_state(folder / STATE_FILE, {"step": done, "precision": precision, **trained})
    return True


def _validate(validate: Callable[[int], ValidationResult], step: int, metrics: "_Metrics") -> bool:
    """Validate in the first process, and return in all of them whether training is to go on.

    Raises:
        DivergedError: in all of them, where the validation found that the model gives no embeddings any more.
    """
    go_on, diverged = True, None
    if runtime.first():
        try:
            values, go_on = validate(step)
            metrics.write({"step": step, "validation": dict(values)})
            metrics.flush()
        except DivergedError as error:
            diverged = error
    # the others have not looked: without this they would wait at the next exchange for a process that went another way
    if runtime.agreed(diverged is not None):
        raise diverged or DivergedError(f"step {step}: the model diverged, as the first process saw.")
    return runtime.agreed(go_on)


def _step(
    fabric: Any, module: Any, optimizer: Any, batch: Batch, stage: Train, step: int, seed: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    module.train()
    for group in optimizer.param_groups:
        group["lr"] = stage.learning_rate.at(step, stage.steps)
    # of dropout and sampled classes: its own in every process, or their rows would share the masks
    rank = runtime.rank()
    torch.manual_seed(torch_seed(seed, step, f"train/{rank}" if rank else "train"))
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, torch.Tensor] = {}
    parts = batch.to(fabric.device).parts(stage.accumulate)
    for number, part in enumerate(parts, start=1):
        # gradients add up in each process; DDP exchanges them once, with the last part
        with fabric.no_backward_sync(module, enabled=number < len(parts)):
            losses = module(part, step)
            fabric.backward(losses["loss"] / stage.accumulate)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach() / stage.accumulate
    norm = fabric.clip_gradients(module, optimizer, max_norm=stage.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    return sums, norm


def _log(
    metrics: "_Metrics", done: int, stage: Train, losses: Mapping[str, torch.Tensor], norm: torch.Tensor, seconds: float
) -> None:
    values = {name: round(float(value), 6) for name, value in losses.items()}
    rate = stage.learning_rate.at(done - 1, stage.steps)
    metrics.write(
        {
            "step": done,
            **values,
            "learning_rate": rate,
            "gradient_norm": round(float(norm), 6),
            "seconds": round(seconds, 4),
        }
    )


def _groups(task: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases, norms and other vectors are not decayed: shrinking them has no regularising meaning."""
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


class _Metrics:
    """``metrics.jsonl``: one JSON object a line, cut back on resuming to what the saved state has seen; or nowhere."""

    def __init__(self, path: Path | None, step: int) -> None:
        self._file = None
        if path is None:
            return
        kept = [line for line in _complete_lines(path) if json.loads(line)["step"] <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def flush(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def __enter__(self) -> "_Metrics":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _complete_lines(path: Path) -> Iterator[str]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                json.loads(line)
            except ValueError:
                return
            yield line
