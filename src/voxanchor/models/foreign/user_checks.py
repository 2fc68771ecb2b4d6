"""What is asked of a module of the user's before it is believed: it is run on low noise."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.foreign.user_code import named

Lengths: TypeAlias = Literal["none", "optional", "needed"]
"""Whether a module takes the lengths of the recordings."""

Run: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
"""A module's embeddings of waveforms and lengths."""

TOLERANCE = 1e-4
"""Between components of unit vectors."""


def refuse_weights(module: nn.Module, target: str) -> None:
    """Do nothing for a module whose weights can be trained, stored and compared.

    Raises:
        ModelError: no weights, weights that are not float32, or a state that is not made of tensors.
    """
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(f"{target}: '{name}' in the module's state_dict() is {named(value)}, expected a tensor")
        if value.dtype in (torch.bfloat16, torch.complex128) or value.layout != torch.strided or value.is_quantized:
            raise ModelError(f"{target}: '{name}' is {value.dtype}, {value.layout}. Return a module in float32.")
    weights = dict(module.named_parameters())
    if not weights:
        raise ModelError(f"{target}: the module has no parameters, so there is nothing to train")
    if other := [name for name, weight in weights.items() if weight.dtype != torch.float32]:
        raise ModelError(f"{target}: the weight '{other[0]}' is {weights[other[0]].dtype}. Return module.float().")


def takes_lengths(module: nn.Module) -> Lengths:
    """Return whether a module's forward has a second positional argument, one that may be left out, or neither.

    One that may be left out is a flag, and not meant, where its default is anything but None.
    """
    try:
        arguments = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a traced module does not say
        return "none"
    positional = [one for one in arguments if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 or positional[1].default not in (inspect.Parameter.empty, None):
        return "none"
    return "optional" if positional[1].default is None else "needed"


def measure(run: Run, samples: int, target: str) -> int:
    """Return the dimension of the embeddings.

    Args:
        run: the module, in eval mode.
        samples: length of the recordings to try.
        target: the code that made the module.

    Raises:
        ModelError: embeddings that are not finite, are all 0, or depend on the rest of the batch.
    """
    waves = _noise(2, samples)
    together = run(waves, None)
    if not torch.isfinite(together).all() or not together.any(dim=1).all():
        what = "all 0" if torch.isfinite(together).all() else "not finite"
        raise ModelError(f"{target}: the embedding of {samples:,} samples of low noise is {what}")
    alone = run(waves[:1], None)
    if (difference := _apart(together[:1], alone)) > TOLERANCE:
        raise ModelError(
            f"{target}: in eval mode a recording gets another embedding in a batch than alone (by {difference:.1g}): "
            "something looks at the whole batch, or draws at random, in eval mode too"
        )
    return together.shape[1]


def ignores_padding(run: Run, module: nn.Module, shortest: int, samples: int) -> bool:
    """Return whether a padded batch gives each recording the embedding that it gets alone, by its lengths.

    The padding holds noise, and the weights are also moved a little at random: no network passes because a bias
    happens to be 0 where it starts.

    Args:
        run: the module, in eval mode.
        module: whose weights are moved, and put back.
        shortest: length of the shortest recording to try.
        samples: length of the longest.
    """
    lengths = torch.tensor([samples, max(shortest, samples * 3 // 5)])
    waves = _noise(2, samples + samples // 8)

    def holds() -> bool:
        padded = run(waves, lengths)
        alone = [run(waves[row : row + 1, :length], lengths[row : row + 1]) for row, length in enumerate(lengths)]
        return _apart(padded, torch.cat(alone)) <= TOLERANCE

    try:
        if not holds():
            return False
        with _moved(module):
            return holds()
    except ModelError:
        return False


def _apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two unit vectors' components; infinite where one is not finite."""
    difference = (F.normalize(one, dim=1) - F.normalize(other, dim=1)).abs().max()
    return float(difference.nan_to_num(nan=torch.inf))


@contextmanager
def _moved(module: nn.Module) -> Iterator[None]:
    weights = list(module.parameters())
    kept = [weight.detach().clone() for weight in weights]
    try:
        for number, weight in enumerate(weights):
            step = 0.1 * weight.abs().mean() + 0.01
            weight.add_(step * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
        yield
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)


def _noise(rows: int, samples: int) -> Tensor:
    return 0.01 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))
