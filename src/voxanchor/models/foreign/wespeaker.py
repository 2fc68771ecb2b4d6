"""Models of WeSpeaker, from their folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from voxanchor.config import build, nearest, read_yaml, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.campplus import CamPlusPlusConfig
from voxanchor.models.ecapa import EcapaConfig
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.foreign.checkpoint import absent, read_checkpoint, renamed
from voxanchor.models.frontend import FbankConfig
from voxanchor.models.resnet import Block, ResNetConfig

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


# Models as WeSpeaker releases them: a folder with ``config.yaml`` and ``avg_model.pt``.

CONFIG_NAME = "config.yaml"
WEIGHTS_NAME = "avg_model.pt"

HUB = "hub"
"""Behind the folder's name: the front-end of ``wespeaker --campplus`` and ``--eres2net``."""

RESNETS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "ResNet18": ("basic", (2, 2, 2, 2)),
    "ResNet34": ("basic", (3, 4, 6, 3)),
    "ResNet50": ("bottleneck", (3, 4, 6, 3)),
    "ResNet101": ("bottleneck", (3, 4, 23, 3)),
    "ResNet152": ("bottleneck", (3, 8, 36, 3)),
    "ResNet221": ("bottleneck", (6, 16, 48, 3)),
    "ResNet293": ("bottleneck", (10, 20, 64, 3)),
}

CAMPPLUS = "CAMPPlus"
ECAPA = "ECAPA_TDNN"

_LANDMARKS = {ECAPA: "layer1.conv.weight", CAMPPLUS: "xvector.tdnn.linear.weight"}
_LANDMARK_OF_RESNETS = "layer1.0.conv1.weight"

_EXPECTED: dict[tuple[str, ...], Any] = {
    ("frontend",): "fbank",
    ("fbank_args", "frame_length"): 25,
    ("fbank_args", "frame_shift"): 10,
    ("cmvn",): True,
    ("cmvn_args", "norm_mean"): True,
    ("cmvn_args", "norm_var"): False,
}
"""What this front-end does; also what WeSpeaker does where a configuration leaves it out."""


@dataclass(frozen=True)
class _ResNetArgs:
    """What WeSpeaker's functions take, and the width that they leave as it is."""

    feat_dim: int
    embed_dim: int
    pooling_func: Literal["TSTP"] = "TSTP"
    two_emb_layer: bool = False
    m_channels: int = 32


@dataclass(frozen=True)
class _CamPlusPlusArgs:
    """The options of WeSpeaker's class, with its defaults."""

    feat_dim: int = 80
    embed_dim: int = 512
    pooling_func: Literal["TSTP"] = "TSTP"
    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128
    config_str: Literal["batchnorm-relu"] = "batchnorm-relu"


def read(reference: str) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return what our encoder is made of, and its network's weights.

    Args:
        reference: a folder with ``config.yaml`` and ``avg_model.pt``; or one followed by ``::hub``, which gives
            waveforms to the same weights as ``wespeaker --campplus`` and ``--eres2net`` do (Povey's window, full scale
            1.0) and not as training and ``wespeaker -p`` do.

    Raises:
        ModelError: a missing or damaged file, a model, option, rate or front-end that is not computed here.
    """
    folder, colons, variant = reference.partition("::")
    if colons and variant != HUB:
        raise ModelError(f"wespeaker:{reference}: no such front-end '{variant}'. {nearest(variant, [HUB])}")
    config = _configuration(Path(folder))
    where = str(Path(folder) / CONFIG_NAME)
    name, args = str(config.get("model")), _mapping(config, "model_args", where)
    mels = _mels(_mapping(config, "dataset_args", where), where)
    if not (name in RESNETS or name == CAMPPLUS or name.startswith(ECAPA)):
        known = [*RESNETS, CAMPPLUS, ECAPA]
        raise ModelError(f"{where}: model '{name}' is not one that is computed here. Known: {', '.join(known)}.")
    if (asked := args.get("feat_dim", mels)) != mels:
        raise ModelError(
            f"{where}: model_args.feat_dim is {asked}, but fbank_args.num_mel_bins {mels}: they must agree"
        )
    landmark = _LANDMARKS.get(ECAPA if name.startswith(ECAPA) else name, _LANDMARK_OF_RESNETS)
    state = read_checkpoint(Path(folder) / WEIGHTS_NAME, (landmark,))
    try:
        if name in RESNETS:
            encoder = EncoderConfig("resnet", to_plain(_resnet(name, args, where)))
        elif name == CAMPPLUS:
            encoder = EncoderConfig("campplus", to_plain(_campplus(args, where)))
        else:
            encoder, state = convert(name, args, state)
    except RecipeError as error:
        raise ModelError(str(error)) from None
    if variant == HUB:
        encoder.options["fbank"] = to_plain(FbankConfig(n_mels=mels, window="povey", scale=1.0))
    return encoder, state


def _resnet(name: str, args: Mapping[str, Any], where: str) -> ResNetConfig:
    made = build(_ResNetArgs, args, where=f"{where}: model_args")
    block, blocks = RESNETS[name]
    return ResNetConfig(
        m_channels=made.m_channels,
        blocks=blocks,
        block=block,
        embedding_dim=made.embed_dim,
        two_emb_layer=made.two_emb_layer,
        fbank=FbankConfig(n_mels=made.feat_dim),
    )


def _campplus(args: Mapping[str, Any], where: str) -> CamPlusPlusConfig:
    made = build(_CamPlusPlusArgs, args, where=f"{where}: model_args")
    return CamPlusPlusConfig(
        growth_rate=made.growth_rate,
        bn_size=made.bn_size,
        init_channels=made.init_channels,
        embedding_dim=made.embed_dim,
        fbank=FbankConfig(n_mels=made.feat_dim),
    )


def _configuration(folder: Path) -> dict[str, Any]:
    """Return the configuration in a folder that holds both files."""
    missing = [name for name in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / name).is_file()]
    if missing:
        nowhere = [absent(folder / name) for name in missing if (folder / name).is_symlink()]
        reason = f"{folder}: no {' and no '.join(missing)} in it" if folder.is_dir() else f"{folder}: no such folder"
        raise ModelError(
            f"{nowhere[0] if nowhere else reason}. Unpack the release, and call its configuration {CONFIG_NAME} and "
            f"its weights {WEIGHTS_NAME}, as WeSpeaker itself wants them."
        )
    try:
        return read_yaml(folder / CONFIG_NAME)
    except RecipeError as error:
        raise ModelError(str(error)) from None


def _mapping(config: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """Return the keys and values under `key`; none where it is left out."""
    found = config.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ModelError(f"{where}: {key}: expected keys and values, found {found!r}")
    return found


def _mels(dataset: Mapping[str, Any], where: str) -> int:
    """Return the number of mel filters that a model was trained with.

    Raises:
        ModelError: a rate or front-end other than ours.
    """
    if (rate := dataset.get("resample_rate", 16_000)) != 16_000:
        raise ModelError(
            f"{where}: dataset_args.resample_rate is {rate}: a model of recordings of {rate} Hz. Everything here has "
            "16000 Hz, which such a model has not learnt. Take one of 16000 Hz."
        )
    for path, expected in _EXPECTED.items():
        *parents, last = path
        values = dataset
        for parent in parents:
            values = _mapping(values, parent, f"{where}: dataset_args")
        if (found := values.get(last, expected)) != expected:
            name = ".".join(("dataset_args", *path))
            raise ModelError(f"{where}: {name} is {found!r}: only {expected!r} is computed here")
    mels = _mapping(dataset, "fbank_args", f"{where}: dataset_args").get("num_mel_bins", 80)
    if not isinstance(mels, int):
        raise ModelError(f"{where}: dataset_args.fbank_args.num_mel_bins: expected a number, found {mels!r}")
    return mels
