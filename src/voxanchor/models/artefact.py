"""A model directory on disk: `config.json` beside `model.safetensors`, bound by a fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.files import write_bytes, write_text

SCHEMA_VERSION = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def fingerprint(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over the configuration and every tensor."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def write(
    folder: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor], extra_files: Mapping[str, bytes]
) -> None:
    """Write a model directory, each file atomically and `config.json` last: without it nothing takes it for a model.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    # copies, because safetensors refuses weights that a network has under two names
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_bytes(folder / WEIGHTS_NAME, save(tensors))
    for name, content in extra_files.items():
        write_bytes(folder / name, content)
    described = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint(config, tensors), **config}
    write_text(folder / CONFIG_NAME, json.dumps(described, indent=2) + "\n")


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and the tensors of a model directory.

    Raises:
        ModelError: not a model directory, one of another schema, or damaged weights.
    """
    folder = Path(folder)
    config_path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    try:
        config = dict(json.loads(config_path.read_text(encoding="utf-8")))
        version, stored = config.pop("schema_version"), config.pop("fingerprint")
    except OSError:
        raise ModelError(f"{folder}: not a model directory: there is no readable {CONFIG_NAME} in it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{config_path}: not the configuration of a model ({error!r})") from None
    if version != SCHEMA_VERSION:
        reason = f"schema version {version}, this program reads {SCHEMA_VERSION}"
        raise ModelError(f"{config_path}: {reason}. Use the version of voxanchor that wrote it.")
    try:
        state = load(weights_path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights_path}: missing or damaged ({error}). Copy the model directory again.") from None
    found = fingerprint(config, state)
    if found != stored:
        reason = f"fingerprint {found}, but {CONFIG_NAME} says {stored}"
        raise ModelError(f"{folder}: {reason}: the files do not belong together or were changed. Copy it again.")
    return config, state
