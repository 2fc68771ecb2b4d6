"""The networks that an encoder may be made of, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from voxanchor.config import build as build_config
from voxanchor.config import nearest, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.campplus import CamPlusPlus, CamPlusPlusConfig
from voxanchor.models.ecapa import Ecapa, EcapaConfig
from voxanchor.models.eres2net import ERes2Net, ERes2NetConfig
from voxanchor.models.foreign.ge2e import GE2E, GE2EConfig
from voxanchor.models.foreign.user_module import UserModule, UserModuleConfig
from voxanchor.models.foreign.xvector import XVector, XVectorConfig
from voxanchor.models.resnet import ResNet, ResNetConfig


@dataclass(frozen=True)
class Architecture:
    """A network's options and how it is made from them.

    A network maps waveforms (B, T) and lengths (B,), or None when all are full, to embeddings (B, D) that need not be
    unit vectors. Asked for it by `with_frames`, it returns with them the frame-level outputs that it pools, (N, F, C):
    one row for each recording, or for each window of one; a network without any has `SHOWS_FRAMES` False. It has the
    attributes `embedding_dim`, `MIN_SAMPLES`, the shortest recording it accepts, and `WANTED_INPUT`, what it asks
    recordings to be brought to, and `HEARS_LEVEL`, whether gain would change an embedding otherwise. Where it finds out
    for itself what its options left open, it has them filled in as `found`.
    """

    description: str
    options: type[Any]
    network: Callable[[Any], nn.Module]


ARCHITECTURES: dict[str, Architecture] = {
    "ecapa": Architecture("ECAPA-TDNN of any width on Kaldi log-mels (Desplanques et al. 2020)", EcapaConfig, Ecapa),
    "resnet": Architecture("ResNet of any depth on Kaldi log-mels (Zeinali et al. 2019)", ResNetConfig, ResNet),
    "campplus": Architecture("CAM++ on Kaldi log-mels (Wang et al. 2023)", CamPlusPlusConfig, CamPlusPlus),
    "eres2net": Architecture("ERes2Net on Kaldi log-mels (Chen et al. 2023)", ERes2NetConfig, ERes2Net),
    "ge2e": Architecture("3 x LSTM 256 on 1.6 s windows of mel powers (Wan et al. 2018)", GE2EConfig, GE2E),
    "python": Architecture("a torch module that code of the user's makes", UserModuleConfig, UserModule),
    "transformers": Architecture("x-vectors of the package transformers (WavLM, wav2vec2)", XVectorConfig, XVector),
}


def make_network(name: str, options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network with fresh weights, and its options as plain values with every default written out.

    Raises:
        ModelError: unknown architecture (names the nearest), or options it does not take.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"unknown architecture '{name}'. {nearest(name, ARCHITECTURES)}")
    architecture = ARCHITECTURES[name]
    try:
        config: Any = build_config(architecture.options, options, where=f"options of {name}")
    except RecipeError as error:
        raise ModelError(str(error)) from None
    network = architecture.network(config)
    return network, to_plain(getattr(network, "found", config))
