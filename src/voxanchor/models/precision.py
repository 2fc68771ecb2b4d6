"""Where a model computes, and in which arithmetic its matrix products run."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch

from voxanchor import processes
from voxanchor.errors import RecipeError

Precision = Literal["auto", "float32", "bfloat16"]
"""``auto``: bfloat16 where the device multiplies it natively, otherwise float32."""

_FABRIC: dict[Precision, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bfloat16": "bf16-mixed"}


def best_device() -> torch.device:
    """Return the accelerator of this process when there is one, otherwise the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda", processes.local_rank() % torch.cuda.device_count())
    return torch.device("cpu")


def device_named(name: str) -> torch.device:
    """Return the device that a user names.

    Args:
        name: ``auto`` (`best_device`), ``cpu``, ``cuda``, one of several as in ``cuda:1``, or ``mps``, Apple's.

    Raises:
        RecipeError: no such name, or no such device here.
    """
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


def resolve(precision: Precision, device: torch.device) -> Precision:
    """Return ``float32`` or ``bfloat16``: what a precision stands for on a device.

    Weights, optimiser, front-end, second moments and losses stay in float32 either way; bfloat16 is for the products in
    between, whose inputs it rounds to 8 bits.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for products of bfloat16; emulated ones are slower than float32."""
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
