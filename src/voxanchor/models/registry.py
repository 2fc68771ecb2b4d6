"""Model references: what a person may write where a model is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from voxanchor.config import nearest
from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import SUFFIX, ExportedEncoder
from voxanchor.models.foreign import ge2e, threed_speaker, wespeaker
from voxanchor.models.foreign.checkpoint import check_names

Source: TypeAlias = Callable[[str], tuple[EncoderConfig, Mapping[str, Tensor]]]
"""From what stands behind the colon of a reference to what the encoder is made of, and its network's weights."""

SOURCES: dict[str, Source] = {
    "wespeaker": wespeaker.read,
    "3dspeaker": threed_speaker.read,
}
"""What may stand before the colon."""

Embedder: TypeAlias = SpeakerEncoder | ExportedEncoder
"""What gives embeddings. An exported file gives nothing else: it cannot be trained, moved or exported again."""


@dataclass(frozen=True)
class Reference:
    """Something that `load` accepts."""

    ref: str
    description: str
    installed: bool
    install_hint: str = ""


def build(config: EncoderConfig, seed: int = 0) -> SpeakerEncoder:
    """Return an encoder with weights drawn from `seed`, in training mode.

    Raises:
        ModelError: unknown architecture or option.
    """
    return SpeakerEncoder(config, seed)


def load(ref: str | Path) -> SpeakerEncoder:
    """Return the encoder that `ref` names, with its weights, on the CPU, in eval mode.

    Args:
        ref: a model directory, ``ge2e`` (a directory of that name is reached as ``./ge2e``), or the name of another
            toolkit in `SOURCES`, a colon, and what it publishes.

    Raises:
        ModelError: nothing of that name (says what a reference may be), or a directory that cannot be loaded.
        MissingExtraError: the package that holds a foreign model's weights is not installed.
    """
    if ref == "ge2e":
        return _made(EncoderConfig("ge2e"), ge2e.pretrained_weights(), "ge2e")
    kind, colon, rest = str(ref).partition(":")
    if colon and kind in SOURCES:
        return _made(*SOURCES[kind](rest), str(ref))
    if Path(ref).is_dir():
        return SpeakerEncoder.load(ref)
    if is_exported(ref):
        raise ModelError(
            f"model '{ref}': an exported file can only embed and verify. Give the model directory it was made from."
        )
    what = "is a file" if Path(ref).exists() else "no such directory"
    known = [reference.ref for reference in available()]
    raise ModelError(
        f"model '{ref}': {what}. {nearest(str(ref), known)} A model is a directory with config.json, or 'ge2e'."
    )


def _made(config: EncoderConfig, state: Mapping[str, Tensor], where: str) -> SpeakerEncoder:
    encoder = SpeakerEncoder(config)
    check_names(state, encoder.network.state_dict(), where)
    encoder.network.load_state_dict(state)
    return encoder.eval()


def load_embedder(ref: str | Path) -> Embedder:
    """Return what embeds by the model that `ref` names, on the CPU: `load`, and files that were exported too.

    An exported file shares every operation among as many threads as torch has at this moment.

    Raises:
        ModelError: nothing of that name, or something that cannot be loaded.
        MissingExtraError: the package that it needs is not installed.
    """
    return ExportedEncoder.load(ref, torch.get_num_threads()) if is_exported(ref) else load(ref)


def is_exported(ref: str | Path) -> bool:
    """Return whether a reference names an exported file, by its ending."""
    return Path(ref).suffix == SUFFIX and not Path(ref).is_dir()


def available() -> list[Reference]:
    """Return the references that need no directory, and whether each can be loaded now."""
    description = "GE2E speaker encoder of resemblyzer 0.1.4: 3 x LSTM 256, 256 dimensions, 1.6 s windows"
    return [Reference("ge2e", description, ge2e.weights_path() is not None, ge2e.INSTALL_HINT)]
