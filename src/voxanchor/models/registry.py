"""Model references: what a person may write where a model is asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import SUFFIX, ExportedEncoder
from voxanchor.models.foreign import ge2e, speechbrain, threed_speaker, transformers, user_reference, wespeaker
from voxanchor.models.foreign.checkpoint import fitted
from voxanchor.models.references import guess, unknown

Source: TypeAlias = Callable[[str], tuple[EncoderConfig, Mapping[str, Tensor] | None]]
"""From what stands behind the colon of a reference to what the encoder is made of, and its network's weights; none
where the network comes with them."""

SOURCES: dict[str, Source] = {
    "speechbrain": speechbrain.read,
    "wespeaker": wespeaker.read,
    "3dspeaker": threed_speaker.read,
    "python": user_reference.read,
    "transformers": transformers.read,
}
"""What may stand before the colon."""

Embedder: TypeAlias = SpeakerEncoder | ExportedEncoder
"""What gives embeddings. An exported file gives nothing else: it cannot be trained, moved or exported again."""


def build(config: EncoderConfig, seed: int = 0) -> SpeakerEncoder:
    """Return an encoder with weights drawn from `seed`, in training mode.

    Raises:
        ModelError: unknown architecture or option.
    """
    return SpeakerEncoder(config, seed)


def load(ref: str | Path) -> SpeakerEncoder:
    """Return the encoder that `ref` names, with its weights, on the CPU, in eval mode.

    Args:
        ref: one of the forms in `voxanchor.models.references`; ``python:module:function`` runs that code. A directory
            whose name is another form's is reached as ``./ge2e``.

    Raises:
        ModelError: nothing of that name (says what a reference may be), or something that cannot be loaded.
        UntrustedCodeError: a directory of a model that is made by code nobody named; nothing of it was run.
        MissingExtraError: the package that a foreign model needs is not installed.
    """
    if ref == "ge2e":
        return _made(EncoderConfig("ge2e"), ge2e.pretrained_weights(), "ge2e")
    kind, colon, rest = str(ref).partition(":")
    if colon and kind in SOURCES:
        return _made(*SOURCES[kind](rest), str(ref))
    if Path(ref).is_dir():
        if advice := guess(ref):
            raise ModelError(f"{ref}: not a model directory of voxanchor. {advice}")
        return SpeakerEncoder.load(ref)
    if is_exported(ref):
        raise ModelError(
            f"model '{ref}': an exported file can embed, verify and be evaluated, and no more. Give the model "
            "directory it was made from."
        )
    raise ModelError(unknown(str(ref)))


def _made(config: EncoderConfig, state: Mapping[str, Tensor] | None, where: str) -> SpeakerEncoder:
    encoder = SpeakerEncoder(config)
    if state is not None:
        encoder.network.load_state_dict(fitted(state, encoder.network.state_dict(), where))
    return encoder.eval()


def load_embedder(ref: str | Path, device: str = "cpu") -> Embedder:
    """Return what embeds by the model that `ref` names: `load`, on the CPU, and files that were exported too.

    An exported file shares every operation among as many threads as torch has at this moment.

    Args:
        ref: as in `load`, or an exported file.
        device: where an exported file computes (`ExportedEncoder.load`); it cannot be moved afterwards.

    Raises:
        RecipeError: no such device for an exported file.
        ModelError: nothing of that name, or something that cannot be loaded.
        MissingExtraError: the package that it needs is not installed.
    """
    return ExportedEncoder.load(ref, torch.get_num_threads(), device) if is_exported(ref) else load(ref)


def is_exported(ref: str | Path) -> bool:
    """Return whether a reference names an exported file, by its ending."""
    return Path(ref).suffix == SUFFIX and not Path(ref).is_dir()
