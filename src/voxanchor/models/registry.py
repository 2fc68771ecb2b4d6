"""Model references: what a person may write where a model is asked for."""

from dataclasses import dataclass
from pathlib import Path

from voxanchor.config import nearest
from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign import ge2e


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
        ref: a model directory, or ``ge2e`` (a directory of that name is reached as ``./ge2e``).

    Raises:
        ModelError: nothing of that name (says what a reference may be), or a directory that cannot be loaded.
        MissingExtraError: the package that holds a foreign model's weights is not installed.
    """
    if ref == "ge2e":
        encoder = SpeakerEncoder(EncoderConfig("ge2e"))
        encoder.network.load_state_dict(ge2e.pretrained_weights())
        return encoder.eval()
    if Path(ref).is_dir():
        return SpeakerEncoder.load(ref)
    what = "is a file" if Path(ref).exists() else "no such directory"
    known = [reference.ref for reference in available()]
    raise ModelError(
        f"model '{ref}': {what}. {nearest(str(ref), known)} A model is a directory with config.json, or 'ge2e'."
    )


def available() -> list[Reference]:
    """Return the references that need no directory, and whether each can be loaded now."""
    description = "GE2E speaker encoder of resemblyzer 0.1.4: 3 x LSTM 256, 256 dimensions, 1.6 s windows"
    return [Reference("ge2e", description, ge2e.weights_path() is not None, ge2e.INSTALL_HINT)]
