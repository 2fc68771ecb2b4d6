"""Models as 3D-Speaker publishes them: a bare file of weights, whose names and shapes say what network they are of."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from voxanchor.config import to_plain
from voxanchor.errors import ModelError
from voxanchor.models.campplus import CamPlusPlusConfig
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.eres2net import ERes2NetConfig
from voxanchor.models.foreign.checkpoint import read_checkpoint
from voxanchor.models.frontend import FbankConfig

PUBLISHED = (
    "campplus_cn_common.bin",
    "campplus_cn_en_common.pt",
    "campplus_voxceleb.bin",
    "eres2net_base_model.ckpt",
    "eres2net_large_model.ckpt",
    "pretrained_eres2net.ckpt",
    "pretrained_eres2net.pt",
    "pretrained_eres2net_aug.ckpt",
)
"""Names of files that can be loaded."""

SUFFIXES = (".bin", ".ckpt", ".pt")

KNOWN = "CAM++ and ERes2Net (base, large, and the one of 200,000 speakers)"

_CAMPPLUS = "xvector.tdnn.linear.weight"
_ERES2NET = "fuse_mode1234.local_att.0.weight"

_OTHERS = {
    "fuse34.local_att.0.weight": "ERes2NetV2",
    "blocks.0.conv.conv.weight": "ECAPA-TDNN",
    "layer1.0.conv1.weight": "ResNet or Res2Net",
}
"""A tensor of networks that are not computed here, or not from these files."""


def read(reference: str) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return what our encoder is made of, and its network's weights.

    Args:
        reference: a file of weights, or a folder in which there is only one.

    Raises:
        ModelError: a missing or damaged file, none or several in the folder, or one of another network.
    """
    path = _file(Path(reference))
    state = read_checkpoint(path, (_CAMPPLUS, _ERES2NET))
    try:
        if _CAMPPLUS in state:
            return EncoderConfig("campplus", to_plain(_campplus(state))), state
        if _ERES2NET in state:
            return EncoderConfig("eres2net", to_plain(_eres2net(state))), state
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{path}: some tensors are those of 3D-Speaker's networks, others are missing or of another shape "
            f"({error!r}). Known: {KNOWN}."
        ) from None
    network = next((network for name, network in _OTHERS.items() if name in state), "no network of 3D-Speaker")
    raise ModelError(f"{path}: holds {network}, which is not loaded from such a file. Known: {KNOWN}.")


def _campplus(state: Mapping[str, Tensor]) -> CamPlusPlusConfig:
    m_channels = state["head.conv1.weight"].shape[0]
    init_channels, seen, _ = state["xvector.tdnn.linear.weight"].shape
    growth_rate, bottleneck, _ = state["xvector.block1.tdnnd1.cam_layer.linear_local.weight"].shape
    return CamPlusPlusConfig(
        growth_rate=growth_rate,
        bn_size=bottleneck // growth_rate,
        init_channels=init_channels,
        m_channels=m_channels,
        embedding_dim=state["xvector.dense.linear.weight"].shape[0],
        added_variance=0.0,
        fbank=_front_end(seen // m_channels),
    )


def _eres2net(state: Mapping[str, Tensor]) -> ERes2NetConfig:
    m_channels = state["conv1.weight"].shape[0]
    expansion = state["layer1.0.conv3.weight"].shape[0] // m_channels
    embedding_dim, pooled = state["seg_1.weight"].shape
    first, second, third, fourth = (_count(state, f"layer{i}.") for i in (1, 2, 3, 4))
    return ERes2NetConfig(
        m_channels=m_channels,
        blocks=(first, second, third, fourth),
        # of the widest stage, where it is least rounded
        base_width=64 * state["layer4.0.convs.0.weight"].shape[0] // (8 * m_channels),
        scale=_count(state, "layer1.0.convs."),
        expansion=expansion,
        embedding_dim=embedding_dim,
        fbank=_front_end(pooled // (2 * 8 * m_channels * expansion)),
    )


def _front_end(frequencies: int) -> FbankConfig:
    """Return the front-end of a network in which `frequencies` are left after three halvings."""
    return FbankConfig(n_mels=8 * frequencies, window="povey", scale=1.0)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow `prefix` in the names of tensors."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _file(path: Path) -> Path:
    """Return the file of weights that `path` is, or the only one in it."""
    if not path.is_dir():
        return path
    inside = sorted(file.name for file in path.iterdir() if file.is_file())
    candidates = [name for name in inside if name in PUBLISHED] or [n for n in inside if n.endswith(SUFFIXES)]
    if len(candidates) == 1:
        return path / candidates[0]
    reason = f"several files of weights ({', '.join(candidates)})" if candidates else "no file of weights"
    raise ModelError(f"{path}: {reason} in it. Give the file itself; its name ends in {', '.join(SUFFIXES)}.")
