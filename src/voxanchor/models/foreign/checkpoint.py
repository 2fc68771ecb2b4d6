"""Other toolkits' files of weights: read as data, never executed, and held to what the network needs."""

import argparse
import contextlib
import pathlib
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models.ecapa import Ecapa, EcapaConfig

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What parallel training, compiling and sharding put into names, wherever in a network they are applied."""

_HOLDERS = frozenset(
    {
        *("model", "net", "network", "backbone", "encoder", "speaker_encoder", "spk_encoder", "speaker_model"),
        *("speaker_net", "embedder", "embedding_model", "embedding_net"),
    }
)
"""What the attribute is called that holds the network in somebody's training, beside the classifier and the loss."""

_HEAD = re.compile(r"(^|_)(loss|losses|criterion|classifier|projection|objective|margin|metrics?|acc|accuracy)(_|\d|$)")
"""In the first part of a name: what only trains, and is no part of the embedding."""

_COUNTER = "num_batches_tracked"
"""Of a batch normalisation: counted in training, used nowhere else, and left out by some programs."""

_DEEPEST = 3
"""Parts of parts of a file are looked into for weights only so far."""

_SHOWN = 5

_SIGNS_OF_CODE = ("GLOBAL", "Can only", "Trying to", "TorchScript")
"""In what torch says of a file that asks for a class or function that is no part of plain tensors."""

_CLASS = re.compile(r"GLOBAL ([\w.]+)")

_ATTRIBUTE_DICTS = (
    "lightning_fabric.utilities.data",
    "lightning.fabric.utilities.data",
    "pytorch_lightning.utilities.parsing",
)


def read_checkpoint(path: str | Path, landmarks: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the tensors in a PyTorch or safetensors file by name, on the CPU, floating-point ones as float32.

    The file may keep them beside other things (`state_dict` of Lightning, `model`, ...). Names lose what training put
    into them: the wrappers of parallel and compiled networks, the name of the attribute that held the network, and any
    other prefix that stands before a landmark; some names may have it, others not. Heads of the training are left out.

    Args:
        path: the file.
        landmarks: names of which every file of the network wanted has one, and no other part of a training.

    Raises:
        ModelError: a missing, unreadable, damaged or truncated file, one with anything but data in it, one without
            tensors, or one that holds the network twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{absent(path)}. Give the file or folder as the toolkit publishes it.")
    try:
        with path.open("rb"):
            pass  # torch and safetensors call such a file damaged
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from None
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds {type(content).__name__}, not weights by name. Save the model's state_dict().")
    tensors = _weights_in(content, landmarks)
    if not tensors:
        raise ModelError(f"{path}: no tensors in it. Save the model's state_dict().")
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in _bare(tensors, landmarks, path).items()
    }


def absent(path: Path) -> str:
    """Return what is wrong with the path of a file that is not there: nothing, or a link to nothing."""
    if path.is_symlink() and not path.exists():
        return (
            f"{path}: is a link to {path.readlink()}, where there is nothing; a copy of a cache of links needs the "
            "files as well (cp -L)"
        )
    return f"{path}: no such file"


def _weights_in(content: Mapping[Any, Any], landmarks: Collection[str], depth: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a file by name: those it consists of, or those of the part of it that is the network."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    parts = [
        found
        for name in sorted((name for name in content if isinstance(content[name], Mapping)), key=_unlikeliness)
        if depth < _DEEPEST and (found := _weights_in(content[name], landmarks, depth + 1))
    ]
    known = [found for found in (tensors, *parts) if any(_before(name, landmarks) is not None for name in found)]
    return next(iter(known), tensors or next(iter(parts), {}))


def _unlikeliness(name: object) -> int:
    """Return how late a part of a file is looked into for weights: averages and the optimiser's state come last."""
    text = str(name)
    likely = ("state_dict", "model_state_dict", "model_state", *sorted(_HOLDERS))
    return likely.index(text) if text in likely else len(likely) + ("optim" in text)


def _before(name: str, landmarks: Iterable[str]) -> str | None:
    """Return what stands before a landmark in a name, dot included; None where it is no landmark's."""
    dotted = f".{name}"
    return next((name.removesuffix(landmark) for landmark in landmarks if dotted.endswith(f".{landmark}")), None)


def _bare(tensors: Mapping[str, Tensor], landmarks: Collection[str], path: Path) -> dict[str, Tensor]:
    """Return tensors by the names that they have in the network itself.

    Raises:
        ModelError: two tensors that are not equal would have one name.
    """
    unwrapped = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in tensors}
    prefixes = {_before(name, landmarks) for name in unwrapped.values()} - {None}
    longest_first = sorted(filter(None, prefixes), key=len, reverse=True)
    bare: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for original, name in unwrapped.items():
        name = next((name.removeprefix(prefix) for prefix in longest_first if name.startswith(prefix)), name)
        while (first := name.partition("."))[0] in _HOLDERS and first[2]:
            name = first[2]
        if _HEAD.search(name.partition(".")[0]):
            continue
        if name in bare and not torch.equal(bare[name], tensors[original]):
            raise ModelError(
                f"{path}: holds a network twice, as {origin[name]} and as {original}. Save the state_dict() of the one "
                "that is meant."
            )
        bare[name], origin[name] = tensors[original], original
    return bare


def fitted(found: Mapping[str, Tensor], needed: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return `found`, whose names and shapes are those of `needed`; counters of batches that are missing are added.

    Raises:
        ModelError: a tensor that is missing, unexpected or of another shape, each named.
    """
    counters = {
        name: torch.zeros_like(value, device="cpu") for name, value in needed.items() if name.endswith(_COUNTER)
    }
    found = {**counters, **found}
    complaints = []
    if missing := [name for name in needed if name not in found]:
        complaints.append(f"missing {_some(missing)}")
    if unexpected := [name for name in found if name not in needed]:
        complaints.append(f"unexpected {_some(unexpected)}")
    if other := [name for name in found if name in needed and found[name].shape != needed[name].shape]:
        shapes = (f"{name} {tuple(found[name].shape)} instead of {tuple(needed[name].shape)}" for name in other)
        complaints.append(f"of another shape {_some(shapes)}")
    if complaints:
        advice = (
            "Its configuration and its weights must be of one model"
            if other
            else "Where the network is a part of a larger one, save the state_dict() of that part alone"
        )
        raise ModelError(f"{where}: not the weights of this network: {'; '.join(complaints)}. {advice}.")
    return found


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
        with warnings.catch_warnings(), _harmless_classes():
            warnings.simplefilter("ignore")  # torch's remarks about how a file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        # torch says at length what it met, and how to run it anyway, which is no advice here
        if any(sign in str(error) for sign in _SIGNS_OF_CODE):
            named = f" (it asks for {found[1]})" if (found := _CLASS.search(str(error))) else ""
            raise ModelError(
                f"{path}: holds more than data, and nothing of it was run{named}. In a place that you trust, load it "
                "and save its state_dict() alone."
            ) from None
        raise ModelError(
            f"{path}: damaged, or no PyTorch file. Copy or download it again; a file of a few hundred bytes is a "
            "pointer of git-lfs."
        ) from None


@contextlib.contextmanager
def _harmless_classes() -> Iterator[None]:
    """Let torch read what trainings write beside the weights: paths, numbers of NumPy, and bags of options.

    A path of another system becomes one that only names it, and an option of Lightning's own dictionary a plain one.
    """
    pure: list[Any] = [
        (pathlib.PureWindowsPath if "Windows" in name else pathlib.PurePosixPath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ]
    numbers: list[Any] = [
        np.dtype,
        *(type(np.dtype(code)) for code in f"?{np.typecodes['AllInteger']}{np.typecodes['AllFloat']}"),
    ]
    scalar = np.float64(0).__reduce__()[0]
    numbers += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    options: list[Any] = [argparse.Namespace, dict]
    options += [(dict, f"{module}.AttributeDict") for module in _ATTRIBUTE_DICTS]
    with torch.serialization.safe_globals([*pure, *numbers, *options]):
        yield


# An ECAPA-TDNN under another toolkit's names, put under ours.

_FRAME, _CONTEXT = "pooling.frame.weight", "pooling.context.weight"


def renamed(
    state: Mapping[str, Tensor], modules: Mapping[str, str], config: EcapaConfig, where: str
) -> dict[str, Tensor]:
    """Return the state of `Ecapa(config)` from a checkpoint of the same network.

    Args:
        state: the checkpoint's tensors by its own names.
        modules: from the names of our modules to theirs. ``pooling.context`` has none: elsewhere its columns stand
            behind those of ``pooling.frame``, which what they multiply is put together with.
        config: of our network.
        where: what the error begins with.

    Raises:
        ModelError: widths that no network can have, or tensors that are missing, unexpected or of another shape, by the
            checkpoint's names.
    """
    try:
        with torch.device("meta"):
            ours = Ecapa(config).state_dict()
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    context = ours.pop(_CONTEXT, None)
    if context is not None:
        ours[_FRAME] = torch.cat([ours[_FRAME], context], dim=1)
    theirs = {name: ".".join([modules[name.rpartition(".")[0]], name.rpartition(".")[2]]) for name in ours}
    needed = {theirs[name]: _as_kernel_or_matrix(ours[name], state.get(theirs[name])) for name in ours}
    state = fitted(state, needed, where)
    result = {name: state[theirs[name]].reshape(ours[name].shape) for name in ours}
    if context is not None:
        whole = result[_FRAME]
        result[_FRAME], result[_CONTEXT] = whole.tensor_split([whole.shape[1] - context.shape[1]], dim=1)
    return result


def _as_kernel_or_matrix(ours: Tensor, theirs: Tensor | None) -> Tensor:
    """Return `ours` with as many dimensions as `theirs`: a matrix here may be a convolution of kernel 1 there."""
    if theirs is not None and theirs.ndim == ours.ndim + 1:
        return ours.unsqueeze(-1)
    if theirs is not None and theirs.ndim == ours.ndim - 1 and ours.shape[-1] == 1:
        return ours.squeeze(-1)
    return ours
