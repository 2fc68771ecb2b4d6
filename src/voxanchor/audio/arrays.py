"""Numpy arrays and torch tensors worked on by the same lines: what the two spell differently.

One recording is worked on in numpy, so that a device that runs exported models needs no torch; batches are made in
torch, where the model runs. Both come from one definition, written against what numpy and torch spell alike (``axis``,
``keepdims``, ``clip``, ``cumsum``, ``where``, ``fft.rfft``) and the few functions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxanchor.extras import lazily

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")

Array = TypeVar("Array", NDArray[Any], "Tensor")


def namespace(x: NDArray[Any] | Tensor) -> Any:
    """Return the module whose functions take `x`: numpy, or torch."""
    return np if isinstance(x, np.ndarray) else torch


def cast(x: Array, dtype: Any) -> Array:
    """Return `x` in a dtype of its namespace; itself where it has it."""
    if isinstance(x, np.ndarray):
        return x.astype(dtype, copy=False)
    return x.to(dtype)


def along(x: Array, places: Array) -> Array:
    """Return (N, K): of each row of `x` (N, T) the values at its `places` (N, K)."""
    if isinstance(x, np.ndarray):
        return np.take_along_axis(x, places, axis=1)
    return x.gather(1, places)


def windows(x: Array, size: int, step: int) -> Array:
    """Return (N, W, size), a view: the windows of each row of `x` (N, T), one every `step` samples."""
    if isinstance(x, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(x, size, axis=1)[:, ::step]
    return x.unfold(1, size, step)


def sent(array: NDArray[Any], device: torch.device | None = None) -> Tensor:
    """Return an array as a tensor on a device, without waiting until it has come there.

    On the processor, where it stays without a device, the two share their memory.
    """
    tensor = torch.from_numpy(array)
    if device is None:
        return tensor
    # out of memory that may be swapped the copy would wait for all that the device has to do before it
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def beside(values: NDArray[Any], x: Array) -> Array:
    """Return an array of the processor where `x` lies."""
    if isinstance(x, np.ndarray):
        return values
    return sent(values, x.device)


def on_host(x: NDArray[Any] | Tensor) -> NDArray[Any]:
    """Return `x` as an array of the processor, which waits for it where it lies elsewhere."""
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()
