"""The speaker encoder: waveforms in, unit vectors out, whatever network does the work."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.config import build as build_config
from voxanchor.config import to_plain
from voxanchor.errors import AudioError, ModelError, RecipeError
from voxanchor.extras import settle
from voxanchor.models import artefact
from voxanchor.models.backbone import AS_IT_COMES, InputConfig, normalise
from voxanchor.models.campplus import CamPlusPlus, CamPlusPlusConfig
from voxanchor.models.ecapa import Ecapa, EcapaConfig
from voxanchor.models.eres2net import ERes2Net, ERes2NetConfig
from voxanchor.models.foreign.ge2e import GE2E, GE2EConfig
from voxanchor.models.foreign.user import UntrustedCodeError, UserModule, UserModuleConfig
from voxanchor.models.resnet import ResNet, ResNetConfig
from voxanchor.models.xvector import XVector, XVectorConfig
from voxanchor.plugins import Registry
from voxanchor.types import SAMPLE_RATE

# waveforms are normalised by code that puts torch off; compiled or exported, it must find torch itself there
settle()


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


_BUILT_IN = {
    "ecapa": Architecture("ECAPA-TDNN of any width on Kaldi log-mels (Desplanques et al. 2020)", EcapaConfig, Ecapa),
    "resnet": Architecture("ResNet of any depth on Kaldi log-mels (Zeinali et al. 2019)", ResNetConfig, ResNet),
    "campplus": Architecture("CAM++ on Kaldi log-mels (Wang et al. 2023)", CamPlusPlusConfig, CamPlusPlus),
    "eres2net": Architecture("ERes2Net on Kaldi log-mels (Chen et al. 2023)", ERes2NetConfig, ERes2Net),
    "ge2e": Architecture("3 x LSTM 256 on 1.6 s windows of mel powers (Wan et al. 2018)", GE2EConfig, GE2E),
    "python": Architecture("a torch module that code of the user's makes", UserModuleConfig, UserModule),
    "transformers": Architecture("x-vectors of the package transformers (WavLM, wav2vec2)", XVectorConfig, XVector),
}

ARCHITECTURES: Registry[Architecture] = Registry(
    "encoder architecture", "voxanchor.backbones", "register_backbone", ModelError, _BUILT_IN
)
"""Networks by the name that recipes and ``config.json`` have for them."""

Network = TypeVar("Network", bound=type[nn.Module])

_NEEDED = ("embedding_dim", "MIN_SAMPLES", "WANTED_INPUT", "HEARS_LEVEL")


def register_backbone(name: str, *, options: type[Any], description: str = "") -> Callable[[Network], Network]:
    """Register a network of your own under a name: ``encoder: {architecture: name, options: {...}}`` in recipes.

    The simplest network derives from `voxanchor.models.backbone.Backbone`, which has a front-end and all the attributes
    that `Architecture` asks for, and implements `encode`.

    Args:
        name: in recipes and in the ``config.json`` of models, which are loaded where the same name is registered.
        options: frozen dataclass of the network's options; the network is made with an instance of it alone.
        description: one line.

    Raises:
        ValueError: a name that is taken or of another form, options that are no dataclass, or a network that is no
            class of module.
    """
    if not dataclasses.is_dataclass(options):
        raise ValueError(f"backbone '{name}': options must be a dataclass")

    def register(network: Network) -> Network:
        if not issubclass(network, nn.Module):
            raise ValueError(f"backbone '{name}': {network.__name__} is no class of torch.nn.Module")
        summary = description or (network.__doc__ or name).strip().splitlines()[0]
        ARCHITECTURES.add(name, Architecture(summary, options, network), network)
        return network

    return register


def make_network(name: str, options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network with fresh weights, and its options as plain values with every default written out.

    Raises:
        ModelError: unknown architecture (names the nearest), or options it does not take.
    """
    architecture = ARCHITECTURES.require(name)
    try:
        config: Any = build_config(architecture.options, options, where=f"options of {name}")
    except RecipeError as error:
        raise ModelError(str(error)) from None
    network = architecture.network(config)
    if missing := [attribute for attribute in _NEEDED if not hasattr(network, attribute)]:
        raise ModelError(
            f"encoder architecture '{name}': its network lacks {', '.join(missing)}. Derive it from "
            "voxanchor.Backbone, which has them, or set them"
        )
    return network, to_plain(getattr(network, "found", config))


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is made of: enough to build it again without its weights.

    Attributes:
        architecture: a name in `voxanchor.models.encoder`.
        options: the architecture's own settings, front-end included; those left out take its defaults.
        sample_rate: rate in Hz of the waveforms.
        embedding_dim: D; 0 in a request stands for what the architecture gives.
        min_samples: shortest recording the network accepts; 0 in a request stands for the architecture's own.
        input: what every recording is brought to before the network hears it; None in a request stands for what the
            network asks for.
    """

    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    sample_rate: int = SAMPLE_RATE
    embedding_dim: int = 0
    min_samples: int = 0
    input: InputConfig | None = None

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that a ``config.json`` holds, as `described` gave it.

        Raises:
            RecipeError: keys or values that none has.
        """
        found = build_config(cls, values, where="encoder")
        return dataclasses.replace(found, input=found.input or AS_IT_COMES)

    def described(self) -> dict[str, Any]:
        """Return the configuration as ``config.json`` holds it, and as the fingerprint counts it.

        A model that hears recordings as they come has no word of it: so it was when there was no choice.
        """
        values = dataclasses.asdict(self)
        if self.input in (None, AS_IT_COMES):
            del values["input"]
        return values


class SpeakerEncoder(nn.Module):
    """A network with its front-end, normalised to unit vectors, that knows how it was made.

    Weights are drawn from `seed` alone, on the processor; torch's global generators are left as they were, those of
    accelerators too.

    Args:
        config: what to build. The attribute `config` holds it with every default written out.
        seed: of the initial weights.

    Raises:
        ModelError: unknown architecture or option, or a rate, dimension or shortest length that does not fit it.
    """

    network: nn.Module

    def __init__(self, config: EncoderConfig, seed: int = 0) -> None:
        super().__init__()
        if config.sample_rate != SAMPLE_RATE:
            raise ModelError(f"sample rate {config.sample_rate} Hz: every waveform here has {SAMPLE_RATE} Hz")
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reseed the accelerators as well, for good
            torch.default_generator.manual_seed(seed)
            network, options = make_network(config.architecture, config.options)
        self.network = network
        embedding_dim, min_samples = int(network.embedding_dim), int(network.MIN_SAMPLES)  # type: ignore[arg-type]
        if config.embedding_dim not in (0, embedding_dim):
            reason = f"asks for dimension {config.embedding_dim}, its options give {embedding_dim}"
            raise ModelError(f"encoder '{config.architecture}' {reason}. Set embedding_dim among the options.")
        self.config = dataclasses.replace(
            config,
            options=options,
            embedding_dim=embedding_dim,
            min_samples=max(config.min_samples, min_samples),
            input=network.WANTED_INPUT if config.input is None else config.input,  # type: ignore[arg-type]
        )

    @property
    def embedding_dim(self) -> int:
        """Dimension D of the embeddings."""
        return self.config.embedding_dim

    @property
    def min_samples(self) -> int:
        """Length in samples of the shortest recording that can be embedded."""
        return self.config.min_samples

    @property
    def hears_level(self) -> bool:
        """Whether the gain of a recording changes its embedding.

        So it is with models of networks that depend on it, made before recordings were brought to one level.
        """
        kept = self.config.input or AS_IT_COMES
        return bool(self.network.HEARS_LEVEL) and kept.level_db is None

    @property
    def shows_frames(self) -> bool:
        """Whether `with_frames` can be asked."""
        return bool(getattr(self.network, "SHOWS_FRAMES", True))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when the configuration or any weight does."""
        return artefact.fingerprint(self.config.described(), self.state_dict())

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings, (B, D) float32 unit vectors.

        In eval mode a padded batch gives each recording the embedding it gets alone, whatever the padding holds.

        Args:
            waves: (B, T) float32, full scale 1.0, 16 kHz.
            lengths: (B,) int64 samples of each recording, at most T; all of T when absent. They are looked at, for
                which an accelerator would have to be waited for: give them on the processor.

        Raises:
            AudioError: a recording shorter than `min_samples`.
            ModelError: shapes that do not fit, or padded recordings in training mode of a network with batch
                normalisation.
        """
        lengths = self._checked(waves, lengths)
        embeddings: Tensor = self.network(self.normalised(waves, lengths), lengths)
        return F.normalize(embeddings, dim=1)

    def normalised(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, T) waveforms as the network hears them: at its level, without DC where it asks for that."""
        return normalise(waves, lengths, self.config.input or AS_IT_COMES)

    def with_frames(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and the frame-level outputs that the network pools, (N, F, C).

        N is B, or more where the network cuts recordings into windows. Frames past a recording's end hold whatever the
        network makes of the padding.

        Raises:
            ModelError: a network that shows none; otherwise as `forward`.
        """
        self.require_frames()
        lengths = self._checked(waves, lengths)
        embeddings, frames = self.network(self.normalised(waves, lengths), lengths, with_frames=True)
        return F.normalize(embeddings, dim=1), frames

    def require_frames(self) -> None:
        """Check that the network shows the frames it pools.

        Raises:
            ModelError: it shows none.
        """
        if not self.shows_frames:
            raise ModelError(
                f"a model of architecture '{self.config.architecture}' shows no frames, which anchor.frame_weight "
                "pulls on: set it to 0. The pull on embeddings needs none."
            )

    def _checked(self, waves: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return the lengths, where the waveforms are, or None where all are full."""
        if waves.ndim != 2:
            raise ModelError(f"expected waveforms (B, T), got shape {tuple(waves.shape)}")
        shortest = longest = waves.shape[1]
        if lengths is not None:
            if lengths.shape != waves.shape[:1]:
                raise ModelError(f"expected lengths ({waves.shape[0]},), got shape {tuple(lengths.shape)}")
            shortest, longest = (int(n) for n in torch.stack(torch.aminmax(lengths)).tolist())
        if longest > waves.shape[1]:
            raise ModelError(f"a length of {longest} samples in a batch of {waves.shape[1]}")
        if shortest < self.min_samples:
            needed = f"{self.min_samples / SAMPLE_RATE:.2f} s"
            raise AudioError(f"a recording of {shortest / SAMPLE_RATE:.2f} s is too short: the model needs {needed}")
        if lengths is None or shortest == waves.shape[1]:
            return None
        return lengths.to(waves.device, non_blocking=True)

    def copy(self) -> Self:
        """Return an independent encoder with the same weights, on the same device."""
        return copy.deepcopy(self)

    def save(self, folder: str | Path, extra_files: Mapping[str, bytes] | None = None) -> None:
        """Write the model directory: `model.safetensors`, `extra_files` by name, then `config.json`, each atomically.

        Raises:
            OutputError: the folder cannot be written.
        """
        artefact.write(folder, self.config.described(), self.state_dict(), extra_files or {})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the encoder in a model directory, on the CPU, in eval mode.

        Raises:
            ModelError: not a model directory, one of another schema, or one whose weights are damaged or do not belong
                to its configuration.
            UntrustedCodeError: a model that is made by code which the user did not name in this process.
        """
        config, state = artefact.read(folder)
        try:
            encoder = cls(EncoderConfig.stored(config))
        except UntrustedCodeError as error:
            raise UntrustedCodeError(error.target, str(folder)) from None
        except (ModelError, RecipeError) as error:
            raise ModelError(f"{folder}: no model can be made after {artefact.CONFIG_NAME}: {error}") from error
        try:
            encoder.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"{folder}: the weights do not fit {artefact.CONFIG_NAME}: {error}") from None
        return encoder.eval()
