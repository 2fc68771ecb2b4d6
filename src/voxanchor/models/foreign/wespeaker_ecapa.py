"""ECAPA-TDNN of WeSpeaker: its options and tensors as those of our `ecapa` network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from voxanchor.config import build, nearest, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.ecapa import EcapaConfig
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.fbank import FbankConfig
from voxanchor.models.foreign.ecapa_names import renamed

MODELS: dict[str, dict[str, Any]] = {
    "ECAPA_TDNN": {},
    "ECAPA_TDNN_c512": {"channels": 512, "global_context_att": False},
    "ECAPA_TDNN_c1024": {"channels": 1024, "global_context_att": False},
    "ECAPA_TDNN_GLOB_c512": {"channels": 512, "global_context_att": True},
    "ECAPA_TDNN_GLOB_c1024": {"channels": 1024, "global_context_att": True},
}
"""The class, and the functions that releases name, with the options that these set themselves."""

_MFA_CHANNELS = 1536
_RES2_SCALE = 8
_VARIANCE_FLOOR = 1e-7


@dataclass(frozen=True)
class _Args:
    """The options of the class, with its defaults."""

    channels: int = 512
    feat_dim: int = 80
    embed_dim: int = 192
    pooling_func: Literal["ASTP"] = "ASTP"
    global_context_att: bool = False
    emb_bn: bool = False


def convert(name: str, args: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return what our encoder is made of, and its network's weights.

    Args:
        name: one of `MODELS`.
        args: the ``model_args`` of the configuration.
        state: the checkpoint's tensors, without those of its training head.

    Raises:
        ModelError: another name, an option or pooling that is not computed here, or tensors that do not fit.
    """
    where = f"wespeaker {name}"
    if name not in MODELS:
        raise ModelError(f"{where}: no such model. {nearest(name, MODELS)}")
    if given := sorted(args.keys() & MODELS[name].keys()):
        raise ModelError(f"{where}: sets {', '.join(given)} itself, but model_args does too. Say model: ECAPA_TDNN.")
    try:
        made = build(_Args, {**args, **MODELS[name]}, where=f"{where}: model_args")
    except RecipeError as error:
        raise ModelError(str(error)) from None
    config = EcapaConfig(
        channels=made.channels,
        embedding_dim=made.embed_dim,
        mfa_channels=_MFA_CHANNELS,
        res2_scale=_RES2_SCALE,
        fbank=FbankConfig(n_mels=made.feat_dim),
        summed_inputs=False,
        global_context=made.global_context_att,
        unbiased_context=made.global_context_att,
        variance_floor=_VARIANCE_FLOOR,
        embedding_norm=made.emb_bn,
    )
    ours = renamed(state, _modules(), config, where)
    return EncoderConfig("ecapa", to_plain(config)), _first_group_unchanged(ours, config)


def _first_group_unchanged(state: dict[str, Tensor], config: EcapaConfig) -> dict[str, Tensor]:
    """Return the same network with the channels of its Res2 convolutions in our order.

    The group that passes unchanged is the last one there and the first here, so what is made for the groups, and what
    is made of them, moves by one.
    """
    width = config.channels // config.res2_scale
    moved = dict(state)
    for name, tensor in state.items():
        if ".enter." in name and tensor.ndim > 0:
            moved[name] = tensor.roll(width, dims=0)
        elif name.endswith(".leave.conv.weight"):
            moved[name] = tensor.roll(width, dims=1)
    return moved


def _modules() -> dict[str, str]:
    """Return WeSpeaker's names of our modules."""
    modules = {"stem.conv": "layer1.conv", "stem.norm": "layer1.bn"}
    for block in range(3):
        ours, theirs = f"blocks.{block}", f"layer{block + 2}.se_res2block"
        for one, other in (("enter", "0"), ("leave", "2")):
            modules[f"{ours}.{one}.conv"] = f"{theirs}.{other}.conv"
            modules[f"{ours}.{one}.norm"] = f"{theirs}.{other}.bn"
        for group in range(_RES2_SCALE - 1):
            modules[f"{ours}.res2.groups.{group}.conv"] = f"{theirs}.1.convs.{group}"
            modules[f"{ours}.res2.groups.{group}.norm"] = f"{theirs}.1.bns.{group}"
        modules[f"{ours}.gates.squeeze"] = f"{theirs}.3.linear1"
        modules[f"{ours}.gates.excite"] = f"{theirs}.3.linear2"
    return modules | {
        "mfa": "conv",
        "pooling.frame": "pool.linear1",
        "pooling.attention": "pool.linear2",
        "pooled_norm": "bn",
        "projection": "linear",
        "embedding_norm": "bn2",
    }
