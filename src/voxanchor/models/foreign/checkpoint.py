"""Other toolkits' files of weights: read as data, never executed, and held to what the network needs."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from voxanchor.errors import ModelError

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
"""Under which a training's file may keep the weights beside other things."""

_SHOWN = 5

_SIGNS_OF_CODE = ("GLOBAL", "Can only", "Trying to", "TorchScript")
"""In what torch says of a file that asks for a class or function that is no part of plain tensors."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in a PyTorch or safetensors file by name, on the CPU, floating-point ones as float32.

    Names lose the ``module.`` that training on several devices leaves before them.

    Raises:
        ModelError: a missing, damaged or truncated file, one with anything but data in it, or one without tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Give the file or folder as the toolkit publishes it.")
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds {type(content).__name__}, not weights by name. Save the model's state_dict().")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{path}: no tensors in it. Save the model's state_dict().")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def without(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with none of `prefixes`: a classifier's, say."""
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


def check_names(found: Mapping[str, Tensor], needed: Mapping[str, Tensor], where: str) -> None:
    """Do nothing where names and shapes of `found` are those of `needed`.

    Raises:
        ModelError: a tensor that is missing, unexpected or of another shape, each named.
    """
    complaints = []
    if missing := [name for name in needed if name not in found]:
        complaints.append(f"missing {_some(missing)}")
    if unexpected := [name for name in found if name not in needed]:
        complaints.append(f"unexpected {_some(unexpected)}")
    if other := [name for name in found if name in needed and found[name].shape != needed[name].shape]:
        shapes = (f"{name} {tuple(found[name].shape)} instead of {tuple(needed[name].shape)}" for name in other)
        complaints.append(f"of another shape {_some(shapes)}")
    if complaints:
        raise ModelError(f"{where}: not the weights of this network: {'; '.join(complaints)}")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path}: cannot be read ({error.strerror or error})")


def _load_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged ({error}). Copy or download it again.") from None


def _load_pickle(path: Path) -> object:
    try:
        path.open("rb").close()
    except OSError as error:  # torch raises such errors of damaged files, too
        raise _unreadable(path, error) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks about how a file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        # torch says at length what it met, and how to run it anyway, which is no advice here
        if any(sign in str(error) for sign in _SIGNS_OF_CODE):
            raise ModelError(
                f"{path}: holds more than data, and nothing of it was run. In a place that you trust, load it and save "
                "its state_dict() alone."
            ) from None
        raise ModelError(
            f"{path}: damaged, or no PyTorch file. Copy or download it again; a file of a few hundred bytes is a "
            "pointer of git-lfs."
        ) from None
