"""An ECAPA-TDNN under another toolkit's names, put under ours."""

from collections.abc import Mapping

import torch
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models.ecapa import Ecapa, EcapaConfig
from voxanchor.models.foreign.checkpoint import fitted

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
