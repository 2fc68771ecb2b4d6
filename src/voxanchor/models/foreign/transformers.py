"""A folder that `save_pretrained` of the package `transformers` wrote: its configuration and weights, read as data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig
from voxanchor.models.foreign.checkpoint import read_checkpoint
from voxanchor.models.xvector import MASK, MODEL_TYPES
from voxanchor.types import SAMPLE_RATE

ARCHITECTURE = "transformers"
HEAD = "ForXVector"

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_FRONT_ENDS = ("preprocessor_config.json", "processor_config.json")

_LANDMARKS = ("projector.weight",)

_OTHER_PURPOSES = (
    *("architectures", "auto_map", "transformers_version", "dtype", "torch_dtype"),
    *("id2label", "label2id", "num_labels", "problem_type"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript"),
)
"""Keys that say nothing about an embedding, or how something is returned."""

_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""What weight normalisation called its parts before torch 2.0."""


def read(rest: str) -> tuple[EncoderConfig, Mapping[str, Tensor]]:
    """Return what a folder with an x-vector model of transformers holds.

    Raises:
        ModelError: files missing, another head or kind of model, another sample rate.
    """
    folder = Path(rest)
    if not folder.is_dir():
        raise ModelError(
            f"{ARCHITECTURE}:{rest}: no such directory. Give a local one with config.json, model.safetensors and "
            "preprocessor_config.json, as save_pretrained writes it; nothing is downloaded."
        )
    config = _config(folder)
    options = {"config": config, "do_normalize": _do_normalize(folder)}
    return EncoderConfig(ARCHITECTURE, options), _weights(folder)


def _config(folder: Path) -> dict[str, Any]:
    values = _json(folder / "config.json")
    heads, kind = values.get("architectures") or [], values.get("model_type")
    if not any(str(head).endswith(HEAD) for head in heads):
        found = ", ".join(map(str, heads)) or "none"
        raise ModelError(
            f"{folder}: architectures in config.json: {found}. A speaker model of transformers ends in {HEAD}; another "
            "head gives no embeddings of speakers. For a head of your own write a function and name it python:"
        )
    if kind not in MODEL_TYPES:
        raise ModelError(f"{folder}: model_type '{kind}' in config.json; read are {', '.join(MODEL_TYPES)}")
    kept = {key: value for key, value in values.items() if key not in _OTHER_PURPOSES and not key.startswith("_")}
    return dict(sorted(kept.items()))


def _do_normalize(folder: Path) -> bool:
    path = next((folder / name for name in _FRONT_ENDS if (folder / name).is_file()), folder / _FRONT_ENDS[0])
    values = _json(path)
    values = values.get("feature_extractor", values)
    rate = values.get("sampling_rate")
    if rate != SAMPLE_RATE or not isinstance(values.get("do_normalize"), bool):
        raise ModelError(
            f"{path}: sampling_rate {rate} and do_normalize {values.get('do_normalize')}; expected {SAMPLE_RATE}, and "
            "true or false"
        )
    return bool(values["do_normalize"])


def _weights(folder: Path) -> dict[str, Tensor]:
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file() or (folder / name).is_symlink()), None)
    if path is None:
        raise ModelError(f"{folder}: neither {' nor '.join(_WEIGHTS)} in it. Save the model as one file.")
    state = read_checkpoint(path, _LANDMARKS)
    return {f"model.{_modern(name)}": value for name, value in state.items() if not name.endswith(f".{MASK}")}


def _modern(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"{module}.{_RENAMED[last]}" if last in _RENAMED else name


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}). Copy the whole folder.") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected keys and values")
    return values
