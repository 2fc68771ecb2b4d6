"""ECAPA-TDNN of SpeechBrain, from its folder of hyperparameters and checkpoints.

Its tags name classes and functions to be called, and a file may name any. Here none is imported: tags stay names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from torch import Tensor

from voxanchor.config import build, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.ecapa import EcapaConfig
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.foreign.checkpoint import absent, read_checkpoint, renamed
from voxanchor.models.frontend import DecibelFbankConfig
from voxanchor.types import SAMPLE_RATE

_REFERENCE = re.compile(r"<([^<>]+)>")
_MAKERS = ("new:", "name:")
_REFERENCES = ("ref", "copy")


@dataclass(frozen=True)
class Made:
    """What the file wants to be made by calling something.

    Attributes:
        name: dotted, of what is to be called.
        arguments: by name, those without one by position; references in them as they stand.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class _Reference:
    text: str


class Settings:
    """The settings in a HyperPyYAML file, as plain values, `Made` for what is to be called.

    Tags that neither refer to another key nor call something are left out, and their values and references to parts of
    a text stay as they are written.

    Args:
        path: of the file.

    Raises:
        ModelError: a file that cannot be read, or holds no keys and values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not valid YAML: {error}") from None
        if not isinstance(values, dict):
            raise ModelError(f"{path}: expected keys and values at the top, found {type(values).__name__}")
        self._values: dict[str, Any] = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """Return a setting; a dot leads into one that has keys of its own.

        Raises:
            ModelError: no such key, or one that refers to none or to itself.
        """
        return self._at(key, ())

    def resolved(self, value: Any) -> Any:
        """Return a value of an argument: what it refers to; of a list, what its items do.

        Raises:
            ModelError: a reference to no key.
        """
        value = self._followed(value, ())
        return [self._followed(item, ()) for item in value] if isinstance(value, list) else value

    def _at(self, key: str, pending: tuple[str, ...]) -> Any:
        if key in pending:
            raise ModelError(f"{self.path}: '{key}' refers to itself")
        value: Any = self._values
        for name in re.findall(r"[^.\[\]]+", key):
            value = self._followed(value, (*pending, key))
            value = value.arguments if isinstance(value, Made) else value
            if not isinstance(value, Mapping) or name not in value:
                raise ModelError(f"{self.path}: there is no '{key}'")
            value = value[name]
        return self._followed(value, (*pending, key))

    def _followed(self, value: Any, pending: tuple[str, ...]) -> Any:
        if not isinstance(value, _Reference):
            return value
        whole = _REFERENCE.fullmatch(value.text)
        return self._at(whole[1], pending) if whole else value.text


class _Loader(yaml.SafeLoader):
    """The loader of YAML that makes plain values only, which takes unknown tags for names instead of refusing them."""


def _tagged(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = loader.construct_scalar(node)
    tag = str(node.tag).removeprefix("!")
    if tag in _REFERENCES and isinstance(value, str):
        return _Reference(value)
    for maker in _MAKERS:
        if tag.startswith(maker):
            return Made(tag.removeprefix(maker), _by_name(value))
    return value


def _by_name(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, list):
        return {str(position): value for position, value in enumerate(arguments)}
    return arguments if isinstance(arguments, dict) else {}


_Loader.add_multi_constructor("", _tagged)


# ECAPA-TDNN of SpeechBrain: a folder as its pretrained models are published, into our `ecapa` network.
#
# Embeddings are those of ``EncoderClassifier.encode_batch(wavs)``, which leaves ``mean_var_norm_emb`` out.

SETTINGS_NAME = "hyperparams.yaml"
WEIGHTS_NAME = "embedding_model.ckpt"

_VARIANCE_FLOOR = 1e-12

_LANDMARKS = ("asp.tdnn.conv.conv.weight", "mfa.conv.conv.weight")

T = TypeVar("T")


# The options of three classes of SpeechBrain's, with what they are where a file leaves them out. A type is a choice of
# what is computed here, and Any where an option changes no embedding.


@dataclass(frozen=True)
class _Fbank:
    n_mels: int = 40
    sample_rate: Literal[16_000] = 16_000
    n_fft: Literal[400] = 400
    win_length: Literal[25] = 25
    hop_length: Literal[10] = 10
    f_min: Literal[0] = 0
    f_max: Literal[8_000] | None = None
    filter_shape: Literal["triangular"] = "triangular"
    deltas: Literal[False] = False
    context: Literal[False] = False
    left_frames: Any = None
    right_frames: Any = None
    requires_grad: Literal[False] = False
    param_rand_factor: Literal[0] = 0
    param_change_factor: Any = None


@dataclass(frozen=True)
class _InputNormalization:
    norm_type: Literal["sentence"]  # left out, it would be "global", and std_norm True
    std_norm: Literal[False]
    mean_norm: Literal[True] = True
    length_dim: Literal[1] = 1
    avg_factor: Any = None
    update_until_epoch: Any = None
    avoid_padding_norm: Any = None
    epsilon: Any = None
    device: Any = None
    requires_grad: Any = None


@dataclass(frozen=True)
class _EcapaTdnn:
    input_size: int
    channels: tuple[int, int, int, int, int] = (512, 512, 512, 512, 1536)
    lin_neurons: int = 192
    attention_channels: int = 128
    res2net_scale: int = 8
    se_channels: int = 128
    global_context: bool = True
    activation: Literal["torch.nn.ReLU"] = "torch.nn.ReLU"
    kernel_sizes: tuple[Literal[5], Literal[3], Literal[3], Literal[3], Literal[1]] = (5, 3, 3, 3, 1)
    dilations: tuple[Literal[1], Literal[2], Literal[3], Literal[4], Literal[1]] = (1, 2, 3, 4, 1)
    groups: tuple[Literal[1], Literal[1], Literal[1], Literal[1], Literal[1]] = (1, 1, 1, 1, 1)
    dropout: Any = None
    device: Any = None


def read(folder: str) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return what our encoder is made of, and its network's weights, from a folder that SpeechBrain loads.

    Raises:
        ModelError: not such a folder, damaged files, another network or front-end than is computed here, or weights
            that do not fit it.
    """
    place = Path(folder)
    for name in (SETTINGS_NAME, WEIGHTS_NAME):
        if not (place / name).is_file():
            raise ModelError(
                f"speechbrain:{absent(place / name)}. Give the folder of a pretrained SpeechBrain model, with "
                f"{SETTINGS_NAME} and {WEIGHTS_NAME} in it."
            )
    config = _ecapa_config(Settings(place / SETTINGS_NAME))
    weights = place / WEIGHTS_NAME
    state = renamed(read_checkpoint(weights, _LANDMARKS), _modules(config), config, str(weights))
    return EncoderConfig("ecapa", to_plain(config)), state


def _ecapa_config(settings: Settings) -> EcapaConfig:
    if "sample_rate" in settings and settings["sample_rate"] != SAMPLE_RATE:
        rate = settings["sample_rate"]
        raise ModelError(f"{settings.path}: a model of {rate} Hz; every waveform here has {SAMPLE_RATE} Hz")
    model = _options(settings, "embedding_model", "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN", _EcapaTdnn)
    features = _options(settings, "compute_features", "speechbrain.lobes.features.Fbank", _Fbank)
    _options(settings, "mean_var_norm", "speechbrain.processing.features.InputNormalization", _InputNormalization)
    if model.input_size != features.n_mels:
        reason = f"compute_features gives {features.n_mels} features, embedding_model takes {model.input_size}"
        raise ModelError(f"{settings.path}: {reason}: they do not fit each other")
    *widths, mfa_channels = model.channels
    if len(set(widths)) > 1:
        reason = f"embedding_model.channels is {list(model.channels)}"
        raise ModelError(f"{settings.path}: {reason}; computed here: one width for all but the last")
    return EcapaConfig(
        channels=widths[0],
        embedding_dim=model.lin_neurons,
        mfa_channels=mfa_channels,
        res2_scale=model.res2net_scale,
        se_bottleneck=model.se_channels,
        attention_bottleneck=model.attention_channels,
        fbank=DecibelFbankConfig(n_mels=features.n_mels),
        summed_inputs=False,
        padding="reflect",
        mfa_norm=True,
        attention_norm=True,
        global_context=model.global_context,
        variance_floor=_VARIANCE_FLOOR,
        embedding_norm=False,
    )


def _options(settings: Settings, key: str, name: str, cls: type[T]) -> T:
    """Return the options of the one class that may stand under a key.

    Raises:
        ModelError: another class, or an option that makes another thing of it than is computed here.
    """
    made = settings[f"modules.{key}" if "modules" in settings else key]
    if not isinstance(made, Made) or made.name != name:
        found = made.name if isinstance(made, Made) else f"no class but {type(made).__name__}"
        raise ModelError(f"{settings.path}: {key} is {found}; computed here: {name}")
    values = {option: settings.resolved(value) for option, value in made.arguments.items()}
    values = {option: value.name if isinstance(value, Made) else value for option, value in values.items()}
    try:
        return build(cls, values, where=f"{settings.path}: {key}")
    except RecipeError as error:
        raise ModelError(str(error)) from None


def _modules(config: EcapaConfig) -> dict[str, str]:
    """Return SpeechBrain's names of our modules."""
    modules = {"stem.conv": "blocks.0.conv.conv", "stem.norm": "blocks.0.norm.norm"}
    for block in range(3):
        ours, theirs = f"blocks.{block}", f"blocks.{block + 1}"
        pairs = {"enter": "tdnn1", "leave": "tdnn2"}
        pairs |= {f"res2.groups.{group}": f"res2net_block.blocks.{group}" for group in range(config.res2_scale - 1)}
        for one, other in pairs.items():
            modules[f"{ours}.{one}.conv"] = f"{theirs}.{other}.conv.conv"
            modules[f"{ours}.{one}.norm"] = f"{theirs}.{other}.norm.norm"
        modules[f"{ours}.gates.squeeze"] = f"{theirs}.se_block.conv1.conv"
        modules[f"{ours}.gates.excite"] = f"{theirs}.se_block.conv2.conv"
    return modules | {
        "mfa": "mfa.conv.conv",
        "mfa_norm": "mfa.norm.norm",
        "pooling.frame": "asp.tdnn.conv.conv",
        "pooling.norm": "asp.tdnn.norm.norm",
        "pooling.attention": "asp.conv.conv",
        "pooled_norm": "asp_bn.norm",
        "projection": "fc.conv",
    }
